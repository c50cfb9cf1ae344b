"""A branch: one body with its norms and the rule by which its answer joins the stream; a block: branches in order."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dougong.parts.attention import Attention
from dougong.parts.context import Context
from dougong.parts.experts import Experts
from dougong.parts.feedforward import FeedForward, GatedFeedForward

EMPTY = Context()


class Add(nn.Module):
    """The residual rule: x + y (He et al. 2016, equation 1).

    Args:
        shortcut: module that takes x to the shape of y (equation 2).
        scale: a learned factor a channel, from this value (CaiT's LayerScale, Touvron et al. 2021); needs ``d_model``.
        d_model: D.
    """

    def __init__(self, shortcut: nn.Module | None = None, *, scale: float | None = None, d_model: int = 0) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.scale = nn.Parameter(torch.full((d_model,), scale)) if scale is not None else None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two streams of equal shape to their sum."""
        x = x if self.shortcut is None else self.shortcut(x)
        return x + (y if self.scale is None else y * self.scale)


class Replace(nn.Module):
    """No residual: y takes the place of x (plain recurrent and convolutional networks)."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """y."""
        return y


class Branch(nn.Module):
    """after(residual(x, dropout(inside(body(before(x)))))).

    Pre-norm fills ``before``, post-norm ``after``, sandwich-norm ``before`` and ``inside``.

    Args:
        body: a mixer or feed-forward network, called as ``body(x, context)``.
        before: module on the way into the body.
        inside: module on the body's answer.
        after: module on the joined stream.
        dropout: of the body's answer.
        residual: module that joins (x, answer); `Add` by default.
    """

    def __init__(
        self,
        body: nn.Module,
        *,
        before: nn.Module | None = None,
        inside: nn.Module | None = None,
        after: nn.Module | None = None,
        dropout: float = 0.0,
        residual: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.before, self.body, self.inside = before or nn.Identity(), body, inside or nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.residual, self.after = residual or Add(), after or nn.Identity()

    def forward(self, x: Tensor, context: Context = EMPTY) -> Tensor:
        """(B, L, D), packed (T, D), or a map (B, C, h, w), to what the body makes of it: of what the context wants."""
        y = self.inside(self.body(self.before(x), context))
        return self.after(self.residual(context.wanted(x), self.dropout(y)))


class Block(nn.Module):
    """Branches in order, by name: ``Block(attention=Branch(...), feed_forward=Branch(...))``.

    Args:
        kind: which of a stack's position parts this block uses, when it has several ("local", "global").
        branches: by name, in the order in which they run.
    """

    def __init__(self, kind: str = "", /, **branches: nn.Module) -> None:
        super().__init__()
        self.kind = kind
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor, context: Context = EMPTY) -> Tensor:
        """What each branch makes of the one before; after the first, no more is there than the context wants."""
        for branch in self.children():
            x = branch(x, context)
            context = context if context.only is None else EMPTY
        return x

    @property
    def may_narrow(self) -> bool:
        """Whether one token's answer can be had without the others': attention once, at first, and else what goes token
        by token."""
        bodies = [getattr(branch, "body", None) for branch in self.children()]
        first, *others = bodies
        if not isinstance(first, Attention) or first.cross:
            return False
        return all(
            isinstance(body, GatedFeedForward | Experts) or (isinstance(body, FeedForward) and body.mix is None)
            for body in others
        )
