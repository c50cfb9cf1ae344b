"""The order of samples is a permutation that seed and epoch settle, and nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dougong.data import batches, epoch_order


@given(st.integers(0, 300), st.integers(1, 64), st.integers(0, 9), st.integers(0, 9))
def test_an_epoch_visits_each_sample_once(n: int, size: int, seed: int, epoch: int) -> None:
    parts = batches(n, size, seed, epoch)
    assert sorted(index for part in parts for index in part.tolist()) == list(range(n))
    assert all(len(part) == size for part in parts[:-1])


def test_pure() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = epoch_order(50, 3, 7)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(first, epoch_order(50, 3, 7))


def test_epochs_and_seeds_differ_and_are_not_confused() -> None:
    orders = {tuple(epoch_order(50, seed, epoch).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_no_batch_of_nothing() -> None:
    with pytest.raises(ValueError):
        batches(5, 0, 0, 0)
