"""What a model gives back, and what it says of its features."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dougong.parts.cache import Cache


@dataclass(frozen=True, eq=False)
class Output:
    """A model's answer; what a model does not have is None.

    Args:
        hidden: the last hidden states, (B, L, D), or the last feature map, (B, C, h, w).
        logits: (B, C) for classes, (B, L, V) for tokens, (B, B) for pairs of pictures and texts.
        features: the maps of a pyramid, finest first, each (B, C, h, w).
        boxes: (B, N, 4), centre x, centre y, width, height, as shares of the picture.
        masks: (B, C, h, w) scores of classes by pixel.
        cache: what to hand in at the next step.
        memory: the encoder's hidden states, (B, S, D).
        images: (B, P) unit vectors of pictures.
        texts: (B, P) unit vectors of texts, to be compared with those of pictures.
    """

    hidden: Tensor | None = None
    logits: Tensor | None = None
    features: tuple[Tensor, ...] | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None
    cache: Cache | None = None
    memory: Tensor | None = None
    images: Tensor | None = None
    texts: Tensor | None = None


@dataclass(frozen=True)
class Feature:
    """One kind of feature that a backbone gives.

    Args:
        name: of the stage, or "hidden".
        channels: C or D.
        stride: input pixels a feature, (vertical, horizontal); (1, 1) for sequences.
    """

    name: str
    channels: int
    stride: tuple[int, int] = (1, 1)
