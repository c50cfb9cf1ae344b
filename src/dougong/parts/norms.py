"""Norms: over the channels of each token, and over the batch for convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import BatchNorm2d, LayerNorm

__all__ = ["BatchNorm2d", "FrozenBatchNorm", "LayerNorm", "RMSNorm"]


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, computed in at least float32 (Zhang and Sennrich 2019, equation 4).

    Args:
        d_model: D.
        eps: added to the mean square.
        offset: added to the weight, which then starts at 1 - offset (Gemma stores weight - 1).
    """

    def __init__(self, d_model: int, eps: float = 1e-6, offset: float = 0.0) -> None:
        super().__init__()
        self.eps, self.offset = eps, offset
        self.weight = nn.Parameter(torch.full((d_model,), 1.0 - offset))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to the same."""
        wide = torch.promote_types(x.dtype, torch.float32)
        weight = self.weight.to(wide) + self.offset if self.offset else self.weight.to(wide)
        return nn.functional.rms_norm(x.to(wide), (x.shape[-1],), weight, self.eps).to(x.dtype)


class FrozenBatchNorm(nn.Module):
    """Batch norm that learns nothing more: statistics, weight and bias are buffers (Carion et al. 2020, appendix A.4).

    For a backbone that was trained on large batches and goes on with small ones.

    Args:
        channels: C.
        eps: added to the variance.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        for name, start in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), start))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return torch.addcmul((self.bias - self.running_mean * scale)[:, None, None], x, scale[:, None, None])
