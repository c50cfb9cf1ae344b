"""Encoder and decoder: two stacks, the second of which reads the first (Vaswani et al. 2017, figure 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dougong.parts.cache import Cache
from dougong.parts.masks import OPEN, Explicit, Mask
from dougong.parts.output import Feature, Output, answer


class EncoderDecoder(nn.Module):
    """source -> encoder -> memory; target and memory -> decoder -> head.

    Args:
        source_embedding: source to `Embedded`.
        encoder: a `Stack`.
        target_embedding: target to `Embedded`; may be the source's own.
        decoder: a `Stack` whose blocks have cross-attention.
        head: module with ``(hidden, lengths)`` that gives logits.
        features: what the decoder gives.
    """

    config: dict[str, Any]

    def __init__(
        self,
        source_embedding: nn.Module,
        encoder: nn.Module,
        target_embedding: nn.Module,
        decoder: nn.Module,
        head: nn.Module | None,
        features: list[Feature],
    ) -> None:
        super().__init__()
        self.source_embedding, self.encoder = source_embedding, encoder
        self.target_embedding, self.decoder, self.head = target_embedding, decoder, head
        self.feature_info, self.config = features, {}

    @property
    def input_kind(self) -> str:
        """ "tokens_pair" or "vectors_pair"."""
        return f"{self.source_embedding.kind}_pair"

    def encode(self, source: Tensor, source_lengths: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Source (B, S) or (B, S, d_input) to the memory (B, S, D)."""
        allowed: Mask = OPEN if mask is None else Explicit(mask)
        return self.encoder(self.source_embedding(source).x, lengths=source_lengths, mask=allowed)

    def forward(
        self,
        source: Tensor | None,
        target: Tensor,
        source_lengths: Tensor | None = None,
        target_lengths: Tensor | None = None,
        *,
        memory: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Output:
        """Source (B, S) and target (B, L) to an `Output` with logits (B, L, V).

        Args:
            source: what is read; not needed when ``memory`` is given, or when ``cache`` has seen it.
            target: what is written so far; with a cache, its new tokens only.
            source_lengths: (B,) real tokens of each source.
            target_lengths: (B,) real tokens of each target.
            memory: (B, S, D) from an earlier `encode` of the same source.
            cache: of the target's tokens before these.
        """
        if memory is None and (cache is None or cache.length == 0):
            if source is None:
                raise ValueError("give a source, or the memory that encode made of it")
            memory = self.encode(source, source_lengths)
        hidden = self.decoder(
            self.target_embedding(target).x,
            lengths=target_lengths,
            memory=memory,
            memory_lengths=source_lengths if memory is not None else None,
            cache=cache,
        )
        return answer(self.head, hidden, target_lengths, cache=cache, memory=memory)

    def example_inputs(
        self, batch: int = 1, length: int | None = None, device: torch.device | str | None = None
    ) -> tuple[Tensor, ...]:
        """A source and a target of the right shape and type, all zero."""
        sides = (self.source_embedding.example, self.target_embedding.example)
        return tuple(example(batch, length, device) for example in sides)  # type: ignore[operator]
