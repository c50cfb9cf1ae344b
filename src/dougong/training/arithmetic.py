"""The arithmetic of a training step: whose products it takes, and whether its blocks are compiled."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from torch import nn

from dougong.errors import UserError
from dougong.runtime.kernels import FastLinears, seconds_of_learning
from dougong.runtime.native.compiling import compiler

if TYPE_CHECKING:
    from dougong.training.config import TrainingConfig

CLEAR = 0.97
"""oneDNN multiplies where it needs less than this share of torch's time: of two that are near each other chance would
choose, and a training would round otherwise when it is measured again."""


def choose_products(config: TrainingConfig, model: nn.Module) -> tuple[TrainingConfig, list[str]]:
    """The configuration with ``products`` chosen, and a line if they are not torch's.

    Args:
        config: whose model it is.
        model: on its device.

    Raises:
        UserError: products that this training cannot have, or blocks that cannot be compiled.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    if config.compile and config.recompute:
        raise UserError("compile", "blocks that are compiled are not computed twice", "leave out compile or recompute")
    if config.compile and on_cpu and compiler() is None:
        raise UserError("compile", "there is no C++ compiler", "install one, or leave it out")
    suited = on_cpu and config.precision == "float32" and not config.compile
    if config.products == "onednn" and not suited:
        what = "compiled" if config.compile else f"{config.precision} on {'the CPU' if on_cpu else 'a GPU'}"
        raise UserError("products", f"onednn is for float32 on the CPU, and this is {what}", "leave it out")
    if config.products is not None:
        return config, []
    products: str = "torch"
    if suited and FastLinears(model, learning=True).layers:
        seconds = seconds_of_learning()
        products = "onednn" if seconds["onednn"] < CLEAR * seconds["torch"] else "torch"
    lines = ["products onednn: quicker than torch's on this machine"] if products == "onednn" else []
    return config.model_copy(update={"products": products}), lines


def products_of(config: TrainingConfig, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
    """What a step enters so that its products are those that were chosen. Args: as for `choose_products`."""
    return FastLinears(model, learning=True) if config.products == "onednn" else contextlib.nullcontext()
