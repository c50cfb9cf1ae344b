"""Language: a score for each token of the vocabulary at each place."""

from __future__ import annotations

from torch import Tensor, nn

from dougong.parts.embeddings import TokenEmbedding


class Project(nn.Module):
    """One linear layer at every token. Args: d_model: D; d_out: width of the answer."""

    def __init__(self, d_model: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(d_model, d_out, bias)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to (B, L, d_out)."""
        return self.linear(hidden)


class Tied(nn.Module):
    """Scores by the embedding's own vectors (Press and Wolf 2017; Vaswani et al. 2017, section 3.4).

    Args:
        embedding: whose (V, D) table is shared; it is saved, counted and trained once.
    """

    def __init__(self, embedding: TokenEmbedding) -> None:
        super().__init__()
        self.weight = embedding.weight

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to logits (B, L, V)."""
        return nn.functional.linear(hidden, self.weight)
