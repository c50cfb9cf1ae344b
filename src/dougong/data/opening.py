"""From a source to splits: list it, look at every picture, refuse what is broken, divide the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dougong.data.doctor import diagnose, groups
from dougong.data.images import SPLITS, ImageData, ImageSplit
from dougong.data.listing import Fault, Listing
from dougong.data.looking import Seen, look_through
from dougong.data.names import shown
from dougong.data.sources import list_source
from dougong.data.splitting import DEFAULT, parse_split, split_samples
from dougong.errors import UserError

HELD_OUT = 0.1
"""Share of train that becomes val or test where the source has none."""


def read_images(source: str | Path, *, split: str | None = None, seed: int = 0) -> ImageData:
    """Open pictures for training: every one is looked at, and train, val and test are made where they are missing.

    Args:
        source: "digits", or the path of an image folder (train, val and test folders of class folders, or class
            folders alone), a Parquet file (``image{bytes,path}, label``) or a folder of train.parquet and
            test.parquet, a CSV or TSV of paths and labels, or a zip of one of these.
        split: "80/10/10", per cent for train/val/test, where the source has no splits.
        seed: of the split.

    Raises:
        UserError: no such source, a split that cannot be, or a fault of the data that ``dougong check`` calls an error.
    """
    if split is not None:
        parse_split(split)  # a mistake in it is said before all pictures are looked at
    listing = list_source(source)
    seen = look_through(listing)
    faults = diagnose(listing, seen)
    refuse(faults, source)
    parts, how, notes = divide(listing, seen, source, split, seed)
    warnings = sum(fault.severity != "error" for fault in faults)
    if warnings:
        notes.append(f"{warnings} warning{'s' * (warnings > 1)} about the data; `dougong check {source}` lists them.")
    classes = listing.class_names()
    splits = {name: _image_split(part, classes) for name, part in parts.items()}
    copies = [" = ".join(each.sample.where for each in group) for group in groups(seen)]
    return ImageData(listing.name, str(source), tuple(classes), splits, how, seed, notes, copies)


def divide(
    listing: Listing, seen: list[Seen], source: str | Path, split: str | None = None, seed: int = 0,
    *, every_class: bool = True,
) -> tuple[dict[str, list[Seen]], str, list[str]]:  # fmt: skip
    """Samples without faults in train, val and test; how that was done, and what is to be said of it.

    Args:
        listing: of the source.
        seen: its pictures.
        source: as the user gave it.
        split: "80/10/10", per cent for train/val/test, where the source has no splits.
        seed: of the split.
        every_class: whether train must hold every label.

    Raises:
        UserError: shares for data that has its own splits, or too few pictures to fill each split.
    """
    shares = parse_split(split) if split is not None else None
    given = {each.sample.split for each in seen if each.sample.split}
    if given and shares is not None:
        raise UserError(
            f"--split {split}", f"the data has its own splits ({', '.join(sorted(given))})", "leave --split out"
        )
    classes = listing.class_names()
    notes: list[str] = []
    by = ", stratified by class" if len(classes) > 1 else ""
    if given:
        parts, how = _own_splits(seen, classes, seed, notes)
    else:
        how = f"{split or DEFAULT} per cent train/val/test{by}, seed {seed}"
        notes.append(f"The data has no splits: divided {how}.")
        indices = split_samples(*_labelled(seen, classes), shares or parse_split(DEFAULT), seed)
        parts = {name: [seen[index] for index in part] for name, part in zip(SPLITS, indices, strict=True)}
    for name, part in parts.items():
        if not part:
            raise UserError(
                str(source), f"has too few pictures to fill {name}", "give more, or other shares with --split"
            )
    lost = set(classes) & {each.sample.label for each in seen} - {each.sample.label for each in parts["train"]}
    if lost and every_class:
        said = f"no training picture is left of {shown(sorted(map(str, lost)))}, once copies are taken out"
        raise UserError(str(source), said, "give more pictures that differ")
    return parts, how, notes


def refuse(faults: Sequence[Fault], source: str | Path) -> None:
    """Raise the first error, and say how many more there are.

    Raises:
        UserError: when there is an error among the faults.
    """
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors:
        rest = len(errors) - 1
        more = f" (and {rest} more error{'s' * (rest > 1)}: `dougong check {source}` lists all)" if rest else ""
        raise errors[0].as_error(more)


def _own_splits(seen: list[Seen], classes: list[str], seed: int, notes: list[str]) -> tuple[dict[str, list[Seen]], str]:
    """The source's own splits without copies across, and what is missing taken from train."""
    names = [name for name in SPLITS if any(each.sample.split == name for each in seen)]
    dropped = _copies_across(seen)
    if dropped:
        places = shown([each.sample.where for each in seen if id(each) in dropped], 3)
        notes.append(
            f"{len(dropped)} picture{'s' * (len(dropped) > 1)} left out, because val or test holds the same: {places}."
        )
    parts: dict[str, list[Seen]] = {
        name: [each for each in seen if each.sample.split == name and id(each) not in dropped] for name in SPLITS
    }
    how = f"as given ({', '.join(names)})"
    missing = [name for name in ("val", "test") if name not in names]
    for name in missing:
        # of what train held at first, so that val and test taken from it are of one size
        share = HELD_OUT / (1 - HELD_OUT) if missing.index(name) else HELD_OUT
        rest, held = split_samples(*_labelled(parts["train"], classes), (1 - share, share), seed)
        parts[name], parts["train"] = [parts["train"][i] for i in held], [parts["train"][i] for i in rest]
        by = ", stratified by class" if len(classes) > 1 else ""
        said = f"{name} is {HELD_OUT:.0%} of train{by}, seed {seed}"
        how += f"; {said}"
        notes.append(f"The data has no {name}: {said}.")
    return parts, how


def _copies_across(seen: list[Seen]) -> set[int]:
    """Samples, by id, of which a later split (test after val after train) holds the same picture."""
    order = {name: number for number, name in enumerate(SPLITS)}
    dropped = set()
    for copies in groups(seen):
        last = max(order[str(each.sample.split)] for each in copies)
        dropped |= {id(each) for each in copies if order[str(each.sample.split)] < last}
    return dropped


def _labelled(seen: list[Seen], classes: list[str]) -> tuple[list[int], list[str]]:
    numbers = {name: number for number, name in enumerate(classes)}
    return [numbers[str(each.sample.label)] for each in seen], [each.key for each in seen]


def _image_split(part: list[Seen], classes: list[str]) -> ImageSplit:
    labels, keys = _labelled(part, classes)
    return ImageSplit(
        labels,
        keys,
        [each.sample.where for each in part],
        [each.loader() for each in part],
        [each.size for each in part],
    )
