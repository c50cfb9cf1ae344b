"""Linear layers by the kernel that is fastest for a few rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from dougong.heads.language import Tied


class FastLinears:
    """While it is entered, a model's linear layers run by oneDNN, where it is there: for inference on the CPU only.

    torch's default for a few rows of float32 reads weights with one core's bandwidth; oneDNN reads the very same
    tensors with that of all of them. Results differ in the last bits. Nothing is copied.

    Args:
        model: whose layers they are.
    """

    def __init__(self, model: nn.Module) -> None:
        suited = [part for part in model.modules() if _suits(part)] if _there() else []
        self.layers = [part for part in suited if isinstance(part, nn.Linear)]
        self.heads = [part for part in suited if isinstance(part, Tied)]
        self._forwards = [_forward(layer) for layer in self.layers]

    def __enter__(self) -> None:
        for layer, forward in zip(self.layers, self._forwards, strict=True):
            layer.__dict__["forward"] = forward
        for head in self.heads:
            head.__dict__["multiply"] = linear

    def __exit__(self, *raised: object) -> None:
        for layer in self.layers:
            layer.__dict__.pop("forward", None)
        for head in self.heads:
            head.__dict__.pop("multiply", None)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(..., D) by weights (F, D) to (..., F) through oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _forward(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    weight, bias = layer.weight, layer.bias
    return lambda x: linear(x, weight, bias)


def _suits(part: nn.Module) -> bool:
    """A layer of exactly this kind, not one that a rewritten tree has in its place, with plain float32 weights."""
    if type(part) is not nn.Linear and type(part) is not Tied:
        return False
    weight = part.weight
    return isinstance(weight, Tensor) and weight.device.type == "cpu" and weight.dtype == torch.float32


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
