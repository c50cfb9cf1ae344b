"""Comparing numbers, so that rounding and faults are told apart."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

# Twice the worst rounding seen, and thousands of times less than any fault leaves behind.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}
FAULT = 1e-3


def gap(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a share of the largest value of ``b`` (or of 1, where that is less).

    Raises:
        AssertionError: the shapes differ, or a value is not finite.
    """
    assert a.shape == b.shape, f"{tuple(a.shape)} is not {tuple(b.shape)}"
    assert a.isfinite().all() and b.isfinite().all(), "not finite"
    if not a.numel():
        return 0.0
    a, b = a.detach(), b.detach()
    return float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1))


def assert_equal_to_rounding(a: Tensor, b: Tensor, dtype: torch.dtype | None = None, factor: float = 1.0) -> None:
    """The two agree to the rounding of their type."""
    found = gap(a, b)
    allowed = TOLERANCE[dtype or a.dtype] * factor
    assert found <= allowed, f"differ by {found:.2e}, more than rounding ({allowed:.0e})"


def assert_different(a: Tensor, b: Tensor) -> None:
    """A negative control: the two differ by far more than rounding."""
    found = gap(a, b)
    assert found > FAULT, f"differ by only {found:.2e}: this comparison could not see a fault"


def in_both_precisions(compare: Callable[[torch.dtype], tuple[Tensor, Tensor]], factor: float = 1.0) -> None:
    """Run a comparison in float32 and again in float64: a fault stays, rounding shrinks a million times."""
    for dtype in (torch.float32, torch.float64):
        ours, reference = compare(dtype)
        assert ours.dtype == dtype and reference.dtype == dtype
        assert_equal_to_rounding(ours, reference, dtype, factor)


def shake(module: nn.Module, scale: float = 0.3) -> nn.Module:
    """Random values in every parameter and running statistic, so that no bias is zero and no norm is the identity."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * scale * (0.3 if parameter.dim() > 1 else 1.0))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.2)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return module


def copy_linear(ours: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """Put a weight (out, in) and a bias (out,) into a layer."""
    with torch.no_grad():
        assert ours.weight.shape == weight.shape
        ours.weight.copy_(weight)
        if bias is not None:
            ours.bias.copy_(bias)
