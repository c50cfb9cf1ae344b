"""Pairs of texts, to write the second from the first: parallel files, or two columns of a table."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from dougong.data.names import SPLIT_COLUMNS, SPLIT_NAMES, named_split, shown
from dougong.data.texts.dividing import divided
from dougong.data.texts.plain import lines_of
from dougong.data.texts.rows import TextData, TextRow, TextSplit, key_of
from dougong.data.texts.tables import known_column, place_of, read_table
from dougong.errors import UserError
from dougong.figures import are, many

Sides = list[tuple[Path, Path, str | None]]
"""Source file, target file, split."""


def parallel_files(folder: Path) -> dict[str, dict[str, Path]]:
    """Files that differ in their ending alone, named after splits, as train.de and train.en: by stem, then ending."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        ending = side_of(path)
        if ending is not None and path.is_file():
            found[path.stem][ending] = path
    both = set.intersection(*(set(sides) for sides in found.values())) if found else set()
    held = any(SPLIT_NAMES[re.split(r"[-_.]", stem.lower())[0]] == "train" for stem in found)
    return dict(found) if held and len(both) >= 2 else {}


def side_of(path: Path) -> str | None:
    """The language of a parallel file by its name, as "de" of train.de; None for any other name."""
    ending = path.suffix.lstrip(".").lower()
    if not re.fullmatch(r"[a-z]{2,3}([-_][a-z]+)?", ending) or ending in ("txt", "csv", "tsv"):
        return None
    return ending if re.split(r"[-_.]", path.stem.lower())[0] in SPLIT_NAMES else None


def read_parallel(
    folder: Path, name: str, source: str, *, split: str | None = None, seed: int = 0, text: str | None = None,
    label: str | None = None,
) -> TextData:  # fmt: skip
    """Pairs of lines of parallel files.

    Args:
        folder: with train.de and train.en, and the same for val and test.
        name: of the data.
        source: as the user gave it.
        split: "80/10/10", where there is no val and no test.
        seed: of the split.
        text: the ending of the files that are read; the first by the alphabet when None.
        label: the ending of those that are written.

    Raises:
        UserError: files of unequal length, an ending that is not there, or a file that cannot be read.
    """
    files = parallel_files(folder)
    endings = sorted(set.intersection(*(set(sides) for sides in files.values())))
    for wanted in (text, label):
        if wanted is not None and wanted not in endings:
            raise UserError(source, f"has no files that end in .{wanted}", f"there are {shown(endings)}")
    read = text or next(ending for ending in endings if ending != label)
    written = label or next(ending for ending in endings if ending != read)
    notes = [f"Read as .{read}, written as .{written}; --text and --label turn it round."]
    rows: list[tuple[TextRow, str | None]] = []
    empty: list[str] = []
    for stem, sides in files.items():
        part = SPLIT_NAMES[re.split(r"[-_.]", stem.lower())[0]]
        first, second = lines_of(sides[read]), lines_of(sides[written])
        if len(first) != len(second):
            raise UserError(
                sides[read].name, f"has {many(len(first), 'line')}, {sides[written].name} {len(second)}",
                "line k of one must be line k of the other",
            )  # fmt: skip
        for number, pair in enumerate(zip(first, second, strict=True), 1):
            _add(rows, empty, pair, f"{sides[read].name}:{number}", part)
    return _made(rows, empty, name, source, {"text": read, "label": written}, split, seed, notes)


def read_pairs(
    files: Sequence[tuple[Path, str | None]], name: str, source: str, *, split: str | None = None, seed: int = 0,
    text: str | None = None, label: str | None = None,
) -> TextData:  # fmt: skip
    """Pairs of two columns of tables; the first two that are no split, when they are not named.

    Raises:
        UserError: a table that cannot be read, or a column that is not there.
    """
    rows: list[tuple[TextRow, str | None]] = []
    empty: list[str] = []
    columns: dict[str, str] = {}
    for path, part in files:
        table = read_table(path)
        lower = {column.lower(): column for column in table.column_names}
        own = next((lower[each] for each in SPLIT_COLUMNS if each in lower), None)
        rest = [column for column in table.column_names if column != own]
        if len(rest) < 2:
            raise UserError(path.name, f"has no two columns of texts, only {shown(rest) or 'nothing'}", "add the other")
        read = known_column(table, path.name, text) if text else next(each for each in rest if each != label)
        written = known_column(table, path.name, label) if label else next(each for each in rest if each != read)
        columns = {"text": read, "label": written}
        splits = [named_split(str(each or "")) for each in table[own].to_pylist()] if own else [part] * len(table)
        for number, pair in enumerate(zip(table[read].to_pylist(), table[written].to_pylist(), strict=True)):
            said = (str(pair[0] or ""), str(pair[1] or ""))
            _add(rows, empty, said, place_of(path, number), splits[number])
    notes = [f"Read: column {columns['text']!r}; written: column {columns['label']!r}."]
    return _made(rows, empty, name, source, columns, split, seed, notes)


def _add(
    rows: list[tuple[TextRow, str | None]], empty: list[str], pair: tuple[str, str], where: str, part: str | None
) -> None:
    if not pair[0].strip() or not pair[1].strip():
        empty.append(where)
    else:
        rows.append((TextRow(pair, where=where, key=key_of(pair)), part))


def _made(
    rows: list[tuple[TextRow, str | None]], empty: list[str], name: str, source: str, columns: dict[str, str],
    split: str | None, seed: int, notes: list[str],
) -> TextData:  # fmt: skip
    if empty:
        notes.append(f"{many(len(empty), 'pair')} with an empty side {are(len(empty))} left out: {shown(empty, 3)}.")
    if not rows:
        raise UserError(source, "holds no pair of texts", "give a text and its translation in each row")
    parts, how = divided(rows, split, seed, notes, source, "pair")
    splits = {key: TextSplit.of(part) for key, part in parts.items()}
    return TextData(name, source, "pairs", (), False, splits, columns, how, seed, notes)
