"""Attention written out from the papers' formulas in float64, head by head, sharing nothing with the package."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Turn = Callable[[Tensor], Tensor]


def softmax(scores: Tensor) -> Tensor:
    """Over the last axis; rows where everything is forbidden give zeros."""
    top = scores.max(-1, keepdim=True).values
    top = torch.where(top.isinf(), torch.zeros_like(top), top)
    raised = (scores - top).exp()
    total = raised.sum(-1, keepdim=True)
    return torch.where(total > 0, raised / total.clamp(min=1e-300), torch.zeros_like(raised))


def attention_formula(
    layer: nn.Module,
    x: Tensor,
    source: Tensor | None = None,
    *,
    table: Tensor | None = None,
    bias: Tensor | None = None,
    turn: Turn | None = None,
    cap: float | None = None,
    shift: Tensor | None = None,
    source_shift: Tensor | None = None,
    scale: float | None = None,
    normalise: tuple[Turn, Turn] | None = None,
) -> tuple[Tensor, Tensor]:
    """The output (B, L, D) and the weights (B, H, L, S) that a layer's own projections should give, in float64.

    Args:
        layer: its query, key, value, output are linear; read for weights only.
        x: (B, L, D).
        source: (B, S, D) for cross-attention.
        table: bool (L, S) or (B, L, S), True where allowed.
        bias: (H, L, S).
        turn: rotation of one head's (B, L, K).
        cap: soft cap of the scores.
        shift, source_shift: added where queries and keys are made.
        scale: of the scores.
        normalise: of one head's queries and keys.
    """

    def project(side: nn.Module, tensor: Tensor) -> Tensor:
        y = tensor @ side.weight.double().T
        return y if side.bias is None else y + side.bias.double()

    x = x.double()
    source = x if source is None else source.double()
    source_shift = shift if source_shift is None and source is x else source_shift
    query = project(layer.query, x if shift is None else x + shift.double())
    key = project(layer.key, source if source_shift is None else source + source_shift.double())
    value = project(layer.value, source)
    n_heads, n_groups = layer.n_heads, layer.n_kv_heads
    width = query.shape[-1] // n_heads
    outputs, all_weights = [], []
    for head in range(n_heads):
        group = head * n_groups // n_heads
        q = query[..., head * width : (head + 1) * width]
        k = key[..., group * width : (group + 1) * width]
        v = value[..., group * width : (group + 1) * width]
        if normalise is not None:
            q, k = normalise[0](q), normalise[1](k)
        if turn is not None:
            q, k = turn(q), turn(k)
        scores = torch.einsum("blk,bsk->bls", q, k) * (scale if scale is not None else 1 / math.sqrt(width))
        if cap is not None:
            scores = cap * torch.tanh(scores / cap)
        if bias is not None:
            scores = scores + bias[head].double()
        if table is not None:
            scores = torch.where(table, scores, torch.full_like(scores, -math.inf))
        weights = softmax(scores)
        all_weights.append(weights)
        outputs.append(torch.einsum("bls,bsk->blk", weights, v))
    return project(layer.output, torch.cat(outputs, -1)), torch.stack(all_weights, 1)


def rotary_formula(width: int, base: float = 10000.0, interleaved: bool = False, start: int = 0) -> Turn:
    """Su et al. 2021, equation 34, with complex numbers: channel pair i at place p turns by p * base^(-2i/R)."""

    def turn(x: Tensor) -> Tensor:
        place = torch.arange(start, start + x.shape[-2], dtype=torch.float64)
        rate = torch.tensor([base ** (-2 * i / width) for i in range(width // 2)], dtype=torch.float64)
        angle = torch.polar(torch.ones(len(place), width // 2, dtype=torch.float64), place[:, None] * rate)
        y = x.double().clone()
        for i in range(width // 2):
            a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + width // 2)
            turned = torch.complex(x[..., a].double(), x[..., b].double()) * angle[:, i]
            y[..., a], y[..., b] = turned.real, turned.imag
        return y

    return turn
