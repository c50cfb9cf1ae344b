"""How texts become vectors and how these are compared; what a split's vectors are good for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dougong.errors import UserError
from dougong.heads.embed import POOLINGS, pooled
from dougong.parts.output import Output
from dougong.tasks.scores import likeness
from dougong.tasks.scores.bootstrap import interval
from dougong.tasks.task import Batch

if TYPE_CHECKING:
    from dougong.data.texts import TextRow

TEMPERATURE = 0.05
"""Cosines are divided by it, as in Gao et al. (2021, section 3.1)."""
KINDS = {"pairs": "pairs of texts without scores", "scored": "scored pairs", "single": "single texts"}
"""What can be learnt from, in words."""


@dataclass(frozen=True)
class Measure:
    """How texts become vectors, and how these are compared.

    Args:
        pooling: ways from hidden states to a vector, by the names of `dougong.heads.embed.POOLINGS`; side by side.
        temperature: that cosines are divided by in the contrastive loss.
        symmetric: whether first texts are also found by second ones.
        learns: from "pairs", whose other pairs of a batch are negatives; from "scored" pairs; or from "single" texts.
        low: the score that stands for a cosine of 0.
        high: the score that stands for a cosine of 1.
    """

    pooling: tuple[str, ...] = ("mean",)
    temperature: float = TEMPERATURE
    symmetric: bool = True
    learns: str = "pairs"
    low: float = 0.0
    high: float = 1.0

    def vectors(self, output: Output, lengths: Tensor) -> Tensor:
        """Hidden states (R, L, D) of texts of so many tokens, (R,), to vectors (R, P) of length 1, float32 or wider."""
        assert output.hidden is not None
        wide = output.hidden.to(torch.promote_types(output.hidden.dtype, torch.float32))
        return F.normalize(pooled(wide, lengths, self.pooling), dim=-1)

    def losses(self, first: Tensor, second: Tensor, targets: Tensor) -> Tensor:
        """The loss of each sample of a whole split, (N,); arguments as `EmbeddingMetrics.gathered` gives them."""
        if self.learns == "scored":
            return ((first * second).sum(1).double() - targets.double()) ** 2
        return likeness.losses(first, second, targets, self.temperature, self.symmetric)

    def describe(self) -> dict[str, Any]:
        """As task.json holds it."""
        return {**vars(self), "pooling": list(self.pooling)}

    @staticmethod
    def of(description: Mapping[str, Any]) -> Measure:
        """That which a task.json describes.

        Raises:
            UserError: a value is missing, or is none of its kind.
        """
        pooling = description.get("pooling")
        if not isinstance(pooling, list) or not pooling or not all(name in POOLINGS for name in pooling):
            raise UserError("pooling", f"{str(pooling)[:60]!r} will not do", f"write some of {', '.join(POOLINGS)}")
        if (learns := description.get("learns")) not in KINDS:
            raise UserError("learns", f"{str(learns)[:60]!r} will not do", f"write {', '.join(KINDS)}")
        held: dict[str, float] = {}
        for key in ("temperature", "low", "high"):
            value = description.get(key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UserError(key, f"{str(value)[:60]!r} will not do", "write a number")
            held[key] = float(value)
        symmetric = description.get("symmetric")
        if not isinstance(symmetric, bool):
            raise UserError("symmetric", f"{str(symmetric)[:60]!r} will not do", "write true or false")
        return Measure(tuple(pooling), held["temperature"], symmetric, learns, held["low"], held["high"])

    def said(self) -> str:
        """A line that says what is learnt."""
        how = f"vectors: {' and '.join(self.pooling)} of the hidden states, of length 1"
        if self.learns == "scored":
            return f"{how}; scores {self.low:g} to {self.high:g} stand for cosines 0 to 1"
        what = "a text read twice, apart by dropout," if self.learns == "single" else "each pair"
        ways = "both ways" if self.symmetric else "the second by the first"
        return f"{how}; {what} against the others of its batch, {ways}, temperature {self.temperature:g}"


def kind_of(row: TextRow) -> str:
    """What a sample is learnt from: "pairs", "scored" or "single"."""
    return "single" if len(row.texts) == 1 else "scored" if row.tags else "pairs"


def range_of(scores: Sequence[float]) -> tuple[float, float]:
    """The scores that stand for cosines of 0 and 1: those are taken as they are where all lie within -1 and 1.

    Raises:
        UserError: all are the same.
    """
    low, high = min(scores), max(scores)
    if low == high:
        raise UserError("score", f"is {low:g} in every training row", "give pairs that differ in how alike they are")
    return (0.0, 1.0) if -1 <= low and high <= 1 else (low, high)


class EmbeddingMetrics:
    """Vectors of a whole split, on the CPU, and what they are good for. Args: measure: by which they are compared."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, output: Output, batch: Batch) -> None:
        """Add a batch: hidden states (2 B, L, D), targets (B, 2) or (B,)."""
        assert batch.targets is not None
        first, second = self.measure.vectors(output, batch.inputs[1]).detach().cpu().chunk(2)
        self._parts.append((first, second, batch.targets.cpu()))

    def gathered(self) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors (N, P) of first and second texts, and targets (N, 2) or (N,), in the order they came."""
        first, second, targets = (torch.cat(each) for each in zip(*self._parts, strict=True))
        return first, second, targets

    def compute(self) -> dict[str, float]:
        """The numbers of the whole split, each text against all others of it.

        Pairs: loss (nats), mrr, recall@1 and recall@10. Scored pairs: loss (mean squared error), spearman, pearson.
        Single texts: loss, which without dropout says how evenly they are spread.
        """
        if not self._parts:
            return {"loss": math.nan}
        first, second, targets = self.gathered()
        found = {"loss": float(self.measure.losses(first, second, targets).mean())}
        if self.measure.learns == "scored":
            cosines = (first * second).sum(1)
            found["spearman"] = likeness.spearman(cosines, targets)
            found["pearson"] = float(torch.corrcoef(torch.stack((cosines.double(), targets.double())))[0, 1])
        elif self.measure.learns == "pairs":
            found |= likeness.retrieval(likeness.ranks(first, second, targets))
        return found

    def sample_scores(self) -> list[float]:
        """What each pair adds to the primary metric: 1 / rank, its part of Spearman's correlation, or its loss."""
        if not self._parts:
            return []
        first, second, targets = self.gathered()
        if self.measure.learns == "pairs":
            return (1 / likeness.ranks(first, second, targets)).tolist()
        if self.measure.learns == "scored":
            return likeness.agreement((first * second).sum(1), targets).tolist()
        return self.measure.losses(first, second, targets).tolist()

    def interval(self) -> tuple[float, float]:
        """The bootstrap interval of the primary metric over pairs."""
        if self.measure.learns != "scored" or not self._parts:
            return interval(self.sample_scores())
        first, second, targets = self.gathered()
        return likeness.spearman_interval((first * second).sum(1), targets)

    def table(self) -> dict[str, Any]:
        """Nothing that is more than a number."""
        return {}
