"""Recurrent layers as torch runs them on the CPU: all steps' products with the input at once, then step by step.

On any other device, the meta device among them, torch multiplies each step's input by itself. The arithmetic is the
same; the operations, and what is alive between them, are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout, linear

Cell = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def gru_cell(gates: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """One step of a GRU from what its input gave (B, 3 H) and the state (B, H)."""
    read = gates.unsafe_chunk(3, 1)
    kept = linear(state, weight, bias).unsafe_chunk(3, 1)
    reset = kept[0].add_(read[0]).sigmoid_()
    update = kept[1].add_(read[1]).sigmoid_()
    fresh = read[2].add(kept[2].mul_(reset)).tanh_()
    return (state - fresh).mul_(update).add_(fresh)


def tanh_cell(gates: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """One step of an Elman network."""
    return torch.tanh(linear(state, weight, bias).add_(gates))


def relu_cell(gates: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """One step of an Elman network with another function."""
    return torch.relu(linear(state, weight, bias).add_(gates))


CELLS: dict[Any, Cell] = {torch.gru: gru_cell, torch.rnn_tanh: tanh_cell, torch.rnn_relu: relu_cell}


def recurrent(
    cell: Cell, x: Tensor, state: Tensor, weights: list[Tensor], has_biases: bool, layers: int, share: float,
    train: bool, bidirectional: bool, batch_first: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """All layers, with the arguments that torch's own take after the cell.

    Args:
        cell: one step.
        x: (L, B, D), or (B, L, D) if ``batch_first``.
        state: (layers x directions, B, H).
        weights: of each layer and direction: from the input, from the state, and their biases.
        has_biases: whether there are biases.
        layers: how many.
        share: that dropout between layers takes.
        train: whether it does.
        bidirectional: whether each layer also reads from the end.
        batch_first: see ``x``.
    """
    x = x.transpose(0, 1) if batch_first else x
    directions = 2 if bidirectional else 1
    each = 4 if has_biases else 2
    begun, ended = state.unbind(0), []
    for layer in range(layers):
        own = weights[layer * directions * each : (layer + 1) * directions * each]
        first = layer * directions
        if bidirectional:
            x, last = both(cell, x, begun[first], begun[first + 1], own[:each], own[each:])
            ended += last
        else:
            x, state = one(cell, x, begun[first], own)
            ended.append(state)
        if share and train and layer < layers - 1:
            x = dropout(x, share)
    return (x.transpose(0, 1) if batch_first else x), torch.stack(ended)


def project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer: where torch adds the bias afterwards it does so in place, not under a tracer."""
    if bias is None or x.dim() < 3 or x.is_contiguous():
        return linear(x, weight, bias)
    return torch.matmul(x, weight.t()).add_(bias)


def one(cell: Cell, x: Tensor, state: Tensor, own: list[Tensor]) -> tuple[Tensor, Tensor]:
    """One layer in one direction: (L, B, D) to (L, B, H), and the last state."""
    gates = list(project(x, own[0], bias(own, 0)).unbind(0))
    made = steps(cell, gates, state, own)
    return torch.stack(made), made[-1]


def both(
    cell: Cell, x: Tensor, state: Tensor, other: Tensor, own: list[Tensor], others: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """One layer in both directions: (L, B, D) to (L, B, 2 H), and the last states. All names live to the end."""
    read = project(x, own[0], bias(own, 0))
    gates = list(read.unbind(0))
    there = steps(cell, gates, state, own)
    forth = torch.stack(there)
    read = project(x, others[0], bias(others, 0))
    gates = list(read.unbind(0))[::-1]
    back = steps(cell, gates, other, others)
    return torch.cat([forth, torch.stack(back[::-1])], -1), [there[-1], back[-1]]


def steps(cell: Cell, gates: list[Tensor], state: Tensor, own: list[Tensor]) -> list[Tensor]:
    """The state after each step."""
    made = []
    for each in gates:
        state = cell(each, state, own[1], bias(own, 1))
        made.append(state)
    return made


def bias(own: list[Tensor], which: int) -> Tensor | None:
    """The input's or the state's bias, where there are biases."""
    return own[2 + which] if len(own) > 2 else None
