"""From pictures and masks to splits: pair them, look at all, refuse what is broken, divide the rest."""

from __future__ import annotations

import functools
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dougong.data.listing import Fault, Listing, Sample
from dougong.data.looking import ROOM, Seen, look_through
from dougong.data.masks.classes import (
    OUTSIDE,
    ClassTable,
    Colour,
    class_file,
    drawn_colours,
    found_classes,
    read_classes,
    with_void,
)
from dougong.data.masks.looking import MaskLook, load_mask, look_at_mask, numbers_of
from dougong.data.masks.pairing import Pair, Pairs, find
from dougong.data.masks.rows import VOID, MaskData, MaskSplit
from dougong.data.names import shown
from dougong.errors import UserError
from dougong.figures import many

if TYPE_CHECKING:
    import numpy as np

ONE = "picture"
"""The one class that all pictures have where they are divided into splits."""


@dataclass(eq=False)
class SeenPair:
    """A picture and its mask that were looked at.

    Args:
        pair: of files.
        picture: as it was seen.
        key: the hash of the mask.
        counts: pixels of each class, and at the end those of none; empty where the mask is at fault.
        faults: of the mask.
        numbers: uint8 (h, w), or None where they are not kept.
    """

    pair: Pair
    picture: Seen
    key: str
    counts: list[int]
    faults: list[Fault]
    numbers: np.ndarray | None


@dataclass(eq=False)
class Opened:
    """A source that was looked through. Args: pairs, table, seen; palette: of the masks' files; faults: of the set."""

    pairs: Pairs
    table: ClassTable
    seen: list[SeenPair]
    palette: tuple[Colour, ...] | None
    faults: list[Fault]


def masks_in(source: str | Path) -> Path | None:
    """The folder or file in which a source holds pictures with masks; None when it holds something else.

    Raises:
        UserError: a zip file that holds masks and cannot be unpacked, or a data set of the hub that cannot be fetched.
    """
    from dougong.data.archives import holds, unpack
    from dougong.data.masks.pairing import MASKS
    from dougong.data.sources import BUILT_IN, given_path, only_member, there, unwrapped

    if str(source) in BUILT_IN:
        return None
    path = given_path(source)
    if not there(path):
        return None
    if path.is_file() and path.suffix.lower() == ".zip":
        if not holds(path, lambda name: name.lower().endswith(".parquet") or bool(set(_parts(name)) & set(MASKS))):
            return None
        path = only_member(unwrapped(unpack(path)))
    elif path.is_dir():
        path = path if find(path) else unwrapped(path)
    return path if find(path) else None


def no_masks(source: str | Path) -> UserError:
    """The refusal of a source that holds none."""
    remedy = "give images/ and masks/ with files of the same names"
    return UserError(str(source), "holds no pictures with masks", remedy)


def _parts(name: str) -> list[str]:
    return name.lower().replace("\\", "/").split("/")[:-1]


def look_at_pairs(source: str | Path, void: str | None = None, room: int = ROOM) -> Opened:
    """Every picture and every mask of a source.

    Args:
        source: that holds some.
        void: classes that are none; see `dougong.data.masks.classes.with_void`.
        room: bytes of pixels that are kept.

    Raises:
        UserError: no masks, or classes that cannot be told.
    """
    path = masks_in(source)
    listing = None if path is None else find(path)
    if path is None or listing is None:
        raise no_masks(source)
    pairs = listing()
    file = class_file(pairs.root)
    table = None if file is None else read_classes(file)
    pictures = look_through(_listing(pairs), room=room)
    with ThreadPoolExecutor(max_workers=4) as pool:
        looks = list(pool.map(lambda each: look_at_mask(each.mask_read, each.mask_where), pairs.pairs))
    if table is None:
        table = _table_of(looks, source, pairs.faults)
    table = with_void(table, void)
    seen = [_seen(pair, picture, one, table) for pair, picture, one in zip(pairs.pairs, pictures, looks, strict=True)]
    if sum(each.numbers.nbytes for each in seen if each.numbers is not None) > room // 4:
        for each in seen:
            each.numbers = None
    palette = next((one.palette for one in looks if one.palette), None)
    return Opened(pairs, table, seen, palette, list(pairs.faults))


def _listing(pairs: Pairs) -> Listing:
    samples = [Sample(each.where, ONE, each.read, each.split, each.name) for each in pairs.pairs]
    return Listing(pairs.name, samples, [ONE])


