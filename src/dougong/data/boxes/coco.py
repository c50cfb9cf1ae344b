"""COCO JSON (Lin et al. 2014): pictures, categories and annotations in one file, boxes as left, top, width, height."""

from __future__ import annotations

import functools
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dougong.data.boxes.listing import SIZED, Box, BoxListing, BoxSample
from dougong.data.boxes.places import Pictures, split_of
from dougong.data.folders import files_in, subfolders
from dougong.data.listing import Fault
from dougong.data.names import SPLIT_NAMES, clean, shown
from dougong.data.pictures import read_file
from dougong.errors import UserError

HEAD = 65536
NAMED = re.compile(r"^_?(instances|annotations)(\b|_)|\.coco\.json$", re.IGNORECASE)
"""File names that COCO's own tools and those of others give."""
KEYS = re.compile(rb'"(images|annotations|categories)"\s*:')


def coco_files(path: Path) -> list[tuple[Path, str | None]]:
    """The COCO files of a folder, in it, in its folder of annotations or in folders named after splits; or the file."""
    if path.is_file():
        return [(path, None)] if path.suffix.lower() == ".json" and _is_coco(path) else []
    places = [path, *(each for each in subfolders(path) if each.name.lower() in ("annotations", *SPLIT_NAMES))]
    found = []
    for place in places:
        for file in files_in(place):
            if file.suffix.lower() == ".json" and _is_coco(file):
                found.append((file, split_of(file, path)))
    splits = [split for _, split in found]
    if any(splits):  # captions, key points and the whole set beside its parts are other files
        found = [each for each in found if each[1] is not None]
        boxes = [each for each in found if "instances" in each[0].name.lower()]
        found = boxes or found
    return found


def _is_coco(file: Path) -> bool:
    """Whether a file's beginning or end has COCO's keys, or its name says so and no list is in it, but for an empty
    one; it may be broken."""
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD)
            stream.seek(max(0, file.stat().st_size - HEAD))
            tail = stream.read(HEAD)
    except OSError:
        return False
    head = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if NAMED.search(file.name) and (not head.startswith(b"[") or head.split() in ([b"[]"], [b"[", b"]"])):
        return True
    return head.startswith(b"{") and bool(KEYS.search(head) or KEYS.search(tail))


def list_coco(files: list[tuple[Path, str | None]], root: Path) -> BoxListing:
    """The pictures of COCO files, each of a split or of none.

    Args:
        files: with their splits.
        root: of the data set.
    """
    listing = BoxListing(root.resolve().name, [], format="COCO JSON")
    names: list[str] = []
    for file, split in files:
        try:
            _list_file(listing, file, split, root, names)
        except UserError as error:
            listing.give_up(error)
    listing.classes = names
    return listing


def _list_file(listing: BoxListing, file: Path, split: str | None, root: Path, names: list[str]) -> None:
    where = file.relative_to(root).as_posix() if file.is_relative_to(root) and file != root else file.name
    content = _parsed(file, where)
    categories = _categories(listing, content, where)
    for name in categories.values():
        if name not in names:
            names.append(name)
    boxes: dict[Any, list[Box]] = defaultdict(list)
    pictures = _pictures(listing, content, where)
    ids: set[Any] = set()
    for place, row in enumerate(_rows(content, "annotations", where)):
        at = f"{where}: annotation {row.get('id', f'number {place + 1}')}"
        if (own := row.get("id")) is not None:
            if not isinstance(own, int | str) or own in ids:
                _fault(listing, at, "has the id of another annotation", "give each its own id", "duplicate id")
            else:
                ids.add(own)
        owner = row.get("image_id")
        if not isinstance(owner, int | str) or owner not in pictures:
            _fault(listing, at, f"is of image_id {owner!r}, which is not listed", "correct it", "unknown image")
            continue
        category = row.get("category_id")
        label = categories.get(category) if isinstance(category, int | str) else None
        if label is None:
            said = f"has the unknown category_id {category!r} (known: {shown(list(map(str, categories)))})"
            _fault(listing, at, said, "correct it, or add the category", "unknown category")
        sides = row.get("bbox")
        if not isinstance(sides, list) or len(sides) != 4 or not all(type(each) in (int, float) for each in sides):
            _fault(listing, at, f"has the bbox {str(sides)[:40]}, not four numbers", "write [left, top, width, height]",
                   "no box")  # fmt: skip
            continue
        left, top, width, height = map(float, sides)
        crowd, written = bool(row.get("iscrowd")), (left, top, width, height)
        boxes[owner].append(Box(at, label, left, top, left + width, top + height, False, crowd, written, SIZED))
    found = Pictures(root, file, split)
    for number, (name, size) in pictures.items():
        read = functools.partial(read_file, found.path(name))
        listing.samples.append(
            BoxSample(f"{where}: {name}", None, read, split, name, tuple(boxes.get(number, ())), size)
        )


def _parsed(file: Path, where: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise UserError(where, "is not UTF-8", "save it as UTF-8") from None
    except ValueError as error:
        said = " ".join(str(error).split())[:80]
        raise UserError(where, f"is not JSON ({said})", "fetch or write it again") from None
    except OSError as error:
        raise UserError(where, f"cannot be read ({error.strerror})", "look at its permissions") from None
    except RecursionError:
        raise UserError(where, "is nested too deeply for COCO", "write it again") from None
    if not isinstance(content, dict):
        raise UserError(
            where,
            f"is no COCO file: it holds {'an empty list' if content == [] else 'no object'}",
            "write images, annotations and categories",
        )
    return content


def _rows(content: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    rows = content.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(where, f"has no list of {key}", "write images, annotations and categories, as COCO has them")
    return rows


def _categories(listing: BoxListing, content: Mapping[str, Any], where: str) -> dict[int | str, str]:
    found: dict[int | str, str] = {}
    for row in _rows(content, "categories", where):
        number, name = row.get("id"), row.get("name")
        if not isinstance(number, int | str) or not isinstance(name, str) or not clean(name):
            raise UserError(f"{where}: category {number!r}", "has no id or no name", "give it both")
        if number in found:
            _fault(listing, f"{where}: category {number}", "stands there twice", "give each its own id", "duplicate id")
            continue
        found[number] = clean(name)
    if not found:
        raise UserError(where, "names no categories", "list them with id and name")
    return found


def _pictures(
    listing: BoxListing, content: Mapping[str, Any], where: str
) -> dict[int | str, tuple[str, tuple[int, int] | None]]:
    found: dict[int | str, tuple[str, tuple[int, int] | None]] = {}
    names: set[str] = set()
    for place, row in enumerate(_rows(content, "images", where)):
        number, name = row.get("id"), row.get("file_name")
        at = f"{where}: image {number if number is not None else f'number {place + 1}'}"
        if not isinstance(number, int | str) or not isinstance(name, str) or not name:
            _fault(listing, at, "has no id or no file_name", "give it both", "no file")
            continue
        if number in found:
            _fault(listing, at, "has the id of another image", "give each its own id", "duplicate id")
            continue
        if name in names:
            _fault(listing, at, f"names {name}, as another image does", "keep one of them", "duplicate image")
            continue
        names.add(name)
        size = (row.get("height"), row.get("width"))
        stated = (int(size[0]), int(size[1])) if all(type(side) is int and side > 0 for side in size) else None  # type: ignore[arg-type]
        found[number] = (name, stated)
    return found


def _fault(listing: BoxListing, where: str, what: str, remedy: str, kind: str) -> None:
    listing.faults.append(Fault(where, what, remedy, kind=kind))
