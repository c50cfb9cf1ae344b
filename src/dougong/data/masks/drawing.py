"""Masks drawn over pictures, and written as pictures of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dougong.data.masks.rows import VOID

if TYPE_CHECKING:
    import numpy as np

COVER = 0.55
"""How much of a picture's colour gives way to that of the class."""


def drawn(pixels: np.ndarray, mask: np.ndarray, colours: Sequence[Sequence[int]], cover: float = COVER) -> np.ndarray:
    """A picture with each pixel tinted in its class's colour, uint8 (h, w, 3); void stays as it is.

    Args:
        pixels: uint8 (h, w, 3).
        mask: (h, w) classes, and void.
        colours: of each class.
        cover: from 0, the picture alone, to 1, the colours alone.
    """
    import numpy as np

    table = np.zeros((VOID + 1, 3))
    table[: len(colours)] = colours
    share = np.where(mask == VOID, 0.0, cover)[..., None]
    return (pixels * (1 - share) + table[mask] * share).round().astype(np.uint8)


def wrong_pixels(pixels: np.ndarray, given: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A picture in faint grey, red where the class given is not the true one; void counts nowhere."""
    import numpy as np

    grey = np.repeat(pixels.mean(2, keepdims=True) * 0.5 + 110, 3, 2)
    wrong = (given != truth) & (truth != VOID)
    grey[wrong] = 0.25 * grey[wrong] + 0.75 * np.array([214, 40, 40])
    return grey.clip(0, 255).astype(np.uint8)


def write_mask(
    file: Path, mask: np.ndarray, values: Sequence[int] | None = None, colours: Sequence[Sequence[int]] = ()
) -> None:
    """A mask as a PNG whose pixels are numbers of classes, with a palette to look at it.

    Args:
        file: to write.
        mask: (h, w) places of classes, and void.
        values: the number of each class in the file; their places when None.
        colours: of each class.
    """
    import numpy as np
    from PIL import Image

    table = np.arange(VOID + 1)
    if values is not None:
        table[: len(values)] = values
    numbers = table[mask]
    wide = int(numbers.max(initial=0)) > 255
    image = Image.fromarray(numbers.astype(np.uint16 if wide else np.uint8))
    if colours and not wide:
        palette = [0] * (3 * 256)
        for value, colour in zip(table[: len(colours)].tolist(), colours, strict=True):
            palette[3 * value : 3 * value + 3] = [int(each) for each in colour]
        image.putpalette(palette)
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)
