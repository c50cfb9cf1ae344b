"""What a row holds that a model is asked about, and which column of a table that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dougong import console
from dougong.data.names import LABEL_COLUMNS, SPLIT_COLUMNS, clean, shown
from dougong.data.texts.tables import TEXT_COLUMNS
from dougong.errors import UserError

WORDS = ("tokens", "words")
"""Usual names of columns that hold the words of a sentence."""
REMEDY = "mend it, or leave such rows out with --skip-bad"


@dataclass(frozen=True)
class Input:
    """One row to be asked about.

    Args:
        raw: a text, a tuple of two, a list of words, or the path of a picture.
        where: file and row; "" where the text speaks for itself.
        fault: why it cannot be used.
    """

    raw: Any
    where: str = ""
    fault: UserError | None = None


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Args:
        columns: of tables, that of the text, or two of them, as the user names them; told by the others when empty.
        trained: the columns that the model was trained with.
        words: a list of words is wanted rather than a text, where a file holds one.
    """

    columns: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    words: bool = False

    def alone(self, one: Input) -> Input:
        """A text that stands alone, at fault where the model was trained with two."""
        if len(self.trained) < 2 or one.fault:
            return one
        both = " and ".join(map(repr, self.trained))
        remedy = f"give a table with the columns {both}, or pipe one in with --format csv"
        return fault(one.where or str(one.raw)[:40], f"is one text, but the model was trained with two, {both}", remedy)


def fault(where: str, what: str, remedy: str = REMEDY) -> Input:
    """A row that cannot be used."""
    return Input(None, where, UserError(where, what, remedy))


def checked(value: Any, where: str, words: bool = False) -> Input:
    """A value as a row: a text with something in it; where words are wanted, a list of them too."""
    place = where or "input"
    if isinstance(value, list) and words and value and all(isinstance(each, str) for each in value):
        held = [each.strip() for each in value]
        return Input(held, where) if all(held) else fault(place, "holds an empty word")
    if isinstance(value, bool | int | float):
        value = str(value)
    if value is not None and not isinstance(value, str):
        return fault(place, f"holds a {'list' if isinstance(value, list) else type(value).__name__}, no text")
    if value is None or not clean(value):
        return fault(place, "holds no text", "fill it in, or leave such rows out with --skip-bad")
    if "\0" in value:
        return fault(place, "holds a NUL byte")
    if any("\ud800" <= sign <= "\udfff" for sign in value):
        return fault(place, "is not UTF-8", "save the file as UTF-8")
    return Input(value, where)


def row_of(row: Mapping[str, Any], chosen: Sequence[str], where: str, reading: Reading) -> Input:
    """The row of a table: its text, or its two."""
    parts = [checked(row[column], where, reading.words) for column in chosen]
    faulty = next((part for part in parts if part.fault), None)
    if faulty is not None:
        return faulty
    return parts[0] if len(parts) == 1 else Input(tuple(part.raw for part in parts), where)


def column_choice(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], where: str, reading: Reading
) -> tuple[str, ...]:
    """The column of the text, or two: as named, as in training, by a usual name, or the widest; said aloud.

    Raises:
        UserError: it is not there, there are two of its name, or there is none that holds texts.
    """
    found: tuple[str, ...] = ()
    lower = {name.lower(): name for name in names}
    if reading.columns:
        for wanted in reading.columns:
            if wanted not in names and wanted.lower() not in lower:
                raise UserError(where, f"has no column {wanted!r}", f"its columns are {shown(list(names))}")
        found = tuple(wanted if wanted in names else lower[wanted.lower()] for wanted in reading.columns)
    elif reading.trained and all(name in names for name in reading.trained):
        found = reading.trained
    elif len(reading.trained) > 1:
        missing = next(name for name in reading.trained if name not in names)
        raise UserError(where, f"has no column {missing!r}, which the model was trained with", "name both by --text")
    else:
        usual = [*WORDS, *TEXT_COLUMNS] if reading.words else TEXT_COLUMNS
        known = next((lower[name] for name in usual if name in lower), None)
        rest = [name for name in names if name.lower() not in (*LABEL_COLUMNS, *SPLIT_COLUMNS)] or list(names)
        widest = max(rest, key=lambda name: sum(len(str(row.get(name) or "")) for row in rows), default=None)
        if known is None and widest is None:
            raise UserError(where, "has no column", "give a table with a column of texts")
        found = (str(known or widest),)
    for name in found:
        if list(names).count(name) > 1:
            raise UserError(where, f"has {list(names).count(name)} columns {name!r}", "give each its own name")
    if len(names) > len(found) and not reading.columns:
        console.note(f"{where}: read as text: column {', '.join(map(repr, found))}; --text names another")
    return found
