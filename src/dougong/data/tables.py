"""CSV and TSV files that name a picture and its class in each row."""

from __future__ import annotations

import csv
import functools
import io
import os
from collections.abc import Sequence
from pathlib import Path

from dougong.data.listing import Fault, Listing, Sample, warning
from dougong.data.names import LABEL_COLUMNS, PATH_COLUMNS, SPLIT_COLUMNS, clean, named_split, shown
from dougong.data.pictures import read_file
from dougong.errors import UserError


def list_tables(files: Sequence[tuple[Path, str | None]], root: Path, name: str, *, confined: bool = False) -> Listing:
    """The rows of some files, each file of a split or of none; paths are relative to the file.

    A file that is not UTF-8 or lacks a column is a fault of the listing; the others are read.

    Args:
        files: with their splits.
        root: that the places are relative to.
        name: of the data.
        confined: paths that lead out of ``root`` are faults: the file was not written by who reads it.
    """
    listing = Listing(name, [])
    for path, split in files:
        try:
            _list_file(listing, path, split, root, confined)
        except UserError as error:
            listing.give_up(error)
    return listing


def _list_file(listing: Listing, path: Path, split: str | None, root: Path, confined: bool) -> None:
    where = path.relative_to(root).as_posix() if path != root else path.name
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{where}:{line}", "is not UTF-8", "save the file as UTF-8") from None
    if "\0" in text:
        raise UserError(where, "holds zero bytes, so it is no text", "save it as CSV in UTF-8")
    # strictly: a quote that nothing closes ends in an error even where another reader has lifted csv's limit of a field
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(path, text), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        remedy = "look for a quote that is never closed, and close it"
        raise UserError(f"{where}:{reader.line_num}", f"is no CSV ({error})", remedy) from None
    header = rows[0][1] if rows else []
    columns = [clean(column).lower() for column in header]
    for seen, column in zip(header, columns, strict=True):
        if clean(seen) != seen:
            said = f"the column {seen!r} holds hidden characters or outer spaces; it is read as {column!r}"
            listing.faults.append(warning(f"{where}:1", said, f"write {clean(seen)!r}"))
    picture = _column(columns, PATH_COLUMNS, "path", where)
    label = _column(columns, LABEL_COLUMNS, "label", where)
    part = next((columns.index(name) for name in SPLIT_COLUMNS if name in columns), None)
    odd: dict[str, str] = {}
    for number, row in rows[1:]:
        place = f"{where}:{number}"
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            said = f"has {len(row)} cells, the header {len(header)}"
            listing.faults.append(
                Fault(place, said, "put quotes around cells that hold the separator, or mend the row")
            )
            continue
        name = clean(row[label])
        if name != row[label]:
            odd.setdefault(row[label], place)
        if not row[picture].strip():
            listing.faults.append(Fault(place, "names no picture", "fill in the path, or take the row out"))
            continue
        if not name:
            listing.faults.append(Fault(place, "has no label", "fill it in, or take the row out"))
        file = path.parent / row[picture].strip()
        if "\\" in file.name and not os.path.exists(file):  # written on Windows; a name may be too long for Path.exists
            file = path.parent / row[picture].strip().replace("\\", "/")
        if confined and not file.resolve().is_relative_to(root.resolve()):
            listing.faults.append(Fault(place, f"{row[picture]} leads out of the data", "keep all pictures inside it"))
            continue
        own = split if part is None else _split(listing, row[part], place)
        listing.samples.append(
            Sample(
                f"{place} ({row[picture].strip()})", name or None, functools.partial(read_file, file), own, file.name
            )
        )
    for seen, place in odd.items():
        said = f"the label {seen!r} holds hidden characters or outer spaces; it is read as {clean(seen)!r}"
        listing.faults.append(warning(place, said, f"write {clean(seen)!r}, here and in other rows"))


def _split(listing: Listing, cell: str, place: str) -> str | None:
    found = named_split(cell)
    if found is None:
        said = f"the split {cell!r} is none of train, val, test" if cell.strip() else "has no split"
        listing.faults.append(Fault(place, said, "write train, val or test in every row, or leave the column out"))
    return found


def _delimiter(path: Path, text: str) -> str:
    """Tab for .tsv; otherwise what the first line holds most of, a comma when nothing."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    first = text.split("\n", 1)[0]
    return max(",;\t", key=first.count)


def _column(columns: list[str], known: tuple[str, ...], what: str, where: str) -> int:
    for name in known:
        if name in columns:
            if columns.count(name) > 1:
                raise UserError(f"{where}:1", f"has two columns {name}", "keep one")
            return columns.index(name)
    known_names = ", ".join(known[:4])
    raise UserError(
        f"{where}:1", f"has no {what} column, only {shown(columns) or 'nothing'}", f"name it one of {known_names}"
    )
