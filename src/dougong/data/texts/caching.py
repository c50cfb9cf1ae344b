"""What was read of large files, and their tokens, kept on disk: found by content, checked when opened, never half.

It lies in ``texts`` under ``$DOUGONG_CACHE``, or under ``$XDG_CACHE_HOME/dougong`` (``~/.cache/dougong``). Nothing
there is needed: what is removed is made again.
"""

from __future__ import annotations

import atexit
import errno
import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.errors import UserError

if TYPE_CHECKING:
    import numpy as np

LARGE = 64 * 2**20
"""Bytes of a source's files from which on its rows and tokens are kept on disk and read one by one."""
HALF = ".part-"
ABANDONED = 24 * 3600
"""Seconds after which what a process did not finish is removed."""


def cache_folder() -> Path:
    """Where rows and tokens are kept; it need not exist."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DOUGONG_CACHE") or Path(home, "dougong")).expanduser() / "texts"


def cached_bytes() -> int:
    """Bytes that lie in the cache."""
    return sum(path.stat().st_size for path in cache_folder().rglob("*") if path.is_file())


def clear_cache() -> int:
    """Remove the cache; what is being read stays readable until it is closed. Returns the bytes that lay in it."""
    size = cached_bytes()
    shutil.rmtree(cache_folder(), ignore_errors=True)
    return size


def is_large(files: Sequence[Path]) -> bool:
    """Whether files are together so large that they are kept on disk rather than in memory."""
    return sum(path.stat().st_size for path in files) >= LARGE


def digest_of(path: Path) -> str:
    """sha256 of a file's content. Size and time of change say too little: a file may be changed and keep both.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(path.name, f"cannot be read ({error.strerror or error})", "fetch it again") from None


def entry(known_by: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """The folder that holds what was made from something before; made now if it is not there or is damaged.

    Two processes may ask for the same at once: each makes it, one is kept, and neither sees a half.

    Args:
        known_by: all that the outcome depends on, as plain data.
        make: writes files into a folder.

    Raises:
        UserError: no space for it.
    """
    key = hashlib.sha256(json.dumps(known_by, sort_keys=True).encode()).hexdigest()[:40]
    place = _writable()
    target = place / key
    if is_whole(target):
        return target
    half = Path(tempfile.mkdtemp(prefix=HALF, dir=place))
    try:
        make(half)
        sums = {path.name: [path.stat().st_size, _sum(path)] for path in sorted(half.iterdir())}
        (half / "entry.json").write_text(json.dumps({"known_by": dict(known_by), "files": sums}), encoding="utf-8")
        return _kept(half, target)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UserError(str(place), "has no space left", "free some, or set DOUGONG_CACHE to another folder") from None
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _kept(half: Path, target: Path) -> Path:
    """Put a finished entry in its place, unless a whole one is there."""
    for _ in range(10):
        try:
            os.rename(half, target)  # fails where a folder with something in it stands
            return target
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if is_whole(target):
            return target
        with tempfile.TemporaryDirectory(prefix=HALF, dir=target.parent, ignore_cleanup_errors=True) as aside:
            try:
                os.rename(target, Path(aside) / "damaged")
            except FileNotFoundError:
                continue  # another process was faster
    raise UserError(str(target), "cannot be replaced", "remove it")


def mapped(path: Path, kind: Any) -> np.ndarray:
    """A file of numbers, mapped into memory: what is not read takes none, and what was read can be given back.

    It is copied on writing, so that torch takes it, though nobody writes.
    """
    import numpy as np

    return np.memmap(path, kind, "c") if path.stat().st_size else np.empty(0, kind)


def is_whole(folder: Path) -> bool:
    """Whether an entry is there with every byte that was written."""
    try:
        sums = json.loads((folder / "entry.json").read_text(encoding="utf-8"))["files"]
        return all(
            (folder / name).stat().st_size == size and _sum(folder / name) == total
            for name, (size, total) in sums.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _sum(path: Path) -> int:
    """CRC-32 of a file: against disks and copies that fail, not against anybody."""
    total = 0
    with path.open("rb") as file:
        while part := file.read(2**20):
            total = zlib.crc32(part, total)
    return total


def _writable() -> Path:
    """The cache's folder; where it cannot be written, one that goes away when the process ends."""
    place = cache_folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        for path in place.glob(f"{HALF}*"):
            if time.time() - path.stat().st_mtime > ABANDONED:
                shutil.rmtree(path, ignore_errors=True)
        if os.access(place, os.W_OK):
            return place
    except OSError:
        pass
    return _temporary()


@functools.cache
def _temporary() -> Path:
    place = Path(tempfile.mkdtemp(prefix="dougong-texts-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place
