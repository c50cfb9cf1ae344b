"""What a real run takes: FLOPs by torch's counter, memory by its allocator, what is kept for backward, seconds."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dougong.cost.asking import answer_of
from dougong.cost.formulas import counter
from dougong.cost.passes import loss_of


@dataclass(frozen=True)
class Ran:
    """One pass, measured.

    Args:
        flops: by torch's counter with our formulas.
        peak: bytes of weights and of everything that the pass allocated, at most.
        saved: bytes that the graph keeps for the backward pass; 0 without one.
        seconds: median of several passes.
    """

    flops: int
    peak: int
    saved: int
    seconds: float


def run(model: nn.Module, inputs: tuple[Any, ...], *, train: bool, rounds: int = 7) -> Ran:
    """Run a model for real, several times.

    Args:
        model: on a real device.
        inputs: the same.
        train: in training mode with loss and backward pass; else in evaluation mode without gradients.
        rounds: passes that are timed.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.train(train)

    def once() -> None:
        step(model, inputs, train)

    try:
        once()
        with counter() as counted:
            once()
        saved = saved_bytes(model, inputs) if train else 0
        return Ran(counted.get_total_flops(), peak_bytes(model, once), saved, seconds_of_runs(model, once, rounds))
    finally:
        for module, training in modes:
            module.training = training
        for parameter in model.parameters():
            parameter.grad = None


def step(model: nn.Module, inputs: tuple[Any, ...], train: bool) -> None:
    """One forward pass, and in training the loss and the backward pass, in the mode that the model is in."""
    for parameter in model.parameters():
        parameter.grad = None
    with torch.set_grad_enabled(train):
        output = answer_of(model, inputs, train)
        if train:
            loss = loss_of(output)
            del output
            loss.backward()


def saved_bytes(model: nn.Module, inputs: tuple[Any, ...]) -> int:
    """Bytes of the storages that autograd keeps for the backward pass, without weights, buffers and inputs."""
    own = [*model.parameters(), *model.buffers(), *[value for value in inputs if isinstance(value, Tensor)]]
    known = {tensor.untyped_storage()._cdata for tensor in own}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = (storage.nbytes(), tensor)  # the tensor stays, so that its place is not given away
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_of(answer_of(model, inputs, True))
    return sum(n_bytes for n_bytes, _ in kept.values())


def peak_bytes(model: nn.Module, once: Callable[[], None]) -> int:
    """Bytes that weights and a pass hold at most, by torch's own allocator.

    Args:
        model: that runs.
        once: runs it; what was left by the pass before is freed first.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()])
    for parameter in model.parameters():
        parameter.grad = None
    if device_of(model).type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        once()
        torch.cuda.synchronize()
        return weights + torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler tells the terminal when it starts and stops
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        once()
    held, most = 0, 0
    events: Any = recorded.profiler.kineto_results.events()  # type: ignore[union-attr]
    for event in sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return weights + most


def seconds_of_runs(model: nn.Module, once: Callable[[], None], rounds: int) -> float:
    """Median seconds of some passes, after one that warms up."""
    taken = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        once()
        if device_of(model).type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def device_of(model: nn.Module) -> torch.device:
    """Where its first parameter is; the CPU for a model without."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
