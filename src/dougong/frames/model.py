"""The frame around a backbone: embedding, body, head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dougong.frames.pyramid import Pyramid
from dougong.parts.cache import Cache
from dougong.parts.masks import OPEN, Explicit, Mask
from dougong.parts.output import Feature, Output, answer, place_of


class Model(nn.Module):
    """embedding, body, head: a stack of tokens or a pyramid of maps, with an answer on top.

    Args:
        embedding: tokens, pixels or vectors to `Embedded`; a pyramid's stem gives a map.
        body: a `Stack`, or a `Pyramid`.
        head: module with ``(hidden, lengths)`` that gives logits, or masks (see `dougong.parts.output.answer`); None
            for a bare backbone.
        features: what the backbone gives.
    """

    config: dict[str, Any]

    def __init__(self, embedding: nn.Module, body: nn.Module, head: nn.Module | None, features: list[Feature]) -> None:
        super().__init__()
        self.embedding, self.body, self.head = embedding, body, head
        self.feature_info, self.config = features, {}

    @property
    def input_kind(self) -> str:
        """ "image", "tokens" or "vectors"."""
        return str(getattr(self.embedding, "kind", "image"))

    def forward(
        self,
        inputs: Tensor,
        lengths: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Cache | None = None,
        *,
        types: Tensor | None = None,
    ) -> Output:
        """Pixels (B, 3, h, w), tokens (B, L) or vectors (B, L, d_input) to an `Output`.

        Args:
            inputs: what the model reads.
            lengths: (B,) real tokens of each row; the rest is padding and changes nothing.
            mask: bool (L, S) or (B, L, S), True where a query may attend.
            cache: of the tokens before these.
            types: (B, L) kinds of token, for models that tell first and second sentence apart.
        """
        embedded = self.embedding(inputs) if types is None else self.embedding(inputs, types)
        if isinstance(self.body, Pyramid):
            maps = self.body(embedded)
            return answer(self.head, maps[-1], features=maps)
        if lengths is not None and embedded.prefix:
            lengths = lengths + embedded.prefix
        allowed: Mask = OPEN if mask is None else Explicit(mask)
        only = place_of(self.head)
        hidden = self.body(
            embedded.x, lengths=lengths, mask=allowed, cache=cache, grid=embedded.grid, prefix=embedded.prefix,
            only=only,
        )  # fmt: skip
        if only is not None:
            assert self.head is not None
            return Output(logits=self.head(hidden), cache=cache)
        return answer(self.head, hidden, lengths, cache=cache)

    def example_inputs(
        self, batch: int = 1, length: int | None = None, device: torch.device | str | None = None
    ) -> tuple[Tensor, ...]:
        """Inputs of the right shape and type, all zero: for tracing, export, sweeps; 128 tokens at most by default."""
        example = self.embedding.example
        assert callable(example)
        return (example(batch, length or min(128, self.config.get("max_length") or 128), device),)
