"""YOLO text: a file for each picture, a row for each object: class, centre x, centre y, width, height, in shares."""

from __future__ import annotations

import functools
from pathlib import Path, PurePosixPath
from typing import Any

from dougong.data.boxes.listing import CENTRED, CORNERS, Box, BoxListing, BoxSample
from dougong.data.folders import files_in, is_picture, subfolders, walk
from dougong.data.listing import Fault
from dougong.data.names import clean, named_split, shown
from dougong.data.pictures import read_file
from dougong.errors import UserError

NAMES = ("classes.txt", "obj.names", "names.txt", "_darknet.labels")
SETTINGS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")


def yolo_folders(path: Path) -> list[tuple[Path, str | None]]:
    """Folders of pictures with their splits, where a folder is one of YOLO: it says its classes, or has labels."""
    if not path.is_dir():
        return []
    names = {file.name.lower() for file in files_in(path)}
    inner = {each.name.lower(): each for each in subfolders(path)}
    if not names & {*SETTINGS, *NAMES} and "labels" not in inner:
        return []
    if names & set(SETTINGS):
        return _of_settings(path)
    base = inner.get("images", path)
    splits = [(each, named_split(each.name)) for each in subfolders(base) if named_split(each.name)]
    found = [(_pictures_in(each), split) for each, split in splits] or [(base, None)]
    return found if any(_has_labels(folder) for folder, _ in found) else []


def _has_labels(folder: Path) -> bool:
    """Whether some of the first pictures have files of labels."""
    pictures = [file for file in files_in(folder) if is_picture(file)]
    return any(_labels(file).is_file() for file in pictures[:50])


def _pictures_in(folder: Path) -> Path:
    return next((each for each in subfolders(folder) if each.name.lower() == "images"), folder)


def _settings(path: Path) -> tuple[Path, dict[str, Any]]:
    """The file of settings and what it holds.

    Raises:
        UserError: it is not YAML.
    """
    import yaml

    file = next(path / name for name in SETTINGS if (path / name).is_file())
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        said = " ".join(str(error).split())[:80]
        raise UserError(file.name, f"is not YAML ({said})", "write names, train and val") from None
    if not isinstance(content, dict):
        raise UserError(file.name, "holds no settings", "write names, train and val")
    return file, content


def _of_settings(path: Path) -> list[tuple[Path, str | None]]:
    """Folders that data.yaml names. It may name them from its own folder, or from elsewhere by their last parts."""
    file, content = _settings(path)
    if "names" not in content:
        return []
    found: list[tuple[Path, str | None]] = []
    base = path / str(content.get("path") or "")
    for key in ("train", "val", "valid", "test"):
        for each in _several(content.get(key)):
            parts = [part for part in PurePosixPath(str(each).replace("\\", "/")).parts if part not in ("..", ".", "/")]
            tried = [root.joinpath(*parts[cut:]) for root in (base, path) for cut in range(max(1, len(parts)))]
            folder = next((one for one in tried if one.is_dir() and one.resolve().is_relative_to(path.resolve())), None)
            if folder is None:
                raise UserError(f"{file.name}: {key}", f"names {each}, which is no folder here", "correct the path")
            found.append((folder, named_split(key)))
    return found


def _several(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def list_yolo(folders: list[tuple[Path, str | None]], root: Path) -> BoxListing:
    """The pictures of YOLO's folders; one without a file of labels has no objects."""
    listing = BoxListing(root.resolve().name, [], format="YOLO text")
    listing.classes = _class_names(root)
    bare = 0
    for folder, split in folders:
        for file in walk(folder):
            if not is_picture(file):
                continue
            where, labels = _where(file, root), _labels(file)
            boxes: list[Box] = []
            if labels.is_file():
                boxes = _boxes(listing, labels, _where(labels, root))
            else:
                bare += 1
            read = functools.partial(read_file, file)
            listing.samples.append(BoxSample(where, None, read, split, file.name, tuple(boxes)))
    if bare:
        have = "pictures have" if bare > 1 else "picture has"
        listing.notes.append(f"{bare} {have} no file of labels: read as without objects.")
    if listing.classes is None:
        numbers = {int(box.label) for box in listing.boxes() if box.label}
        listing.classes = [str(number) for number in range(max(numbers, default=-1) + 1)]
        listing.notes.append("No classes.txt or data.yaml names the classes; their numbers do.")
    return listing


def _labels(picture: Path) -> Path:
    """The file of a picture's objects: beside it, or under labels where the picture is under images."""
    parts = list(picture.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place].lower() == "images":
            parts[place] = "labels"
            other = Path(*parts).with_suffix(".txt")
            if other.is_file():
                return other
    return picture.with_suffix(".txt")


def _class_names(root: Path) -> list[str] | None:
    """Names by data.yaml or a list of names.

    Raises:
        UserError: names that are neither a list nor numbered.
    """
    if any((root / name).is_file() for name in SETTINGS):
        file, content = _settings(root)
        names = content.get("names")
        if isinstance(names, dict) and sorted(names) == list(range(len(names))):
            names = [names[number] for number in range(len(names))]
        if not isinstance(names, list) or not names:
            raise UserError(file.name, "names no classes by number", "write names: [cat, dog]")
        return [clean(str(name)) for name in names]
    for name in NAMES:
        if (root / name).is_file():
            lines = (root / name).read_text(encoding="utf-8", errors="replace").splitlines()
            return [clean(line) for line in lines if clean(line)]
    return None


def _boxes(listing: BoxListing, file: Path, where: str) -> list[Box]:
    """A picture's objects, a row each."""
    found: list[Box] = []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError):
        listing.faults.append(Fault(where, "is no text", "write a row for each object", kind="broken file"))
        return found
    for row, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        at = f"{where}:{row}"
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            numbers = []
        if len(numbers) < 5 or not numbers[0].is_integer():
            said = f"is {line.strip()[:40]!r}, not a class and four numbers"
            listing.faults.append(Fault(at, said, "write class, centre x, centre y, width, height", kind="no box"))
            continue
        written: tuple[float, ...] = ()
        if len(numbers) > 6 and len(numbers) % 2:  # an outline, as for segmentation: its box
            across, down = numbers[1::2], numbers[2::2]
            sides, form = (min(across), min(down), max(across), max(down)), CORNERS
        else:
            x, y, w, h = numbers[1:5]
            sides, written, form = (x - w / 2, y - h / 2, x + w / 2, y + h / 2), tuple(numbers[1:5]), CENTRED
        found.append(Box(at, _label(listing, int(numbers[0]), at), *sides, shares=True, written=written, form=form))
    return found


def _label(listing: BoxListing, number: int, at: str) -> str | None:
    if listing.classes is None:
        return str(number) if number >= 0 else None
    if not 0 <= number < len(listing.classes):
        said = f"is of class {number}, where {len(listing.classes)} are named: {shown(listing.classes)}"
        listing.faults.append(Fault(at, said, "correct it, or name the class", kind="unknown category"))
        return None
    return listing.classes[number]


def _where(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
