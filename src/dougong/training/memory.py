"""A training that fits into a given memory: in how many pieces a batch is read, how many blocks are computed twice."""

from __future__ import annotations

import math
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dougong.errors import UserError
from dougong.figures import size

if TYPE_CHECKING:
    from dougong.cost.fitting import Steps
    from dougong.tasks.task import Task
    from dougong.training.config import TrainingConfig

UNITS = {"": 1, "b": 1, **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
         **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)}}  # fmt: skip
SHORT = 2
"""Factors of a sum: no layer worth tracing has so few, and the norms and activations beside it are paid for with it."""
SLACK = 0.05  # of what a step holds: pages that are given back to nobody
GROWTH = (
    2**27
)  # bytes of libraries that the first step and the first evaluation load, and of threads: 80 to 100 MB seen


@dataclass(frozen=True)
class Amount:
    """An amount of memory.

    Args:
        n_bytes: of it.
        text: as it was written.
    """

    n_bytes: int
    text: str

    @classmethod
    def parse(cls, text: Any) -> Amount:
        """An amount as a user writes it: "4GB", "512MiB", "1.5 GB"; a bare number counts bytes.

        Raises:
            UserError: no amount, an unknown unit, or nothing.
        """
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*", str(text))
        if isinstance(text, bool) or not match or match[2].lower() not in UNITS:
            raise UserError(f"memory {text!r}", "is no amount of memory", "write it as 4GB, 512MB or 8GiB")
        amount = float(match[1]) * UNITS[match[2].lower()]
        if not math.isfinite(amount) or amount < 1:
            raise UserError(f"memory {text!r}", "is nothing to train in", "give more, as 4GB")
        return cls(int(amount), str(text).strip())

    def __str__(self) -> str:
        return self.text


def fitting_memory(config: TrainingConfig, task: Task, model: nn.Module) -> tuple[TrainingConfig, list[str]]:
    """The configuration whose step fits into the memory that it names, and a line that says how.

    The quickest way is taken, by the cost sheet, of reading the batch in pieces and computing blocks twice. A batch
    stays whole where samples of it are judged together, or a norm counts them.

    Args:
        config: with every choice made.
        task: with its data.
        model: as it is going to be trained.

    Raises:
        UserError: nothing fits, or blocks are asked for that are not there.
    """
    from dougong.frames.recomputing import recomputable

    blocks = len(recomputable(model))
    if config.recompute > blocks:
        remedy = f"set it to {blocks} at most" if blocks else "leave it out"
        raise UserError("recompute", f"{config.recompute} blocks: this model has {blocks} that can be", remedy)
    if config.memory is None:
        return config, []
    if config.recompute:
        raise UserError("memory", "chooses what is computed again itself", "leave memory or recompute out")
    amount = Amount.parse(config.memory)
    kind = next(model.parameters()).device.type
    program = held(model) + GROWTH if kind == "cpu" else 0
    room = (amount.n_bytes - program) / (1 + SLACK)
    steps = steps_of(config, task, model)
    rows = steps.batch
    joined = getattr(task, "against_batch", False) or any(isinstance(part, _BatchNorm) for part in model.modules())
    pieces = [config.accumulate]
    while not joined and pieces[-1] < rows:
        pieces.append(min(2 * pieces[-1], rows))
    fit = steps.choose(room, pieces)
    if fit is None:
        least = steps.least(pieces[-1:]).peak * (1 + SLACK) + program
        raise UserError(
            f"memory {amount}", f"a step needs at least {size(least)}, {size(program)} of it for the program itself",
            "give more, or train a smaller model or on shorter samples",
        )  # fmt: skip
    ways = [
        "the batch is read whole" if fit.pieces == 1 else f"the batch is read in {fit.pieces} pieces",
        f"{fit.recomputed} of {blocks} blocks are computed again in the backward pass" if fit.recomputed else "",
    ]
    line = f"memory {amount}: {', '.join(way for way in ways if way)}; a step holds {size(fit.peak)}"
    line += f" beside {size(program)} of the program" if program else ""
    return config.model_copy(update={"accumulate": fit.pieces, "recompute": fit.recomputed}), [line]


def steps_of(config: TrainingConfig, task: Task, model: nn.Module) -> Steps:
    """Training steps over the largest batch of the data."""
    from dougong.cost.fitting import Steps

    rows, length = largest_batch(config, task)
    optimizer = config.optimizer if config.momentum or config.optimizer != "sgd" else "sgd-plain"
    kind = next(model.parameters()).device.type
    return Steps(
        model, rows, length, precision=config.precision, optimizer=optimizer, kind=kind, averaged=bool(config.ema)
    )


def check_room(config: TrainingConfig, task: Task, model: nn.Module, flops: int) -> None:
    """Make sure that a step can be held at all by this machine.

    Args:
        config: with every choice made.
        task: with its data.
        model: on its device.
        flops: of a step. The step is traced, which takes a moment, only where there are many: a number that is kept
            for the backward pass costs six for each factor of its sum, and no sum is as short as `SHORT`.

    Raises:
        UserError: by the cost sheet it cannot.
    """
    from dougong.cost.probe import memory_of

    kind = next(model.parameters()).device.type
    there, weights = memory_of(kind), 16 * sum(p.numel() for p in model.parameters())
    if not there or weights + 4 * flops / (6 * SHORT) < there:
        return
    peak = steps_of(config, task, model).fit(config.accumulate, config.recompute).peak
    if peak > there:
        rows, length = largest_batch(config, task)
        what = f"a step over {rows} samples" + (f" of {length} tokens" if length else "")
        raise UserError(
            "batch_size", f"{what} holds {size(peak)}, and there are {size(round(there))} here",
            "set memory, as memory=8GB, and it is made to fit; or a smaller batch_size or model",
        )  # fmt: skip


def largest_batch(config: TrainingConfig, task: Task) -> tuple[int, int | None]:
    """Rows of the largest batch, and tokens of its longest row; None for samples that have no length."""
    length, each = task.typical_length, int(getattr(task, "rows_each", 1))
    given = getattr(task, "lengths", None)
    if length is not None and given is not None:
        length = max(length, int(np.max(given("train"), initial=1)) // each)
    most = config.model.get("max_length")
    if length is not None and most:
        length = min(length, int(most))
    rows = min(config.batch_size or 1, task.size("train"))
    if config.batch_tokens and length:
        rows = max(1, config.batch_tokens // length)
    return rows * each, length


def held(model: nn.Module) -> int:
    """Bytes that this program holds beside a model's weights."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        now = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    else:
        import resource  # not there on every system

        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        now = highest if sys.platform == "darwin" else 1024 * highest
    own = sum(value.numel() * value.element_size() for value in [*model.parameters(), *model.buffers()])
    return max(0, now - own)
