"""What comes to a mixer with its input: mask, positions, memory, cache and, for pictures, the grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from dougong.parts.cache import Cache
from dougong.parts.masks import OPEN, Mask
from dougong.parts.positions import Rotation
from dougong.parts.segments import Segments


@dataclass(frozen=True, eq=False)
class Context:
    """The surroundings of one pass through a stack; every branch's body is called as ``body(x, context)``.

    Args:
        mask: what a query may attend to within its own sequence.
        segments: where each sequence ends when x is packed, (T, D); None when x is dense, (B, L, D).
        lengths: (B,) when x is dense and yet padded (given mask tables, export); else None.
        memory: what cross-attention reads, (B, S, D), or packed (T, D) with ``memory_segments``.
        memory_segments: the layout of a packed memory.
        memory_mask: what may be attended to in the memory.
        shift: (L, D) or (B, L, D) added to the inputs of queries and keys.
        memory_shift: (S, D) or (B, S, D) added to the memory where keys are made of it.
        memory_bias: (B, H, L, S) added to the scores of the memory.
        rotation: of queries and keys.
        bias: (H, L, S) added to the scores; of S keys that a cache has forgotten, the first are left out.
        cache: what earlier steps left.
        grid: (h, w) of a picture, whose patches follow ``prefix`` other tokens.
        prefix: tokens before the first patch.
        sizes: (B, 2) rows and columns of each picture, where some fill less than the grid.
        only: the one token of each sequence, 0 the first or -1 the last, whose answer is wanted; None for all.
        shared: kernel arguments that layers share within one pass.
    """

    mask: Mask = OPEN
    segments: Segments | None = None
    lengths: Tensor | None = None
    memory: Tensor | None = None
    memory_segments: Segments | None = None
    memory_mask: Mask = OPEN
    shift: Tensor | None = None
    memory_shift: Tensor | None = None
    memory_bias: Tensor | None = None
    rotation: Rotation | None = None
    bias: Tensor | None = None
    cache: Cache | None = None
    grid: tuple[int, int] | None = None
    prefix: int = 0
    sizes: Tensor | None = None
    only: int | None = None
    shared: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def past(self) -> int:
        """Tokens that came before this pass."""
        return self.cache.length if self.cache is not None else 0

    def wanted(self, x: Tensor) -> Tensor:
        """The tokens whose answers are wanted: of (..., L, D) all or (..., 1, D), of a packed (T, D) all or (B, D)."""
        if self.only is None:
            return x
        if self.segments is not None:
            return x[self.segments.ends if self.only else self.segments.begins]
        return x[..., -1:, :] if self.only else x[..., :1, :]
