"""The order of samples is a permutation that seed and epoch settle, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dougong.data import batches, batching, epoch_order
from dougong.data.batching import PaddingLedger, in_order, like_batches, mix, stretches, token_batches


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


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(batching, "STRETCH", 64)
    return 64


@pytest.mark.parametrize("n", [1, 63, 64])
def test_data_of_one_stretch_come_in_torch_s_own_order(n: int, short_stretches: int) -> None:
    drawn = torch.randperm(n, generator=torch.Generator().manual_seed(mix("order", 3, 7)))
    assert torch.equal(epoch_order(n, 3, 7), drawn) and torch.equal(epoch_order(n, 3, 7, 0), drawn)
    assert stretches(n) == 1 and all(map(torch.equal, batches(n, 5, 3, 7), drawn.split(5)))


@given(st.integers(65, 3000), st.integers(0, 9), st.integers(0, 9))
def test_many_samples_are_a_permutation_in_stretches(n: int, seed: int, epoch: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batching, "STRETCH", 64)
        order = epoch_order(n, seed, epoch)
        assert torch.equal(order.sort().values, torch.arange(n))
        parts = [epoch_order(n, seed, epoch, each) for each in range(stretches(n))]
        assert torch.equal(torch.cat(parts), order) and {len(part) for part in parts[:-1]} == {64}
        others = [epoch_order(n, seed + 1, epoch), epoch_order(n, seed, epoch + 1), torch.arange(n)]
        assert torch.equal(order, epoch_order(n, seed, epoch)) and not any(torch.equal(order, each) for each in others)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 4096, 4097])
def test_a_scattered_place_depends_on_nothing_but_itself(n: int) -> None:
    places = torch.arange(n)
    whole = batching._scattered(places, n, 0, 0)
    assert torch.equal(whole.sort().values, places) and torch.equal(places, torch.arange(n))
    assert torch.equal(batching._scattered(places[n // 2 :], n, 0, 0), whole[n // 2 :])


def disorder(order: torch.Tensor) -> dict[str, float]:
    """How far an order of n is from one drawn at random, in standard deviations or shares of what is expected."""
    n, place = len(order), torch.arange(len(order)).double()
    steps = order.double().diff()
    return {
        "place and value": abs(float(torch.corrcoef(torch.stack([place, order.double()]))[0, 1])) * n**0.5,
        "value and next": abs(float(torch.corrcoef(torch.stack([order[:-1], order[1:]]).double())[0, 1])) * n**0.5,
        "step": abs(float(steps.abs().mean()) / (n / 3) - 1) * n**0.5,  # the mean distance of two drawn at random
        # of 100 equal parts of the order, how evenly each takes from 100 equal parts of the values
        "spread": abs(float(chi_squared(order)) - 99 * 99) / (2 * 99 * 99) ** 0.5,
        "fixed": abs(float((order == torch.arange(n)).sum()) - 1),  # one is expected
    }


def chi_squared(order: torch.Tensor) -> torch.Tensor:
    n = len(order)
    cells = (torch.arange(n) * 100 // n) * 100 + order * 100 // n
    seen, expected = torch.bincount(cells, minlength=10_000).double(), n / 10_000
    return ((seen - expected) ** 2 / expected).sum()


@pytest.mark.parametrize("n", [99_991, 100_000, 2**17])
@pytest.mark.parametrize("seed", range(3))
def test_many_samples_are_scattered_as_if_drawn_at_random(n: int, seed: int, short_stretches: int) -> None:
    found, drawn = (disorder(order) for order in (epoch_order(n, seed, 0), torch.randperm(n)))
    assert all(value < 5 for value in found.values()), found
    assert all(value < 5 for value in drawn.values()), drawn


def test_too_few_rounds_are_found_out(monkeypatch: pytest.MonkeyPatch, short_stretches: int) -> None:
    """The control: what these measures call random is not anything that is moved about."""
    for rounds in (0, 1):
        monkeypatch.setattr(batching, "ROUNDS", rounds)
        assert max(disorder(epoch_order(100_000, 0, 0)).values()) > 50


def test_a_file_sorted_by_label_is_mixed_as_a_whole(short_stretches: int) -> None:
    labels = torch.arange(6400) // 3200
    shares = torch.stack([labels[part].double().mean() for part in batches(6400, 64, 0, 0)])
    assert 0.25 < float(shares.min()) and float(shares.max()) < 0.75
    near = torch.cat([part[torch.randperm(64)] for part in torch.arange(6400).split(64)])  # within stretches alone
    assert {float(labels[part].double().mean()) for part in near.split(64)} == {0.0, 1.0}


@given(st.lists(st.integers(1, 70), min_size=65, max_size=300), st.integers(70, 200), st.integers(1, 64))
def test_every_sample_is_in_one_stretch(lengths: list[int], budget: int, size: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batching, "STRETCH", 64)
        n = len(lengths)
        for whole, make in (
            (True, lambda stretch: token_batches(lengths, budget, 1, 2, stretch)),
            (False, lambda stretch: like_batches(lengths, size, 1, 2, stretch)),
            (True, lambda stretch: batches(n, size, 1, 2, stretch)),
        ):
            parts = [make(each) for each in range(stretches(n))]
            assert all(map(torch.equal, make(None), [part for several in parts for part in several]))
            for each, several in enumerate(parts):
                seen, drawn = [i for part in several for i in part.tolist()], epoch_order(n, 1, 2, each).tolist()
                assert len(set(seen)) == len(seen) and set(seen) <= set(drawn)
                assert len(seen) == len(drawn) - (0 if whole else len(drawn) % size)


def test_lengths_are_taken_as_they_are(short_stretches: int) -> None:
    """A file that is mapped is read where it is asked for: a copy of all lengths would grow with the data."""
    lengths = np.arange(6400, dtype=np.int32) % 50 + 1
    one, other = (token_batches(each, 400, 0, 0, 3) for each in (lengths, lengths.tolist()))
    assert all(map(torch.equal, one, other))
    copied: list[int] = []

    def watched(values: Any, *given: Any, **named: Any) -> torch.Tensor:
        found = as_tensor(values, *given, **named)
        copied.append(found.data_ptr() != lengths.ctypes.data)
        return found

    as_tensor = torch.as_tensor
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "as_tensor", watched)
        parts = token_batches(lengths, 400, 0, 0, 3) + like_batches(lengths, 8, 0, 0, 3)
        PaddingLedger.of(lengths, parts, 0, 0)
    assert copied == [False] * 3


def test_in_order() -> None:
    assert [part.tolist() for part in in_order(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]] and not [*in_order(0, 3)]


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


@given(LENGTHS.filter(bool), st.integers(70, 200), st.integers(1, 40), st.integers(0, 9), st.integers(0, 9))
def test_a_stretch_is_cut_as_an_epoch_ever_was(
    lengths: list[int], budget: int, size: int, seed: int, epoch: int
) -> None:
    """The batches by plain Python, from torch's own order: recorded results rest on them."""
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(mix("order", seed, epoch)))

    def shuffled(parts: list[list[int]]) -> list[list[int]]:
        generator = torch.Generator().manual_seed(mix("batches", seed, epoch))
        return [parts[each] for each in torch.randperm(len(parts), generator=generator).tolist()]

    cut: list[list[int]] = []
    pools = max(-(-sum(lengths) // (100 * budget)), min(4, len(lengths)))
    for pool in order.tensor_split(pools):
        held: list[int] = []
        for index in sorted(pool.tolist(), key=lambda each: lengths[each]):
            if held and (len(held) + 1) * lengths[index] > budget:
                cut.append(held)
                held = []
            held.append(index)
        cut.append(held)
    assert [part.tolist() for part in token_batches(lengths, budget, seed, epoch)] == shuffled(cut)
    count = len(lengths) // size
    cut = []
    for pool in order[: count * size].split(min(100, max(1, count // 4)) * size) if count else ():
        ordered = sorted(pool.tolist(), key=lambda each: lengths[each])
        cut += [ordered[start : start + size] for start in range(0, len(ordered), size)]
    assert [part.tolist() for part in like_batches(lengths, size, seed, epoch)] == shuffled(cut)


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
