"""A picture to be explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dougong.explain.explanation import Units
from dougong.explain.subject import BATCH, Grids, Subject
from dougong.frames.pyramid import Pyramid
from dougong.parts.embeddings import PatchEmbedding

CELLS_ACROSS = 16
"""A picture's side is cut into about this many cells; below 32 pixels a cell is one pixel."""


@dataclass(frozen=True, eq=False)
class PictureSubject(Subject):
    """A picture: scores refer to pixels, cells or patches. Args: see `Subject`; points are pixels (1, 3, h, w)."""

    @property
    def nothing(self) -> str:
        """What an empty input is, in words."""
        return "a picture of one colour, the zero of the prepared input (the mean colour of the training pictures)"

    @property
    def one_grid(self) -> bool:
        """Not of a pyramid, whose stages have a grid each, unless what reads its last map is asked about."""
        return bool(self.cross) or not isinstance(getattr(self.model, "body", None), Pyramid)

    @property
    def batch(self) -> int:
        """How many pictures are asked about at once."""
        return BATCH

    def cells(self) -> Units:
        """Square cells."""
        height, width = self.inputs.shape[-2:]
        side = max(1, max(height, width) // CELLS_ACROSS)
        return grid_units("pixel" if side == 1 else "cell", (height, width), (side, side))

    def patches(self) -> Units:
        """What the model reads as one token: patches, rows or columns; without these, the cells."""
        if not isinstance(self.embedding, PatchEmbedding):
            return self.cells()
        size, cell = self.embedding.image_size, self.embedding.patch_size
        kind = "row" if cell[1] == size[1] else "column" if cell[0] == size[0] else "patch"
        return grid_units(kind, size, cell)

    def keys(self, grids: Sequence[Grids]) -> Units:
        """Cells of the finest keys, so many of them together that there are at most 16 across."""
        if not grids:
            return self.patches()
        height, width = self.inputs.shape[-2:]
        finest = max(grids, key=lambda each: each.keys[0] * each.keys[1])
        together = finest.stride * -(-max(finest.keys) // CELLS_ACROSS)
        cell = (round(height * together / finest.queries[0]), round(width * together / finest.queries[1]))
        return grid_units("cell", (height, width), (max(1, cell[0]), max(1, cell[1])))

    def by_point(self, attribution: Tensor) -> Tensor:
        """(1, 3, h, w), summed over channels."""
        return attribution[0].sum(0)

    def over_points(self, mask: Tensor) -> Tensor:
        """(N, h, w) for all channels."""
        return mask[:, None]

    def gather(self, units: Units, seen: np.ndarray, grids: Grids | None = None) -> np.ndarray:
        """Shares of positions (..., S) to shares of units (..., n); those of a grid that is no row of patches are
        spread over the pixels that each key was made of."""
        if self.one_grid or grids is None:
            return super().gather(units, seen)
        down, across = (
            np.minimum(np.arange(side) * places // side // grids.stride, count)
            for side, places, count in zip(units.owner.shape, grids.queries, grids.keys, strict=True)
        )
        return spread(units, seen, grids.keys, down, across)

    def read_by(self, units: Units) -> np.ndarray:
        """Tokens before the first patch are nobody's; then one patch after the other."""
        prefix = int(getattr(self.embedding, "n_prefix", 0))
        return np.concatenate((np.full(prefix, -1), np.arange(len(units))))


def spread(
    units: Units, seen: np.ndarray, grid: tuple[int, int], down: np.ndarray, across: np.ndarray
) -> np.ndarray:  # fmt: skip
    """Shares of a grid's places (..., h' w') to shares of units (..., n), each place's spread evenly over its pixels.

    Args:
        units: n of them, of a picture (h, w).
        seen: row by row.
        grid: (h', w').
        down: (h,) the row of the grid that each row of pixels is of; h' for none.
        across: (w,) the column, likewise.
    """
    rows, columns = grid
    inside = (down < rows)[:, None] & (across < columns)[None, :]
    place = (down[:, None] * columns + across[None, :])[inside]
    pairs = np.bincount(place * len(units) + units.owner[inside], minlength=rows * columns * len(units))
    pixels = pairs.reshape(rows * columns, len(units)).astype(seen.dtype)
    return seen @ (pixels / np.maximum(pixels.sum(1, keepdims=True), 1))  # type: ignore[no-any-return]


def grid_units(kind: str, size: tuple[int, int], cell: tuple[int, int]) -> Units:
    """A picture of ``size`` (h, w) cut into cells, row by row; the last ones are smaller where it does not divide."""
    rows, columns = -(-size[0] // cell[0]), -(-size[1] // cell[1])
    names, boxes = [], []
    for row in range(rows):
        for column in range(columns):
            top, left = row * cell[0], column * cell[1]
            boxes.append((left, top, min(left + cell[1], size[1]), min(top + cell[0], size[0])))
            place = {"row": f"{row + 1}", "column": f"{column + 1}"}.get(kind, f"{row + 1},{column + 1}")
            names.append(f"{kind} {place}")
    down, across = np.arange(size[0]) // cell[0], np.arange(size[1]) // cell[1]
    return Units(kind, tuple(names), tuple(boxes), down[:, None] * columns + across)
