"""Boxes in Parquet, as `datasets` writes them: image {bytes, path} and objects {bbox, category}."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dougong.data.boxes.listing import SIZED, Box, BoxListing, BoxSample
from dougong.data.listing import Fault
from dougong.data.names import clean, shown
from dougong.data.parquet import holds_pictures, inside
from dougong.errors import UserError
from dougong.figures import many

OBJECTS = ("objects", "annotations", "boxes")
BOXES = ("bbox", "bboxes", "box", "boxes")
CATEGORIES = ("category", "categories", "label", "labels", "category_id", "class")


def boxed_parquet(path: Path) -> list[tuple[Path, str | None]]:
    """The Parquet files of a source, where the first of them has objects."""
    from dougong.data.sources import split_files

    files: list[tuple[Path, str | None]] = []
    if path.is_dir():
        files = split_files(path, (".parquet",)) or split_files(path / "data", (".parquet",))
    elif path.suffix.lower() == ".parquet":
        files = [(path, None)]
    try:
        return files if files and _columns(files[0][0]) else []
    except (UserError, OSError, ValueError):
        return []


def _columns(file: Path) -> tuple[str, str, str, str] | None:
    """The columns of pictures and objects, and the fields of boxes and classes; None where there are no objects."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(file)
    pictures = [each.name for each in schema if holds_pictures(each.type)]
    for name in OBJECTS:
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind = kind.value_type
        if pa.types.is_struct(kind):
            fields = [kind.field(place).name for place in range(kind.num_fields)]
            box = next((each for each in BOXES if each in fields), None)
            category = next((each for each in CATEGORIES if each in fields), None)
            if box and category and pictures:
                return pictures[0], name, box, category
    return None


def list_boxed_parquet(files: Sequence[tuple[Path, str | None]], root: Path) -> BoxListing:
    """The rows of some files; boxes are left, top, width, height in pixels, as COCO has them."""
    listing = BoxListing(root.stem, [], format="Parquet")
    for path, split in files:
        try:
            _list_file(listing, path, split, root)
        except UserError as error:
            listing.give_up(error)
    return listing


def _list_file(listing: BoxListing, path: Path, split: str | None, root: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = path.relative_to(root).as_posix() if path != root else path.name
    try:
        columns = _columns(path)
        if columns is None:
            raise UserError(where, "has no column objects of bbox and category", "write it as the other files are")
        image, objects, box, category = columns
        table = pq.read_table(path, columns=[image, objects])
    except (pa.ArrowException, OSError) as error:
        said = " ".join(str(error).split())[:100]
        raise UserError(where, f"is no whole Parquet file ({said})", "fetch it again") from None
    names = _names(table.schema, objects, category)
    if names is not None:
        if listing.classes is not None and listing.classes != names:
            raise UserError(where, "names other classes than the file before it", "write both with the same names")
        listing.classes = names
    column = table.column(image).combine_chunks()
    nested = pa.types.is_struct(column.type)
    contents = column.field("bytes") if nested else column
    paths = column.field("path").to_pylist() if nested and column.type.get_field_index("path") >= 0 else []
    for row, value in enumerate(table.column(objects).to_pylist()):
        at = f"{where}:{row}"
        found = value or {}
        if isinstance(found, list):
            found = {key: [each.get(key) for each in found] for key in (box, category)}
        boxes = _boxes(listing, found.get(box) or [], found.get(category) or [], names, at)
        own = paths[row] if paths and isinstance(paths[row], str) else ""
        if contents[row].is_valid:
            read: Any = contents[row].as_py
        elif own:
            read = functools.partial(inside, path.parent, own)
        else:
            listing.faults.append(Fault(at, "has no picture", "fill the row in, or take it out"))
            continue
        listing.samples.append(BoxSample(at, None, read, split, own, tuple(boxes)))


def _boxes(listing: BoxListing, boxes: list[Any], labels: list[Any], names: list[str] | None, at: str) -> list[Box]:
    if len(boxes) != len(labels):
        said = f"has {many(len(boxes), 'box')} and {many(len(labels), 'category', 'categories')}"
        listing.faults.append(Fault(at, said, "give each box its category", kind="no box"))
        return []
    found = []
    for number, (sides, label) in enumerate(zip(boxes, labels, strict=True), 1):
        place = f"{at}: object {number}"
        if not isinstance(sides, list) or len(sides) != 4 or any(not isinstance(each, int | float) for each in sides):
            said = f"has the bbox {str(sides)[:40]}, not four numbers"
            listing.faults.append(Fault(place, said, "write [left, top, width, height]", kind="no box"))
            continue
        name = None
        if isinstance(label, int) and names is not None and 0 <= label < len(names):
            name = names[label]
        elif label is not None and (isinstance(label, str) or names is None):
            name = clean(str(label))
        if not name:
            said = f"has the unknown category {label!r} (known: {shown(names or [])})"
            listing.faults.append(Fault(place, said, "correct it", kind="unknown category"))
        left, top, width, height = map(float, sides)
        written = (left, top, width, height)
        found.append(Box(place, name or None, left, top, left + width, top + height, written=written, form=SIZED))
    return found


def _names(schema: Any, objects: str, category: str) -> list[str] | None:
    """The classes' names that `datasets` wrote into the schema; None when there are none."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][objects]
        told = told.get("feature", told) if isinstance(told, dict) else told
        told = told[0] if isinstance(told, list) else told
        one = told[category]
        one = one.get("feature", one) if isinstance(one, dict) else one[0]
        return [str(name) for name in one["names"]]
    except (KeyError, TypeError, ValueError, IndexError):
        return None
