"""The three products of a linear layer that learns, each by torch's default or by oneDNN.

Forward y = x W^T + b; backward the gradient of x, g W, and that of W, g^T x. On some processors oneDNN computes them two
to three times as fast as torch's default, on others only the first two, or none: `Products` says which to take.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Products:
    """Which of a layer's products oneDNN computes.

    Args:
        forward: y from x and W.
        to_input: the gradient of x.
        to_weight: the gradient of W.
    """

    forward: bool = False
    to_input: bool = False
    to_weight: bool = False

    @property
    def any(self) -> bool:
        """Whether it computes one of them."""
        return self.forward or self.to_input or self.to_weight


def onednn(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., k) by (m, k) to (..., m), on the CPU, plus a bias (m,)."""
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")


class LinearProducts(torch.autograd.Function):
    """`torch.nn.functional.linear` whose products are computed as `Products` says; it can be differentiated once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, products: Products) -> Tensor:
        """(..., D) to (..., F).

        Args:
            ctx: keeps input and weights.
            x: (..., D).
            weight: (F, D).
            bias: (F,), or None.
            products: which of them oneDNN computes.
        """
        ctx.save_for_backward(x, weight)
        ctx.products = products
        return onednn(x, weight, bias) if products.forward else F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, W and b from that of the answer, (..., F)."""
        x, weight = ctx.saved_tensors
        products, rows = ctx.products, gradient.reshape(-1, gradient.shape[-1])
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = (onednn(rows, weight.t()) if products.to_input else rows @ weight).view(x.shape)
        if ctx.needs_input_grad[1]:
            inputs = x.reshape(-1, x.shape[-1])
            to_weight = onednn(rows.t(), inputs.t()) if products.to_weight else rows.t() @ inputs
        if ctx.needs_input_grad[2]:
            to_bias = rows.sum(0)
        return to_x, to_weight, to_bias, None


class _Switch(threading.local):
    products = Products()


_SWITCH = _Switch()


@contextlib.contextmanager
def multiplying(products: Products) -> Iterator[None]:
    """While it is entered, by this thread, losses in chunks compute the head's products so (float32 on the CPU)."""
    before, _SWITCH.products = _SWITCH.products, products
    try:
        yield
    finally:
        _SWITCH.products = before


def of_heads() -> Products:
    """How this thread computes the products of heads; all by torch's default unless `multiplying` is entered."""
    return _SWITCH.products
