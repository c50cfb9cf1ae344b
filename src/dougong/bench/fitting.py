"""Whether a model writes, and whether a piece of work fits into memory, before anything is allocated."""

from __future__ import annotations

from typing import Any

from dougong.architectures import build
from dougong.cost import CostSheet, cost
from dougong.cost.probe import memory_of
from dougong.errors import UserError
from dougong.figures import size


def writes(config: dict[str, Any]) -> bool:
    """Whether a model goes on from a text: a decoder with a language head."""
    from dougong.runtime.writer import Writer

    model = build(config, device="meta")
    if getattr(model, "input_kind", "") != "tokens":
        return False
    try:
        Writer(model)
    except UserError:
        return False
    return True


def fitting(
    config: dict[str, Any], batch: int, length: int | None, train: bool, precision: str, device: str, name: str
) -> CostSheet:
    """The cost sheet of a pass that fits into the device's memory.

    Raises:
        UserError: it does not.
    """
    arithmetic = "float32" if precision == "float32" else "bfloat16"
    sheet = cost(config, batch=batch, length=length, train=train, precision=arithmetic, device=device, name=name)
    there = memory_of(device)
    if there and sheet.memory.peak > there:
        what = "a training step" if train else "a pass"
        raise UserError(
            name,
            f"{what} of batch {batch} takes {size(sheet.memory.peak)}, and there are {size(there)}",
            "give a smaller model",
        )
    return sheet
