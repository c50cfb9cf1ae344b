"""Rows of a cache can be left out, put in another order and doubled."""

from __future__ import annotations

import pytest
import torch

from dougong.parts.cache import Cache
from dougong.parts.context import Context
from dougong.parts.recurrence import Recurrence


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_recurrence_goes_on_with_the_rows_that_are_left(cell: str) -> None:
    torch.manual_seed(0)
    layer, x, rows = Recurrence(cell, 4, 5), torch.randn(3, 6, 4), torch.tensor([2, 0, 2])
    cache = Cache(6)
    layer(x[:, :4], Context(cache=cache))
    cache.reorder(rows)
    found = layer(x[rows, 4:], Context(cache=cache))
    torch.testing.assert_close(found, layer(x)[rows, 4:])
    assert not torch.allclose(found, layer(x)[:, 4:])
