"""Tagging: an answer at each token, as for named entities or the ends of an answer's span."""

from __future__ import annotations

from torch import Tensor, nn


class Tag(nn.Module):
    """Dropout and one linear layer at every token.

    With two classes it finds an answer in a text: the scores of the span's start and end (Devlin et al. 2019,
    section 4.2).

    Args:
        d_model: D.
        n_classes: C.
        dropout: before the linear layer.
        before: module at each token ahead of it (ModernBERT).
    """

    def __init__(self, d_model: int, n_classes: int, dropout: float = 0.0, before: nn.Module | None = None) -> None:
        super().__init__()
        self.before, self.dropout = before or nn.Identity(), nn.Dropout(dropout)
        self.linear = nn.Linear(d_model, n_classes)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to logits (B, L, C)."""
        return self.linear(self.dropout(self.before(hidden)))
