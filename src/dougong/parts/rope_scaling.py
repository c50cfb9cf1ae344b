"""Rotary positions for texts longer than those of the training: wavelengths are stretched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scaling:
    """How wavelengths are stretched so that a model reads longer texts than it was trained on; this one leaves them.

    Args:
        factor: by which the text may be longer.
    """

    factor: float = 1.0

    def stretch(self, frequency: Tensor, base: float) -> Tensor:
        """(R/2,) radians a position, highest first, to the same."""
        return frequency

    @property
    def sharpening(self) -> float:
        """By which queries and keys are multiplied."""
        return 1.0


@dataclass(frozen=True)
class Linear(Scaling):
    """All positions move together (Chen et al. 2023, section 2.3)."""

    def stretch(self, frequency: Tensor, base: float) -> Tensor:
        return frequency / self.factor


@dataclass(frozen=True)
class ByWavelength(Scaling):
    """Long wavelengths are stretched, short ones are not, between them it is mixed (Llama 3.1).

    Args:
        low, high: wavelengths above ``original_length / low`` are stretched, below ``original_length / high`` not.
        original_length: of the texts that the model was trained on.
    """

    low: float = 1.0
    high: float = 4.0
    original_length: int = 8192

    def stretch(self, frequency: Tensor, base: float) -> Tensor:
        turns = self.original_length * frequency / (2 * math.pi)
        kept = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return frequency / self.factor * (1 - kept) + frequency * kept


@dataclass(frozen=True)
class Yarn(Scaling):
    """Channels that turn often are kept, those that turn less than once are stretched (Peng et al. 2023, section 3).

    Args:
        fast, slow: turns over the original length above which a channel is kept, and below which it is stretched.
        original_length: of the texts that the model was trained on.
        attention: by which queries and keys are multiplied; 0.1 ln(factor) + 1 by default (section 3.4).
        whole: the border channels are rounded outwards to whole numbers.
    """

    fast: float = 32.0
    slow: float = 1.0
    original_length: int = 4096
    attention: float | None = None
    whole: bool = True

    def stretch(self, frequency: Tensor, base: float) -> Tensor:
        width = 2 * len(frequency)

        def channel(turns: float) -> float:
            return width * math.log(self.original_length / (turns * 2 * math.pi)) / (2 * math.log(base))

        first, last = channel(self.fast), channel(self.slow)
        if self.whole:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, width - 1)
        index = torch.arange(len(frequency), device=frequency.device, dtype=frequency.dtype)
        stretched = ((index - first) / max(last - first, 1e-3)).clamp(0, 1)
        return frequency * (1 - stretched) + frequency / self.factor * stretched

    @property
    def sharpening(self) -> float:
        if self.attention is not None:
            return self.attention
        return 0.1 * math.log(self.factor) + 1 if self.factor > 1 else 1.0


SCALINGS: dict[str, type[Scaling]] = {"linear": Linear, "llama3": ByWavelength, "yarn": Yarn}


def scaling(settings: dict[str, Any] | None) -> Scaling:
    """The scaling that a configuration asks for. Args: settings: {"kind": one of `SCALINGS`, and its arguments}.

    Raises:
        ValueError: an unknown kind or argument.
    """
    arguments = dict(settings or {})
    if not arguments:
        return Scaling()
    kind = arguments.pop("kind", None)
    if kind not in SCALINGS:
        raise ValueError(f"rope_scaling kind {kind!r} is unknown; there are {', '.join(SCALINGS)}")
    try:
        return SCALINGS[kind](**arguments)
    except TypeError as error:
        raise ValueError(f"rope_scaling: {error}") from None
