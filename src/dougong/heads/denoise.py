"""Denoising: true boxes, made noisy, are given to a decoder to be mended, which teaches it from the first step on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dougong.parts.gaussian import gaussian
from dougong.parts.masks import Explicit


class Noise(nn.Module):
    """Queries made of true objects: groups of noisy copies that see nothing of each other (Li et al. 2022, section 4).

    Centres move by at most ``amount`` of half the box, sides change by at most ``amount``; some classes are swapped.

    Args:
        n_classes: C.
        d_model: D.
        groups: copies of each object.
        amount: of the noise of boxes.
        swapped: share of the classes that are drawn anew.
    """

    def __init__(self, n_classes: int, d_model: int, groups: int, amount: float = 0.4, swapped: float = 0.2) -> None:
        super().__init__()
        self.n_classes, self.groups, self.amount, self.swapped = n_classes, groups, amount, swapped
        self.classes = gaussian(n_classes, d_model, std=1.0)

    def forward(self, targets: Tensor, n_queries: int) -> tuple[Tensor, Tensor, Explicit]:
        """Objects (B, M, 5) to queries (B, groups M, D), their boxes (B, groups M, 4), and who may see whom.

        Args:
            targets: with negative classes where there is none.
            n_queries: N, of the queries that stand behind them; they see nothing of these.
        """
        real = (targets[..., 0] >= 0).repeat(1, self.groups)
        copies = targets.repeat(1, self.groups, 1)
        classes, boxes = copies[..., 0].long().clamp(min=0), copies[..., 1:]
        drawn = torch.randint(self.n_classes, classes.shape, device=classes.device)
        classes = torch.where(torch.rand(classes.shape, device=classes.device) < self.swapped, drawn, classes)
        noise = (torch.rand_like(boxes) * 2 - 1) * self.amount
        centre = boxes[..., :2] + noise[..., :2] * boxes[..., 2:] / 2
        noisy = torch.cat((centre, boxes[..., 2:] * (1 + noise[..., 2:])), -1).clamp(1e-3, 1 - 1e-3)
        count = targets.shape[1]
        group = torch.arange(count * self.groups, device=targets.device) // count
        group = torch.cat((group, group.new_full((n_queries,), -1)))
        seen = torch.cat((real, real.new_ones(len(real), n_queries)), 1)
        own = (group[:, None] == group[None, :]) | (group[None, :] < 0)
        return nn.functional.embedding(classes, self.classes), noisy, Explicit(own[None] & seen[:, None, :])
