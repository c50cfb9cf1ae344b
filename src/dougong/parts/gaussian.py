"""Parameters that start from a normal distribution."""

from __future__ import annotations

import torch
from torch import nn


def gaussian(*shape: int, std: float) -> nn.Parameter:
    """A parameter of this shape, drawn with mean 0 and deviation ``std``.

    On the meta device nothing is drawn: there are no values, and torch would load its compiler to work that out.
    """
    weight = torch.empty(shape)
    return nn.Parameter(weight if weight.is_meta else nn.init.normal_(weight, std=std))
