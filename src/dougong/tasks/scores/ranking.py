"""Where the true item stands in a ranking: HR, NDCG and MRR over all items or some; coverage and popularity bias.

Items of equal score share their places: every figure is the mean over all orders of them, which is what ties broken at
random give on average. No item gains by its number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dougong.errors import FailureError

CUTS = (5, 10)
"""k of HR@k and NDCG@k."""
SHOWN = 10
"""Items that are recommended to each user where coverage and popularity are measured."""
CELLS = 2**20
"""Scores that are looked at together: as many as the caches hold, and no more memory than that beside those given."""


def standing(scores: Tensor, true: Tensor, hidden: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Of each row how many items have a higher score than the true one, and how many the same, itself included.

    Args:
        scores: (N, V); those of hidden items become minus infinity.
        true: (N,) items.
        hidden: rows and items, (m,) each, that are left out of the ranking; a row's true item never is.

    Raises:
        FailureError: scores that are not numbers.
    """
    rows = torch.arange(len(scores), device=scores.device)
    own = scores[rows, true]
    if hidden is not None:
        scores[hidden] = -torch.inf
        scores[rows, true] = own
    if not own.isfinite().all():
        raise FailureError("the scores of items are not finite: the model has diverged; train it with a lower rate")
    return _count(scores > own[:, None]), _count(scores == own[:, None])


def _count(true: Tensor) -> Tensor:
    """How many of each row are true, (N,) int64; summed as 32 bits, which is four times as fast."""
    return true.sum(1, dtype=torch.int32).long()


def hit_rate(above: Tensor, tied: Tensor, k: int) -> Tensor:
    """The probability that the true item is among the first k; arguments as `standing` gives them."""
    return ((k - above).double() / tied).clamp(0, 1)


def ndcg(above: Tensor, tied: Tensor, k: int) -> Tensor:
    """1 / log2(1 + rank) for ranks up to k, else 0 (Järvelin and Kekäläinen 2002, with one relevant item)."""
    gains = torch.cat((torch.zeros(1), 1 / torch.arange(2, k + 2).log2())).double().cumsum(0)
    return (gains[(above + tied).clamp(max=k)] - gains[above.clamp(max=k)]) / tied


def reciprocal_rank(above: Tensor, tied: Tensor) -> Tensor:
    """1 / rank."""
    most = int((above + tied).max()) if len(above) else 0
    sums = torch.cat((torch.zeros(1, dtype=torch.double), 1 / torch.arange(1, most + 1, dtype=torch.double))).cumsum(0)
    return (sums[above + tied] - sums[above]) / tied


def first(scores: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """The k items with the highest scores, (N, k); of equal ones some at random.

    Args:
        scores: (N, V), minus infinity for those that are left out.
        k: items.
        generator: of the order of ties.
    """
    k = min(k, scores.shape[1])
    best = scores.topk(k)
    found = best.indices
    again = torch.nonzero(_count(scores >= best.values[:, -1:]) > k).flatten()
    if len(again):
        some, least = scores[again], best.values[again, -1:]
        chance = torch.rand(some.shape, generator=generator).to(some.device)
        found[again] = torch.where(some > least, 2.0, torch.where(some == least, chance, -1.0)).topk(k).indices
    return found


class RankingScores:
    """Sums over users.

    Args:
        popularity: (V,) how often each item was met in training.
        sampled: the ranks are among some items only: nothing is said of coverage and popularity.
    """

    def __init__(self, popularity: np.ndarray, sampled: bool = False) -> None:
        self.popularity, self.sampled = torch.from_numpy(np.asarray(popularity, np.float64)), sampled
        self.above: list[Tensor] = []
        self.tied: list[Tensor] = []
        self.loss = 0.0
        self.count = 0
        self.shown = torch.zeros(len(self.popularity), dtype=torch.bool)
        self.met, self.met_true = [0.0, 0], [0.0, 0]
        self._random = torch.Generator().manual_seed(0)

    def update(
        self, scores: Tensor, true: Tensor, seen: Sequence[np.ndarray] | None = None, some: Tensor | None = None
    ) -> None:
        """Add users.

        Args:
            scores: (N, V) of all items; changed.
            true: (N,) the item that came.
            seen: of each user the items that are left out of the ranking.
            some: (N, C) items among which, with the true one, it is ranked; all when None.
        """
        device = scores.device
        if some is not None:
            chosen = scores.gather(1, torch.cat((true[:, None], some.to(device)), 1))
            self._add(*standing(chosen, torch.zeros_like(true)), chosen, torch.zeros_like(true))
            return
        size = max(1, CELLS // scores.shape[1])
        for start in range(0, len(scores), size):
            part, wanted = scores[start : start + size], true[start : start + size]
            hidden = None if seen is None else ragged(seen[start : start + size], device)
            self._add(*standing(part, wanted, hidden), part, wanted)
            best = first(part, SHOWN, self._random).cpu()
            self.shown[best.flatten()] = True
            self.met[0] += float(self.popularity[best].sum())
            self.met[1] += best.numel()
            self.met_true[0] += float(self.popularity[wanted.cpu()].sum())
            self.met_true[1] += len(wanted)

    def _add(self, above: Tensor, tied: Tensor, scores: Tensor, true: Tensor) -> None:
        own = scores.gather(1, true[:, None])[:, 0]
        self.loss += float((scores.logsumexp(1) - own).double().sum())
        self.count += len(true)
        self.above.append(above.cpu())
        self.tied.append(tied.cpu())

    def standings(self) -> tuple[Tensor, Tensor]:
        """Of each user, in the order they came, the items above the true one, and those tied with it."""
        none = torch.zeros(0, dtype=torch.long)
        return torch.cat([none, *self.above]), torch.cat([none, *self.tied])

    def compute(self) -> dict[str, float]:
        """loss (nats, of the true item among those ranked), hr@k, ndcg@k, mrr; over all items also coverage@10, the
        share of items that anybody is shown among his first ten, and popularity_bias@10: how often the items shown
        were met in training, against the true ones (1: as popular as what people choose; after Yin et al. 2012)."""
        above, tied = self.standings()
        count = max(1, self.count)
        found = {"loss": self.loss / count if self.count else float("nan")}
        for k in CUTS:
            found[f"hr@{k}"] = float(hit_rate(above, tied, k).double().sum()) / count
            found[f"ndcg@{k}"] = float(ndcg(above, tied, k).sum()) / count
        found["mrr"] = float(reciprocal_rank(above, tied).sum()) / count
        if not self.sampled:
            found["coverage@10"] = float(self.shown.double().mean())
            true = self.met_true[0] / max(1, self.met_true[1])
            found["popularity_bias@10"] = self.met[0] / max(1, self.met[1]) / true if true else float("nan")
        return found


def ragged(rows: Sequence[np.ndarray], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Row and item of each item of some lists."""
    sizes = [len(row) for row in rows]
    at = np.repeat(np.arange(len(rows)), sizes)
    items = np.concatenate(rows).astype(np.int64) if rows else np.zeros(0, np.int64)
    return torch.from_numpy(at).to(device), torch.from_numpy(items).to(device)
