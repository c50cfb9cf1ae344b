"""A model and its inputs with shapes and no values, so that nothing is allocated."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dougong.architectures import build
from dougong.errors import UserError


def on_meta(model: nn.Module) -> nn.Module:
    """A copy of a module whose tensors have shapes and no values."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in [*module._parameters.values(), *module._buffers.values(), *vars(module).values()]:
            if isinstance(value, Tensor) and id(value) not in memo:
                empty = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
                is_parameter = isinstance(value, nn.Parameter)
                memo[id(value)] = nn.Parameter(empty, value.requires_grad) if is_parameter else empty
    return copy.deepcopy(model, memo)


@contextmanager
def unfilled() -> Iterator[None]:
    """Build on the meta device without drawing starting weights there: half of the time of building goes into that."""
    fillings = {kind: kind.reset_parameters for kind in (nn.Linear, nn.LayerNorm)}

    def sparing(fill: Any) -> Any:
        return lambda layer: None if layer.weight is not None and layer.weight.is_meta else fill(layer)

    try:
        for kind, fill in fillings.items():
            kind.reset_parameters = sparing(fill)  # type: ignore[method-assign]
        yield
    finally:
        for kind, fill in fillings.items():
            kind.reset_parameters = fill  # type: ignore[method-assign]


def prepare(
    model: str | dict[str, Any] | nn.Module, batch: int, length: int | None, inputs: tuple[Any, ...] | None
) -> tuple[str, nn.Module, tuple[Any, ...]]:
    """The model's name, the model and its inputs on the meta device."""
    if isinstance(model, nn.Module):
        config = getattr(model, "config", None)
        name = config.get("architecture") if isinstance(config, dict) else None
        module, name = on_meta(model), str(name or type(model).__name__)
    else:
        with unfilled():
            module = build(model, device="meta")
        name = model if isinstance(model, str) else str(model.get("architecture"))
    if inputs is not None:
        return name, module, tuple(value.to("meta") if isinstance(value, Tensor) else value for value in inputs)
    if not hasattr(module, "example_inputs"):
        raise UserError("model", f"{name} does not say what it reads", "give inputs=, a tuple of tensors")
    try:
        return name, module, module.example_inputs(batch, length, device="meta")  # type: ignore[operator]
    except (ValueError, TypeError) as error:
        raise UserError("length", str(error), "give another length") from None


def nn_bytes(model: nn.Module) -> int:
    """Bytes of the parameters and buffers, shared ones once."""
    return sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()])
