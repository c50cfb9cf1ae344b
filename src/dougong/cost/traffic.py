"""Bytes that an operation reads and writes, and which operations touch no memory at all."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

# They look like copies and are views.
_VIEWS = {"_unsafe_view", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "_reshape_alias", "lift_fresh",
          "transpose_", "t_", "squeeze_", "unsqueeze_"}  # fmt: skip
# They make a tensor and write nothing into it, or ask something of one.
_FREE = {
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "device", "size", "stride", "numel",
    "dim", "is_contiguous", "storage_offset", "layout", "sym_size", "sym_stride", "sym_numel", "sym_storage_offset",
    "is_pinned", "record_stream", "_has_compatible_shallow_copy_type", "promote_types", "result_type", "can_cast",
}  # fmt: skip
# They read as many rows of their first argument as they write.
_GATHERS = {"embedding", "index_select", "index", "gather", "take", "_embedding_bag"}
# They write the places that an index names, in a tensor that they read nothing else of.
_FILLS = set(
    "zero_ fill_ zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full arange scalar_tensor "
    "bernoulli_ normal_ uniform_ rand randn eye".split()
)


@functools.cache
def is_view(function: Any) -> bool:
    """Whether the operation gives another look at the same memory."""
    name = function._overloadpacket.__name__
    if name in _VIEWS:
        return True
    returns = function._schema.returns
    return bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)


@functools.cache
def _name(function: Any) -> str:
    return str(function._overloadpacket.__name__)


def n_bytes(tensor: Tensor) -> int:
    """Bytes that reading the whole tensor touches: an expanded axis is one place in memory."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def traffic(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
) -> tuple[int, int, int, torch.dtype] | None:
    """(bytes read, bytes written, elements, dtype) of one call, or None where nothing is touched."""
    name = _name(function)
    if name in _FREE:
        return None
    inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    inputs += [item for value in args if isinstance(value, list | tuple) for item in value if isinstance(item, Tensor)]
    several = out if isinstance(out, list | tuple) else [out]
    outputs = [item for item in several if isinstance(item, Tensor)]
    written = sum(n_bytes(tensor) for tensor in outputs)
    if name in _FILLS:
        read = 0
    elif name in _GATHERS and inputs:
        read = written + sum(n_bytes(tensor) for tensor in inputs[1:])
    elif name == "copy_":
        read = n_bytes(inputs[1])
    else:
        read = sum(n_bytes(tensor) for tensor in inputs)
    every = outputs + inputs
    if not every:
        return None
    worked = outputs if name in _FILLS or name in _GATHERS else every  # others are looked into, or only give their type
    elements = max((tensor.numel() for tensor in worked), default=0)
    arithmetic = [tensor.dtype for tensor in every if tensor.is_floating_point()]
    return read, written, elements, arithmetic[0] if arithmetic else torch.int64
