"""Embedding: a whole sequence as one vector, to be compared with others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Embed(nn.Module):
    """pool, norm, and a linear layer without bias (Radford et al. 2021, section 2.3).

    Args:
        pool: module with ``(hidden, lengths)``.
        d_model: D.
        d_out: P, width of the vector.
        norm: module on the pooled vector.
    """

    def __init__(self, pool: nn.Module, d_model: int, d_out: int, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.pool, self.norm = pool, norm or nn.Identity()
        self.linear = nn.Linear(d_model, d_out, bias=False)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to (B, P)."""
        return self.linear(self.norm(self.pool(hidden, lengths)))


def mean(hidden: Tensor, real: Tensor) -> Tensor:
    """The mean over real tokens (Reimers and Gurevych 2019, section 3).

    Args:
        hidden: (B, L, D).
        real: (B, L, 1), 1 where a token counts, 0 in the padding; of hidden's type.
    """
    return (hidden * real).sum(1) / real.sum(1).clamp(min=1)


def _mean_sqrt(hidden: Tensor, real: Tensor) -> Tensor:
    return (hidden * real).sum(1) / real.sum(1).clamp(min=1).sqrt()


def _weighted(hidden: Tensor, real: Tensor) -> Tensor:
    """Later tokens count more (Muennighoff 2022, section 3)."""
    weights = real * torch.arange(1, hidden.shape[1] + 1, device=hidden.device, dtype=hidden.dtype)[:, None]
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def _first(hidden: Tensor, real: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), real[..., 0].argmax(1)]


def _last(hidden: Tensor, real: Tensor) -> Tensor:
    place = hidden.shape[1] - 1 - real[..., 0].flip(1).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), place]


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _first,
    "max": lambda hidden, real: hidden.masked_fill(real == 0, float("-inf")).amax(1),
    "mean": mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted,
    "lasttoken": _last,
}
"""Ways from hidden states (B, L, D) to one vector (B, D), by the names of sentence-transformers."""


def pooled(hidden: Tensor, lengths: Tensor, pooling: Sequence[str] = ("mean",), skip: int = 0) -> Tensor:
    """Hidden states as one vector a row.

    Args:
        hidden: (B, L, D).
        lengths: (B,) real tokens of each row.
        pooling: names of `POOLINGS`; several vectors are put side by side.
        skip: tokens at the beginning that do not count.

    Returns:
        (B, D times the number of poolings).
    """
    place = torch.arange(hidden.shape[1], device=hidden.device)
    real = ((place < lengths[:, None]) & (place >= skip))[..., None].to(hidden.dtype)
    return torch.cat([POOLINGS[name](hidden, real) for name in pooling], -1)
