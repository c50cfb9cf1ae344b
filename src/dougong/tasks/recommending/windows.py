"""Histories as rows of one batch, without a loop over users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dougong.data.interactions.sequences import Context


@dataclass(frozen=True, eq=False)
class Windows:
    """Stretches of histories to learn from: every item is foreseen once an epoch, the newest with most before them.

    Args:
        start, stop: (w,) of each stretch, places in the context's items.
        owner: (w,) its user.
    """

    start: np.ndarray
    stop: np.ndarray
    owner: np.ndarray

    @classmethod
    def of(cls, context: Context, length: int, overlap: int) -> Windows:
        """Stretches of up to ``length`` new items each, cut from the end of every history of two items or more.

        Args:
            context: of train.
            length: items of a stretch.
            overlap: items that it has more than that, which the stretch before it holds too.
        """
        sizes = np.diff(context.starts)
        some = np.flatnonzero(sizes > 1)
        pieces = -(-(sizes[some] - overlap) // length)
        owner = np.repeat(some, pieces)
        turn = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        stop = context.starts[owner + 1] - turn * length
        start = np.maximum(context.starts[owner], stop - length - overlap)
        return cls(start, stop, owner)

    def __len__(self) -> int:
        return len(self.start)


def gathered(item: np.ndarray, start: np.ndarray, stop: np.ndarray, fill: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Stretches (B,) of a row of items as (B, L) int64, filled up on the right, and bool (B, L): what is real."""
    sizes = stop - start
    place = np.arange(int(sizes.max(initial=1)))
    real = place < sizes[:, None]
    return np.where(real, item[np.where(real, start[:, None] + place, 0)], fill).astype(np.int64), real
