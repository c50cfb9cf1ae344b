"""Products of matrices by oneDNN, where torch's default for float32 on the CPU is slower.

Both take the very same tensors, and their results differ in the last bits.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_asked = threading.local()


@contextlib.contextmanager
def by_onednn(on: bool = True) -> Iterator[None]:
    """What is entered here multiplies by oneDNN, where it can be had. Args: on: False changes nothing."""
    before = getattr(_asked, "on", False)
    _asked.on = on
    try:
        yield
    finally:
        _asked.on = before


def onednn(*factors: Tensor) -> bool:
    """Whether these are multiplied by it: it was asked for, it is there, and they are float32 on the CPU."""
    if not getattr(_asked, "on", False):
        return False
    return all(one.dtype == torch.float32 and one.device.type == "cpu" for one in factors) and there()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., D) by weights (F, D), as they lie or packed, to (..., F) through oneDNN; for inference."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class Linear(torch.autograd.Function):
    """`torch.nn.functional.linear` whose products are oneDNN's, to learn with.

    It copies factors that lie turned, so that of a wide layer's weights the gradient is torch's.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(..., D) by (F, D) to (..., F)."""
        ctx.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Of input, weights and bias; each where it is asked for."""
        x, weight = ctx.saved_tensors
        rows, to_weight = gradient.flatten(0, -2), None
        to_x = linear(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        if ctx.needs_input_grad[1]:
            turned, given = rows.t(), x.flatten(0, -2)
            to_weight = linear(turned, given.t()) if len(turned) < given.shape[1] else turned @ given
        to_bias = rows.sum(0) if ctx.needs_input_grad[2] else None
        return to_x, to_weight, to_bias


@cache
def there() -> bool:
    """Whether this build of torch has the operators, and they compute what they should."""
    if not torch.backends.mkldnn.is_available():
        return False
    x, weight, bias = torch.randn(2, 3, 5), torch.randn(4, 5), torch.randn(4)
    try:
        with torch.inference_mode():
            right, packed = (
                torch.nn.functional.linear(x, weight, bias),
                torch.ops.mkldnn._reorder_linear_weight(weight, 6),
            )
            return all(torch.allclose(linear(x, each, bias), right, atol=1e-5) for each in (weight, packed))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
