"""Zip files: looked through before anything is unpacked, then unpacked into a folder that goes away at the end."""

from __future__ import annotations

import atexit
import functools
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from dougong.data.listing import Fault
from dougong.errors import UserError

MOST_BYTES = 100 * 2**30
"""Unpacked, of a whole archive."""
MOST_TIMES = 100
"""Unpacked against packed; pictures hardly shrink in a zip."""
FREE_BYTES = 256 * 2**20
"""Below this an archive may shrink as it likes."""


def unpack(path: Path) -> Path:
    """The folder that holds an archive's members; the same one when asked again.

    Raises:
        UserError: no whole zip, a member that leads outside or is a link, a password, or more bytes than plausible.
    """
    state = path.stat()
    return _unpack(path.resolve(), state.st_mtime_ns, state.st_size)


@functools.cache
def _unpack(path: Path, changed: int, size: int) -> Path:
    faults = archive_faults(path)
    if faults:
        more = f" (and {len(faults) - 1} more such members)" if len(faults) > 1 else ""
        raise faults[0].as_error(more)
    target = Path(tempfile.mkdtemp(prefix="dougong-"))
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                _extract(archive, member, target)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:
        shutil.rmtree(target, ignore_errors=True)
        # strerror alone: the folder that it is unpacked into is nobody's concern
        said = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())[:100]
        raise UserError(
            path.name, f"cannot be unpacked ({said})", "fetch it again, or look at the space on the disk"
        ) from None
    return target


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    into = target / PurePosixPath(_posix(member))
    if member.is_dir():
        into.mkdir(parents=True, exist_ok=True)
        return
    into.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, into.open("wb") as sink:
        # zipfile hands out no more than the declared size, which was checked
        shutil.copyfileobj(source, sink, 2**20)


def holds(path: Path, wanted: Callable[[str], bool]) -> bool:
    """Whether an archive has a member of a wanted name; nothing is unpacked.

    One that is no whole zip has none: whoever opens it next says what is wrong with it.
    """
    try:
        names = [_posix(member) for member in members_of(path) if not member.is_dir()]
    except UserError:
        return False
    return any(wanted(name) for name in names if not name.startswith("__MACOSX/"))


def members_of(path: Path) -> list[zipfile.ZipInfo]:
    """An archive's list of members.

    Raises:
        UserError: no zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError):
        raise UserError(path.name, "is no whole zip file", "fetch or pack it again") from None


def archive_faults(path: Path) -> list[Fault]:
    """What is wrong with an archive's list of members; nothing is unpacked.

    Raises:
        UserError: no zip.
    """
    members = members_of(path)
    faults = []
    seen: set[str] = set()
    folders = {str(parent) for member in members for parent in PurePosixPath(_posix(member)).parents}
    for member in members:
        place = f"{path.name}:{_name(member)}"
        inside = str(PurePosixPath(_posix(member)))
        if not member.is_dir() and (inside in seen or inside in folders):
            said = "is in the archive twice" if inside in seen else "is both a file and a folder"
            faults.append(Fault(place, said, "pack it again with each name once"))
        seen.add(inside)
        if leads_outside(_name(member)):
            faults.append(
                Fault(place, "leads outside the archive", "do not trust this file; pack it again without such members")
            )
        elif stat.S_ISLNK(member.external_attr >> 16):
            faults.append(Fault(place, "is a link", "pack the file itself"))
        elif member.flag_bits & 1:
            faults.append(Fault(place, "is locked with a password", "pack it again without one"))
    total = sum(member.file_size for member in members)
    packed = path.stat().st_size
    if total > MOST_BYTES or (total > FREE_BYTES and total > MOST_TIMES * packed):
        said = f"would unpack {packed / 2**20:,.1f} MiB into {total / 2**30:,.1f} GiB"
        faults.append(Fault(path.name, said, "do not trust this file, or unpack it yourself and give the folder"))
    elif not faults and total > shutil.disk_usage(tempfile.gettempdir()).free * 0.9:
        said = f"needs {total / 2**30:,.1f} GiB to be unpacked, more than {tempfile.gettempdir()} has"
        faults.append(Fault(path.name, said, "set TMPDIR to a folder with more space"))
    return faults


def _posix(member: zipfile.ZipInfo) -> str:
    """A member's name with slashes, whichever system packed it."""
    return _name(member).replace("\\", "/")


def _name(member: zipfile.ZipInfo) -> str:
    """A member's name; read as UTF-8 where it is, though the archive does not say so, as those of macOS do not."""
    name = member.filename
    if not member.flag_bits & 0x800 and not name.isascii():
        try:
            return name.encode("cp437").decode("utf-8")
        except UnicodeError:
            return name
    return name


def leads_outside(name: str) -> bool:
    """Whether a member's name is absolute or climbs up, for Unix or Windows."""
    parts = name.replace("\\", "/").split("/")
    return name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name
