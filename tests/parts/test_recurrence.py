"""Recurrence against the cells' equations in float64 and torch's own networks run sequence by sequence."""

from __future__ import annotations

import pytest
import torch
from support.numbers import assert_different, assert_equal_to_rounding, shake
from torch import Tensor, nn

from dougong.parts.cache import Cache
from dougong.parts.context import Context
from dougong.parts.recurrence import Recurrence
from dougong.parts.segments import Segments

D, WIDTH = 6, 5
LENGTHS = torch.tensor([4, 8, 1, 8])


def by_equations(layer: nn.RNNBase, x: Tensor, suffix: str = "") -> Tensor:
    """One sequence (L, D) read step by step in float64, from the cells' equations; (L, WIDTH)."""
    w, u, b, c = (
        getattr(layer, f"{name}_l0{suffix}").double() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    h = torch.zeros(WIDTH, dtype=torch.float64)
    cell, states = h.clone(), []
    for step in x.double():
        a, r = w @ step + b, u @ h + c
        if isinstance(layer, nn.LSTM):
            i, f, g, o = (a + r).view(4, WIDTH)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            h = o.sigmoid() * cell.tanh()
        elif isinstance(layer, nn.GRU):
            (a_r, a_z, a_n), (r_r, r_z, r_n) = a.view(3, WIDTH), r.view(3, WIDTH)
            reset, update = (a_r + r_r).sigmoid(), (a_z + r_z).sigmoid()
            h = (1 - update) * (a_n + reset * r_n).tanh() + update * h
        else:
            h = (a + r).tanh()
        states.append(h)
    return torch.stack(states)


@pytest.mark.parametrize("form", ["packed", "dense"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_equals_the_equations_sequence_by_sequence(cell: str, bidirectional: bool, form: str) -> None:
    part = shake(Recurrence(cell, D, WIDTH, bidirectional)).eval()
    x = torch.randn(4, 9, D)
    layout = Segments.of(LENGTHS, 9)
    if form == "packed":
        y = layout.restore(part(layout.strip(x), Context(segments=layout)))
    else:
        y = part(x, Context(lengths=LENGTHS))
    kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
    reference = kind(D, WIDTH, batch_first=True, bidirectional=bidirectional)
    reference.load_state_dict(part.layer.state_dict())
    with torch.no_grad():
        for row, length in enumerate(LENGTHS.tolist()):
            alone = x[row, :length]
            right = by_equations(part.layer, alone)
            if bidirectional:
                right = torch.cat((right, by_equations(part.layer, alone.flip(0), "_reverse").flip(0)), -1)
            assert_equal_to_rounding(y[row, :length].double(), right, torch.float32)
            assert_equal_to_rounding(y[row, :length], reference(alone[None])[0][0])
            assert_equal_to_rounding(part(alone[None])[0], y[row, :length])
            if bidirectional and length > 1:  # the second direction starts at the last real token
                whole = reference(x[row : row + 1])[0][0, :length]
                assert_different(whole[:, WIDTH:], y[row, :length, WIDTH:])


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("cuts", [[8], [1] * 8, [3, 1, 4]])
def test_reading_on_from_a_cache_equals_reading_at_once(cell: str, cuts: list[int]) -> None:
    part, x = shake(Recurrence(cell, D, WIDTH)).eval(), torch.randn(2, 8, D)
    cache = Cache(8)
    pieces = []
    for piece in x.split(cuts, 1):
        pieces.append(part(piece, Context(cache=cache)))
        cache.advance(piece.shape[1])
    assert_equal_to_rounding(torch.cat(pieces, 1), part(x))
    assert cache.n_bytes == (2 if cell == "lstm" else 1) * 2 * WIDTH * 4


def test_refusals() -> None:
    with pytest.raises(ValueError, match="must be one of rnn, gru, lstm, not 'mamba'"):
        Recurrence("mamba", D, WIDTH)
    with pytest.raises(ValueError, match="cannot go on from a cache"):
        Recurrence("gru", D, WIDTH, bidirectional=True)(torch.randn(1, 2, D), Context(cache=Cache(4)))
