"""Random numbers by place, windows of histories, and the rules, each against a loop that says the same slowly."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dougong.data.interactions.sequences import Context, InteractionData, starts_of
from dougong.tasks.recommending.baselines import NEIGHBOURS, Baselines
from dougong.tasks.recommending.drawing import Negatives, draws
from dougong.tasks.recommending.windows import Windows, gathered

HISTORIES = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=6)


def test_draws_are_uniform_and_each_place_has_its_own() -> None:
    found = draws(3, np.arange(400)[:, None], np.arange(250))
    assert np.array_equal(found[17, 100:], draws(3, 17, np.arange(100, 250)))
    assert not np.array_equal(found, draws(4, np.arange(400)[:, None], np.arange(250)))
    counts = np.histogram(found, 50, (0, 1))[0]
    assert abs(counts / found.size - 0.02).max() < 0.002 and len(np.unique(found)) > 0.999 * found.size
    assert abs(np.corrcoef(found[:-1].ravel(), found[1:].ravel())[0, 1]) < 0.02


def test_negatives_are_even_over_what_a_user_has_not_met() -> None:
    owner, item = np.repeat([0, 1], [6, 2]), np.array([0, 1, 2, 3, 4, 5, 0, 7])
    found = Negatives(owner, item, 9).draw(1, np.array([[0], [1]]), np.array([[0], [1]]), np.arange(20000))
    for user, left in ((0, {6, 7, 8}), (1, {1, 2, 3, 4, 5, 6, 8})):
        counts = np.bincount(found[user], minlength=9)
        assert set(np.flatnonzero(counts).tolist()) == left
        assert abs(counts[sorted(left)] / 20000 - 1 / len(left)).max() < 0.02


def context_of(histories: list[list[int]]) -> Context:
    user = np.repeat(np.arange(len(histories)), [len(each) for each in histories])
    none = np.zeros(0, np.int64)
    return Context(np.concatenate(histories), starts_of(user, len(histories)), none, none, none, 0)


@settings(max_examples=80, deadline=None)
@given(HISTORIES, st.integers(1, 5))
def test_each_item_after_the_first_is_foreseen_once(histories: list[list[int]], length: int) -> None:
    context = context_of(histories)
    windows = Windows.of(context, length, 1)
    foreseen = sorted(place for a, b in zip(windows.start, windows.stop, strict=True) for place in range(a + 1, b))
    wanted = sorted(
        context.starts[user] + place for user, each in enumerate(histories) for place in range(1, len(each))
    )
    assert foreseen == wanted
    assert all(2 <= b - a <= length + 1 for a, b in zip(windows.start, windows.stop, strict=True))
    whole = Windows.of(context, length, 0)
    held = sorted(place for a, b in zip(whole.start, whole.stop, strict=True) for place in range(a, b))
    assert held == sorted(context.starts[u] + p for u, e in enumerate(histories) if len(e) > 1 for p in range(len(e)))


def test_stretches_side_by_side() -> None:
    items, real = gathered(np.arange(10) * 2, np.array([1, 6]), np.array([4, 7]), fill=-1)
    assert items.tolist() == [[2, 4, 6], [12, -1, -1]] and real.tolist() == [[True] * 3, [True, False, False]]


def data_of(histories: list[list[int]], items: int = 6) -> InteractionData:
    import pyarrow as pa

    user = np.repeat(np.arange(len(histories), dtype=np.int32), [len(each) for each in histories])
    item = np.concatenate(histories).astype(np.int32)
    zeros = np.zeros(len(user), np.int8)
    users, names = (pa.array([str(n) for n in range(count)]) for count in (len(histories), items))
    return InteractionData("x", "x", users, names, user, item, None, zeros, ["x"], zeros, zeros, {}, "")


@settings(max_examples=60, deadline=None)
@given(HISTORIES, st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=5), min_size=1, max_size=3))
def test_the_rules_equal_their_definitions(histories: list[list[int]], asked: list[list[int]]) -> None:
    rules = Baselines(data_of(histories))
    given_ = [np.array(each) for each in asked]
    met = [set(each) for each in histories]
    total = np.bincount(np.concatenate(histories), minlength=6)

    def both(a: int, b: int) -> int:
        return sum(a in each and b in each for each in met)

    def cosine(a: int, b: int) -> float:
        lengths = (both(a, a) * both(b, b)) ** 0.5
        return both(a, b) / lengths if lengths and a != b else 0.0

    assert np.allclose(rules.popularity(given_), np.tile(total / total.max(), (len(asked), 1)))
    pairs = [[both(each[-1], item) for item in range(6)] for each in asked]
    assert np.allclose(rules.co_occurrence(given_), pairs, atol=1e-5)
    like = [[sum(cosine(other, item) for other in set(each)) for item in range(6)] for each in asked]
    assert np.allclose(rules.neighbours(given_), like, atol=1e-5)


def test_only_the_nearest_items_are_kept() -> None:
    draw = np.random.default_rng(0)
    histories = [draw.permutation(400)[:30].tolist() for _ in range(300)]
    like = Baselines(data_of(histories, 400)).likeness()
    kept = np.diff(like.indptr)
    assert kept.max() == NEIGHBOURS < 399
    whole = Baselines(data_of(histories, 400))
    dense = (whole.by_item @ whole.met).toarray()
    lengths = np.sqrt(np.diag(dense))
    cosines = dense / np.outer(lengths, lengths) - np.eye(400)
    assert np.allclose(np.sort(like.toarray(), 1)[:, -NEIGHBOURS:], np.sort(cosines, 1)[:, -NEIGHBOURS:], atol=1e-6)
