"""Every family at two depths, prepared for the cost tests."""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor, nn

import dougong
from dougong.architectures import sizes
from dougong.cost.passes import Trace, trace
from dougong.cost.preparing import on_meta
from support.small import LENGTH, VARIANTS

# One published size of each family: the first in sizes.toml.
SIZES = list({size.config["architecture"]: name for name, size in reversed(sizes().items())}.values())
DEEP = {"n_layers": 5, "num_layers": 5, "layers": [4, 4]}
BATCH = 3


def deep(name: str) -> dict[str, Any]:
    """A variant with enough identical blocks in a row to be folded."""
    config = dict(VARIANTS[name])
    return {**config, **{key: value for key, value in DEEP.items() if key in config}}


@functools.cache
def made(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    """A deep variant with values, and inputs; to be used as it is."""
    return real(deep(name))


@functools.cache
def traced(name: str, train: bool) -> Trace:
    """What the trace says of it."""
    return trace(*shapes(*made(name)), train=train, whole=True)


def real(config: str | dict[str, Any], batch: int = BATCH) -> tuple[nn.Module, tuple[Any, ...]]:
    """A model with values, and inputs."""
    model = dougong.build(config, seed=0)
    return model, tuple(model.example_inputs(batch, LENGTH))


def shapes(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[nn.Module, tuple[Any, ...]]:
    """The same on the meta device."""
    return on_meta(model), tuple(value.to("meta") if isinstance(value, Tensor) else value for value in inputs)
