"""Embedding: a whole sequence as one vector, to be compared with others."""

from __future__ import annotations

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
