"""Which mask belongs to which picture: in folders side by side, and in rows of Parquet files."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dougong.data.folders import is_picture, subfolders, walk
from dougong.data.listing import Fault, warning
from dougong.data.masks.looking import MASK_ENDINGS
from dougong.data.names import named_split, plain
from dougong.data.parquet import IMAGE_COLUMNS
from dougong.data.pictures import read_file
from dougong.figures import many

IMAGES = ("images", "image", "imgs", "img", "pictures", "jpegimages", "leftimg8bit")
MASKS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "annots", "annot", "segmentationclass",
    "segmentation", "segmentations", "gtfine",
)  # fmt: skip
SURE = ("masks", "mask", "segmentationclass", "segmentation", "segmentations")
"""Names of folders that are for masks and nothing else, though none may lie there yet."""
ENDS = re.compile(
    r"(_leftImg8bit|_gtFine_label(Train)?Ids|_label(Train)?Ids|_segmentation|_seg|_masks?|_labels?|_gt|_L)$"
)
"""What names of pictures or masks end in, beside what they share."""
MASK_COLUMNS = ("mask", "label", "annotation", "segmentation", "labels", "semantic_mask", "segmentation_mask")


@dataclass(frozen=True)
class Pair:
    """A picture and its mask.

    Args:
        where: the picture's file and row.
        read: gives its encoded file.
        mask_where: the mask's file and row.
        mask_read: gives its encoded file.
        split: "train", "val" or "test"; None where the source does not say.
        name: the picture's file name; "" without one.
    """

    where: str
    read: Callable[[], Any]
    mask_where: str
    mask_read: Callable[[], Any]
    split: str | None = None
    name: str = ""


@dataclass
class Pairs:
    """All pairs of a source in a fixed order. Args: name, pairs, faults; root: where a file of classes may lie."""

    name: str
    root: Path
    pairs: list[Pair] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def sides(root: Path) -> list[tuple[Path, Path, str | None]]:
    """Folders of pictures, of their masks, and the split of both; none where a folder holds no masks.

    They lie side by side (images/ and masks/, each perhaps with train, val and test in it), in each split's folder
    (train/images/ and train/masks/), or as train/ and trainannot/.
    """
    if not root.is_dir():
        return []
    names = {folder.name.lower(): folder for folder in subfolders(root)}
    found: list[tuple[Path, Path, str | None]] = []
    pictures, masks = _first(names, IMAGES), _first(names, MASKS)
    if pictures and masks:
        inner = {folder.name: (folder, named_split(folder.name)) for folder in subfolders(pictures)}
        found += [(folder, masks / name, split) for name, (folder, split) in inner.items() if split]
        found = found or [(pictures, masks, None)]
    else:
        for name, folder in names.items():
            split = named_split(name)
            if split is None:
                continue
            own = {each.name.lower(): each for each in subfolders(folder)}
            inside = _first(own, IMAGES), _first(own, MASKS)
            beside = names.get(f"{name}annot")
            if inside[0] and inside[1]:
                found.append((inside[0], inside[1], split))
            elif beside:
                found.append((folder, beside, split))
    order = ("train", "val", "test", None)
    found.sort(key=lambda each: order.index(each[2]))
    held = any(_has_masks(masks) for _, masks, _ in found)
    return found if held or any(_waits(*each[:2]) for each in found) else []


def _first(names: dict[str, Path], wanted: tuple[str, ...]) -> Path | None:
    return next((names[name] for name in wanted if name in names), None)


def _has_masks(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix.lower() in MASK_ENDINGS for path in walk(folder))


def _waits(pictures: Path, masks: Path) -> bool:
    """Whether pictures lie beside a folder that is for their masks, and empty."""
    named = masks.name.lower() in SURE or masks.parent.name.lower() in SURE
    return named and masks.is_dir() and not any(walk(masks)) and any(map(is_picture, walk(pictures)))


def pair_folders(root: Path) -> Pairs:
    """Every picture with the mask of its name; what has no counterpart is a fault."""
    found = Pairs(root.resolve().name, root)
    for pictures, masks, split in sides(root):
        if _waits(pictures, masks):
            waiting = many(sum(map(is_picture, walk(pictures))), "picture waits", "pictures wait")
            where, said = f"{masks.relative_to(root).as_posix()}/", f"holds no mask, for which {waiting}"
            found.faults.append(Fault(where, said, "put a PNG of each picture's name there"))
            continue
        listed = _listed(root, pictures, masks)
        by_key: dict[str, list[Path]] = {}
        for path in walk(masks) if masks.is_dir() else ():
            where = path.relative_to(root).as_posix()
            if path.suffix.lower() in MASK_ENDINGS:
                by_key.setdefault(_key(path, masks), []).append(path)
            elif is_picture(path):
                said = "is no mask by its name: its format mixes neighbouring pixels"
                found.faults.append(Fault(where, said, "save it as PNG, from the original"))
        seen: dict[str, str] = {}
        for path in walk(pictures):
            where = path.relative_to(root).as_posix()
            if not is_picture(path):
                found.faults.append(warning(where, "is no picture by its name; it is left out", "move it away"))
                continue
            key = _key(path, pictures)
            if listed is not None and key not in listed:
                continue
            if key in seen:
                said = f"has the name of {seen[key]}, so one mask would be for both"
                found.faults.append(Fault(where, said, "rename one of them, and its mask"))
                continue
            seen[key] = where
            mine = by_key.pop(key, [])
            if not mine:
                place = (masks / path.relative_to(pictures)).with_suffix(".png").relative_to(root).as_posix()
                found.faults.append(Fault(where, "has no mask", f"add {place}, or take the picture out"))
                continue
            if len(mine) > 1:
                names = " and ".join(each.relative_to(root).as_posix() for each in mine[:2])
                found.faults.append(Fault(where, f"has two masks, {names}", "keep one of them"))
                continue
            part = split if listed is None else listed[key]
            found.pairs.append(_pair(root, path, mine[0], part))
        if listed is None:
            for each in (path for several in by_key.values() for path in several):
                where = each.relative_to(root).as_posix()
                found.faults.append(Fault(where, "has no picture", "add the picture of this name, or take it out"))
    return found


def _pair(root: Path, picture: Path, mask: Path, split: str | None) -> Pair:
    return Pair(
        plain(picture.relative_to(root).as_posix()), functools.partial(read_file, picture),
        plain(mask.relative_to(root).as_posix()), functools.partial(read_file, mask), split, picture.name,
    )  # fmt: skip


def _key(path: Path, base: Path) -> str:
    """What a picture and its mask have in common: their place in their folders without endings."""
    inner = path.relative_to(base)
    return (inner.parent / ENDS.sub("", inner.stem)).as_posix()


def _listed(root: Path, pictures: Path, masks: Path) -> dict[str, str | None] | None:
    """Pascal VOC: the names that have a mask, with their splits; None elsewhere."""
    folder = root / "ImageSets" / "Segmentation"
    if pictures.name != "JPEGImages" or masks.name != "SegmentationClass" or not folder.is_dir():
        return None
    found: dict[str, str | None] = {}
    for file in sorted(folder.glob("*.txt")):
        split = named_split(file.stem)
        if split is not None:
            found |= dict.fromkeys(file.read_text(encoding="utf-8").split(), split)
    return found


def mask_columns(schema: Any) -> tuple[str, str] | None:
    """The columns of pictures and of masks of a Parquet file; None where there are not both."""
    import pyarrow as pa

    def holds_pictures(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return kind.get_field_index("bytes") >= 0
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    names = [each.name for each in schema if holds_pictures(each.type)]
    image = next((name for name in IMAGE_COLUMNS if name in names), None)
    mask = next((name for name in MASK_COLUMNS if name in names), None)
    return (image, mask) if image and mask else None


def pair_rows(files: list[tuple[Path, str | None]], root: Path, name: str) -> Pairs:
    """The rows of Parquet files whose columns hold pictures and masks.

    The encoded pictures and masks stay in memory; they are decoded when needed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = Pairs(name, root)
    for path, split in files:
        where = path.relative_to(root).as_posix() if path != root else path.name
        try:
            columns = mask_columns(pq.read_schema(path))
            table = pq.read_table(path, columns=list(columns)) if columns else None
        except (pa.ArrowException, OSError) as error:
            said = " ".join(str(error).split())[:100]
            found.faults.append(Fault(where, f"is no whole Parquet file ({said})", "fetch it again"))
            continue
        if columns is None or table is None:
            found.faults.append(Fault(where, "has no columns image and mask", "name them so, each {bytes, path}"))
            continue
        sides_of = [_contents(table.column(each)) for each in columns]
        for row, (picture, mask) in enumerate(zip(*sides_of, strict=True)):
            place = f"{where}:{row}"
            if not picture.is_valid or not mask.is_valid:
                what = "picture" if not picture.is_valid else "mask"
                found.faults.append(Fault(place, f"has no {what}", "fill the row in, or take it out"))
                continue
            found.pairs.append(Pair(place, picture.as_py, f"{place} ({columns[1]})", mask.as_py, split))
    return found


def _contents(column: Any) -> Any:
    import pyarrow as pa

    whole = column.combine_chunks()
    return whole.field("bytes") if pa.types.is_struct(whole.type) else whole


def find(path: Path) -> Callable[[], Pairs] | None:
    """What lists the pairs of a file or folder; None where it holds no masks.

    Raises:
        UserError: a folder that cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from dougong.data.sources import split_files

    if path.is_dir() and sides(path):
        return functools.partial(pair_folders, path)
    single = path.suffix.lower() == ".parquet" and path.is_file()
    files: list[tuple[Path, str | None]] = [(path, None)] if single else []
    root = path.parent if files else path
    if path.is_dir():
        files = split_files(path, (".parquet",)) or split_files(path / "data", (".parquet",))
    try:
        if files and mask_columns(pq.read_schema(files[0][0])):
            return functools.partial(pair_rows, files, root, path.stem)
    except (pa.ArrowException, OSError):
        return None  # whoever opens it next says what is wrong with it
    return None
