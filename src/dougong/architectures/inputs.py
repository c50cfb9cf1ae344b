"""How a sequence architecture reads tokens, vectors, or a picture as a sequence of its rows or patches."""

from __future__ import annotations

from typing import Any

from torch import nn

from dougong.parts.embeddings import LinearEmbedding, PatchEmbedding, TokenEmbedding, pair
from dougong.parts.output import Feature


def sequence_embedding(
    d_model: int, vocab_size: int | None, d_input: int | None, image_size: Any, patch_size: Any
) -> nn.Module:
    """The embedding for the one kind of input that is given.

    Args:
        d_model: D.
        vocab_size: V, for tokens.
        d_input: their width, for vectors.
        image_size: in pixels, for pictures of 3 channels.
        patch_size: in pixels; the rows of the picture, (1, width), by default.

    Raises:
        ValueError: none is given, or several are.
    """
    given = {"vocab_size": vocab_size, "d_input": d_input, "image_size": image_size}
    if sum(value is not None for value in given.values()) != 1:
        raise ValueError(f"give exactly one of {', '.join(given)}, to say what the model reads")
    if vocab_size is not None:
        return TokenEmbedding(vocab_size, d_model)
    if d_input is not None:
        return LinearEmbedding(d_input, d_model)
    height, width = pair(image_size)
    return PatchEmbedding((height, width), (1, width) if patch_size is None else pair(patch_size), 3, d_model)


def hidden_feature(embedding: nn.Module, channels: int) -> list[Feature]:
    """What a stack's hidden states are to those who build on them."""
    stride = embedding.patch_size if isinstance(embedding, PatchEmbedding) else (1, 1)
    return [Feature("hidden", channels, stride)]
