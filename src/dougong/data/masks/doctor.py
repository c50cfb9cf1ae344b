"""The doctor of pictures with masks: what is wrong, in which file, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dougong.data.doctor import copied, unlike_sizes
from dougong.data.images import SPLITS
from dougong.data.listing import Fault, Listing, warning
from dougong.data.masks.opening import ONE, Opened, look_at_pairs, no_masks, said_of
from dougong.data.names import shown
from dougong.errors import UserError

RARE = 0.01
"""The share of the pixels of a class, below which it is worth a word."""


@dataclass(frozen=True)
class MaskExamination:
    """What the doctor saw.

    Args:
        pictures: how many pairs, broken ones included.
        counts: of each class, its pixels in each split; "all" where the source has no splits.
        notes: what was taken as classes and as none.
        faults: all of them.
    """

    pictures: int
    counts: dict[str, dict[str, int]]
    notes: list[str]
    faults: list[Fault]


def examine_masks(source: str | Path, void: str | None = None) -> MaskExamination:
    """Read all pictures and masks of a source: its faults, and how many pixels each class has.

    Raises:
        UserError: there is no such source, or it holds no masks.
    """
    from dougong.data.masks.opening import masks_in
    from dougong.data.opening import divide

    if masks_in(source) is None:
        raise no_masks(source)
    try:
        opened = look_at_pairs(source, void, room=0)
    except UserError as error:
        return MaskExamination(0, {}, [], [Fault(error.where, error.what, error.remedy)])
    faults = diagnose(opened)
    if not any(fault.severity == "error" for fault in faults):
        samples = [each.picture.sample for each in opened.seen]
        try:
            divide(Listing(opened.pairs.name, samples, [ONE]), [each.picture for each in opened.seen], source)
        except UserError as error:
            faults.append(Fault(error.where, error.what, error.remedy))
    return MaskExamination(len(opened.seen), _counts(opened), said_of(opened), faults)


def diagnose(opened: Opened) -> list[Fault]:
    """All faults: file by file, then of the set as a whole."""
    faults = list(opened.faults)
    for each in opened.seen:
        faults += [*each.picture.faults, *each.faults]
    if not opened.seen and not faults:
        remedy = "put pictures into images/, their masks into masks/"
        faults.append(Fault(opened.pairs.name, "holds no pictures", remedy))
    pictures = [each.picture for each in opened.seen]
    if opened.seen:
        faults += _classes(opened)
        faults += unlike_sizes(Listing(opened.pairs.name, []), pictures)
        faults += copied(pictures)
    return faults


def _counts(opened: Opened) -> dict[str, dict[str, int]]:
    """Pixels of each class in each split."""
    splits = [name for name in SPLITS if any(each.pair.split == name for each in opened.seen)] or ["all"]
    names = [opened.table.names[place] for place in opened.table.learnt]
    return {
        name: {
            split: sum(each.counts[k] for each in opened.seen if each.counts and (each.pair.split or "all") == split)
            for split in splits
        }
        for k, name in enumerate(names)
    }


def _classes(opened: Opened) -> list[Fault]:
    """Classes that no pixel has, that are missing where they should be, and how uneven they are."""
    faults, counts = [], _counts(opened)
    totals = {name: sum(parts.values()) for name, parts in counts.items()}
    every = max(sum(totals.values()), 1)
    for name, parts in counts.items():
        if not totals[name]:
            said = "is declared but has no pixel"
            faults.append(warning(f"class {name}", said, "take it out of the classes, or give masks with it"))
        elif "train" in parts and not parts["train"]:
            where = next(split for split, pixels in parts.items() if pixels)
            said = f"has pixels in {where} but none in train, so it cannot be learnt"
            faults.append(Fault(f"class {name}", said, f"give train pictures with it, or say void={name}"))
        else:
            missing = [split for split, pixels in parts.items() if not pixels]
            if missing:
                said = f"has no pixel in {' and '.join(missing)}, so nothing is measured on it there"
                faults.append(warning(f"class {name}", said, "put some of its pictures there"))
    rare = sorted((name for name, total in totals.items() if 0 < total < RARE * every), key=totals.__getitem__)
    if rare:
        words = shown([f"{name} {totals[name] / every:.2%}" for name in rare], 4)
        said = f"classes are uneven in pixels: {words}"
        remedy = "judge by mean IoU rather than pixel accuracy, or train with class_weights=balanced"
        faults.append(warning(opened.pairs.name, said, remedy))
    return faults
