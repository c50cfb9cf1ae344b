"""How far a score would move with other samples: percentile bootstrap intervals (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LEVEL = 0.95
DRAWS = 2000
AT_ONCE = 2**18
"""Samples that are drawn at once, so that memory does not grow with them."""


def interval(scores: Sequence[float], level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """The interval of a mean; NaN where there are no scores.

    Args:
        scores: one a sample.
        level: its coverage.
        draws: resamples.
        seed: of the resampling.
    """
    values = torch.tensor(list(scores), dtype=torch.float64)[:, None]
    return interval_of(values, lambda sums: float(sums[0]) / len(values), level, draws, seed)


def interval_of(
    statistics: Tensor,
    score: Callable[[Tensor], float],
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of a score that is made of sums over samples, as F1 and BLEU are; NaN where there are no samples.

    Args:
        statistics: (N, K), K numbers a sample.
        score: of the K sums over a resample of N, (K,) float64.
        level, draws, seed: as for `interval`.
    """
    values, count = statistics.double(), len(statistics)
    if not count:
        return float("nan"), float("nan")
    generator = torch.Generator().manual_seed(seed)
    parts = [min(AT_ONCE, count - start) for start in range(0, count, AT_ONCE)]

    def sums() -> Tensor:
        return sum(
            (values[torch.randint(count, (part,), generator=generator)].sum(0) for part in parts),
            torch.zeros(values.shape[1], dtype=torch.float64),
        )

    found = [score(sums()) for _ in range(draws)]
    tail = (1 - level) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = torch.quantile(torch.tensor(found, dtype=torch.float64), ends).tolist()
    return low, high
