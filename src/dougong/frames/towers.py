"""Two towers: pictures and texts are brought into one space, where what belongs together is close."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dougong.frames.model import Model
from dougong.parts.output import Feature, Output


class Towers(nn.Module):
    """A picture tower and a text tower; a pair's score is the cosine of their vectors times a learned factor
    (Radford et al. 2021, figure 3).

    Args:
        pictures: whose head gives vectors (B, P).
        texts: likewise.
        scale: what the logarithm of the factor starts from.
        end: the token that ends a text; where no lengths are given, a text ends at its first one.
    """

    config: dict[str, Any]
    input_kind = "image_text"

    def __init__(self, pictures: Model, texts: Model, scale: float, end: int | None = None) -> None:
        super().__init__()
        self.pictures, self.texts, self.end = pictures, texts, end
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.config = {}

    @property
    def feature_info(self) -> list[Feature]:
        """Those of the picture tower."""
        return self.pictures.feature_info

    def embed_images(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, h, w) to unit vectors (B, P)."""
        return _unit(self.pictures(pixels).logits)

    def embed_texts(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Tokens (B, L) to unit vectors (B, P).

        Args:
            tokens: with the token that ends a text.
            lengths: (B,) real tokens of each, the end token included.
        """
        if lengths is None and self.end is not None and not tokens.is_meta:
            ends = tokens == self.end
            if ends.any():  # a row without an end is read whole; argmax gives the first of equal values
                lengths = torch.where(ends.any(1), ends.int().argmax(1) + 1, tokens.shape[1])
        return _unit(self.texts(tokens, lengths).logits)

    def forward(self, pixels: Tensor, tokens: Tensor, lengths: Tensor | None = None) -> Output:
        """Pictures (B, 3, h, w) and texts (B', L) to an `Output` with logits (B, B'), a score for each pair.

        Args:
            pixels: of the pictures.
            tokens: of the texts; as many as pictures, or any other number.
            lengths: (B',) real tokens of each text.
        """
        images, texts = self.embed_images(pixels), self.embed_texts(tokens, lengths)
        return Output(logits=self.scale.exp() * images @ texts.t(), images=images, texts=texts)

    def example_inputs(
        self, batch: int = 1, length: int | None = None, device: torch.device | str | None = None
    ) -> tuple[Tensor, ...]:
        """Pictures and texts of the right shape and type, all zero; texts of full length by default."""
        length = length or int(self.config.get("max_length") or 77)
        return (*self.pictures.example_inputs(batch, None, device), *self.texts.example_inputs(batch, length, device))


def _unit(vectors: Tensor | None) -> Tensor:
    assert vectors is not None
    return vectors / vectors.norm(dim=-1, keepdim=True)
