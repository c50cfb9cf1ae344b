"""The data doctor: everything that is wrong with a source, and what to do about it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from dougong.data.images import SPLITS
from dougong.data.listing import Fault, Listing, warning
from dougong.data.looking import Seen, look_through
from dougong.data.names import shown
from dougong.data.sources import BUILT_IN, given_path, list_source, there
from dougong.errors import UserError

UNBALANCED = 10
"""The largest class against the smallest, from where it is worth a word."""
UNLIKE = 4
"""The longest side against the shortest, from where it is worth a word."""


@dataclass(frozen=True)
class Examination:
    """What the doctor saw.

    Args:
        pictures: how many, broken ones included.
        counts: of each class, its pictures in each split; "all" where the source has no splits.
        faults: all of them.
    """

    pictures: int
    counts: dict[str, dict[str, int]]
    faults: list[Fault]


def examine(source: str | Path) -> Examination:
    """Read all of a source: its faults, and how many pictures each class has.

    Raises:
        UserError: there is no such source, or it is of no kind that is read.
    """
    archive = given_path(source)
    if str(source) not in BUILT_IN and not there(archive):
        list_source(source)  # which says what is near
    if archive.suffix.lower() == ".zip" and archive.is_file():
        from dougong.data.archives import archive_faults

        try:
            faults = archive_faults(archive)
        except UserError as error:
            faults = [Fault(error.where, error.what, error.remedy)]
        if faults:
            return Examination(0, {}, faults)  # an archive with such members is not unpacked
    try:
        listing = list_source(source)
    except UserError as error:
        return Examination(0, {}, [Fault(error.where, error.what, error.remedy)])
    seen = look_through(listing, room=0)
    faults = diagnose(listing, seen)
    if not any(fault.severity == "error" for fault in faults):
        from dougong.data.opening import divide

        try:
            divide(listing, seen, source)
        except UserError as error:
            faults.append(Fault(error.where, error.what, error.remedy))
    return Examination(len(listing.samples), _counts(listing), faults)


def diagnose(listing: Listing, seen: list[Seen]) -> list[Fault]:
    """All faults of a listing whose pictures were looked at: file by file, then of the set as a whole."""
    faults = list(listing.faults)
    for each in seen:
        faults += each.faults
    if not seen and not any(fault.severity == "error" for fault in faults):
        faults.append(Fault(listing.name, "holds no pictures", "put pictures in, in a folder for each class"))
    if seen:
        if not listing.partial:
            faults += _classes(listing)
        faults += unlike_sizes(listing, seen)
        faults += copied(seen)
    return faults


def _counts(listing: Listing) -> dict[str, dict[str, int]]:
    """Pictures of each class in each split."""
    splits = [name for name in SPLITS if any(sample.split == name for sample in listing.samples)]
    if not splits or any(sample.split is None for sample in listing.samples):
        splits.append("all")
    counts = {name: dict.fromkeys(splits, 0) for name in listing.class_names()}
    for sample in listing.samples:
        if sample.label is not None:
            counts.setdefault(sample.label, dict.fromkeys(splits, 0))[sample.split or "all"] += 1
    return counts


def _classes(listing: Listing) -> list[Fault]:
    """Classes that are alone, rare, or absent where they should be."""
    faults = []
    counts = _counts(listing)
    totals = {name: sum(parts.values()) for name, parts in counts.items()}
    present = {name: total for name, total in totals.items() if total}
    if len(present) == 1:
        said = f"has only one class, {next(iter(present))}, so there is nothing to tell apart"
        faults.append(Fault(listing.name, said, "give pictures of at least two classes"))
    already = " ".join(fault.where for fault in listing.faults if "holds no picture" in fault.what)
    for name, total in totals.items():
        if total == 1:
            said = "has one picture, which cannot be both learnt from and tested"
            faults.append(Fault(f"class {name}", said, "give it more pictures, or leave it out"))
        elif total == 0 and f"{name}/" not in already:
            faults.append(
                warning(f"class {name}", "is declared but has no picture", "give it pictures, or leave it out")
            )
    splits = [split for split in SPLITS if any(sample.split == split for sample in listing.samples)]
    for name in present:
        for split in splits[1:]:
            if counts[name][split] and not counts[name]["train"]:
                said = f"is in {split} but not in train, so it cannot be learnt"
                faults.append(Fault(f"class {name}", said, f"give train pictures of it, or take it out of {split}"))
                break
            if not counts[name][split] and counts[name]["train"] and totals[name] > 1:
                said = f"is in train but not in {split}, so nothing is measured on it there"
                faults.append(warning(f"class {name}", said, f"put some of its pictures into {split}"))
    many, few = max(present, key=present.__getitem__, default=""), min(present, key=present.__getitem__, default="")
    if len(present) > 1 and present[many] >= UNBALANCED * present[few]:
        said = f"classes are unbalanced: {many} has {present[many]} pictures, {few} {present[few]}"
        faults.append(warning(listing.name, said, "judge by macro F1 rather than accuracy, or give the rare ones more"))
    return faults


def unlike_sizes(listing: Listing, seen: list[Seen]) -> list[Fault]:
    """Pictures of very different sizes, which are all brought to one."""
    sizes = [(max(each.size), each) for each in seen if each.key]
    if not sizes:
        return []
    large, small = max(sizes, key=lambda pair: pair[0])[1], min(sizes, key=lambda pair: pair[0])[1]
    if max(large.size) < UNLIKE * max(small.size):
        return []
    words = [f"{each.sample.where} is {each.size[0]}x{each.size[1]}" for each in (small, large)]
    said = f"sizes (h x w) differ much: {words[0]}, {words[1]}"
    return [warning(listing.name, said, "nothing if that is so in use too: all are scaled and cut to one size")]


def copied(seen: list[Seen]) -> list[Fault]:
    """The same picture more than once: in a split, across splits, under two labels."""
    faults = []
    for copies in groups(seen):
        first = copies[0]
        labels = sorted({each.sample.label for each in copies if each.sample.label is not None})
        across = list(dict.fromkeys(each.sample.split for each in copies if each.sample.split))
        places = shown([each.sample.where for each in copies[1:]], 3)
        if len(labels) > 1:
            said = f"is the same picture as {places}, but the labels differ: {shown(labels)}"
            faults.append(warning(first.sample.where, said, "keep the right one"))
        if len(across) > 1:
            said = f"is the same picture as {places}, in {' and '.join(across)}"
            faults.append(warning(first.sample.where, said, "remove one; training leaves out the copy in " + across[0]))
        elif len(labels) <= 1:
            faults.append(warning(first.sample.where, f"is the same picture as {places}", "keep one of them"))
    return faults


def groups(seen: list[Seen]) -> list[list[Seen]]:
    """Pictures that occur more than once, each with all its samples, train first."""
    by_key: dict[str, list[Seen]] = defaultdict(list)
    for each in seen:
        if each.key:
            by_key[each.key].append(each)
    order = {split: number for number, split in enumerate(SPLITS)}
    return [
        sorted(copies, key=lambda each: order.get(each.sample.split or "", 0))
        for copies in by_key.values()
        if len(copies) > 1
    ]
