"""Pascal VOC XML (Everingham et al. 2010): a file of objects for each picture, splits as lists of names."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from xml.etree import ElementTree

from dougong.data.boxes.listing import Box, BoxListing, BoxSample
from dougong.data.boxes.places import Pictures
from dougong.data.folders import files_in, is_picture, subfolders
from dougong.data.listing import Fault, warning
from dougong.data.names import SPLIT_NAMES, clean, named_split
from dougong.data.pictures import EXTENSIONS, read_file
from dougong.errors import UserError

MOST_BYTES = 16 * 2**20
SIDES = ("xmin", "ymin", "xmax", "ymax")


def voc_folders(path: Path) -> list[tuple[Path, str | None]]:
    """Folders of VOC's files: the one called Annotations, the folder itself, or those named after splits."""
    if not path.is_dir():
        return []
    inner = {each.name.lower(): each for each in subfolders(path)}
    if "annotations" in inner and _has_xml(inner["annotations"]):
        return [(inner["annotations"], None)]
    if _has_xml(path):
        return [(path, None)]
    found = [(each, named_split(each.name)) for each in inner.values() if named_split(each.name)]
    found = [(_annotations(each), split) for each, split in found]
    return [(each, split) for each, split in found if _has_xml(each)]


def _annotations(folder: Path) -> Path:
    return next((each for each in subfolders(folder) if each.name.lower() == "annotations"), folder)


def _has_xml(folder: Path) -> bool:
    files = [file for file in files_in(folder) if file.suffix.lower() == ".xml"]
    try:
        return bool(files) and b"<annotation" in files[0].read_bytes()[:4096]
    except OSError:
        return False


def list_voc(folders: list[tuple[Path, str | None]], root: Path) -> BoxListing:
    """The pictures of VOC's files; a folder ImageSets/Main says which split each is of."""
    listing = BoxListing(root.resolve().name, [], format="VOC XML")
    splits = _image_sets(listing, root) if all(split is None for _, split in folders) else {}
    for folder, split in folders:
        seen: dict[str, str] = {}
        pictures: dict[Path, Pictures] = {}
        for file in files_in(folder):
            if file.suffix.lower() != ".xml":
                if not is_picture(file) and folder.name.lower() == "annotations":
                    said = "is no XML file; it is left out"
                    listing.faults.append(warning(_where(file, root), said, "move it away"))
                continue
            if file.stem in splits or not splits:
                try:
                    sample = _sample(listing, file, splits.get(file.stem, split), root, pictures)
                except UserError as error:
                    listing.faults.append(Fault(error.where, error.what, error.remedy, kind="broken file"))
                    continue
                if sample.name in seen:
                    said = f"is of {sample.name}, as {seen[sample.name]} is"
                    listing.faults.append(Fault(_where(file, root), said, "keep one", kind="duplicate image"))
                    continue
                seen[sample.name] = _where(file, root)
                listing.samples.append(sample)
        missing = [name for name in splits if not (folder / f"{name}.xml").is_file()]
        for name in missing:
            said = f"names {name}, of which there is no file in {folder.name}"
            listing.faults.append(Fault(f"ImageSets: {splits[name]}", said, "add it, or take the name out"))
        left = sum(file.suffix.lower() == ".xml" and file.stem not in splits for file in files_in(folder))
        if splits and left:
            listing.notes.append(f"{left} annotations are in no list of ImageSets/Main; they are left out.")
    return listing


def _image_sets(listing: BoxListing, root: Path) -> dict[str, str]:
    """The split of each name; a name in two of them is a fault."""
    base = root / "ImageSets" / "Main"
    found: dict[str, str] = {}
    for file in files_in(base) if base.is_dir() else ():
        split = SPLIT_NAMES.get(file.stem.lower())
        if file.suffix.lower() != ".txt" or split is None:
            continue
        for row, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            words = line.split()
            if not words:
                continue
            name = words[0]
            if found.get(name, split) != split:
                said = f"names {name}, which is in {found[name]} already"
                listing.faults.append(
                    Fault(f"ImageSets/Main/{file.name}:{row}", said, "keep it in one split", kind="two splits")
                )
            found.setdefault(name, split)
    return found if "train" in found.values() else {}


def _sample(
    listing: BoxListing, file: Path, split: str | None, root: Path, pictures: dict[Path, Pictures]
) -> BoxSample:
    where = _where(file, root)
    tree = _parsed(file, where)
    name = clean(tree.findtext("filename") or "") or _beside(file)
    name = name if Path(name).suffix else f"{name}.jpg"
    boxes = []
    for number, item in enumerate(tree.iter("object"), 1):
        at = f"{where}: object {number}"
        label = clean(item.findtext("name") or "")
        if not label:
            listing.faults.append(Fault(at, "has no name", "write the class's name", kind="unknown category"))
        found = item.find("bndbox")
        sides = [None if found is None else found.findtext(side) for side in SIDES]
        try:
            left, top, right, bottom = (float(str(side).strip()) for side in sides)
        except ValueError:
            said = f"has the sides {', '.join(map(str, sides))}, not four numbers"
            listing.faults.append(Fault(at, said, f"write {', '.join(SIDES)} in a bndbox", kind="no box"))
            continue
        crowd = (item.findtext("difficult") or "").strip() == "1"
        boxes.append(Box(at, label or None, left, top, right, bottom, crowd=crowd))
    size = [tree.findtext(f"size/{side}") for side in ("height", "width")]
    stated = tuple(int(float(str(side))) if re.fullmatch(r"\s*\d+(\.0*)?\s*", str(side)) else 0 for side in size)
    place = pictures.setdefault(file.parent, Pictures(root, file, split))
    return BoxSample(
        f"{where}: {name}", None, functools.partial(read_file, place.path(name)), split, name, tuple(boxes),
        (stated[0], stated[1]) if all(stated) else None,
    )  # fmt: skip


def _parsed(file: Path, where: str) -> ElementTree.Element:
    try:
        content = read_file(file)
    except OSError as error:
        raise UserError(where, f"cannot be read ({error.strerror})", "look at its permissions") from None
    if len(content) > MOST_BYTES:
        raise UserError(where, "has more than 16 MiB", "write a file for each picture")
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise UserError(where, "declares entities, which VOC does not", "take the declaration out")
    try:
        tree = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(where, f"is not XML ({' '.join(str(error).split())[:80]})", "write it again") from None
    if tree.tag != "annotation":
        raise UserError(where, f"holds <{tree.tag}>, not <annotation>", "give VOC's files")
    return tree


def _beside(file: Path) -> str:
    """The picture of the file's own name."""
    return next((f"{file.stem}{end}" for end in EXTENSIONS if file.with_suffix(end).is_file()), f"{file.stem}.jpg")


def _where(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
