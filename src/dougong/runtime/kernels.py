"""Linear layers by the kernel that is fastest for a few rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn

from dougong.heads.language import Tied


@contextmanager
def fast_linears(model: nn.Module) -> Iterator[None]:
    """While this lasts, the model's linear layers run by oneDNN, where it is there: for inference on the CPU only.

    torch's default for a few rows of float32 reads weights with one core's bandwidth; oneDNN reads the very same
    tensors with that of all of them. Results differ in the last bits. Nothing is copied.
    """
    layers = [part for part in model.modules() if type(part) is nn.Linear and _suits(part.weight)]
    heads = [part for part in model.modules() if isinstance(part, Tied) and _suits(part.weight)]
    if not (layers or heads) or not _there():
        yield
        return
    for layer in layers:
        layer.forward = _forward(layer)  # type: ignore[method-assign]
    for head in heads:
        head.multiply = linear  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
        for head in heads:
            del head.multiply


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(..., D) by weights (F, D) to (..., F) through oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _forward(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    weight, bias = layer.weight, layer.bias
    return lambda x: linear(x, weight, bias)


def _suits(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32


@cache
def _there() -> bool:
    """Whether this build of torch has the operator, and it computes what it should."""
    if not torch.backends.mkldnn.is_available():
        return False
    x, weight, bias = torch.randn(2, 3, 5), torch.randn(4, 5), torch.randn(4)
    try:
        with torch.inference_mode():
            return torch.allclose(linear(x, weight, bias), nn.functional.linear(x, weight, bias), atol=1e-5)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
