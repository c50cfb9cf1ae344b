"""The order of samples is a permutation that seed and epoch settle, and nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dougong.data import batches, epoch_order
from dougong.data.batching import PaddingLedger, token_batches


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


LENGTHS = st.lists(st.integers(1, 70), max_size=200)


@given(LENGTHS, st.integers(1, 200), st.integers(0, 9), st.integers(0, 9))
def test_batches_of_like_length_hold_each_sample_once_within_the_budget(
    lengths: list[int], budget: int, seed: int, epoch: int
) -> None:
    parts = token_batches(lengths, budget, seed, epoch)
    assert sorted(index for part in parts for index in part.tolist()) == list(range(len(lengths)))
    for part in parts:
        longest = max(lengths[index] for index in part.tolist())
        assert len(part) * longest <= budget or len(part) == 1
    again = token_batches(torch.tensor(lengths, dtype=torch.int32), budget, seed, epoch)
    assert all(torch.equal(one, other) for one, other in zip(parts, again, strict=True))


def long_tail(n: int = 5000) -> list[int]:
    """Lengths as texts have them."""
    generator = torch.Generator().manual_seed(5)
    return torch.randn(n, generator=generator).mul(0.7).add(3).exp().long().clamp(1, 400).tolist()


def test_batches_of_like_length_are_shuffled_each_epoch_anew() -> None:
    lengths = long_tail()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second = (token_batches(lengths, 2048, 3, epoch) for epoch in (0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert {tuple(sorted(part.tolist())) for part in first} != {tuple(sorted(part.tolist())) for part in second}
    assert [part.tolist() for part in first] != [part.tolist() for part in token_batches(lengths, 2048, 4, 0)]
    longest = torch.tensor([max(lengths[index] for index in part.tolist()) for part in first]).double()
    order = torch.arange(len(longest)).double()
    assert abs(float(torch.corrcoef(torch.stack([order, longest]))[0, 1])) < 0.35  # not from short to long


def test_the_ledger_counts_padding() -> None:
    lengths = long_tail()
    parts = token_batches(lengths, 2048, 0, 0)
    ledger = PaddingLedger.of(lengths, parts, 0, 0)
    rows = [torch.nn.utils.rnn.pad_sequence([torch.ones(lengths[i]) for i in part], True) for part in parts]
    assert ledger.padded == sum(row.numel() for row in rows)
    assert ledger.real == sum(int(row.sum()) for row in rows) == sum(lengths)
    assert ledger.takes == pytest.approx(1 - ledger.real / ledger.padded) and ledger.takes < 0.15
    assert ledger.would_take > 0.5  # the long tail
    assert "in batches drawn at random" in str(ledger) and ledger.describe()["plain"] == ledger.plain
    plain = batches(len(lengths), -(-len(lengths) // len(parts)), 0, 0)
    assert PaddingLedger.of(lengths, plain, 0, 0).takes == pytest.approx(ledger.would_take, abs=0.02)
    both = ledger + PaddingLedger(10, 20, 40)
    assert (both.real, both.padded, both.plain) == (ledger.real + 10, ledger.padded + 20, ledger.plain + 40)
    assert PaddingLedger.of([], [], 0, 0).takes == PaddingLedger.of([], [], 0, 0).would_take == 0


@pytest.mark.parametrize(("lengths", "budget"), [([1], 0), ([0], 5), ([], 0)])
def test_no_budget_and_no_empty_samples(lengths: list[int], budget: int) -> None:
    with pytest.raises(ValueError, match="budget"):
        token_batches(lengths, budget, 0, 0)
