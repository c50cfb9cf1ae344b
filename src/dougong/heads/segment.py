"""Segmentation: every pixel, or patch of pixels, is scored for every class.

These heads answer with ``masks``, (B, C, h, w), and read every map of a pyramid, finest first, or the tokens of a
stack. Their grid may be coarser than the picture's; whoever compares masks with pixels enlarges them (`enlarged`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dougong.parts.gaussian import gaussian
from dougong.parts.grid import as_map, as_tokens

LAID_OUT = torch.contiguous_format


def enlarged(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Scores (B, C, h', w') at each pixel of a picture of (h, w), bilinearly; the same where they are of that size."""
    if tuple(masks.shape[-2:]) == tuple(size):
        return masks
    return F.interpolate(masks, (int(size[0]), int(size[1])), mode="bilinear", align_corners=False)


def pixel_loss(
    masks: Tensor, truth: Tensor, void: int = 255, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy in nats, the mean over all pixels of a batch that are of some class.

    Args:
        masks: (B, C, h', w'), enlarged to the truth.
        truth: (B, h, w) classes.
        void: pixels of this class do not count; where no others are, the loss is 0.
        weights: (C,) what a pixel of each class counts for.
        label_smoothing: share of the truth that is spread over all classes (Szegedy et al. 2016, section 7).
    """
    scores = enlarged(masks.float() if masks.dtype != torch.float64 else masks, truth.shape[-2:])
    if not bool((truth != void).any()):
        return scores.sum() * 0
    return F.cross_entropy(scores, truth.long(), weights, ignore_index=void, label_smoothing=label_smoothing)


class AllMlp(nn.Module):
    """Maps of all stages brought to one width and the finest grid, joined, and scored (Xie et al. 2021, equation 4).

    Args:
        channels: of each map, finest first.
        d_model: the width that they are brought to.
        n_classes: C.
        dropout: before the scores.
    """

    answers = "masks"

    def __init__(self, channels: Sequence[int], d_model: int, n_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.sides = nn.ModuleList(nn.Linear(each, d_model) for each in channels)
        self.join = nn.Conv2d(d_model * len(channels), d_model, 1, bias=False)
        self.norm, self.dropout = nn.BatchNorm2d(d_model), nn.Dropout(dropout)
        self.score = nn.Conv2d(d_model, n_classes, 1)

    def forward(self, maps: Sequence[Tensor], lengths: Tensor | None = None) -> Tensor:
        """Maps (B, C', h, w) to masks (B, C, h, w) of the finest."""
        joined = self._summed(maps) if self._plain() else self._side_by_side(maps)
        return self.score(self.dropout(self.norm(joined).relu()))

    def _side_by_side(self, maps: Sequence[Tensor]) -> Tensor:
        """What is joined, as the paper writes it: (B, D, h, w)."""
        size = maps[0].shape[2:]
        sides = [
            enlarged(as_map(side(as_tokens(each)), (each.shape[2], each.shape[3])), size)
            for side, each in zip(self.sides, maps, strict=True)
        ]
        return self.join(torch.cat(sides[::-1], 1))  # coarsest first, as the published weights have it

    def _summed(self, maps: Sequence[Tensor]) -> Tensor:
        """The same from fewer products: (B, D, h, w).

        Joining is a sum over the maps, and it treats every place alike, as enlarging treats every channel alike with
        shares that sum to one; so both linear steps of a map can be taken as one, at the places that the map has.
        """
        shares = self.join.weight.flatten(1).chunk(len(self.sides), 1)[::-1]
        total: Tensor | None = None
        for side, share, each in zip(self.sides, shares, maps, strict=True):
            assert isinstance(side, nn.Linear)
            # copies, which begin at a cache line: small products differ in the last bit where loaded weights do not
            share, weight, bias = (one.clone(memory_format=LAID_OUT) for one in (share, side.weight, side.bias))
            tokens = F.linear(as_tokens(each), share @ weight, share @ bias)
            large = enlarged(as_map(tokens, (each.shape[2], each.shape[3])), maps[0].shape[2:])
            total = large if total is None else total + large
        assert total is not None
        return total

    def _plain(self) -> bool:
        """Whether all linear steps are what they were built as, and no hook waits for what one of them gives."""
        parts: list[nn.Module] = [self.join, *self.sides]
        usual = all(type(part) is (nn.Linear if index else nn.Conv2d) for index, part in enumerate(parts))
        return usual and not any(part._forward_hooks or part._forward_pre_hooks for part in parts)


class UpPath(nn.Module):
    """The way back up of a U: each step doubles the map and joins the one of its size from the way down.

    Ronneberger et al. 2015, section 2: a transposed convolution, the copied map, then a body; a 1x1 convolution scores.

    Args:
        channels: of each map on the way down, finest first.
        bodies: of each step but the coarsest, finest first: module, twice the channels of its map to as many as it has.
        n_classes: C.
    """

    answers = "masks"

    def __init__(self, channels: Sequence[int], bodies: Sequence[nn.Module], n_classes: int) -> None:
        super().__init__()
        pairs = zip(channels[1:], channels[:-1], strict=True)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, 2) for coarse, fine in pairs)
        self.bodies = nn.ModuleList(bodies)
        self.score = nn.Conv2d(channels[0], n_classes, 1)

    def forward(self, maps: Sequence[Tensor], lengths: Tensor | None = None) -> Tensor:
        """Maps (B, C', h, w) to masks (B, C, h, w) of the finest."""
        x = maps[-1]
        for up, body, across in zip(reversed(self.ups), reversed(self.bodies), maps[-2::-1], strict=True):
            size = [across.shape[2], across.shape[3]]  # an odd side was rounded down on the way
            x = body(torch.cat((across, up(x, output_size=size)), 1))
        return self.score(x)


