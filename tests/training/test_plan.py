"""The plan of a training: every sample once an epoch, within the budget, and the same from any step on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dougong.data import batching
from dougong.data.batching import epoch_order, like_batches
from dougong.training.plan import Plan

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=120)


@given(LENGTHS, st.integers(1, 40), st.integers(0, 5), st.integers(0, 5))
def test_full_batches_of_like_length(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    parts = like_batches(lengths, size, seed, epoch)
    seen = [index for part in parts for index in part.tolist()]
    assert all(len(part) == size for part in parts) and len(parts) == len(lengths) // size
    assert len(seen) == len(set(seen))


def test_like_batches_hold_samples_of_like_length() -> None:
    lengths = torch.arange(1000) % 97 + 1
    spread = [int(lengths[part].max() - lengths[part].min()) for part in like_batches(lengths, 10, 0, 0)]
    drawn = [int(lengths[part].max() - lengths[part].min()) for part in torch.randperm(1000).split(10)]
    assert max(spread) < 20 < min(drawn)


@given(LENGTHS, st.integers(50, 400), st.integers(0, 5))
def test_each_epoch_holds_each_sample_once(lengths: list[int], tokens: int, seed: int) -> None:
    plan = Plan(len(lengths), 8, seed, lengths, tokens)
    steps = plan.steps(3)
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for step in range(steps):
        epoch, part = plan.batch(step)
        seen[epoch] += part.tolist()
        assert len(part) * max(lengths[index] for index in part.tolist()) <= tokens
    assert all(sorted(found) == list(range(len(lengths))) for found in seen.values())
    assert plan.epochs(steps) == 3 and plan.place(steps) == (3, 0)


@given(LENGTHS, st.integers(50, 400), st.integers(0, 200))
def test_a_step_is_the_same_from_anywhere(lengths: list[int], tokens: int, step: int) -> None:
    one, other = (Plan(len(lengths), 8, 3, lengths, tokens) for _ in range(2))
    for before in range(step):
        one.batch(before)
    epoch, part = one.batch(step)
    again, same = other.batch(step)
    assert epoch == again and torch.equal(part, same)


def test_samples_without_lengths_come_by_chance() -> None:
    plan = Plan(10, 3, 0)
    assert plan.per_epoch == 3 and plan.steps(2) == 6 and plan.epochs(9) == 3 and plan.ledger() is None
    assert [len(plan.batch(step)[1]) for step in range(6)] == [3] * 6
    assert plan.steps(0.1) == 1


def test_the_ledger_of_a_plan() -> None:
    lengths = [1 + index % 60 for index in range(600)]
    ledger = Plan(600, 20, 0, lengths).ledger()
    assert ledger is not None and ledger.real == sum(lengths)
    assert ledger.takes < 0.2 < ledger.would_take


@pytest.mark.parametrize("share", [0.5, 1.5, 2.25])
def test_parts_of_epochs(share: float) -> None:
    lengths = [1 + index % 60 for index in range(600)]
    plan = Plan(600, 20, 0, lengths, 300)
    assert plan.epochs(plan.steps(share)) == pytest.approx(share, abs=0.02)


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "STRETCH", 100)


PLANS = {
    "tokens": {"lengths": [1 + index % 60 for index in range(550)], "tokens": 300},
    "like length": {"lengths": [1 + index % 60 for index in range(550)]},
    "by chance": {},
}


@pytest.mark.parametrize("kind", PLANS)
def test_an_epoch_of_several_stretches(kind: str, short_stretches: None) -> None:
    plan = Plan(550, 10, 0, **PLANS[kind])
    steps = plan.steps(2)
    found = [plan.batch(step) for step in range(steps)]
    assert plan.stretches == 6 and steps == plan.steps(1) + sum(epoch == 1 for epoch, _ in found)
    for epoch in (0, 1):
        seen = torch.cat([part for each, part in found if each == epoch])
        assert torch.equal(seen.sort().values, torch.arange(550))
        assert not torch.equal(seen, torch.arange(550))
        first = torch.cat([part for each, part in found if each == epoch])[:100]
        assert set(first.tolist()) == set(epoch_order(550, 0, epoch, 0).tolist())  # stretch by stretch
    assert plan.place(steps) == (2, 0) and plan.epochs(steps) == 2
    assert plan.epochs(steps // 4) == pytest.approx(0.5, abs=0.02)
    assert plan.per_epoch == (plan.steps(1) if kind == "tokens" else 55)


@pytest.mark.parametrize("kind", PLANS)
def test_a_step_of_several_stretches_is_the_same_from_anywhere(kind: str, short_stretches: None) -> None:
    plan = Plan(550, 10, 3, **PLANS[kind])
    whole = [plan.batch(step) for step in range(plan.steps(2))]
    for step in range(0, len(whole), 7):  # as a training that goes on from there
        epoch, part = Plan(550, 10, 3, **PLANS[kind]).batch(step)
        assert epoch == whole[step][0] and torch.equal(part, whole[step][1])
    first, second = ([part.tolist() for each, part in whole if each == epoch] for epoch in (0, 1))
    assert first != second and sorted(first) != sorted(second)


def test_a_plan_holds_two_stretches_and_adds_up_their_padding(short_stretches: None) -> None:
    lengths = [1 + index % 60 for index in range(550)]
    plan = Plan(550, 10, 0, lengths)
    for step in range(plan.steps(1)):
        plan.batch(step)
        assert len(plan._made) <= 2 and sum(len(part) for several in plan._made.values() for part in several) <= 200
    ledger = plan.ledger()
    assert ledger is not None and ledger.real == sum(lengths)
    assert ledger.padded == sum(
        len(part) * max(lengths[each] for each in part) for part in like_batches(lengths, 10, 0, 0)
    )
    assert ledger.takes < 0.75 * ledger.would_take


def test_what_does_not_fill_a_batch_is_left_out_stretch_by_stretch(short_stretches: None) -> None:
    plan = Plan(550, 30, 0)
    assert plan.per_epoch == 5 * 3 + 1 and [len(plan.batch(step)[1]) for step in range(16)] == [30] * 16
    seen = torch.cat([plan.batch(step)[1] for step in range(16)])
    assert len(seen.unique()) == 480 and plan.batch(16)[0] == 1
    assert Plan(550, 400, 0).size == 100  # a batch lies in one stretch


def test_threads_that_ask_at_once_count_the_same_steps(short_stretches: None) -> None:
    from concurrent.futures import ThreadPoolExecutor

    lengths = [1 + index % 60 for index in range(550)]
    alone, shared = (Plan(550, 10, 0, lengths, 300) for _ in range(2))
    expected = [alone.place(step) for step in range(1000)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(shared.place, range(1000))) == expected
    assert alone._firsts == shared._firsts
