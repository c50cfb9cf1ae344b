"""Decoding pictures with Pillow, and what is odd about each."""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from dougong.data.listing import Fault, warning
from dougong.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
EXTENSIONS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP",
    ".bmp": "BMP", ".dib": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".gif": "GIF",
}  # fmt: skip
UNREAD = {
    ".heic", ".heif", ".avif", ".svg", ".ppm", ".pgm", ".pbm", ".pnm", ".psd", ".jp2", ".ico", ".tga", ".dng", ".raw",
}  # fmt: skip
"""Extensions of pictures that are not read: a file of this kind among pictures is a fault, not clutter."""

MOST_BYTES = 512 * 2**20
"""A file that is larger is not read."""
MOST_PIXELS = 80_000_000
"""A picture that claims more is not decoded: 240 MB, and a few hundred bytes can claim as much."""


@dataclass(frozen=True, eq=False)
class Look:
    """What one look at a picture finds.

    Args:
        pixels: uint8 (h, w, 3), upright, in RGB; None where it cannot be decoded.
        faults: what is wrong or odd, errors first.
    """

    pixels: np.ndarray | None
    faults: tuple[Fault, ...] = ()

    @property
    def key(self) -> str:
        """The hash of the pixels, "" without pixels."""
        return "" if self.pixels is None else content_key(self.pixels)


def content_key(pixels: np.ndarray) -> str:
    """sha256 of a picture's size and pixels, as hexadecimal digits."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def read_file(path: Path) -> bytes:
    """A file's content.

    Raises:
        OSError: it cannot be read, is no ordinary file (a pipe would never end), or is larger than any picture.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "it is no ordinary file")
    if state.st_size > MOST_BYTES:
        raise OSError(errno.EFBIG, f"it has {state.st_size / 2**20:,.0f} MiB, more than the limit of 512")
    return path.read_bytes()


def look(read: Callable[[], bytes | np.ndarray], where: str, name: str = "") -> Look:
    """Decode a picture whole and name what is wrong with it; never raises for what is in the file.

    Args:
        read: gives the encoded file, or pixels.
        where: the file and row, for the faults.
        name: the file's name, whose extension should say what it is; "" for none.
    """
    try:
        content = read()
    except FileNotFoundError:
        return Look(None, (Fault(where, "there is no such file", "correct the path"),))
    except OSError as error:
        said = f"cannot be read ({error.strerror or error})"
        return Look(None, (Fault(where, said, "look at its permissions and the disk"),))
    if not isinstance(content, bytes):
        return Look(content)
    return look_at(content, where, name)


def look_at(content: bytes, where: str, name: str = "") -> Look:
    """As ``look``, for an encoded file."""
    if not content:
        return Look(None, (Fault(where, "is empty (0 bytes)", "fetch it again, or take it out"),))
    try:
        image = open_image(content)
    except bombs() as error:
        return Look(None, (too_large(where, str(error).split("(")[-1].split(" ")[0]),))
    except Exception:  # Pillow raises whatever a broken header leads it to
        return Look(None, (_unreadable(content, where),))
    if image.width * image.height > MOST_PIXELS:
        return Look(None, (too_large(where, str(image.width * image.height)),))
    faults = list(_about(image, content, where, name))
    try:
        turned = upright(image)
        pixels, odd = to_rgb(turned, content, where)
    except Exception as error:
        said = "is cut off" if _cut_off(error) else f"cannot be decoded ({_words(error)})"
        return Look(None, (Fault(where, said, "fetch or save it again, or take it out"),))
    if _ends_early(image.format or "", content):
        faults.append(Fault(where, "is cut off: its end is missing", "fetch or save it again, or take it out"))
    if turned is not image:
        faults.append(
            warning(
                where, "is stored rotated (EXIF); it was turned upright", "nothing, or save it upright once and for all"
            )
        )
    faults = sorted(faults + odd, key=lambda fault: fault.severity != "error")
    return Look(None if any(fault.severity == "error" for fault in odd) else pixels, tuple(faults))


@functools.cache
def bombs() -> tuple[type[Exception], ...]:
    """What Pillow raises for pictures that claim to be huge; its mere warning is silenced, as our limit is lower."""
    import warnings

    from PIL import Image

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    return Image.DecompressionBombError, Image.DecompressionBombWarning


def open_image(content: bytes) -> Image:
    """A picture's header, of the formats that we read."""
    from PIL import Image

    bombs()
    return Image.open(io.BytesIO(content), formats=FORMATS)


def upright(image: Image) -> Image:
    """The decoded picture turned as its EXIF data asks; the same object when it asks for nothing."""
    from PIL import ImageOps

    image.load()
    try:
        turn = image.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF says nothing about the pixels
        return image
    return image if turn not in range(2, 9) else ImageOps.exif_transpose(image)


