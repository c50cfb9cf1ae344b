"""A pyramid: stages that make ever coarser feature maps of a picture."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


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
