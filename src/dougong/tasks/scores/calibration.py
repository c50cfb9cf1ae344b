"""Whether a model that says 80 % is right 80 % of the time."""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 15


class Calibration:
    """Expected calibration error in equal bins of confidence (Guo et al. 2017, section 2), from sums in float64.

    Args:
        bins: of confidence; bin i holds those above i / bins up to (i + 1) / bins.
    """

    def __init__(self, bins: int = BINS) -> None:
        self.sums = torch.zeros(3, bins, dtype=torch.float64)
        """(3, bins): how many, the sum of their confidence, how many were right."""

    def update(self, confidence: Tensor, right: Tensor) -> None:
        """Add answers: their confidence (N,) in 0..1, and whether each was right (N,)."""
        confidence, right = confidence.detach().double().cpu(), right.detach().double().cpu()
        bins = self.sums.shape[1]
        place = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
        for row, values in enumerate((torch.ones_like(confidence), confidence, right)):
            self.sums[row].index_add_(0, place, values)

    def compute(self) -> float:
        """The mean gap between confidence and share of right answers, weighted by count; NaN before any answer."""
        count = float(self.sums[0].sum())
        return float((self.sums[1] - self.sums[2]).abs().sum()) / count if count else float("nan")

    def table(self) -> list[dict[str, float]]:
        """Of each bin that holds any: count, mean confidence, accuracy; for reliability diagrams."""
        return [
            {"count": count, "confidence": confidence / count, "accuracy": right / count}
            for count, confidence, right in self.sums.T.tolist()
            if count
        ]
