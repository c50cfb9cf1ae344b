"""The size at which pictures are read, and how they get there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dougong.tasks.fitting import divides_well

if TYPE_CHECKING:
    import numpy as np

    from dougong.data.images import ImageData

LARGEST = 224


def picture_size(data: ImageData) -> tuple[int, int]:
    """(h, w) at which a model reads a data set's pictures.

    Pictures that all have one size of at most 224 pixels a side are read as they are, or, where no patch divides
    them well (97x97), with each side cut down to a multiple of 8 (of 4 below 16 pixels). Otherwise they are read as
    squares: of the median of their shorter sides, at most 224, cut down to a multiple of 16 (of 4 below 32 pixels).
    """
    height, width = data.image_size
    if data.one_size and max(height, width) <= LARGEST:
        return (height, width) if divides_well((height, width)) else (_down(height), _down(width))
    shorter = sorted(min(size) for split in data.splits.values() for size in split.sizes)
    side = min(LARGEST, shorter[len(shorter) // 2])
    step = 16 if side >= 32 else 4
    side = max(step, side // step * step)
    return side, side


def _down(side: int) -> int:
    step = 8 if side >= 16 else 4
    return max(step, side // step * step)


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture uint8 (h, w, 3) at another size, its proportions kept: scaled until it covers, cut to the centre."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    import numpy as np
    from PIL import Image

    height, width = pixels.shape[:2]
    scale = max(size[0] / height, size[1] / width)
    # the part of the picture that is seen, in its own pixels
    seen_h, seen_w = size[0] / scale, size[1] / scale
    left, top = (width - seen_w) / 2, (height - seen_h) / 2
    box = (max(0.0, left), max(0.0, top), min(float(width), left + seen_w), min(float(height), top + seen_h))
    small = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box, reducing_gap=None)
    return np.asarray(small)
