"""The plan of a training: every sample once an epoch, within the budget, and the same from any step on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dougong.data.batching import like_batches
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
