"""FLOPs of one operation: torch's own formulas, and those that torch 2.13 lacks. One multiply-add is 2 FLOPs."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry

aten = torch.ops.aten

Shape = tuple[int, ...]


def attention_flops(query: Shape, key: Shape, value: Shape) -> int:
    """softmax(Q K^T) V for queries (B, H, L, K), keys (B, G, S, K) and values (B, G, S, K'): 2 B H L S (K + K').

    Every key counts for every query: a causal mask is not subtracted, as in torch and in most papers.
    """
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[2] * (width + value[3])


def attention_backward_flops(query: Shape, key: Shape, value: Shape) -> int:
    """The fused backward pass: scores again, then gradients of weights, V, Q and K: 2 B H L S (3 K + 2 K')."""
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[2] * (3 * width + 2 * value[3])


def _forward(query: Shape, key: Shape, value: Shape, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return attention_flops(query, key, value)


def _backward(grad: Shape, query: Shape, key: Shape, value: Shape, *args: Any, **kwargs: Any) -> int:
    return attention_backward_flops(query, key, value)


def _bias_backward(grad: Shape, query: Shape, key: Shape, value: Shape, bias: Any, *args: Any, **kwargs: Any) -> int:
    return attention_backward_flops(query, key, value)


def _recurrent(x: Shape, from_input: Shape, from_state: Shape, *args: Any, **kwargs: Any) -> int:
    """One layer and direction over x (L, B, D): all gates' products with input and state at each step."""
    return 2 * x[0] * x[1] * (prod(from_input) + prod(from_state))


def _recurrent_backward(x: Shape, from_input: Shape, from_state: Shape, *args: Any, **kwargs: Any) -> int:
    """Gradients of inputs and of weights: each costs as much as the forward pass."""
    return 2 * _recurrent(x, from_input, from_state)


def _matrix_vector(matrix: Shape, vector: Shape, *args: Any, **kwargs: Any) -> int:
    return 2 * prod(matrix)


def _add_matrix_vector(added: Shape, matrix: Shape, vector: Shape, *args: Any, **kwargs: Any) -> int:
    return 2 * prod(matrix)


def _dot(a: Shape, b: Shape, *args: Any, **kwargs: Any) -> int:
    return 2 * prod(a)


def _add_matrices(added: Shape, a: Shape, b: Shape, *args: Any, **kwargs: Any) -> int:
    """addbmm (B, N, M) x (B, M, P), or addmm with an activation (N, M) x (M, P)."""
    return 2 * prod(a) * b[-1]


def _packets(*names: str) -> list[Any]:
    """The operations of these names that this torch has."""
    return [getattr(aten, name) for name in names if hasattr(aten, name)]


FORMULAS: dict[Any, Callable[..., int]] = {
    # torch 2.13 counts none of these on the CPU
    **dict.fromkeys(_packets("_scaled_dot_product_flash_attention_for_cpu"), _forward),
    **dict.fromkeys(_packets("_scaled_dot_product_flash_attention_for_cpu_backward"), _backward),
    **dict.fromkeys(_packets("mkldnn_rnn_layer"), _recurrent),
    **dict.fromkeys(_packets("mkldnn_rnn_layer_backward"), _recurrent_backward),
    **dict.fromkeys(_packets("mv"), _matrix_vector),
    **dict.fromkeys(_packets("addmv"), _add_matrix_vector),
    **dict.fromkeys(_packets("dot", "vdot"), _dot),
    **dict.fromkeys(_packets("addbmm", "_addmm_activation"), _add_matrices),
    # torch's own demand as many key heads as query heads
    **dict.fromkeys(
        _packets(
            "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_fused_attention_overrideable",
        ),
        _forward,
    ),
    **dict.fromkeys(
        _packets("_scaled_dot_product_flash_attention_backward", "_scaled_dot_product_cudnn_attention_backward"),
        _backward,
    ),
    **dict.fromkeys(_packets("_scaled_dot_product_efficient_attention_backward"), _bias_backward),
}  # fmt: skip

KNOWN = frozenset(flop_registry) | frozenset(FORMULAS)


def flops_of(packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int | None:
    """FLOPs of one call, or None where there is no formula for the operation.

    Args:
        packet: the operation, as ``torch.ops.aten.mm``.
        args, kwargs: what it was called with.
        out: what it gave.
    """
    ours = FORMULAS.get(packet)
    if ours is not None:
        return ours(*[tuple(a.shape) if isinstance(a, torch.Tensor) else a for a in args])
    formula = flop_registry.get(packet)
    return None if formula is None else int(formula(*args, **kwargs, out_val=out))


def counter() -> FlopCounterMode:
    """torch's own FLOP counter, as a context manager, with the formulas that it lacks.

    Examples:
        >>> with counter() as count:
        ...     _ = torch.nn.Linear(8, 4)(torch.zeros(2, 8))
        >>> count.get_total_flops()
        128
    """
    return FlopCounterMode(display=False, custom_mapping=FORMULAS)
