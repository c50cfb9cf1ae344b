"""Numbers of samples are the same whether they are held in memory or lie in a file."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dougong.tasks.scores import bootstrap, interval_of, kept
from dougong.tasks.scores.kept import Kept

ROWS = st.lists(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 2**40)), max_size=20), max_size=12)


@given(ROWS, st.sampled_from([1, 7, 10**6]))
def test_rows_come_back_as_they_were_added(several: list[list[tuple[float, int]]], at_hand: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kept, "AT_HAND", at_hand)
        held, expected = Kept(2), []
        for rows in several:
            held.add(number for row in rows for number in row)
            expected += [list(map(float, row)) for row in rows]
            assert held.rows().tolist() == expected  # and on it goes after it was read
        assert held.rows().dtype == torch.float64 and held.rows().shape == (len(expected), 2)
        if at_hand != 7:
            assert (held._file is not None) == (at_hand == 1 and bool(expected))


def test_an_interval_is_drawn_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def score(sums: torch.Tensor) -> float:
        return float(sums[0] / sums[1])

    whole = interval_of(values, score, draws=200)
    drawn = torch.Generator().manual_seed(0)
    means = [score(values[torch.randint(1000, (1000,), generator=drawn)].sum(0)) for _ in range(200)]
    ends = torch.quantile(torch.tensor(means).double(), torch.tensor([0.025, 0.975]).double())
    assert whole == pytest.approx(ends.tolist(), rel=1e-6)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 130)
    assert interval_of(values, score, draws=200) == pytest.approx(whole, rel=1e-9)
    assert interval_of(values, score, draws=200, seed=1) != pytest.approx(whole, rel=1e-9)
