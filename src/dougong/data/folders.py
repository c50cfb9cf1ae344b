"""Image folders: a folder a class, perhaps inside train, val and test."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

from dougong.data.listing import Fault, Listing, Sample, warning
from dougong.data.names import SPLIT_NAMES, clean, named_split, shown
from dougong.data.pictures import EXTENSIONS, UNREAD, read_file
from dougong.errors import UserError
from dougong.figures import many

CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}


def list_folder(root: Path) -> Listing:
    """The pictures under a folder, in the order of their paths.

    Raises:
        UserError: it holds no pictures at all.
    """
    listing = Listing(root.resolve().name, [], classes=[])
    folders = subfolders(root)
    if not folders:
        loose = [path for path in files_in(root) if is_picture(path)]
        if loose:
            whose = "its class is" if len(loose) == 1 else "their classes are"
            said = f"its {many(len(loose), 'picture lies', 'pictures lie')} in no class folder, so {whose} unknown"
            remedy = "make a folder for each class and put the pictures in, or give a CSV of path and label"
            listing.give_up(UserError(str(root), said, remedy))
            listing.samples += [
                Sample(path.name, None, functools.partial(read_file, path), None, path.name) for path in loose
            ]
            return listing
        raise UserError(str(root), "holds no pictures", "give a folder that holds a folder of pictures for each class")
    named = {folder: named_split(folder.name) for folder in folders}
    if any(split == "train" for split in named.values()):
        parts: list[tuple[Path, str | None]] = [(folder, split) for folder, split in named.items() if split]
        for folder in (folder for folder, split in named.items() if not split):
            said = "is neither train, val nor test; it is left out"
            listing.faults.append(
                warning(f"{folder.name}/", said, f"rename it ({', '.join(SPLIT_NAMES)}) or move it away")
            )
        if len({split for _, split in parts}) < len(parts):
            names = shown([f"{folder.name}/" for folder, _ in parts])
            listing.give_up(UserError(str(root), f"has two folders for the same split ({names})", "keep one of them"))
    elif all(named.values()):
        present = ", ".join(sorted(map(str, named.values())))
        listing.give_up(UserError(str(root), f"has {present} but no train", "add a train folder"))
        parts = list(named.items())
    else:
        parts = [(root, None)]
    for base, split in sorted(parts, key=lambda part: list(SPLIT_NAMES.values()).index(part[1]) if part[1] else 0):
        _list_classes(listing, root, base, split)
    assert listing.classes is not None
    listing.classes = sorted(set(listing.classes))
    return listing


def _list_classes(listing: Listing, root: Path, base: Path, split: str | None) -> None:
    """Add the class folders under ``base``."""
    assert listing.classes is not None
    folders = subfolders(base)
    place = "" if base == root else f"{base.name}/"
    for path in files_in(base):
        if is_picture(path):
            said = "lies beside the class folders; it is left out"
            listing.faults.append(warning(f"{place}{path.name}", said, "move it into its class's folder, or away"))
    if not folders:
        listing.faults.append(
            Fault(place or str(root), "holds no class folders", "make a folder of pictures for each class")
        )
    for folder in folders:
        name = clean(folder.name)
        if name != folder.name:
            said = f"the class's name {folder.name!r} holds hidden characters or outer spaces; it is read as {name!r}"
            listing.faults.append(warning(f"{place}{folder.name}/", said, f"rename the folder to {name!r}"))
        listing.classes.append(name)
        before = len(listing.samples)
        for path in walk(folder):
            where = path.relative_to(root).as_posix()
            if is_picture(path):
                listing.samples.append(Sample(where, name, functools.partial(read_file, path), split, path.name))
            elif path.suffix.lower() in UNREAD:
                said = f"{path.suffix.lower()} pictures are not read"
                listing.faults.append(Fault(where, said, "save it as PNG or JPEG, or take it out"))
            else:
                listing.faults.append(warning(where, "is no picture by its name; it is left out", "move it away"))
        if len(listing.samples) == before:
            listing.faults.append(
                Fault(f"{place}{folder.name}/", "the class folder holds no picture", "put pictures in, or remove it")
            )


def is_picture(path: Path) -> bool:
    """Whether a file's name says that it is a picture of a kind we read."""
    return path.suffix.lower() in EXTENSIONS


def is_clutter(name: str) -> bool:
    """Hidden files, and those that systems leave behind."""
    return name.startswith(".") or name.lower() in CLUTTER


def subfolders(folder: Path) -> list[Path]:
    """Its folders, by name."""
    return sorted((p for p in _entries(folder) if p.is_dir()), key=lambda p: p.name)


def files_in(folder: Path) -> list[Path]:
    """Its files, by name."""
    return sorted((p for p in _entries(folder) if not p.is_dir()), key=lambda p: p.name)


def walk(folder: Path) -> Iterator[Path]:
    """All files under a folder, by path; links to folders are not followed."""
    for base, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not is_clutter(name))
        yield from (Path(base, name) for name in sorted(files) if not is_clutter(name))


def _entries(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not is_clutter(path.name)]
    except OSError as error:
        raise UserError(str(folder), f"cannot be read ({error.strerror})", "look at its permissions") from None
