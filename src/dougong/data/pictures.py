"""Decoding pictures with Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.errors import UserError

if TYPE_CHECKING:
    import numpy as np

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")


def as_pixels(raw: Any, where: str) -> np.ndarray:
    """A path, PIL image or array as pixels, uint8 (h, w, 3).

    Raises:
        UserError: a file that cannot be read, or an array that is no picture.
    """
    import numpy as np
    from PIL import Image

    if isinstance(raw, str | Path):
        raw = Image.open(io.BytesIO(Path(raw).read_bytes()), formats=FORMATS)
    if isinstance(raw, Image.Image):
        return np.asarray(raw.convert("RGB"))
    array = np.asarray(raw)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, 2)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise UserError(where, f"an array {array.dtype} {array.shape} is no picture", "give uint8 (h, w, 3)")
    return array
