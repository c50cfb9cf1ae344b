"""Anchors: boxes as the positions of object queries. They say where a query looks, and are refined layer by layer.

A box is centre x, centre y, width, height, as shares of the picture.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dougong.parts.positions import wave

SMALLEST = 0.02
"""Sides of a box below this share of the picture draw attention as if they were as long."""


class AnchorPositions(nn.Module):
    """A box as a vector to add to queries and keys: sinusoids of its four numbers through a network of two layers.

    DAB-DETR (Liu et al. 2022, equation 3).

    Args:
        d_model: D, even.
        base: of the wavelengths.
    """

    def __init__(self, d_model: int, base: float = 20.0) -> None:
        super().__init__()
        self.d_model, self.base = d_model, base
        self.network = nn.Sequential(nn.Linear(2 * d_model, d_model), nn.ReLU(), nn.Linear(d_model, d_model))

    def forward(self, boxes: Tensor) -> Tensor:
        """(B, N, 4) to (B, N, D)."""
        waves = wave(boxes * (2 * math.pi), self.d_model // 2, self.base).flatten(-2)
        return self.network(waves.to(boxes.dtype))


class AnchorPull(nn.Module):
    """What draws the attention of a query to its box: scores fall with the square of the distance from it.

    Each head looks at a point of the box of its own, at first at one of its middle, sides and corners, and as wide as
    it learns to. Distances are counted in the box's own width and height (Gao et al. 2021, section 3.1; the modulation
    by width and height of Liu et al. 2022, section 4.4, made a bias).

    Args:
        n_heads: H.
    """

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        angles = [2 * math.pi * head / n_heads for head in range(n_heads)]
        radii = [0.35 if head % 4 else 0.0 for head in range(n_heads)]
        points = [(r * math.cos(a), r * math.sin(a)) for a, r in zip(angles, radii, strict=True)]
        self.points = nn.Parameter(torch.tensor(points))
        self.narrowness = nn.Parameter(torch.tensor([1 + 2 * head / max(1, n_heads - 1) for head in range(n_heads)]))

    def forward(self, boxes: Tensor, places: Tensor) -> Tensor:
        """Boxes (B, N, 4) and places (B or 1, S, 2), x and y as shares, to scores to add (B, H, N, S)."""
        size = boxes[:, None, :, 2:].clamp(min=SMALLEST)
        aim = boxes[:, None, :, :2] + self.points[:, None] * size  # (B, H, N, 2)
        slope = -2 * nn.functional.softplus(self.narrowness)[:, None, None] / size.square()
        # -((p - a) / s)^2 as one product of what the queries say and what the places say
        queries = torch.cat((slope, -2 * slope * aim, (slope * aim.square()).sum(-1, keepdim=True)), -1)
        told = torch.cat((places.square(), places, torch.ones_like(places[..., :1])), -1)
        return (queries.flatten(1, 2) @ told.mT).unflatten(1, queries.shape[1:3])


def unsigmoid(boxes: Tensor, eps: float = 1e-3) -> Tensor:
    """The inverse of the logistic function: shares, kept ``eps`` away from 0 and 1, to any number."""
    return torch.logit(boxes, eps)
