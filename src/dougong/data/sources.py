"""Which reader a source is for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from dougong.data.hub import hub_folder, hub_name, is_hub, is_saved, saved_files
from dougong.data.listing import Listing
from dougong.data.names import SPLIT_NAMES, plain
from dougong.errors import UserError, nearest

TABLES = (".csv", ".tsv")
BUILT_IN = ("digits",)
KINDS = "digits, an image folder, a Parquet, CSV, TSV or zip file, or hf:org/name"


def list_source(source: str | Path) -> Listing:
    """What a source holds, before any picture is opened.

    Raises:
        UserError: nothing there, nothing that we read, or a fault that leaves nothing to list.
    """
    from dougong.data.digits import list_digits

    if str(source) in BUILT_IN:
        return list_digits()
    path = given_path(source)
    if not there(path):
        guess = nearest(str(source), [*BUILT_IN, *_beside(path)])
        hint = f"did you mean {guess}? " if guess else ""
        raise UserError(plain(str(source)), "there is no such data", f"{hint}Give {KINDS}")
    found = _list_path(path, confined=False)
    return replace(found, name=hub_name(source)) if is_hub(source) else found


def given_path(source: str | Path) -> Path:
    """A source as a path; that of a data set of the hub is where it was fetched to.

    Raises:
        UserError: no name at all, one that no file of ours could keep, or a data set that cannot be fetched.
    """
    if not str(source).strip():
        raise UserError("data", "is an empty name", f"give {KINDS}")
    try:
        str(source).encode()
    except UnicodeEncodeError:
        raise UserError(plain(str(source)), "has a name that is not UTF-8", "rename it") from None
    if is_hub(source):
        return hub_folder(str(source))
    try:
        return Path(source).expanduser()
    except RuntimeError:  # ~somebody who is not known here
        return Path(source)


def lasting_name(source: str | Path) -> str:
    """A source's name that holds in any folder: of a file or folder, its whole path."""
    return str(source) if str(source) in BUILT_IN or is_hub(source) else str(given_path(source).absolute())


def there(path: Path) -> bool:
    """Whether there is such a file or folder; a name too long for one is none."""
    try:
        return path.exists()
    except OSError:
        return False


def _list_path(path: Path, *, confined: bool) -> Listing:
    from dougong.data.folders import list_folder
    from dougong.data.parquet import list_parquet
    from dougong.data.tables import list_tables

    if path.is_dir():
        path = unwrapped(path)
        if is_saved(path):
            return list_parquet(saved_files(path), path, path.resolve().name)
        parts = split_files(path, (".parquet",)) or split_files(path / "data", (".parquet",))
        parts = parts or _parts(path)
        if parts:
            return list_parquet(parts, path, path.resolve().name)
        tables = split_files(path, TABLES) or _only_table(path)
        if tables:
            return list_tables(tables, path, path.resolve().name, confined=confined)
        return list_folder(path)
    ending = path.suffix.lower()
    if path.stat().st_size == 0:
        raise UserError(str(path), "is empty (0 bytes)", "fetch it again")
    if ending == ".parquet":
        return list_parquet([(path, None)], path.parent, path.stem)
    if ending in TABLES:
        return list_tables([(path, None)], path.parent, path.stem, confined=confined)
    if ending == ".zip":
        from dougong.data.archives import unpack

        folder = unpack(path)
        try:
            found = _list_path(only_member(folder), confined=True)
        except UserError as error:
            raise UserError(_inside(error.where, folder, path), error.what, error.remedy) from None
        return _renamed(found, folder, path)
    raise UserError(str(path), "is no kind of data that is read", f"give {KINDS}")


def split_files(folder: Path, endings: tuple[str, ...]) -> list[tuple[Path, str | None]]:
    """Files named after splits, as train.parquet or train-00000-of-00002.parquet; none when there is no train."""
    if not folder.is_dir():
        return []
    found: list[tuple[Path, str | None]] = []
    for path in sorted(folder.iterdir()):
        word = re.split(r"[-_.]", path.name.lower())[0]
        if path.suffix.lower() in endings and path.is_file() and word in SPLIT_NAMES:
            found.append((path, SPLIT_NAMES[word]))
    order = ("train", "val", "test")
    found.sort(key=lambda each: (order.index(str(each[1])), each[0].name))
    return found if any(split == "train" for _, split in found) else []


def unwrapped(folder: Path) -> Path:
    """The folder inside, while a folder holds nothing but one folder that itself is more than one class."""
    from dougong.data.folders import files_in, subfolders

    while True:
        inner = subfolders(folder)
        if len(inner) != 1 or files_in(folder) or inner[0].name.lower() in SPLIT_NAMES:
            return folder
        if not subfolders(inner[0]) and not any(p.suffix.lower() in (*TABLES, ".parquet") for p in files_in(inner[0])):
            return folder
        folder = inner[0]


def _only_table(folder: Path) -> list[tuple[Path, str | None]]:
    """The one table of a folder whose classes are not folders' names."""
    from dougong.data.folders import files_in, subfolders

    if len(subfolders(folder)) > 1:
        return []
    tables = [path for path in files_in(folder) if path.suffix.lower() in (*TABLES, ".parquet")]
    if len(tables) == 1 and tables[0].suffix.lower() in TABLES:
        return [(tables[0], None)]
    return []


def _parts(folder: Path) -> list[tuple[Path, str | None]]:
    """The Parquet files of a folder that holds no class folders: parts of one set, in the order of their names."""
    from dougong.data.folders import files_in, subfolders

    files = [path for path in files_in(folder) if path.suffix.lower() == ".parquet"]
    return [] if subfolders(folder) else [(path, None) for path in files]


def only_member(folder: Path, endings: tuple[str, ...] = (*TABLES, ".parquet")) -> Path:
    """The one file of an archive that holds nothing else; else the folder."""
    from dougong.data.folders import files_in, subfolders

    files = files_in(folder)
    if len(files) == 1 and not subfolders(folder) and files[0].suffix.lower() in endings:
        return files[0]
    return folder


def _renamed(listing: Listing, folder: Path, archive: Path) -> Listing:
    """Places inside an archive, named after it."""
    samples = [replace(sample, where=_inside(sample.where, folder, archive)) for sample in listing.samples]
    faults = [replace(fault, where=_inside(fault.where, folder, archive)) for fault in listing.faults]
    return Listing(archive.stem, samples, listing.classes, faults, listing.partial)


def _inside(where: str, folder: Path, archive: Path) -> str:
    """A place in an unpacked archive as "photos.zip:cat/1.png"; the folder it was unpacked into is nobody's concern."""
    place = where.removeprefix(str(folder)).strip("/")
    return f"{archive.name}:{place}" if place else archive.name


def _beside(path: Path) -> list[str]:
    try:
        return [str(path.parent / other.name) for other in path.parent.iterdir()][:500]
    except OSError:
        return []
