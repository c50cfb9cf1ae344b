"""How well a model foresees text: perplexity, and bits a character or byte, which other tokenizers may share."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from dougong.data.tagging import IGNORED
from dougong.tasks.scores.bootstrap import interval_of
from dougong.tasks.scores.kept import Kept


class LanguageScores:
    """Sums of losses over tokens, and of the characters and bytes that those tokens stand for."""

    def __init__(self) -> None:
        self._rows = Kept(4)

    def update(self, losses: Tensor, counted: Tensor, characters: int = 0, octets: int = 0) -> None:
        """Add a text, or a row of texts.

        Args:
            losses: nats of each token, any shape.
            counted: bool of the same shape, True where the loss counts.
            characters, octets: of the text that the counted tokens stand for, in UTF-8.
        """
        kept = losses.detach().double()[counted]
        self._rows.add((float(kept.sum()), kept.numel(), characters, octets))

    def update_logits(self, logits: Tensor, targets: Tensor, characters: int = 0, octets: int = 0) -> None:
        """Add logits (..., L, V) and the tokens that came (..., L), `IGNORED` where none counts; see `update`."""
        losses = F.cross_entropy(
            logits.detach().flatten(0, -2).float(), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        self.update(losses, targets.flatten() != IGNORED, characters, octets)

    def compute(self) -> dict[str, float]:
        """loss (nats a token) and perplexity (its exponential); bits_per_character and bits_per_byte where counted.

        NaN before the first token; an infinite perplexity where it is beyond float64.
        """
        nats, tokens, characters, octets = self.statistics().sum(0).tolist()
        loss = nats / tokens if tokens else float("nan")
        found = {"loss": loss, "perplexity": math.exp(loss) if not loss > 700 else math.inf}
        for name, count in (("bits_per_character", characters), ("bits_per_byte", octets)):
            if count:
                found[name] = nats / math.log(2) / count
        return found

    def statistics(self) -> Tensor:
        """(N, 4): nats, tokens, characters and bytes of each update."""
        return self._rows.rows()

    def interval(self, **settings: Any) -> tuple[float, float]:
        """The bootstrap interval of loss over updates; settings as for `dougong.tasks.scores.interval`."""

        def loss(sums: Tensor) -> float:
            return float(sums[0] / sums[1]) if sums[1] else float("nan")

        return interval_of(self.statistics(), loss, **settings)
