"""Decoding masks, and what is wrong with each: every pixel is a number, never a colour that was mixed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dougong.data.listing import Fault
from dougong.data.masks.classes import OUTSIDE, ClassTable, Colour
from dougong.data.masks.rows import VOID
from dougong.data.pictures import FORMATS, MOST_PIXELS, look, open_image, too_large
from dougong.errors import UserError

if TYPE_CHECKING:
    import numpy as np

MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".gif")


@dataclass(frozen=True, eq=False)
class MaskLook:
    """What one look at a mask finds.

    Args:
        values: int32 (h, w): the numbers as they stand in the file, or 0xRRGGBB; None where it cannot be decoded.
        coloured: whether they are colours.
        palette: red, green and blue of each number, where the file has a palette.
        faults: what is wrong.
    """

    values: np.ndarray | None
    coloured: bool = False
    palette: tuple[Colour, ...] | None = None
    faults: tuple[Fault, ...] = ()


def look_at_mask(read: Callable[[], bytes], where: str, name: str = "") -> MaskLook:
    """Decode a mask and name what is wrong with it; never raises for what is in the file.

    Args:
        read: gives the encoded file.
        where: the file and row, for the faults.
        name: the file's name.
    """
    import numpy as np

    seen = look(read, where, name)  # the same words as for pictures: unreadable, cut off, too large
    errors = tuple(fault for fault in seen.faults if fault.severity == "error" and "colours" not in fault.what)
    if errors and not all("bits a channel" in fault.what for fault in errors):
        return MaskLook(None, faults=errors)
    try:
        image = open_image(read())
        if image.width * image.height > MOST_PIXELS:
            return MaskLook(None, faults=(too_large(where, str(image.width * image.height)),))
        if image.format in ("JPEG", "MPO", "WEBP"):
            said = f"is a {image.format}, whose compression mixes the numbers of neighbouring pixels"
            return MaskLook(None, faults=(Fault(where, said, "save masks as PNG, from the original"),))
        image.load()
    except Exception as error:  # Pillow raises whatever a broken file leads it to
        said = f"cannot be decoded ({error})"
        return MaskLook(None, faults=(Fault(where, said, f"save it as PNG ({', '.join(FORMATS)} are read)"),))
    mode, palette = image.mode, None
    if mode == "P":
        flat = image.getpalette() or []
        palette = tuple((flat[k], flat[k + 1], flat[k + 2]) for k in range(0, len(flat) - 2, 3))
    if mode in ("P", "L", "1") or mode.startswith("I"):
        return MaskLook(np.asarray(image).astype(np.int32), palette=palette)
    if mode in ("RGB", "RGBA", "LA"):
        bands = np.asarray(image.convert("RGBA")).astype(np.int32)
        if mode != "RGB" and bands[..., 3].min() < 255:
            said = "is transparent in parts, where it has no class"
            return MaskLook(None, faults=(Fault(where, said, "save it opaque, with a class at every pixel"),))
        if (bands[..., 0] == bands[..., 1]).all() and (bands[..., 1] == bands[..., 2]).all() and mode != "LA":
            coloured = bool((bands[..., 0] > 0).any())  # black alone may be either
            return MaskLook(bands[..., 0] * 0x010101, coloured=coloured)
        if mode == "LA":
            return MaskLook(bands[..., 0])
        return MaskLook((bands[..., 0] << 16) | (bands[..., 1] << 8) | bands[..., 2], coloured=True)
    said, remedy = f"is of mode {mode}, whose values are no numbers of classes", "save it with a palette, or in grey"
    return MaskLook(None, faults=(Fault(where, said, remedy),))


def numbers_of(found: MaskLook, table: ClassTable, where: str) -> tuple[np.ndarray | None, list[Fault]]:
    """A mask as uint8 (h, w) of the learnt classes' places and `VOID`; or the fault of a value that is no class.

    Args:
        found: the mask as it stands in its file.
        table: what its values mean.
        where: it comes from.
    """
    import numpy as np

    assert found.values is not None
    values, coloured = found.values, found.coloured and table.colours is not None
    if found.coloured and not coloured:
        if (values % 0x010101).any():
            said = "holds colours, and no file says which class each is"
            return None, [Fault(where, said, "add classes.txt with lines as '128 64 128 road', or save numbers")]
        values = values // 0x010101  # grey in three channels: its numbers
    known = _keys(table, coloured)
    unique = np.unique(values)
    places = np.full(len(unique), -1)
    for k, value in enumerate(unique.tolist()):
        places[k] = known.get(value, VOID if value == OUTSIDE and not coloured else -1)
    if (places < 0).any():
        wrong = int(unique[int((places < 0).argmax())])
        row, column = (int(each[0]) for each in np.nonzero(values == wrong))
        word = f"the colour {wrong >> 16}, {wrong >> 8 & 255}, {wrong & 255}" if coloured else f"the value {wrong}"
        count = int((values == wrong).sum())
        place = f"at {count} pixel{'s' * (count > 1)}, first in row {row}, column {column}"
        said = f"holds {word}, which is no class, {place}"
        return None, [Fault(where, said, f"correct the mask, or add it to {table.told or 'the classes'}")]
    return places[np.searchsorted(unique, values)].astype(np.uint8), []


@functools.lru_cache(maxsize=64)
def _keys(table: ClassTable, coloured: bool) -> dict[int, int]:
    """What each value of a file becomes."""
    number = {place: k for k, place in enumerate(table.learnt)}
    keys: Any = table.values
    if coloured:
        assert table.colours is not None
        keys = [(red << 16) | (green << 8) | blue for red, green, blue in table.colours]
    return {int(key): number.get(place, VOID) for place, key in enumerate(keys)}


def load_mask(read: Callable[[], bytes], table: ClassTable, where: str) -> np.ndarray:
    """A mask that was looked at before, decoded again.

    Raises:
        UserError: the file changed since the data set was opened.
    """
    found = look_at_mask(read, where)
    numbers, faults = (None, list(found.faults)) if found.values is None else numbers_of(found, table, where)
    if numbers is None:
        said = f"{faults[0].what}, since the data was opened"
        raise UserError(where, said, "leave the data as it is while it is used")
    return numbers
