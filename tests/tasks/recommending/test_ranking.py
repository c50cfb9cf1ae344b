"""Ranking metrics against brute force: every order of tied items, and the definitions written out."""

from __future__ import annotations

import itertools
import math
from statistics import fmean

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dougong.errors import FailureError
from dougong.tasks.scores.ranking import RankingScores, first, hit_rate, ndcg, reciprocal_rank, standing

SCORES = st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=4)


def orders(scores: list[float], left: list[int]) -> list[list[int]]:
    """Every ranking of the items that are left, in which higher scores come first."""
    ranked = [list(order) for order in itertools.permutations(left)]
    return [order for order in ranked if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))]


@settings(max_examples=150, deadline=None)
@given(SCORES, st.data())
def test_metrics_equal_the_mean_over_all_orders_of_ties(scores: list[list[int]], data: st.DataObject) -> None:
    items = len(scores[0])
    true = [data.draw(st.integers(0, items - 1)) for _ in scores]
    seen = [data.draw(st.lists(st.integers(0, items - 1), max_size=4, unique=True)) for _ in scores]
    found = RankingScores(np.ones(items))
    found.update(torch.tensor(scores).float(), torch.tensor(true), [np.array(each, np.int64) for each in seen])
    above, tied = found.standings()
    wanted: dict[str, list[float]] = {"hr": [], "ndcg": [], "mrr": []}
    for row, own, met in zip(scores, true, seen, strict=True):
        left = [item for item in range(items) if item not in met or item == own]
        ranks = [order.index(own) + 1 for order in orders(row, left)]
        wanted["hr"].append(fmean(rank <= 2 for rank in ranks))
        wanted["ndcg"].append(fmean(1 / math.log2(rank + 1) if rank <= 2 else 0 for rank in ranks))
        wanted["mrr"].append(fmean(1 / rank for rank in ranks))
    assert np.allclose(hit_rate(above, tied, 2), wanted["hr"])
    assert np.allclose(ndcg(above, tied, 2), wanted["ndcg"])
    assert np.allclose(reciprocal_rank(above, tied), wanted["mrr"])
    assert found.compute()["mrr"] == pytest.approx(fmean(wanted["mrr"]))


def test_nothing_is_gained_by_an_item_s_number() -> None:
    """The control: of 100 items with one score, argsort would give the first rank 1 and the last rank 100."""
    for true in (0, 50, 99):
        found = RankingScores(np.ones(100))
        found.update(torch.zeros(1, 100), torch.tensor([true]))
        assert found.compute()["hr@10"] == pytest.approx(0.1)
        assert found.compute()["mrr"] == pytest.approx(sum(1 / rank for rank in range(1, 101)) / 100)
    assert not math.isclose(1 / (1 + int(torch.zeros(100).argsort(stable=True)[0])), found.compute()["mrr"])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_the_sampled_protocol_is_the_papers(seed: int) -> None:
    """Rank the true item among 100 negatives and itself (Kang and McAuley 2018, section 4.3), without ties."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(6, 300)).astype(np.float32)
    some = np.stack([draw.permutation(299)[:100] + 1 for _ in range(6)])  # never item 0
    found = RankingScores(np.ones(300), sampled=True)
    found.update(torch.from_numpy(scores.copy()), torch.zeros(6, dtype=torch.long), None, torch.from_numpy(some))
    hits, gains = [], []
    for row, negatives in zip(scores, some, strict=True):
        predictions = -np.array([row[0], *row[negatives]])
        rank = predictions.argsort().argsort()[0]  # as the authors' code has it
        hits.append(rank < 10)
        gains.append(1 / np.log2(rank + 2) if rank < 10 else 0)
    figures = found.compute()
    assert figures["hr@10"] == pytest.approx(np.mean(hits)) and figures["ndcg@10"] == pytest.approx(np.mean(gains))
    assert "coverage@10" not in figures
    every = RankingScores(np.ones(300))
    every.update(torch.from_numpy(scores.copy()), torch.zeros(6, dtype=torch.long))
    assert every.compute()["mrr"] <= figures["mrr"], "among fewer items nobody ranks worse"


def test_chunks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, true = torch.randn(40, 30), torch.randint(30, (40,))
    seen = [np.arange(row % 7) for row in range(40)]
    whole, cut = RankingScores(np.arange(30)), RankingScores(np.arange(30))
    whole.update(scores.clone(), true, seen)
    monkeypatch.setattr("dougong.tasks.scores.ranking.CELLS", 90)
    cut.update(scores.clone(), true, seen)
    assert whole.compute() == pytest.approx(cut.compute())


def test_coverage_and_popularity_by_hand() -> None:
    counts = np.arange(40)
    found = RankingScores(counts)
    scores = torch.zeros(2, 40)
    scores[0, :10], scores[1, 5:15] = 1.0, 1.0
    found.update(scores, torch.tensor([30, 10]))
    figures = found.compute()
    assert figures["coverage@10"] == 15 / 40
    assert figures["popularity_bias@10"] == pytest.approx((np.mean([*range(10), *range(5, 15)])) / 20)


def test_what_is_shown_of_equal_items_is_drawn() -> None:
    draw = torch.Generator().manual_seed(0)
    scores = torch.zeros(300, 12)
    scores[:, 0] = 1.0
    shown = first(scores, 3, draw)
    assert (shown == 0).sum() == 300 and all(len(set(row)) == 3 for row in shown.tolist())
    counts = shown.flatten().bincount(minlength=12)[1:].double()
    assert counts.min() > 0 and (counts / counts.sum() - 1 / 11).abs().max() < 0.05


def test_scores_that_are_no_numbers_end_the_work() -> None:
    with pytest.raises(FailureError, match="not finite"):
        standing(torch.tensor([[float("nan"), 0.0]]), torch.tensor([0]))
