"""Recurrent networks as mixers: Elman, GRU and LSTM, one- and two-directional, on torch's kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from dougong.parts.context import Context

EMPTY = Context()

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Recurrence(nn.Module):
    """One recurrent layer over a sequence.

    Elman: h = tanh(W x + U h + b) (Elman 1990); GRU (Cho et al. 2014, section 2.3, in torch's form, where the reset
    gate acts after the product); LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    Args:
        cell: "rnn", "gru" or "lstm".
        d_model: D, width of the input.
        d_hidden: width of the state of one direction.
        bidirectional: a second layer reads from the end; the output is twice ``d_hidden`` wide.

    Raises:
        ValueError: an unknown cell.
    """

    def __init__(self, cell: str, d_model: int, d_hidden: int, bidirectional: bool = False) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, not {cell!r}")
        self.cell, self.bidirectional = cell, bidirectional
        self.layer = CELLS[cell](d_model, d_hidden, batch_first=True, bidirectional=bidirectional)

    def forward(self, x: Tensor, context: Context = EMPTY) -> Tensor:
        """(B, L, D), or packed (T, D), to the same with d_hidden channels, or twice that for both directions.

        Raises:
            ValueError: a cache, though one direction begins at the end.
        """
        if context.cache is not None and self.bidirectional:
            raise ValueError("a two-directional recurrence cannot go on from a cache: it has to see the end first")
        if context.segments is not None:
            order = context.segments.time_major
            packed, state = self.layer(PackedSequence(x[order], context.segments.steps))
            if context.cache is not None:
                parts = state if isinstance(state, tuple) else (state,)
                rows = context.segments.order  # the packed sequences come longest first
                context.cache.leave(self, tuple(torch.empty_like(part).index_copy(1, rows, part) for part in parts))
            return torch.empty_like(packed.data).index_copy(0, order, packed.data)
        if context.lengths is not None:
            packed, _ = self.layer(pack_padded_sequence(x, context.lengths.cpu(), True, enforce_sorted=False))
            return pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])[0]
        if context.cache is None:
            return self.layer(x)[0]
        state = context.cache.state(self)
        y, state = self.layer(x, state if state is None or len(state) > 1 else state[0])
        context.cache.leave(self, state if isinstance(state, tuple) else (state,))
        return y
