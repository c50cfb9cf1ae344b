"""A detector whose queries are boxes: an encoder's best places become anchors, and a decoder refines them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dougong.frames.detector import covered, filled, without_padding
from dougong.frames.pyramid import TopDown
from dougong.parts.anchors import unsigmoid
from dougong.parts.context import Context
from dougong.parts.masks import OPEN, Explicit, Mask
from dougong.parts.output import Feature, Output

CELL = 2.5
"""Width and height of a place's own anchor, in cells of its map."""


class AnchorDecoder(nn.Module):
    """Blocks of queries whose positions are boxes that each block moves (Liu et al. 2022, figure 4; Zhu et al. 2021).

    Args:
        blocks: modules with ``(x, context)``.
        positions: module, boxes (B, N, 4) to (B, N, D), added to queries and keys.
        pulls: modules, one a block, from boxes and places to scores of the memory (B, H, N, S).
        head: module from states and boxes before the logistic function to logits and boxes.
        after: the norm before the head.
    """

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        positions: nn.Module,
        pulls: Iterable[nn.Module],
        head: nn.Module,
        after: nn.Module,
    ) -> None:
        super().__init__()
        self.blocks, self.pulls = nn.ModuleList(blocks), nn.ModuleList(pulls)
        self.positions, self.head, self.after = positions, head, after

    def forward(
        self, x: Tensor, anchors: Tensor, places: Tensor, context: Context
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """States (B, N, D) and boxes (B, N, 4) to the last states, and logits and boxes of every block.

        A block learns its own step only: gradients do not pass from it to the boxes that it began with.

        Args:
            x: what the queries begin with.
            anchors: their boxes.
            places: (B or 1, S, 2) where the memory's places are, x and y as shares of the picture.
            context: mask of the queries, memory, its mask and its positions.
        """
        found, state = [], x
        for block, pull in zip(self.blocks, self.pulls, strict=True):
            anchors = anchors.detach()
            bias = pull(anchors, places.to(x.dtype))
            x = block(x, replace(context, shift=self.positions(anchors), memory_bias=bias, shared={}))
            state = self.after(x)
            logits, anchors = self.head(state, unsigmoid(anchors))
            found.append((logits, anchors))
        return state, found


class AnchorDetector(nn.Module):
    """stem, pyramid, top-down maps, a first guess at every place, and a decoder that refines the best of them.

    Args:
        embedding: a `MapEmbedding`, the pyramid's stem.
        body: a `Pyramid`.
        project: a `TopDown`, whose maps are the memory.
        levels: (n, D) learned, one vector for each map, added where keys are made of it.
        guess: module from places (B, S, D) and their own boxes to logits and boxes.
        decoder: an `AnchorDecoder`.
        noise: module that makes queries of noisy true boxes, in training; None for none.
        n_queries: N.
        features: what the pyramid gives.
    """

    config: dict[str, Any]
    input_kind = "image"

    def __init__(
        self,
        embedding: nn.Module,
        body: nn.Module,
        project: TopDown,
        levels: nn.Parameter,
        guess: nn.Module,
        decoder: AnchorDecoder,
        noise: nn.Module | None,
        n_queries: int,
        features: list[Feature],
    ) -> None:
        super().__init__()
        self.embedding, self.body, self.project, self.levels = embedding, body, project, levels
        self.guess, self.decoder, self.noise = guess, decoder, noise
        self.n_queries, self.feature_info, self.config = n_queries, features, {}

    @property
    def memory_levels(self) -> int:
        """Of the pyramid's maps, how many of the last ones are the memory."""
        return len(self.project.sides)

    def forward(self, pixels: Tensor, sizes: Tensor | None = None, *, targets: Tensor | None = None) -> Output:
        """Pixels (B, 3, h, w) to an `Output` with logits (B, N, C), boxes (B, N, 4) and those of earlier layers.

        The first of the earlier answers is that of all places, of which the best become queries (Zhu et al. 2021,
        section 4.2, two-stage).

        Args:
            pixels: the pictures; those that are smaller than the batch lie at its upper left.
            sizes: (B, 2) height and width of each picture in pixels; what stands beyond them is not looked at.
            targets: (B, M, 5) true objects, of which noisy copies are given too, to be mended (Li et al. 2022).
        """
        image = (pixels.shape[2], pixels.shape[3])
        maps = self.body(self.embedding(pixels if sizes is None else without_padding(pixels, sizes)))
        coarsest = (maps[-1].shape[2], maps[-1].shape[3])
        seen = self.project(maps, None if sizes is None else covered(sizes, image, coarsest))
        memory = torch.cat([each.flatten(2).mT for each in seen], 1)
        own, real = self._places(seen, sizes, image)
        counts = [each.shape[2] * each.shape[3] for each in seen]
        shift = torch.cat([level.expand(count, -1) for level, count in zip(self.levels, counts, strict=True)])
        logits, boxes = self.guess(memory, unsigmoid(own))
        score = logits.detach().amax(-1)
        score = score if real is None else score.masked_fill(~real, -torch.inf)
        best = score.topk(min(self.n_queries, score.shape[1]), 1).indices
        anchors = boxes.detach().gather(1, best[..., None].expand(-1, -1, 4))
        x = memory.detach().gather(1, best[..., None].expand(-1, -1, memory.shape[2]))
        if real is not None:
            logits = logits.masked_fill(~real[..., None], -1e4)
        first = Output(logits=logits, boxes=boxes, many=True)
        mask, given = OPEN, 0
        if self.noise is not None and targets is not None and targets.shape[1]:
            queries, noisy, mask = self.noise(targets.to(anchors), x.shape[1])
            x, anchors, given = torch.cat((queries, x), 1), torch.cat((noisy, anchors), 1), queries.shape[1]
        unseen: Mask = OPEN if real is None else Explicit(real[:, None])
        context = Context(mask=mask, memory=memory, memory_mask=unseen, memory_shift=shift)
        hidden, found = self.decoder(x, anchors, own[..., :2], context)
        answers = [Output(logits=a[:, given:], boxes=b[:, given:]) for a, b in found]
        noised = tuple(Output(logits=a[:, :given], boxes=b[:, :given], many=True) for a, b in found if given)
        last = answers.pop()
        return Output(
            hidden=hidden[:, given:], logits=last.logits, boxes=last.boxes, features=maps, memory=memory,
            auxiliary=(first, *answers), denoised=noised,
        )  # fmt: skip

    def _places(
        self, seen: tuple[Tensor, ...], sizes: Tensor | None, image: tuple[int, int]
    ) -> tuple[Tensor, Tensor | None]:
        """The own boxes of all places, (B or 1, S, 4), and which of them are in the picture, (B, S)."""
        boxes, real = [], []
        for each in seen:
            grid = (each.shape[2], each.shape[3])
            whole = torch.tensor([grid], device=each.device)
            cells = whole if sizes is None else covered(sizes.to(each.device), image, grid)
            wide = cells.to(each.dtype)[:, None, None]  # (B, 1, 1, 2), rows and columns
            rows, columns = (torch.arange(side, device=each.device, dtype=each.dtype) + 0.5 for side in grid)
            centre = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)[None] / wide
            side = (CELL / wide).expand_as(centre)
            boxes.append(torch.cat((centre.flip(-1), side.flip(-1)), -1).flatten(1, 2).clamp(max=0.999))
            real.append(filled(cells, grid).flatten(1))
        return torch.cat(boxes, 1), None if sizes is None else torch.cat(real, 1)

    def example_inputs(
        self, batch: int = 1, length: int | None = None, device: torch.device | str | None = None
    ) -> tuple[Tensor, ...]:
        """Pixels of the right shape, all zero; a picture has no length to choose."""
        return (self.embedding.example(batch, length, device),)  # type: ignore[operator]
