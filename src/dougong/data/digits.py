"""The handwritten digits that scikit-learn brings along."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from dougong.data.listing import Listing, Sample

if TYPE_CHECKING:
    import numpy as np


def list_digits() -> Listing:
    """1,797 digits of 8x8 pixels, 10 classes; grey levels 0 to 16 become 0 to 255, three times over.

    The test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998).
    """
    labels = _digits()[1]
    samples = [
        Sample(f"digits:{number}", str(label), functools.partial(_digit, number))
        for number, label in enumerate(labels.tolist())
    ]
    return Listing("digits", samples, classes=[str(number) for number in range(10)])


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    import numpy as np
    from sklearn.datasets import load_digits

    bundle = load_digits()
    grey = np.rint(bundle.images * (255 / 16)).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=3)), bundle.target


def _digit(number: int) -> np.ndarray:
    return _digits()[0][number]
