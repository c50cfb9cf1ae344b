"""Data sets with one fault each: what makes it, and what must be said of it."""

from __future__ import annotations

import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.pictures import encoded, image_folder, picture

Make = Callable[[Path], Path]


@dataclass(frozen=True)
class Case:
    """A fault.

    Args:
        make: puts the data under a folder, and gives the source to open.
        where: in the place that is named.
        what: in what is said to be wrong.
        remedy: in the remedy.
        severity: "error" or "warning".
    """

    make: Make
    where: str
    what: str
    remedy: str
    severity: str = "error"


def good(root: Path) -> Path:
    """Two classes of 12 pictures, nothing wrong with them."""
    return image_folder(root / "photos", {"cat": 12, "dog": 12})


def with_file(content: bytes | Callable[[], bytes], name: str = "cat/3.png") -> Make:
    """The good folder with one file more, or another."""

    def make(root: Path) -> Path:
        folder = good(root)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content())
        return folder

    return make


def changed(change: Callable[[Path], Any]) -> Make:
    """The good folder after a change."""

    def make(root: Path) -> Path:
        folder = good(root)
        change(folder)
        return folder

    return make


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose head claims a size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def frames(kind: str) -> bytes:
    """An animation, or a file of pages."""
    return encoded(picture(900), kind, save_all=True, append_images=[picture(901), picture(902)])


def table(rows: Sequence[str], name: str = "photos.csv", coding: str = "utf-8") -> Make:
    """A table of paths beside the good folder."""

    def make(root: Path) -> Path:
        good(root)
        file = root / name
        file.write_bytes("\n".join([*rows, ""]).encode(coding))
        return file

    return make


PNG = encoded(picture(701, (40, 40)))
ROWS = [f"photos/{name}/{number}.png,{name}" for name in ("cat", "dog") for number in range(12)]
WHOLE = ["path,label", *ROWS]


def parquet(change: Callable[[dict[str, list[Any]]], dict[str, Any]], name: str = "photos.parquet") -> Make:
    """A Parquet file of the usual form after a change of its columns."""

    def make(root: Path) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        images = [{"bytes": encoded(picture(number)), "path": None} for number in range(24)]
        columns = change({"image": images, "label": ["cat", "dog"] * 12})
        pq.write_table(pa.table(columns), root / name)
        return root / name

    return make


def with_value(column: str, row: int, value: Any) -> Callable[[dict[str, list[Any]]], dict[str, Any]]:
    """A change: one cell."""

    def change(columns: dict[str, list[Any]]) -> dict[str, Any]:
        columns[column][row] = value
        return columns

    return change


def archive(*members: tuple[str | zipfile.ZipInfo, bytes], whole: bool = True) -> Make:
    """A zip of the good folder, and further members."""

    def make(root: Path) -> Path:
        file = root / "photos.zip"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as into:
            if whole:
                for number in range(24):
                    into.writestr(f"{('cat', 'dog')[number % 2]}/{number}.png", encoded(picture(number)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a name that is in it twice
                for name, content in members:
                    into.writestr(name, content)
        return file

    return make


def link() -> zipfile.ZipInfo:
    """A member that is a symbolic link."""
    member = zipfile.ZipInfo("cat/link.png")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def locked(root: Path) -> Path:
    """An archive whose members say that they need a password."""
    file = archive()(root)
    content = bytearray(file.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(mark)
        content[place + offset] |= 1
    file.write_bytes(bytes(content))
    return file


def claiming(size: int) -> Make:
    """An archive whose list of members claims a size of the first one."""

    def make(root: Path) -> Path:
        file = archive()(root)
        content = bytearray(file.read_bytes())
        place = content.find(b"PK\x01\x02") + 24
        content[place : place + 4] = struct.pack("<I", size)
        file.write_bytes(bytes(content))
        return file

    return make


def cut(make: Make, share: float) -> Make:
    """The file of another case, cut off."""

    def short(root: Path) -> Path:
        file = make(root)
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])
        return file

    return short


def same(columns: dict[str, list[Any]]) -> dict[str, Any]:
    return columns
