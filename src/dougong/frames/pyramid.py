"""A pyramid: stages that make ever coarser feature maps of a picture."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from dougong.frames.stack import Stack
from dougong.parts.grid import as_map


class Pyramid(nn.Module):
    """Stages one after another, each (B, C, h, w) to (B, C', h', w'); all their maps are kept.

    Args:
        stages: modules, finest map first.
    """

    def __init__(self, stages: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, C, h, w) to the map of each stage."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


class TopDown(nn.Module):
    """Maps of several stages brought to one width, each told what the coarser ones saw (Lin et al. 2017, figure 3).

    Args:
        sides: modules, finest first, each (B, C, h, w) to (B, D, h, w).
        smooth: modules, one for each map but the coarsest, (B, D, h, w) to the same, on what was joined.
        top: module ``(map, grid's sizes)`` on the coarsest map before it is handed down, as an encoder over its places.
    """

    def __init__(self, sides: Iterable[nn.Module], smooth: Iterable[nn.Module], top: nn.Module | None = None) -> None:
        super().__init__()
        self.sides, self.smooth, self.top = nn.ModuleList(sides), nn.ModuleList(smooth), top

    def forward(self, maps: tuple[Tensor, ...], sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        """The pyramid's last maps, finest first, to as many of width D.

        Args:
            maps: (B, C, h, w) each.
            sizes: (B, 2) rows and columns of the coarsest map that each picture fills, for ``top``.
        """
        found = [side(each) for side, each in zip(self.sides, maps[-len(self.sides) :], strict=True)]
        if self.top is not None:
            found[-1] = self.top(found[-1], sizes)
        for place in range(len(found) - 2, -1, -1):
            coarse = nn.functional.interpolate(found[place + 1], size=found[place].shape[2:], mode="nearest")
            found[place] = self.smooth[place](found[place] + coarse)
        return tuple(found)


class TokenStage(nn.Module):
    """A stage of tokens: a map becomes patches, a stack runs over them, and they become a map again.

    Args:
        patches: module, (B, C, h, w) to `Embedded` with its grid.
        stack: over them; its final norm included.
    """

    def __init__(self, patches: nn.Module, stack: Stack) -> None:
        super().__init__()
        self.patches, self.stack = patches, stack

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, D, h', w')."""
        embedded = self.patches(x)
        return as_map(self.stack(embedded.x, grid=embedded.grid), embedded.grid)
