"""The doctor of boxes: everything that is wrong with them and with their pictures, one line each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from dougong.data.boxes.listing import BoxListing, BoxSample, box_fault, boxes_of, placed
from dougong.data.boxes.opening import list_boxes, under_class
from dougong.data.doctor import UNBALANCED, Examination, copied, unlike_sizes
from dougong.data.images import SPLITS
from dougong.data.listing import Fault, warning
from dougong.data.looking import Seen, look_through
from dougong.data.names import shown
from dougong.errors import UserError

ALIKE = 0.99
"""Intersection over union from where two boxes of one class are one object twice."""


def examine_boxes(source: str | Path) -> Examination:
    """Read all of a source: its faults, and how many boxes each class has.

    Raises:
        UserError: there is no such source, or it holds no boxes.
    """
    try:
        listing = list_boxes(source)
    except UserError as error:
        return Examination(0, {}, [Fault(error.where, error.what, error.remedy)])
    seen = look_through(listing, room=0)
    faults = diagnose(listing, seen)
    if not any(fault.severity == "error" for fault in faults):
        from dougong.data.opening import divide

        try:
            divide(listing.divided(), under_class(listing, seen), source, every_class=False)
        except UserError as error:
            faults.append(Fault(error.where, error.what, error.remedy))
    return Examination(len(listing.samples), counts(listing), faults)


def diagnose(listing: BoxListing, seen: list[Seen]) -> list[Fault]:
    """All faults of a listing whose pictures were looked at: file by file, box by box, then of the set as a whole."""
    faults = list(listing.faults)
    for each in seen:
        faults += each.faults
        faults += _of_picture(each)
    if not seen and not any(fault.severity == "error" for fault in faults):
        faults.append(Fault(listing.name, "holds no pictures", "add pictures with boxes"))
    if seen:
        if not listing.partial:
            faults += _classes(listing)
        faults += unlike_sizes(listing, seen)
        faults += [fault for fault in copied(seen) if "labels differ" not in fault.what]
    return faults


def counts(listing: BoxListing) -> dict[str, dict[str, int]]:
    """Boxes of each class in each split; "all" where the source has no splits."""
    splits = [name for name in SPLITS if any(sample.split == name for sample in listing.samples)]
    if not splits or any(sample.split is None for sample in listing.samples):
        splits.append("all")
    found = {name: dict.fromkeys(splits, 0) for name in listing.names()}
    for sample in listing.samples:
        for box in boxes_of(sample):
            if box.label is not None:
                found.setdefault(box.label, dict.fromkeys(splits, 0))[sample.split or "all"] += 1
    return found


def _of_picture(seen: Seen) -> list[Fault]:
    """What is wrong with the boxes of one picture, and with its size as it is stated."""
    sample, faults = seen.sample, []
    size = seen.size if seen.key else None
    if isinstance(sample, BoxSample) and sample.stated and size and sample.stated != size:
        said = f"is {size[1]}x{size[0]} pixels, where {sample.stated[1]}x{sample.stated[0]} are stated"
        severity = "error" if boxes_of(sample) else "warning"
        turned = " (it may have been turned)" if sample.stated == size[::-1] else ""
        faults.append(Fault(sample.where, said + turned, "correct the size, or the picture", severity, "other size"))
    sound = []
    for box in boxes_of(sample):
        fault = box_fault(box, size)
        if fault is not None:
            faults.append(fault)
        if fault is None or fault.severity != "error":
            sound.append(box)
    if size:
        faults += _twice(sound, size)
    return faults


def _twice(boxes: list, size: tuple[int, int]) -> list[Fault]:  # type: ignore[type-arg]
    """Objects of one class that are there twice, but for a hair."""
    faults, rows = [], [placed(box, size) for box in boxes]
    for later, (box, b) in enumerate(zip(boxes, rows, strict=True)):
        for other, a in zip(boxes[:later], rows[:later], strict=True):
            if box.label != other.label:
                continue
            w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            inside = max(0.0, w) * max(0.0, h)
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside
            if union > 0 and inside / union >= ALIKE:
                said = f"is the same box of {box.label} as {other.where}"
                faults.append(warning(box.where, said, "keep one of them"))
                break
    return faults


def _classes(listing: BoxListing) -> list[Fault]:
    """Classes that are absent where they should be, or rare."""
    faults, table = [], counts(listing)
    totals = {name: sum(parts.values()) for name, parts in table.items()}
    present = {name: total for name, total in totals.items() if total}
    if not present:
        return [Fault(listing.name, "holds no boxes", "give pictures with boxes")]
    absent = [name for name, total in totals.items() if not total]
    if absent:
        said = f"{shown(absent)} {'is' if len(absent) == 1 else 'are'} declared but without a box"
        faults.append(warning(listing.name, said, "give boxes of them, or leave them out"))
    splits = [split for split in SPLITS if any(sample.split == split for sample in listing.samples)]
    for name in present:
        for split in splits:
            if split != "train" and table[name][split] and not table[name].get("train"):
                said = f"is in {split} but not in train, so it cannot be learnt"
                faults.append(Fault(f"class {name}", said, f"give train boxes of it, or take it out of {split}"))
            if split != "train" and not table[name][split] and totals[name] > 1:
                said = f"has no box in {split}, so nothing is measured on it there"
                faults.append(warning(f"class {name}", said, f"put some of its pictures into {split}"))
    often = Counter(present).most_common()
    if often[0][1] >= UNBALANCED * often[-1][1]:
        said = f"classes are unbalanced: {often[0][0]} has {often[0][1]} boxes, {often[-1][0]} {often[-1][1]}"
        faults.append(warning(listing.name, said, "look at the AP of each class rather than their mean"))
    bare = [sample.where for sample in listing.samples if not boxes_of(sample)]
    if bare and len(bare) == len(listing.samples):
        faults.append(Fault(listing.name, "has no box in any picture", "give boxes"))
    return faults
