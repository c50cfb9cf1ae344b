"""What a model takes to answer on this machine: latency and memory, measured."""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import torch
from torch import nn

LONG, LEAST = 20.0, 3
"""Seconds after which no further round is begun, and rounds that there are in any case."""


@torch.no_grad()
def latency(models: dict[str, nn.Module], batch: int, rounds: int = 15, length: int | None = None) -> dict[str, float]:
    """Median seconds of a forward pass of each model, run in turns so that all meet the same machine.

    Args:
        models: by name, in evaluation mode.
        batch: inputs at once.
        rounds: passes of each; fewer of models that take long.
        length: tokens of an input, where inputs have a length.
    """
    inputs: dict[str, Any] = {}
    for name, model in models.items():
        inputs[name] = model.example_inputs(batch, length, device=_device(model))  # type: ignore[operator]
    seconds: dict[str, list[float]] = {name: [] for name in models}
    begun = time.perf_counter()
    for turn in range(rounds + 2):
        if turn >= 2 + LEAST and time.perf_counter() - begun > LONG:
            break
        for name, model in models.items():
            _wait(model)
            start = time.perf_counter()
            model(*inputs[name])
            _wait(model)
            if turn >= 2:  # the first passes warm up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


@torch.no_grad()
def peak_memory(model: nn.Module, batch: int, length: int | None = None) -> int:
    """Bytes that weights and a forward pass hold at most, by torch's own allocator.

    Args:
        model: in evaluation mode.
        batch: inputs at once.
        length: tokens of an input, where inputs have a length.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()])
    inputs = model.example_inputs(batch, length, device=_device(model))  # type: ignore[operator]
    if _device(model).type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        model(*inputs)
        return weights + torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler tells the terminal when it starts and stops
    from torch.profiler import ProfilerActivity, profile

    model(*inputs)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        model(*inputs)
    held, most = 0, 0
    events: Any = recorded.profiler.kineto_results.events()  # type: ignore[union-attr]
    for event in sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return weights + most


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _wait(model: nn.Module) -> None:
    if _device(model).type == "cuda":
        torch.cuda.synchronize()
