"""Measuring a model on a split."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dougong.data.batching import in_order
from dougong.parts.output import Output, deferring
from dougong.runtime.convolving import FastPictures
from dougong.tasks.task import Batch, Metrics, Task, read_by

Watcher = Callable[[Output, Batch, "list[str] | None"], None]
"""Called with each batch: what the model answers, the batch, and what the model writes."""

BATCH = 256
TOKENS = 2**14
"""Of a batch of texts at most, since a language head gives scores of the whole vocabulary at each."""


@torch.no_grad()
def score(
    model: nn.Module,
    task: Task,
    split: str,
    device: torch.device | str = "cpu",
    precision: str = "float32",
    watch: Watcher | None = None,
) -> tuple[dict[str, float], Metrics]:
    """The task's metrics on a split, and the object that gathered them.

    Args:
        model: is put into evaluation mode, and back into the mode it had.
        task: with its data.
        split: "train", "val" or "test".
        device: where the model is.
        precision: "float32" or "bfloat16".
        watch: is called with each batch.
    """
    task = read_by(task, model)
    mode, metrics = model.training, task.new_metrics()
    model.eval()
    autocast: Any = contextlib.nullcontext()
    if precision == "bfloat16":
        autocast = torch.autocast(torch.device(device).type, torch.bfloat16)
    at_once = min(getattr(task, "at_once", BATCH), max(1, TOKENS // (task.typical_length or 1)))
    fast: Any = FastPictures(model) if precision == "float32" else contextlib.nullcontext()
    with fast:
        for indices in in_order(task.size(split), at_once):
            batch = task.batch(split, indices, train=False, epoch=0, seed=0).to(device)
            with autocast, deferring(alone=True):
                output = model(*batch.inputs)
                written = task.write(model, batch, 1 if split == "val" else 4) if hasattr(task, "write") else None
            metrics.update(output, batch)
            if written is not None:  # judged by what it writes, not by single tokens
                metrics.written(written, batch)  # type: ignore[attr-defined]
            if watch is not None:
                watch(output, batch, written)
    model.train(mode)
    return metrics.compute(), metrics