class LinearPatches(nn.Module):
    """Every patch scored by one linear layer (Strudel et al. 2021, section 3.2: the linear decoder).

    Args:
        grid: (h, w) of the patches.
        skip: tokens before them.
        d_model: D.
        n_classes: C.
        dropout: before the scores.
    """

    answers = "masks"

    def __init__(self, grid: tuple[int, int], skip: int, d_model: int, n_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.grid, self.skip = grid, skip
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(d_model, n_classes)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to masks (B, C, h, w)."""
        return as_map(self.linear(self.dropout(hidden[:, self.skip :])), self.grid)


class MaskTransformer(nn.Module):
    """Class embeddings among the patches, and each patch compared with each (Strudel et al. 2021, section 3.2).

    Args:
        grid: (h, w) of the patches.
        skip: tokens before them.
        d_model: D.
        n_classes: C.
        stack: module, (B, L, D) to the same, over the patches and behind them one token for each class.
    """

    answers = "masks"

    def __init__(self, grid: tuple[int, int], skip: int, d_model: int, n_classes: int, stack: nn.Module) -> None:
        super().__init__()
        self.grid, self.skip, self.stack = grid, skip, stack
        self.enter = nn.Linear(d_model, d_model)
        self.classes = gaussian(n_classes, d_model, std=0.02)
        self.patch, self.word = (nn.Linear(d_model, d_model, bias=False) for _ in range(2))
        self.norm = nn.LayerNorm(n_classes)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to masks (B, C, h, w): cosines of patches and classes, normed over the classes."""
        x = self.enter(hidden[:, self.skip :])
        x = self.stack(torch.cat((x, self.classes.expand(x.shape[0], -1, -1)), 1))
        n = self.grid[0] * self.grid[1]
        patches, classes = F.normalize(self.patch(x[:, :n]), dim=-1), F.normalize(self.word(x[:, n:]), dim=-1)
        return as_map(self.norm(patches @ classes.transpose(1, 2)), self.grid)