def to_rgb(image: Image, content: bytes, where: str) -> tuple[np.ndarray, list[Fault]]:
    """Pixels uint8 (h, w, 3), and what was given up for them.

    16-bit greys are scaled to 8 bits; what is transparent is laid over white.
    """
    import numpy as np
    from PIL import Image

    mode, odd = image.mode, []
    sixteen = warning(where, "has 16 bits a channel; it is read with 8", "nothing, or save it with 8 bits")
    if mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            odd.append(Fault(where, "has 32 bits a channel", "save it with 8 bits a channel"))
        image, mode = Image.fromarray((values / 257).round().clip(0, 255).astype(np.uint8)), "L"
        odd = odd or [sixteen]
    elif mode == "F":
        odd.append(Fault(where, "holds real numbers, not colours", "save it with 8 bits a channel"))
    elif mode in ("CMYK", "LAB", "HSV"):
        odd.append(Fault(where, f"is in {mode} colours, for print rather than screens", "save it in RGB"))
    elif image.format == "PNG" and content[24:25] == b"\x10":
        odd.append(sixteen)
    if "A" in mode or "a" in mode or "transparency" in image.info:
        layered = image.convert("RGBA")
        if np.asarray(layered.getchannel("A")).min() < 255:
            odd.append(warning(where, "is transparent in parts; they are read as white", "nothing, or save it opaque"))
        image = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
    elif mode == "P":
        odd.append(warning(where, "has a palette; it is read in its palette's colours", "nothing, or save it in RGB"))
    if any(fault.severity == "error" for fault in odd):
        return np.zeros((1, 1, 3), np.uint8), odd
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))), odd


def _about(image: Image, content: bytes, where: str, name: str) -> list[Fault]:
    """What the header and the name say."""
    found = []
    kind = "JPEG" if image.format == "MPO" else str(image.format)  # a phone's JPEG with a second, smaller picture
    claimed = EXTENSIONS.get(PurePath(name).suffix.lower())
    if claimed is not None and claimed != kind:
        good = next(end for end, each in EXTENSIONS.items() if each == kind)
        found.append(Fault(where, f"is named as {claimed} but is {kind}", f"rename it to end in {good}"))
    if image.format != "MPO":
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            word = "pages" if kind == "TIFF" else "frames (animated)"
            found.append(Fault(where, f"holds {frames} {word}", "save the one that is meant as a picture of its own"))
    return found


def too_large(where: str, pixels: str) -> Fault:
    """The fault of a picture that claims too many pixels."""
    many = f"{int(pixels) / 1e6:,.0f} million" if pixels.isdigit() else "too many"
    said = f"claims {many} pixels, and would fill the memory (limit {MOST_PIXELS // 10**6} million)"
    return Fault(where, said, "shrink it, or take it out")


def _unreadable(content: bytes, where: str) -> Fault:
    readable = ", ".join(FORMATS[:-1]) + " or " + FORMATS[-1]
    start = content[:64].lstrip().lower()
    kind = "a web page, not a picture" if start.startswith((b"<!doctype", b"<html")) else f"no {readable} picture"
    return Fault(where, f"is {kind}, or its head is damaged", "fetch it again, save it as PNG or JPEG, or take it out")


def _ends_early(kind: str, content: bytes) -> bool:
    """Whether the mark at the end is missing, which Pillow forgives."""
    tail = content.rstrip(b"\0")
    return (kind == "PNG" and b"IEND" not in content[-4096:]) or (
        # the last block's end and then the mark; some programs write more behind it
        kind == "GIF" and not tail.endswith(b";") and b"\0;" not in content[-1024:]
    )


def _cut_off(error: Exception) -> bool:
    words = str(error).lower()
    return any(word in words for word in ("truncated", "not enough", "end of file", "unexpected end", "incomplete"))


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:80] or type(error).__name__


def as_pixels(raw: Any, where: str) -> np.ndarray:
    """A path, PIL image or array as a data set's reader would give it, uint8 (h, w, 3).

    Raises:
        UserError: a file that cannot be read, or an array that is no picture.
    """
    import numpy as np
    from PIL import Image

    if isinstance(raw, str | Path):
        path = Path(raw)
        if path.is_dir():
            raise UserError(where, "is a folder", "name the pictures in it")
        found = look(functools.partial(read_file, path), where)
        for fault in found.faults:
            if fault.severity == "error":
                raise UserError(fault.where, fault.what, fault.remedy)
        assert found.pixels is not None
        return found.pixels
    if isinstance(raw, Image.Image):
        try:
            pixels, odd = to_rgb(upright(raw), b"", where)
        except Exception as error:
            raise UserError(where, f"cannot be decoded ({_words(error)})", "give another picture") from None
        for fault in odd:
            if fault.severity == "error":
                raise UserError(fault.where, fault.what, fault.remedy)
        return pixels
    array = np.asarray(raw)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, 2)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise UserError(
            where, f"an array of {array.dtype} {array.shape} is no picture", "give uint8 (h, w, 3) or (h, w)"
        )
    return np.ascontiguousarray(array)
