"""From a source of boxes to splits: which format it is, all its pictures looked at, broken ones refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dougong.data.boxes.coco import coco_files, list_coco
from dougong.data.boxes.columns import boxed_parquet, list_boxed_parquet
from dougong.data.boxes.listing import BoxListing, boxes_of, placed
from dougong.data.boxes.rows import DetectionData, DetectionSplit
from dougong.data.boxes.voc import list_voc, voc_folders
from dougong.data.boxes.yolo import list_yolo, yolo_folders
from dougong.data.doctor import groups
from dougong.data.hub import is_hub
from dougong.data.looking import Seen, look_through
from dougong.data.names import shown
from dougong.data.sources import BUILT_IN, given_path, there, unwrapped
from dougong.data.splitting import parse_split
from dougong.errors import UserError

FORMATS = "COCO JSON, VOC XML, YOLO text or Parquet with objects"


def format_of(source: str | Path) -> str | None:
    """The format of a source's boxes: "coco", "voc", "yolo" or "parquet"; None where it has none.

    Raises:
        UserError: a data set of the hub, or a zip file, that cannot be opened.
    """
    found = formats_of(source)
    return found[0] if found else None


def formats_of(source: str | Path) -> list[str]:
    """All formats that a source's boxes are in; the first is the one that is read."""
    root = root_of(source)
    if root is None:
        return []
    found = [
        ("coco", lambda: coco_files(root)), ("voc", lambda: voc_folders(root)), ("yolo", lambda: yolo_folders(root)),
        ("parquet", lambda: boxed_parquet(root)),
    ]  # fmt: skip
    return [name for name, look in found if look()]


def root_of(source: str | Path) -> Path | None:
    """The file or folder that a source is, a zip unpacked; None where there is none.

    Raises:
        UserError: a data set of the hub, or a zip file, that cannot be opened.
    """
    if str(source) in BUILT_IN:
        return None
    path = given_path(source)
    if not there(path):
        return None
    if path.is_file() and path.suffix.lower() == ".zip":
        from dougong.data.archives import holds, unpack

        if not holds(path, lambda name: name.lower().endswith((".json", ".xml", "classes.txt", "data.yaml"))):
            return None
        path = unpack(path)
    return unwrapped(path) if path.is_dir() else path


def list_boxes(source: str | Path) -> BoxListing:
    """The pictures and boxes of a source, before any picture is opened.

    Raises:
        UserError: there are none, or what leaves nothing to list.
    """
    found, root = formats_of(source), root_of(source)
    if root is None or not found:
        raise UserError(str(source), "holds no boxes that are read", f"give {FORMATS}")
    base = root if root.is_dir() else root.parent
    if found[0] == "coco":
        listing = list_coco(coco_files(root), base)
    elif found[0] == "voc":
        folders = voc_folders(root)
        own = folders[0][0] == root and root.name.lower() == "annotations"  # given by itself: pictures lie beside it
        listing = list_voc(folders, root.parent if own else base)
    elif found[0] == "yolo":
        listing = list_yolo(yolo_folders(root), base)
    else:
        listing = list_boxed_parquet(boxed_parquet(root), root)
    names = {"coco": "COCO JSON", "voc": "VOC XML", "yolo": "YOLO text", "parquet": "Parquet"}
    if len(found) > 1:
        others = " and ".join(names[each] for each in found[1:])
        listing.notes.insert(0, f"The source holds {names[found[0]]} and {others}: {names[found[0]]} is read.")
    if is_hub(source):
        listing.name = str(source)
    return listing


def read_boxes(source: str | Path, *, split: str | None = None, seed: int = 0) -> DetectionData:
    """Open pictures with boxes for training: every one is looked at; train, val and test are made where missing.

    Args:
        source: COCO JSON, VOC XML, YOLO text or Parquet with objects; a file, a folder or a zip.
        split: "80/10/10", per cent for train/val/test, where the source has no splits.
        seed: of the split.

    Raises:
        UserError: no such source, a split that cannot be, or a fault of the data that ``dougong check`` calls an error.
    """
    from dougong.data.boxes.doctor import diagnose
    from dougong.data.opening import divide, refuse

    if split is not None:
        parse_split(split)
    listing = list_boxes(source)
    seen = look_through(listing)
    faults = diagnose(listing, seen)
    refuse(faults, source)
    parts, how, notes = divide(listing.divided(), under_class(listing, seen), source, split, seed, every_class=False)
    how = how.replace("by class", "by the rarest class in each")
    notes = [*listing.notes, *(each.replace("by class", "by the rarest class in each") for each in notes)]
    warnings = sum(fault.severity != "error" for fault in faults)
    if warnings:
        notes.append(f"{warnings} warning{'s' * (warnings > 1)} about the data; `dougong check {source}` lists them.")
    classes = listing.names()
    splits = {name: _split(part, classes) for name, part in parts.items()}
    learnt = {int(number) for boxes in splits["train"].boxes for number in boxes[:, 0]}
    lost = {int(n) for part in splits.values() for boxes in part.boxes for n in boxes[:, 0]} - learnt
    if lost:
        said = f"no training picture is left of {shown([classes[number] for number in sorted(lost)])}"
        raise UserError(str(source), said, "give more pictures that differ, or another --split")
    copies = [" = ".join(each.sample.where for each in group) for group in groups(seen)]
    return DetectionData(listing.name, str(source), tuple(classes), splits, how, seed, notes, copies, listing.format)


def under_class(listing: BoxListing, seen: list[Seen]) -> list[Seen]:
    """The pictures as they were seen, each under its rarest class."""
    return [replace(each, sample=sample) for each, sample in zip(seen, listing.divided().samples, strict=True)]


def _split(part: list[Seen], classes: list[str]) -> DetectionSplit:
    import numpy as np

    numbers = {name: number for number, name in enumerate(classes)}
    boxes = []
    for each in part:
        rows = [
            [numbers[str(box.label)], *placed(box, each.size), float(box.crowd)]
            for box in boxes_of(each.sample)
            if box.label is not None
        ]
        boxes.append(np.array(rows, dtype=np.float64).reshape(-1, 6))
    return DetectionSplit(
        boxes, [each.key for each in part], [each.sample.where for each in part], [each.loader() for each in part],
        [each.size for each in part],
    )  # fmt: skip