def _table_of(looks: list[MaskLook], source: str | Path, faults: list[Fault]) -> ClassTable:
    """The classes that occur, where no file names them."""
    import numpy as np

    values: set[int] = set()
    coloured = False
    for one in looks:
        if one.values is not None:
            unique = np.unique(one.values)
            grey = not (unique % 0x010101).any() if one.coloured else False
            coloured = coloured or (one.coloured and not grey)
            values |= {int(each) // 0x010101 if grey else int(each) for each in unique[:1000]}
    if not values:
        broken = [fault for one in looks for fault in one.faults] + faults
        first = broken[0] if broken else Fault(str(source), "holds no mask", "give images/ and masks/")
        raise first.as_error()
    return found_classes(sorted(values), coloured)


def _seen(pair: Pair, picture: Seen, one: MaskLook, table: ClassTable) -> SeenPair:
    """A mask held to the classes and to its picture."""
    import numpy as np

    if one.values is None:
        return SeenPair(pair, picture, "", [], list(one.faults), None)
    numbers, faults = numbers_of(one, table, pair.mask_where)
    if numbers is None:
        return SeenPair(pair, picture, "", [], faults, None)
    if picture.key and numbers.shape != picture.size:
        sizes = [f"{h}x{w}" for h, w in (numbers.shape, picture.size)]
        said = f"is {sizes[0]} (h x w), but its picture {pair.where} is {sizes[1]}"
        return SeenPair(pair, picture, "", [], [Fault(pair.mask_where, said, "give each picture its own mask")], None)
    found = np.bincount(numbers.ravel(), minlength=VOID + 1)
    counts = [*found[: len(table.learnt)].tolist(), int(found[VOID])]
    faults = []
    if not sum(counts[:-1]):
        said = "has no pixel of any class, so nothing can be learnt from it"
        faults.append(Fault(pair.mask_where, said, "take it and its picture out, or correct it", "warning"))
    key = hashlib.sha256(repr(numbers.shape).encode() + numbers.tobytes()).hexdigest()
    return SeenPair(pair, picture, key, counts, faults, numbers)


def read_masks(source: str | Path, *, split: str | None = None, seed: int = 0, void: str | None = None) -> MaskData:
    """Open pictures with masks for training; train, val and test are made where they are missing.

    Args:
        source: a folder with images/ and masks/ in it, each perhaps with train, val and test, or those folders each
            with images/ and masks/, as Pascal VOC, or as train/ and trainannot/; a Parquet file of the columns image
            and mask, or a folder of train.parquet and test.parquet; a zip of one of these. classes.txt beside them
            names the classes, a line each, perhaps with a colour: "128 64 128 road".
        split: "80/10/10", per cent for train/val/test, where the source has no splits.
        seed: of the split.
        void: names or numbers of what is of no class, separated by commas; "none" for none; by their names when None.

    Raises:
        UserError: no such source, or a fault of the data that ``dougong check`` calls an error.
    """
    from dougong.data.doctor import groups
    from dougong.data.masks.doctor import diagnose
    from dougong.data.opening import divide, refuse
    from dougong.data.splitting import parse_split

    if split is not None:
        parse_split(split)
    opened = look_at_pairs(source, void)
    faults = diagnose(opened)
    refuse(faults, source)
    by_sample = {id(each.picture): each for each in opened.seen}
    pictures = [each.picture for each in opened.seen]
    parts, how, notes = divide(_listing(opened.pairs), pictures, source, split, seed)
    table = opened.table
    notes[:0] = said_of(opened)
    warnings = sum(fault.severity != "error" for fault in faults)
    if warnings:
        notes.append(f"{warnings} warning{'s' * (warnings > 1)} about the data; `dougong check {source}` lists them.")
    splits = {name: _split([by_sample[id(each)] for each in part], table) for name, part in parts.items()}
    copies = [" = ".join(each.sample.where for each in group) for group in groups(pictures)]
    return MaskData(
        opened.pairs.name, str(source), tuple(table.names[k] for k in table.learnt),
        tuple(table.values[k] for k in table.learnt), drawn_colours(table, opened.palette), _void_names(opened),
        splits, how, seed, notes, copies,
    )  # fmt: skip


def said_of(opened: Opened) -> list[str]:
    """What was taken as classes and as none, in words."""
    table = opened.table
    told = f" by {table.told}" if table.told else ", one for each value in the masks"
    lines = [f"{many(len(table.learnt), 'class')}{told}: {shown([table.names[k] for k in table.learnt], 12)}."]
    names = _void_names(opened)
    total = sum(sum(each.counts) for each in opened.seen)
    none = sum(each.counts[-1] for each in opened.seen if each.counts)
    if names:
        share = f"{none / max(total, 1):.1%} of the pixels; void=none to learn all"
        lines.append(f"Of no class, neither learnt nor judged: {', '.join(names)} ({share}).")
    return lines


def _void_names(opened: Opened) -> tuple[str, ...]:
    table = opened.table
    names = [f"{name} ({value})" for name, value in zip(table.names, table.values, strict=True) if name in table.void]
    if OUTSIDE not in table.values and any(each.counts and each.counts[-1] for each in opened.seen) and not names:
        names.append(str(OUTSIDE))
    return tuple(names)


def _split(part: list[SeenPair], table: ClassTable) -> MaskSplit:
    def loader(each: SeenPair) -> functools.partial[np.ndarray]:
        if each.numbers is not None:
            return functools.partial(_kept, each.numbers)
        return functools.partial(load_mask, each.pair.mask_read, table, each.pair.mask_where)

    return MaskSplit(
        [each.picture.key for each in part], [each.key for each in part], [each.pair.where for each in part],
        [each.picture.loader() for each in part], [loader(each) for each in part], [each.picture.size for each in part],
        [each.counts for each in part],
    )  # fmt: skip


def _kept(numbers: np.ndarray) -> np.ndarray:
    return numbers
