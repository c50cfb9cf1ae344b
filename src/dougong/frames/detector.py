"""A detector: a pyramid's last map is read by an encoder, and object queries read what it makes of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dougong.parts.masks import OPEN, Explicit, Mask
from dougong.parts.output import Feature, Output


class Detector(nn.Module):
    """stem, pyramid, one linear layer a place, encoder, decoder of object queries, head (Carion et al. 2020, figure 2).

    The decoder's input is zeros; its queries are its positions.

    Args:
        embedding: a `MapEmbedding`, the pyramid's stem.
        body: a `Pyramid`.
        project: module, (B, C, h, w) to (B, D, h, w).
        encoder: a `Stack` over the places of the last map.
        decoder: a `Stack` whose blocks have cross-attention.
        head: module from states (..., N, D) to logits and boxes.
        n_queries: N.
        features: what the pyramid gives.
    """

    config: dict[str, Any]
    input_kind = "image"
    memory_levels = 1
    """Of the pyramid's maps, how many of the last ones are the memory."""

    def __init__(
        self,
        embedding: nn.Module,
        body: nn.Module,
        project: nn.Module,
        encoder: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
        n_queries: int,
        features: list[Feature],
    ) -> None:
        super().__init__()
        self.embedding, self.body, self.project = embedding, body, project
        self.encoder, self.decoder, self.head = encoder, decoder, head
        self.n_queries, self.feature_info, self.config = n_queries, features, {}

    def forward(self, pixels: Tensor, sizes: Tensor | None = None) -> Output:
        """Pixels (B, 3, h, w) to an `Output` with logits (B, N, C + 1), boxes (B, N, 4) and those of earlier layers.

        Args:
            pixels: the pictures; those that are smaller than the batch lie at its upper left.
            sizes: (B, 2) height and width of each picture in pixels; what stands beyond them is not looked at.
        """
        maps = self.body(self.embedding(pixels if sizes is None else without_padding(pixels, sizes)))
        places = self.project(maps[-1])
        grid = (places.shape[2], places.shape[3])
        cells = None if sizes is None else covered(sizes, (pixels.shape[2], pixels.shape[3]), grid)
        mask = seen(cells, grid)
        memory = over_places(self.encoder, places, cells)
        layers: list[Tensor] = []
        start = memory.new_zeros(memory.shape[0], self.n_queries, memory.shape[2])
        hidden = self.decoder(start, memory=memory, memory_mask=mask, grid=grid, sizes=cells, layers=layers)
        states = torch.stack([*(self.decoder.after(each) for each in layers[:-1]), hidden])  # type: ignore[operator]
        logits, boxes = self.head(states)
        earlier = tuple(Output(logits=a, boxes=b) for a, b in zip(logits[:-1], boxes[:-1], strict=True))
        return Output(
            hidden=hidden, logits=logits[-1], boxes=boxes[-1], features=maps, memory=memory, auxiliary=earlier
        )

    def example_inputs(
        self, batch: int = 1, length: int | None = None, device: torch.device | str | None = None
    ) -> tuple[Tensor, ...]:
        """Pixels of the right shape, all zero; a picture has no length to choose."""
        return (self.embedding.example(batch, length, device),)  # type: ignore[operator]


class OverPlaces(nn.Module):
    """A stack that reads a map place by place. Args: stack: on (B, h w, D)."""

    def __init__(self, stack: nn.Module) -> None:
        super().__init__()
        self.stack = stack

    def forward(self, places: Tensor, cells: Tensor | None = None) -> Tensor:
        """A map (B, D, h, w) to the same. Args: places; cells: as of `over_places`."""
        return over_places(self.stack, places, cells).mT.unflatten(2, places.shape[2:])


def over_places(stack: nn.Module, places: Tensor, cells: Tensor | None) -> Tensor:
    """A map (B, D, h, w) through a stack: (B, h w, D).

    Args:
        stack: a `Stack`.
        places: the map.
        cells: (B, 2) rows and columns that each picture fills; None where all are filled.
    """
    grid = (places.shape[2], places.shape[3])
    return stack(places.flatten(2).mT, mask=seen(cells, grid), grid=grid, sizes=cells)


def seen(cells: Tensor | None, grid: tuple[int, int]) -> Mask:
    """The places that may be attended to. Args: cells: (B, 2) that are filled; grid: of the map."""
    return OPEN if cells is None else Explicit(filled(cells, grid).flatten(1)[:, None])


def covered(sizes: Tensor, image: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """How many rows and columns of a grid pictures reach into: (B, 2) pixels to (B, 2).

    Args:
        sizes: (B, 2) height and width of each picture.
        image: (h, w) of the batch, in pixels.
        grid: (h, w) of the map that is made of it.

    Examples:
        >>> covered(torch.tensor([[64, 33]]), (64, 64), (2, 2)).tolist()
        [[2, 2]]
    """
    cells = [-(-sizes[:, axis] * grid[axis] // image[axis]) for axis in (0, 1)]
    return torch.stack(cells, 1)


def filled(sizes: Tensor, grid: tuple[int, int]) -> Tensor:
    """Where pictures are in a batch: (B, 2) rows and columns to bool (B, h, w)."""
    rows, columns = (torch.arange(side, device=sizes.device) < sizes[:, axis, None] for axis, side in enumerate(grid))
    return rows[:, :, None] & columns[:, None, :]


def without_padding(pixels: Tensor, sizes: Tensor) -> Tensor:
    """Pictures (B, 3, h, w) with zeros beyond their sizes (B, 2), whatever stood there."""
    return pixels.masked_fill(~filled(sizes, (pixels.shape[2], pixels.shape[3]))[:, None], 0)
