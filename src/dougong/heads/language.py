"""Language: a score for each token of the vocabulary at each place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.feedforward import Activation


class Project(nn.Module):
    """One linear layer at every token. Args: d_model: D; d_out: width of the answer."""

    may_wait = True  # see dougong.parts.output.Pending

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
        scale: of the hidden states (T5: 1 / sqrt(D)).
        bias: a fixed value for each token of the vocabulary is added, 0 at first; it is not trained (BART, Marian).
    """

    may_wait = True
    bias: Tensor | None
    multiply = staticmethod(nn.functional.linear)  # inference may put a faster kernel in its place

    def __init__(self, embedding: TokenEmbedding, scale: float = 1.0, bias: bool = False) -> None:
        super().__init__()
        self.weight, self.scale = embedding.weight, scale
        self.register_buffer("bias", torch.zeros(embedding.vocab_size) if bias else None)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to logits (B, L, V)."""
        return self.multiply(hidden * self.scale if self.scale != 1 else hidden, self.weight, self.bias)


class MaskedLanguage(nn.Module):
    """What stood at a masked place: linear, activation, norm, then scores by the embedding's vectors and a bias
    (Devlin et al. 2019, section 3.1, task 1).

    Args:
        embedding: whose (V, D) table is shared.
        d_model: D.
        activation: after the linear layer.
        norm: module, (..., D) to the same.
        bias: of the linear layer.
    """

    may_wait = True

    def __init__(
        self, embedding: TokenEmbedding, d_model: int, activation: str, norm: nn.Module, bias: bool = True
    ) -> None:
        super().__init__()
        self.linear, self.activation, self.norm = nn.Linear(d_model, d_model, bias), Activation(activation), norm
        self.weight = embedding.weight
        self.bias = nn.Parameter(torch.zeros(embedding.vocab_size))

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to logits (B, L, V)."""
        return nn.functional.linear(self.transform(hidden), self.weight, self.bias)

    def transform(self, hidden: Tensor) -> Tensor:
        """What is compared with the embedding's vectors: (..., D) to (..., D)."""
        return self.norm(self.activation(self.linear(hidden)))


def written(embedding: TokenEmbedding, d_model: int, tied: bool) -> Tied | Project:
    """What a decoder writes next: scores by the embedding's own vectors, or by a table apart, without bias."""
    return Tied(embedding) if tied else Project(d_model, embedding.vocab_size, bias=False)


class Capped(nn.Module):
    """A head whose scores are kept within bounds. Args: head: gives them; cap: module on them (`SoftCap`)."""

    may_wait = True

    def __init__(self, head: nn.Module, cap: nn.Module) -> None:
        super().__init__()
        self.head, self.cap = head, cap

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to logits (B, L, V)."""
        return self.cap(self.head(hidden, lengths))
