"""Blocks that keep nothing for the backward pass but what they were given, and are computed again in it.

Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 4.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from dougong.frames.branch import EMPTY
from dougong.frames.stack import Stack
from dougong.parts.context import Context

Again = Callable[[], AbstractContextManager[Any]]


def recomputable(model: nn.Module) -> list[nn.Module]:
    """The blocks that may be computed twice, in the order in which they stand; not those whose norms count batches."""
    stacks = [part for part in model.modules() if isinstance(part, Stack)]
    blocks = [block for stack in stacks for block in stack.blocks]
    return [block for block in blocks if not any(isinstance(part, _BatchNorm) for part in block.modules())]


class Recomputing:
    """While it is entered, a model's first blocks are computed again in the backward pass.

    Gradients are those of the plain way: dropout draws the same numbers again. The first blocks are taken, because they
    are computed again last, when little else is left in memory.

    Args:
        model: whose blocks they are.
        count: how many; more than `recomputable` are all of them.
        again: makes what is entered while a block is computed again; modes of the forward pass do not reach there.
    """

    def __init__(self, model: nn.Module, count: int, again: Again = contextlib.nullcontext) -> None:
        self.blocks = recomputable(model)[:count]
        self._forwards = [_forward(block, again) for block in self.blocks]

    def __enter__(self) -> None:
        for block, forward in zip(self.blocks, self._forwards, strict=True):
            block.__dict__["forward"] = forward

    def __exit__(self, *raised: object) -> None:
        for block in self.blocks:
            block.__dict__.pop("forward", None)


def _forward(block: nn.Module, again: Again) -> Any:
    plain = type(block).forward

    def forward(x: Tensor, context: Context = EMPTY, *others: Any) -> Any:
        # what the blocks share (a mask's table) is made by the first that asks: it must be asked again
        known, times = dict(context.shared), iter((context,))

        def run(x: Tensor) -> Any:
            given = next(times, None) or replace(context, shared=dict(known))
            return plain(block, x, given, *others)

        return checkpoint(
            run, x, use_reentrant=False, preserve_rng_state=not x.is_meta,
            context_fn=lambda: (contextlib.nullcontext(), again()),
        )  # fmt: skip

    return forward
