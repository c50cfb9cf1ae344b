"""Classification: hidden states are pooled to one vector, and a linear layer scores the classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dougong.parts.feedforward import Activation
from dougong.parts.segments import real_tokens


class Token(nn.Module):
    """One token. Args: index: its place."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to (B, D)."""
        return hidden[:, self.index]


class First(Token):
    """The first token: the class token of BERT and ViT."""

    place = 0

    def __init__(self) -> None:
        super().__init__(0)


class Beside(nn.Module):
    """What several pools give, side by side (DINOv2: the class token and the mean of the patches)."""

    def __init__(self, *pools: nn.Module) -> None:
        super().__init__()
        self.pools = nn.ModuleList(pools)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to (B, n D)."""
        return torch.cat([pool(hidden, lengths) for pool in self.pools], -1)


class Average(nn.Module):
    """The mean of what several heads say (DeiT: class token and distillation token; Touvron et al. 2021, section 4)."""

    def __init__(self, **heads: nn.Module) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(heads)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to logits (B, n_classes)."""
        return torch.stack([head(hidden, lengths) for head in self.heads.values()]).mean(0)


class Pooler(nn.Module):
    """The first token through a linear layer and tanh (Devlin et al. 2019, section 3.1: the vector C).

    Args:
        d_model: D.
        activation: instead of tanh.
    """

    place = 0

    def __init__(self, d_model: int, activation: str = "tanh") -> None:
        super().__init__()
        self.linear, self.activation = nn.Linear(d_model, d_model), Activation(activation)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to (B, D)."""
        return self.activation(self.linear(hidden[:, 0]))


class Transform(nn.Sequential):
    """linear, activation, norm, at each token (Devlin et al. 2019, section 3.1).

    Args:
        d_model: D.
        activation: by name.
        norm: module, (..., D) to the same.
        bias: of the linear layer.
    """

    def __init__(self, d_model: int, activation: str, norm: nn.Module, bias: bool = True) -> None:
        super().__init__(nn.Linear(d_model, d_model, bias), Activation(activation), norm)


class Mean(nn.Module):
    """The mean over real tokens, ``skip`` prefix tokens left out; over all pixels of a map."""

    def __init__(self, skip: int = 0) -> None:
        super().__init__()
        self.skip = skip

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) or (B, C, h, w) to (B, D)."""
        if hidden.dim() == 4:
            return hidden.mean((2, 3))
        if lengths is None:
            return hidden[:, self.skip :].mean(1)
        real = real_tokens(lengths.to(hidden.device), hidden.shape[1])[:, self.skip :]
        return (hidden[:, self.skip :] * real).sum(1) / real.sum(1)


class Max(nn.Module):
    """The largest value of each channel over real tokens (Kim 2014, section 2: max over time)."""

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to (B, D)."""
        if lengths is None:
            return hidden.amax(1)
        return hidden.masked_fill(~real_tokens(lengths.to(hidden.device), hidden.shape[1]), float("-inf")).amax(1)


class Last(nn.Module):
    """The last real token: the state of a recurrent network that has read everything."""

    place = -1

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to (B, D)."""
        if lengths is None:
            return hidden[:, -1]
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), lengths.to(hidden.device) - 1]


class Ends(nn.Module):
    """The final states of both directions: the last real token's first half, the first token's second half."""

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) to (B, D)."""
        half = hidden.shape[-1] // 2
        return torch.cat((Last()(hidden, lengths)[:, :half], hidden[:, 0, half:]), -1)


class Classify(nn.Module):
    """pool, dropout, linear.

    Args:
        pool: module with ``(hidden, lengths)``.
        d_model: D.
        n_classes: C.
        dropout: before the linear layer.
        before: module on the pooled vector (ModernBERT).
        bias: of the linear layer.
    """

    def __init__(
        self, pool: nn.Module, d_model: int, n_classes: int, dropout: float = 0.0, before: nn.Module | None = None,
        *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pool, self.before = pool, before or nn.Identity()
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(d_model, n_classes, bias)

    @property
    def place(self) -> int | None:
        """The one token that is looked at: 0 the first, -1 the last; None where there are several."""
        return getattr(self.pool, "place", None)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) or (B, C, h, w) to logits (B, n_classes)."""
        return self.linear(self.dropout(self.before(self.pool(hidden, lengths))))
