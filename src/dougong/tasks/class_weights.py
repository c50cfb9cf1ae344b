"""What a sample of each class counts for in the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dougong.data.tagging import IGNORED
from dougong.errors import UserError, unknown


def weights_of_classes(
    given: str | dict[str, float], classes: Sequence[str], counts: Sequence[int], several: bool = False
) -> Tensor | None:
    """A weight for each class, (C,) float32; None where all count the same.

    Args:
        given: "none"; "balanced", samples / (classes * samples of the class), as in King and Zeng (2001, section 4.1),
            or, where a sample may have several classes, the samples without a class over those with it; or weights by
            name, 1 for the others.
        classes: their names.
        counts: training samples of each.
        several: a sample may have any number of classes; ``counts`` then ends with the number of samples.

    Raises:
        UserError: an unknown class, or a weight that is no positive number.
    """
    if given == "none":
        return None
    if isinstance(given, dict):
        for name, value in given.items():
            if name not in classes:
                raise unknown("class_weights", "class", name, classes)
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"class_weights: {name}", f"{value} is no positive number", "give a number above 0")
        return torch.tensor([float(given.get(name, 1.0)) for name in classes])
    found = torch.tensor(counts[: len(classes)], dtype=torch.double).clamp_min(1)
    if several:
        return ((counts[-1] - found).clamp_min(1) / found).float()
    return (sum(counts) / (len(classes) * found)).float()


def said_weights(weights: Tensor, classes: Sequence[str]) -> str:
    """A line that says what a sample of each class counts for."""
    each = [f"{name} {value:.3g}" for name, value in zip(classes, weights.tolist(), strict=True)]
    return "class weights " + ", ".join(each[:12]) + (f" and {len(each) - 12} more" if len(each) > 12 else "")


def counted(targets: Tensor, weights: Tensor | None) -> float:
    """What a mean over targets, classes by number, is over: their number, or the sum of their classes' weights."""
    real = targets[targets != IGNORED]
    return float(len(real) if weights is None else weights[real.cpu()].sum())
