"""Boxes: their two ways of being written, and how much two of them have in common."""

from __future__ import annotations

import torch
from torch import Tensor


def corners(boxes: Tensor) -> Tensor:
    """Centre x, centre y, width, height to left, top, right, bottom: (..., 4) to the same."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((centre - size / 2, centre + size / 2), -1)


def centres(boxes: Tensor) -> Tensor:
    """Left, top, right, bottom to centre x, centre y, width, height: (..., 4) to the same."""
    first, last = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((first + last) / 2, last - first), -1)


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and the union: boxes by their corners, (..., 4) each, to (...), broadcast.

    Two boxes without an area have nothing in common.
    """
    inside = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = area(a) + area(b) - inside
    return inside / union.clamp(min=torch.finfo(union.dtype).tiny), union


def area(boxes: Tensor) -> Tensor:
    """Of boxes by their corners, (..., 4) to (...)."""
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised intersection over union, from -1 to 1 (Rezatofighi et al. 2019, algorithm 1).

    The intersection over union, less the share of the smallest box around both that neither fills.

    Args:
        a, b: boxes by their corners, (..., 4) each, broadcast.
    """
    iou, union = overlap(a, b)
    around = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    return iou - (around - union) / around.clamp(min=torch.finfo(around.dtype).tiny)
