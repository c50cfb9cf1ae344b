"""Contrastive losses, ranks and rank correlation against slow and plain references."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor

from dougong.tasks.scores import likeness


def drawn(count: int, seed: int = 0, width: int = 5) -> tuple[Tensor, Tensor]:
    """Vectors of length 1, (count, width) each."""
    draw = torch.Generator().manual_seed(seed)
    first, second = (F.normalize(torch.randn(count, width, generator=draw, dtype=torch.float64), dim=-1) for _ in "ab")
    return first, second


def texts_of(ids: Tensor, seed: int = 0, width: int = 5) -> tuple[Tensor, Tensor]:
    """Vectors for texts by number, so that the same text has the same vector on both sides."""
    table = F.normalize(torch.randn(int(ids.max()) + 1, width, generator=torch.Generator().manual_seed(seed)), dim=-1)
    return table[ids[:, 0]], table[ids[:, 1]]


def slow_loss(first: Tensor, second: Tensor, ids: list[list[int]], temperature: float) -> list[float]:
    """The loss of finding each second text, with every rule spelt out."""
    found = []
    for i, (a, b) in enumerate(ids):
        true = math.exp(float(first[i] @ second[i]) / temperature)
        below = true
        for j, (c, d) in enumerate(ids):
            if j == i or d == b or c == a or d == a:
                continue
            below += math.exp(float(first[i] @ second[j]) / temperature)
        found.append(-math.log(true / below))
    return found


def slow_rank(first: Tensor, second: Tensor, ids: list[list[int]], i: int) -> float:
    """The mean place of the true text among different candidates, were equal cosines put in every order."""
    a, b = ids[i]
    own, better, same = round(float(first[i] @ second[i]), 6), 0, 0
    seen = {b, a} | {d for c, d in ids if c == a}
    for j, (_, d) in enumerate(ids):
        if d in seen:
            continue
        seen.add(d)
        cosine = round(float(first[i] @ second[j]), 6)
        better, same = better + (cosine > own), same + (cosine == own)
    return 1 + better + same / 2


IDS = [[0, 10], [1, 11], [2, 10], [0, 12], [13, 13], [3, 14], [14, 15], [4, 2]]
"""Copies of every kind: of second texts, of first texts, of a text on both sides of one pair, and of two."""


def test_copies_are_nobodys_negatives() -> None:
    first, second = drawn(len(IDS))
    ids = torch.tensor(IDS)
    wanted = torch.tensor(slow_loss(first, second, IDS, 0.1), dtype=torch.float64)
    there = torch.tensor(slow_loss(second, first, [each[::-1] for each in IDS], 0.1), dtype=torch.float64)
    torch.testing.assert_close(likeness.both_ways(first, second, ids, 0.1, symmetric=False), wanted)
    torch.testing.assert_close(likeness.both_ways(first, second, ids, 0.1), (wanted + there) / 2)
    plain = F.cross_entropy(first @ second.T / 0.1, torch.arange(len(IDS)), reduction="none")
    assert float((plain - wanted).abs().max()) > 0.01  # the control: counting copies as negatives is something else


def test_without_copies_it_is_plain_cross_entropy() -> None:
    first, second = drawn(7)
    ids, true = torch.arange(14).reshape(7, 2), torch.arange(7)
    for smoothing in (0.0, 0.1):
        wanted = F.cross_entropy(first @ second.T / 0.2, true, label_smoothing=smoothing, reduction="none")
        torch.testing.assert_close(likeness.both_ways(first, second, ids, 0.2, False, smoothing), wanted)
        back = F.cross_entropy(second @ first.T / 0.2, true, label_smoothing=smoothing, reduction="none")
        torch.testing.assert_close(likeness.both_ways(first, second, ids, 0.2, True, smoothing), (wanted + back) / 2)


def test_a_batch_of_copies_alone_has_no_loss_and_no_gradient() -> None:
    first, second = drawn(4)
    first.requires_grad_()
    loss = likeness.both_ways(first, second, torch.tensor([[0, 1]] * 4), 0.05, smoothing=0.1).mean()
    loss.backward()
    assert first.grad is not None and float(loss.detach()) == 0 and not first.grad.any()


def test_a_whole_split_is_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = drawn(len(IDS))
    ids = torch.tensor(IDS)
    for symmetric in (True, False):
        wanted = likeness.both_ways(first, second, ids, 0.1, symmetric)
        monkeypatch.setattr(likeness, "ROWS", 3)
        torch.testing.assert_close(likeness.losses(first, second, ids, 0.1, symmetric), wanted)


PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(4, 10)), min_size=1, max_size=14)


@given(PAIRS, st.integers(0, 3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_ranks_by_hand(pairs: list[tuple[int, int]], seed: int, equal: bool) -> None:
    ids = torch.tensor(pairs)
    first, second = texts_of(ids, seed, width=3)
    if equal:  # many cosines are the same
        first, second = (F.normalize(side.round() + 1e-9, dim=-1) for side in (first, second))
    wanted = [slow_rank(first.double(), second.double(), [list(each) for each in pairs], i) for i in range(len(pairs))]
    assert likeness.ranks(first, second, ids).tolist() == wanted


@given(PAIRS, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_a_split_changes_no_rank(pairs: list[tuple[int, int]], random: object) -> None:
    ids = torch.tensor(pairs)
    order = list(range(len(pairs)))
    random.shuffle(order)  # type: ignore[attr-defined]
    first, second = texts_of(ids)
    there = likeness.ranks(first[order], second[order], ids[order])
    assert torch.equal(likeness.ranks(first, second, ids)[order], there)


def test_what_ranks_say() -> None:
    ids = torch.arange(200).reshape(100, 2)
    first, second = drawn(100, width=16)
    assert likeness.retrieval(likeness.ranks(second, second, ids)) == {"mrr": 1.0, "recall@1": 1.0, "recall@10": 1.0}
    same = torch.ones(100, 4) / 2  # one vector for everything finds nothing
    assert likeness.ranks(same, same, ids).tolist() == [50.5] * 100
    by_chance = likeness.retrieval(likeness.ranks(first, second, ids))
    assert by_chance["recall@1"] < 0.1 and 0.02 < by_chance["recall@10"] < 0.25
    some = likeness.retrieval(torch.tensor([1.0, 1.5, 10.0, 11.0], dtype=torch.float64))
    assert some == {"mrr": pytest.approx((1 + 2 / 3 + 0.1 + 1 / 11) / 4), "recall@1": 0.25, "recall@10": 0.75}
    assert math.isnan(likeness.retrieval(likeness.ranks(first[:0], second[:0], ids[:0]))["mrr"])


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 5)), min_size=3, max_size=30))
@settings(max_examples=60, deadline=None)
def test_correlation_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    given, true = torch.tensor(pairs, dtype=torch.float64).T
    if len(given.unique()) < 2 or len(true.unique()) < 2:
        assert math.isnan(likeness.spearman(given, true))
        return
    assert likeness.spearman(given, true) == pytest.approx(float(spearmanr(given, true).statistic), abs=1e-12)


def test_the_interval_of_a_correlation() -> None:
    draw = torch.Generator().manual_seed(0)
    true = torch.rand(200, generator=draw)
    given = true + 0.3 * torch.randn(200, generator=draw)
    low, high = likeness.spearman_interval(given, true, draws=300)
    error = 1 / math.sqrt(200 - 3)  # Fisher's, of the correlation's arctanh
    middle = math.atanh(likeness.spearman(given, true))
    assert low == pytest.approx(math.tanh(middle - 1.96 * error), abs=0.05)
    assert high == pytest.approx(math.tanh(middle + 1.96 * error), abs=0.05)
