"""Parquet and Arrow files in the form that `datasets` writes: image {bytes, path} and label."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dougong.data.listing import Fault, Listing, Sample
from dougong.data.names import LABEL_COLUMNS, clean, shown
from dougong.data.pictures import read_file
from dougong.errors import UserError

IMAGE_COLUMNS = ("image", "img", "picture", "pixels")


def list_parquet(files: Sequence[tuple[Path, str | None]], root: Path, name: str) -> Listing:
    """The rows of some files, each file of a split or of none.

    The encoded pictures stay in memory; they are decoded when needed. A file that is damaged, has no such columns or
    is larger than half of the memory is a fault of the listing; the others are read.
    """
    listing = Listing(name, [])
    for path, split in files:
        try:
            _list_file(listing, path, split, root)
        except UserError as error:
            listing.give_up(error)
    return listing


def _list_file(listing: Listing, path: Path, split: str | None, root: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = path.relative_to(root).as_posix() if path != root else path.name
    if path.stat().st_size > _memory() / 2:
        raise UserError(where, "is larger than half of the memory", "write its pictures into an image folder")
    try:
        if path.suffix.lower() == ".arrow":
            whole = read_arrow(path)
            image, label = _columns(schema := whole.schema, where)
            table = whole.select([image, label])
        else:
            schema = pq.read_schema(path)
            image, label = _columns(schema, where)
            table = pq.read_table(path, columns=[image, label])
    except (pa.ArrowException, OSError) as error:
        said = " ".join(str(error).split())[:100]
        kind = path.suffix.lower().lstrip(".").capitalize()
        raise UserError(where, f"is no whole {kind} file ({said})", "fetch it again") from None
    declared = _class_names(schema, label)
    if declared is not None:
        if listing.classes is not None and listing.classes != declared:
            raise UserError(
                where, "names other classes than the file before it", "write both with the same class names"
            )
        listing.classes = declared
    column = table.column(image).combine_chunks()
    nested = pa.types.is_struct(column.type)
    contents = column.field("bytes") if nested else column
    paths = column.field("path").to_pylist() if nested and column.type.get_field_index("path") >= 0 else []
    for row, value in enumerate(table.column(label).to_pylist()):
        place = f"{where}:{row}"
        content, own = contents[row], paths[row] if paths else None
        name = _label(listing, value, declared, place)
        if content.is_valid:
            listing.samples.append(Sample(place, name, content.as_py, split, own if isinstance(own, str) else ""))
        elif own and isinstance(own, str):
            listing.samples.append(Sample(place, name, functools.partial(inside, path.parent, own), split, own))
        else:
            listing.faults.append(Fault(place, "has no picture", "fill the row in, or take it out"))


def read_arrow(path: Path) -> Any:
    """An Arrow file, in the stream format or the file format, as a table that stays in the file.

    Raises:
        pyarrow.ArrowException: it is damaged.
    """
    import pyarrow as pa

    mapped = pa.memory_map(str(path))
    try:
        table = pa.ipc.open_stream(mapped).read_all()
    except pa.ArrowInvalid:
        table = pa.ipc.open_file(mapped).read_all()
    table.validate(full=True)  # its numbers are places in memory
    return table


def inside(folder: Path, name: str) -> bytes:
    """A file that a row names, which must lie in the Parquet file's folder."""
    if "\0" in name:
        raise FileNotFoundError(2, "no path holds a zero byte")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise PermissionError(1, f"{name} leads out of the data's folder")
    return read_file(path)


def holds_pictures(kind: Any) -> bool:
    """Whether a column of this type holds encoded pictures."""
    import pyarrow as pa

    binary = (pa.types.is_binary, pa.types.is_large_binary)
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and any(test(kind.field("bytes").type) for test in binary)
    return any(test(kind) for test in binary)


def _columns(schema: Any, where: str) -> tuple[str, str]:
    """The names of the picture's and the label's column."""
    import pyarrow as pa

    pictures = [field.name for field in schema if holds_pictures(field.type)]
    image = next((name for name in IMAGE_COLUMNS if name in pictures), pictures[0] if len(pictures) == 1 else None)
    label = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    for found, what in ((image, "image {bytes, path}"), (label, "label")):
        if found is None:
            raise UserError(
                where, f"has no column {what}, only {shown(schema.names)}", f"name the column {what.split()[0]}"
            )
    assert image is not None and label is not None
    for name in (image, label):
        if schema.names.count(name) > 1:
            raise UserError(where, f"has two columns {name}", "keep one")
    kind = schema.field(label).type
    if not any(
        test(kind)
        for test in (
            pa.types.is_integer,
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_boolean,
            pa.types.is_dictionary,
        )
    ):
        raise UserError(where, f"the column {label} holds {kind}, not one class a row", "store whole numbers or names")
    return image, label


def _class_names(schema: Any, label: str) -> list[str] | None:
    """The classes' names that `datasets` wrote into the schema; None when there are none."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
        names = described["info"]["features"][label]["names"]
        return [str(name) for name in names]
    except (KeyError, TypeError, ValueError):
        return None


def _label(listing: Listing, value: Any, declared: list[str] | None, place: str) -> str | None:
    if value is None or value == "":
        listing.faults.append(Fault(place, "has no label", "fill it in, or take the row out"))
        return None
    if declared is None or isinstance(value, str):
        return clean(str(value))
    if not 0 <= value < len(declared):
        said = f"label {value} is none of the {len(declared)} classes"
        listing.faults.append(
            Fault(place, said, "correct it, or take the row out (-1 often marks rows without a label)")
        )
        return None
    return declared[value]


def _memory() -> float:
    """Bytes of memory of this machine; infinite where it does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
