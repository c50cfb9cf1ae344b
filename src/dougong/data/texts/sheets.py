"""Files as rows, however damaged they are: each row with its line, and what is wrong with it.

The readers of training stop at the first fault; those that are built on this go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dougong.data.listing import Fault
from dougong.data.names import clean, plain
from dougong.data.texts.decoding import Encoded, look_at
from dougong.figures import many

SAID = 40
"""Characters of a cell that a message repeats."""


@dataclass
class Row:
    """One row, or what is left of it.

    Args:
        line: of the file where it begins; of a Parquet file the row's number from 0.
        cells: by column, mended where that could be done.
        faults: of this row.
    """

    line: int
    cells: dict[str, Any]
    faults: list[Fault] = field(default_factory=list)

    @property
    def lost(self) -> Fault | None:
        """Why it cannot stay; None when it can."""
        return next((fault for fault in self.faults if fault.fix == "drop"), None)


class Sheet:
    """A table.

    Args:
        path: of the file.
        part: its split, where its name says it.
        codec: its encoding, as somebody knows it.

    Attributes:
        name: of the file.
        names: of its columns, clean and each once.
        classes: names of the numbers in a column, where the file says them.
        faults: of the file as a whole and of its header.
        encoded: how its characters are written; None for a Parquet file.

    Raises:
        UserError: nothing can be read of it.
    """

    def __init__(self, path: Path, part: str | None, codec: str | None = None) -> None:
        self.path, self.part, self.name = path, part, path.name
        self.names: list[str] = []
        self.classes: dict[str, list[str]] = {}
        self.faults: list[Fault] = []
        self.encoded: Encoded | None = None
        if path.suffix.lower() != ".parquet":
            self.encoded = look_at(path, codec)
            self.faults += encoding_faults(path.name, self.encoded)

    def rows(self, seen: Callable[[int], object] | None = None) -> Iterator[Row]:
        """All rows in order; ``seen`` is told the bytes that were read."""
        raise NotImplementedError

    def where(self, line: int) -> str:
        """A place, as every message names it."""
        return f"{self.name}:{line}"

    def where_word(self, line: int, index: int) -> str:
        """The place of a word of the sentence that begins on a line."""
        return self.where(line + index)

    def _name(self, raw: list[str]) -> None:
        """Take the columns' names and say what is odd about them."""
        taken: list[str] = []
        for number, name in enumerate(raw, 1):
            tidy = clean(name)
            if tidy != name:
                what = f"the column {said(tidy)} has blanks around its name or signs in it that nobody sees: {name!a}"
                self._fault("column name", what, f"rename it to {said(tidy)}; it is read so", "change", error=False)
            if not tidy:
                tidy = f"column {number}"
                self._fault(
                    "column name", f"column {number} has no name", "give it one, or take it out", "change", error=False
                )
            if tidy in taken:
                several = next(f"{tidy} ({n})" for n in range(2, 10**6) if f"{tidy} ({n})" not in taken)
                self._fault(
                    "column twice", f"has the column {said(tidy)} twice", "rename one of them, or take it out", "change"
                )
                tidy = several
            taken.append(tidy)
        self.names = taken

    def _fault(self, kind: str, what: str, remedy: str, fix: str = "", *, error: bool = True) -> None:
        where = f"{self.path.name}:1" if self.path.suffix.lower() != ".parquet" else self.path.name
        self.faults.append(Fault(where, what, remedy, "error" if error else "warning", kind, fix))


def encoding_faults(name: str, encoded: Encoded) -> list[Fault]:
    """What is odd about how a file's characters are written; of mixed files the lines say it."""
    if encoded.binary:
        return [Fault(name, "is full of zero bytes, so it is no text", "fetch it again, or take it out", kind="binary")]
    if encoded.wrong and not encoded.mixed:
        what = f"is not UTF-8 but, as it seems, {encoded.name}: {many(encoded.wrong_count, 'line')}"
        remedy = "save it as UTF-8, as dougong check --fix does"
        return [Fault(f"{name}:{encoded.wrong[0]}", what, remedy, kind="encoding", fix="change")]
    if encoded.codec != "utf-8" and not encoded.mixed:
        what, remedy = f"is {encoded.name}, not UTF-8", "save it as UTF-8, as dougong check --fix does"
        return [Fault(name, what, remedy, kind="encoding", fix="change")]
    if encoded.mark:
        what = "begins with a byte order mark, which nobody sees"
        return [
            Fault(name, what, "save it as UTF-8 without one; it is read past", "warning", "byte order mark", "change")
        ]
    return []


def nul(place: str) -> Fault:
    """A zero byte in a line."""
    return Fault(place, "holds a NUL byte", "the file is damaged: fetch it again", kind="NUL byte", fix="change")


def not_utf8(place: str, encoded: Encoded) -> Fault:
    """A line in another encoding than the file's others."""
    what = f"is not UTF-8, though other lines are; it seems {encoded.name}"
    return Fault(place, what, "save the whole file as UTF-8", kind="encoding", fix="change")


def said(text: str) -> str:
    """What stands in a cell, short and on one line, in quotes."""
    short = text if len(text) <= SAID else text[:SAID] + "..."
    return f"'{plain(short)}'"


def type_of(value: Any) -> str:
    """A JSON value's type, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else "an object"
