"""The register of rules, and the tensors that they give."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

Rule = Callable[..., Any]
RULES: dict[Any, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operations by name: "mm", or "add.Tensor" for one overload."""

    def register(function: Rule) -> Rule:
        for name in names:
            packet, _, overload = name.partition(".")
            if hasattr(aten, packet):
                RULES[getattr(getattr(aten, packet), overload or "default")] = function
        return function

    return register


def new(like: Tensor, shape: Any, dtype: torch.dtype | None = None) -> Tensor:
    """An empty tensor."""
    return torch.empty(shape, dtype=dtype or like.dtype, device="meta")


def alike(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """An empty tensor of the same shape and order of axes, without holes."""
    if 0 in x.stride():
        return torch.empty(x.shape, dtype=dtype or x.dtype, device="meta")
    strides, expected = [0] * x.dim(), 1
    for axis in sorted(range(x.dim()), key=lambda axis: (x.stride(axis), -axis)):
        strides[axis] = expected
        expected *= max(x.shape[axis], 1)
    return torch.empty_strided(x.shape, strides, dtype=dtype or x.dtype, device="meta")


def common_shape(*shapes: Any) -> tuple[int, ...]:
    """The shape that some are broadcast to."""
    sides = itertools.zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    return tuple(max(side) if 0 not in side else 0 for side in sides)[::-1]
