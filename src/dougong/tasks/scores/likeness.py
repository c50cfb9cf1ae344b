"""How well vectors of texts tell what belongs together: contrastive losses, ranks, and rank correlation.

Vectors are rows of length 1. ``ids`` (N, 2) are numbers of the first and second text of each pair, equal exactly where
the texts are: a copy of a text is nobody's negative.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dougong.tasks.scores.bootstrap import DRAWS, LEVEL

ROWS = 1024
"""Queries that are compared with all candidates at once."""
DIGITS = 6
"""Decimals of a cosine that count in a ranking: float32 vectors carry no more."""


def kept_apart(rows: Tensor, ids: Tensor) -> Tensor:
    """Which candidates are negatives of which queries, bool (M, N).

    Candidate j, the second text of pair j, is none of query i where it is the same text as the query or as the query's
    own second text, or where its own first text is the query again. The transpose says the same of second texts as
    queries.

    Args:
        rows: (M, 2) ids of the pairs whose first texts are the queries.
        ids: (N, 2) of the pairs whose second texts are the candidates.
    """
    first, second = rows[:, :1], rows[:, 1:]
    return (first != ids[:, 0]) & (first != ids[:, 1]) & (second != ids[:, 1])


def contrastive(scores: Tensor, true: Tensor, negative: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of finding the true candidate among it and the negatives, in nats, (M,).

    van den Oord et al. (2018, section 2.3), Henderson et al. (2017, section 4.1).

    Args:
        scores: (M, N), cosines over the temperature.
        true: (M,) the place of each query's own candidate.
        negative: bool (M, N); what is neither true nor negative counts nothing.
        smoothing: share of the target that is given to all candidates alike.
    """
    counts = negative.scatter(1, true[:, None], True)
    logits = scores.masked_fill(~counts, float("-inf")).log_softmax(-1)
    found = -logits.gather(1, true[:, None])[:, 0]
    if not smoothing:
        return found
    spread = -logits.masked_fill(~counts, 0.0).sum(1) / counts.sum(1)
    return (1 - smoothing) * found + smoothing * spread


def both_ways(first: Tensor, second: Tensor, ids: Tensor, temperature: float, symmetric: bool = True,
              smoothing: float = 0.0) -> Tensor:  # fmt: skip
    """The contrastive loss of each pair against the others of a batch, (B,) nats.

    Args:
        first: (B, P).
        second: (B, P).
        ids: (B, 2).
        temperature: that cosines are divided by.
        symmetric: the mean of the losses of finding the second text by the first and the first by the second.
        smoothing: see `contrastive`.
    """
    scores, negative = first @ second.T / temperature, kept_apart(ids, ids)
    true = torch.arange(len(first), device=first.device)
    found = contrastive(scores, true, negative, smoothing)
    if not symmetric:
        return found
    return (found + contrastive(scores.T, true, negative.T, smoothing)) / 2


def losses(first: Tensor, second: Tensor, ids: Tensor, temperature: float, symmetric: bool = True) -> Tensor:
    """As `both_ways` over a whole split, (N,) float64, some rows at a time."""
    place = torch.arange(len(first))

    def one_way(here: Tensor, there: Tensor, ids: Tensor) -> Tensor:
        parts = [
            contrastive((here[some] @ there.T / temperature).double(), some, kept_apart(ids[some], ids))
            for some in place.split(ROWS)
        ]
        return torch.cat(parts)

    found = one_way(first, second, ids)
    return (found + one_way(second, first, ids.flip(1))) / 2 if symmetric else found


def ranks(first: Tensor, second: Tensor, ids: Tensor) -> Tensor:
    """The rank of each pair's second text among all different second texts, by cosine with the first; (N,) float64.

    1 is best. Candidates with the same cosine, to six decimals, share the mean of their ranks. Other second texts of
    the same first text, and the first text itself, are passed over, see `kept_apart`.

    Args:
        first: (N, P).
        second: (N, P).
        ids: (N, 2).
    """
    if not len(ids):
        return torch.empty(0, dtype=torch.float64)
    last = int(ids.max()) + 1
    unique, where = ids[:, 1].unique(return_inverse=True)
    place = torch.arange(len(ids))
    earliest = torch.full((len(unique),), len(ids)).scatter_reduce_(0, where, place, "amin")
    candidates = second[earliest].double()
    # a first text's own second texts: (first id, candidate) pairs that are true together
    together = (ids[:, 0] * last + ids[:, 1]).unique()
    found = []
    for some in place.split(ROWS):
        cosines = (first[some].double() @ candidates.T).round(decimals=DIGITS)
        own = cosines.gather(1, where[some][:, None])
        counts = ids[some, :1] != unique
        counts &= ~torch.isin(ids[some, :1] * last + unique, together)
        greater = ((cosines > own) & counts).sum(1)
        equal = ((cosines == own) & counts).sum(1)
        found.append(1 + greater.double() + equal.double() / 2)
    return torch.cat(found)


def retrieval(found: Tensor) -> dict[str, float]:
    """recall@1, recall@10 and mrr (the mean of 1 / rank) of ranks (N,); NaN where there are none."""
    if not len(found):
        return dict.fromkeys(("mrr", "recall@1", "recall@10"), float("nan"))
    return {
        "mrr": float((1 / found).mean()),
        "recall@1": float((found <= 1).double().mean()),
        "recall@10": float((found <= 10).double().mean()),
    }


def spearman(given: Tensor, true: Tensor) -> float:
    """Spearman's rank correlation with ties averaged; NaN where one side has no two different values."""
    return float(agreement(given, true).mean()) if len(given) else float("nan")


def agreement(given: Tensor, true: Tensor) -> Tensor:
    """What each sample adds to Spearman's correlation, (N,) float64: their mean is the correlation.

    It is the product of both ranks, each less their mean and over their standard deviation.
    """
    from scipy.stats import rankdata

    sides = [torch.from_numpy(rankdata(side.double().numpy())) for side in (given, true)]
    first, second = [(side - side.mean()) / side.std(correction=0) for side in sides]
    return first * second


def spearman_interval(given: Tensor, true: Tensor, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """The bootstrap interval of Spearman's correlation over samples; NaN where there are none.

    Args:
        given: (N,).
        true: (N,).
        draws: resamples, each ranked anew; one in which a side has no two different values is passed over.
        seed: of the resampling.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(draws if len(given) else 0):
        some = torch.randint(len(given), (len(given),), generator=generator)
        found.append(spearman(given[some], true[some]))
    values = torch.tensor(found, dtype=torch.float64)
    tail = (1 - LEVEL) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    if not len(values):
        return float("nan"), float("nan")
    low, high = torch.nanquantile(values, ends).tolist()
    return low, high
