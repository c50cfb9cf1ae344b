"""A short probe of this machine: how fast it multiplies, copies and starts operations."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from typing import Any

import torch
from torch import nn

from dougong.cost.devices import Points, Rates
from dougong.errors import UserError
from dougong.machine import cache_folder, processor, remember, remembered

VERSION = 4  # of what is measured; a file of another version is measured anew

# From benchmarks/cost_band.py: what whole models reach of the rates that their operations reach alone, again and again
# on the same operands in the cache; and how far the estimates from that are off, at the ends of most of them.
SHARE = 0.7
MEASURED_LOW, MEASURED_HIGH = 0.4, 2.5
LONG = 0.3  # seconds that one run of the probe may take
BUSY = 0.75  # processes waiting for each core, from which on a machine is busy


def measured(device: str, precision: str) -> Rates:
    """This machine's rates, from the cache, or from a probe of a second or two that is then cached.

    Args:
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        precision: of the arithmetic.

    Raises:
        UserError: "cuda" where there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device", "this machine has no GPU that torch can use", "use cpu, or a tabled one such as h100")
    key = key_of(VERSION, device, precision)
    path = cache_folder() / "probe.json"
    known = remembered(path)
    load = load_of_cores()
    if key not in known or calmer(load, known[key]["load"]):
        known[key] = {**asdict(probe(device, precision)), "load": load}
        remember(path, known)
    names = {field.name for field in fields(Rates)}
    row: dict[str, Any] = {
        name: tuple(map(tuple, value)) if isinstance(value, list) else value for name, value in known[key].items()
    }
    if row["load"] > BUSY:
        row["basis"] += (
            f"; the machine was busy (load {row['load']:.1f} a core); it is measured again when it is calmer"
        )
    return Rates(**{name: row[name] for name in names})


def key_of(version: int, device: str, what: str) -> str:
    """Under which a measurement is kept: another machine, torch or number of threads is another measurement."""
    return "|".join(map(str, (version, machine(device), torch.__version__, torch.get_num_threads(), what)))


def calmer(load: float, before: float) -> bool:
    """Whether what was measured on a busy machine should be measured again, now that it is less so."""
    return before > BUSY and load < before / 2


def load_of_cores() -> float:
    """Processes that ran or waited for each core in the last minute."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (OSError, AttributeError):
        return 0.0


def machine(device: str) -> str:
    """The processor's name."""
    return torch.cuda.get_device_name() if device == "cuda" else processor()


def probe(device: str, precision: str) -> Rates:
    """Measure: products of three sizes, a convolution, attention, copies of three sizes, gelu, and small layers."""
    dtype = getattr(torch, precision)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(shape, device=device).to(dtype)

    with torch.no_grad():
        matmul: list[tuple[float, float]] = []
        for side in (64, 256, 1024):
            a, b = rand(side, side), rand(side, side)
            flops = 2.0 * side**3
            if matmul and flops > LONG * matmul[-1][1]:
                break  # a precision that the processor has no instructions for
            matmul.append((flops, flops / best(partial(torch.matmul, a, b), device)))
        x, weight = rand(4, 64, 28, 28), rand(64, 64, 3, 3)
        flops = 2.0 * 4 * 28 * 28 * 64 * 64 * 9
        convolution = (flops, flops / best(lambda: nn.functional.conv2d(x, weight, padding=1), device))
        q = rand(2, 8, 256, 64)
        flops = 4.0 * 2 * 8 * 256 * 256 * 64
        attend = nn.functional.scaled_dot_product_attention
        attention = (flops, flops / best(lambda: attend(q, q, q), device))
        bandwidth = []
        for elements in (2**14, 2**18, 2**23):
            source, target = rand(elements), rand(elements)
            moved = 2.0 * elements * source.element_size()
            bandwidth.append((moved, moved / best(partial(target.copy_, source), device)))
        wide = rand(2**18)
        curves = wide.numel() / best(lambda: nn.functional.gelu(wide), device)
        small, layers = rand(1, 8), nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))
        layers.to(device, dtype)
        overhead = best(lambda: layers(small), device) / len(layers)

    def reached(points: list[tuple[float, float]]) -> Points:
        return tuple(sorted((size, SHARE * rate) for size, rate in points))

    count = torch.get_num_threads()
    threads = "" if device != "cpu" else f" with {count} thread{'s' if count > 1 else ''}"
    return Rates(
        name=machine(device), kind=device, matmul=reached(matmul), convolution=reached([convolution]),
        attention=reached([attention]), bandwidth=reached(bandwidth), curves=SHARE * curves, overhead=overhead / SHARE,
        low=MEASURED_LOW, high=MEASURED_HIGH, memory=memory_of(device),
        basis=f"{SHARE:.0%} of the rates measured on this machine{threads}; models of every kind took {MEASURED_LOW} "
        f"to {MEASURED_HIGH} times what that gives",
    )  # fmt: skip


def best(run: Callable[[], Any], device: str, seconds: float = 0.08) -> float:
    """Seconds of one run: the least of as many as fit into the time, after two that do not count.

    The least, because what else runs on the machine only ever adds; a busy machine shows in the upper end of the band.
    A run that takes long is not repeated.
    """

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(2):
        start = time.perf_counter()
        run()
        wait()
        if time.perf_counter() - start > LONG:
            return time.perf_counter() - start
    start = time.perf_counter()
    run()
    wait()
    inner = max(1, int(5e-5 / max(time.perf_counter() - start, 1e-7)))
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(inner):
            run()
        wait()
        taken.append((time.perf_counter() - start) / inner)
    return min(taken)


def memory_of(device: str) -> float:
    """Bytes of the device's memory."""
    if device == "cuda":
        return float(torch.cuda.get_device_properties(0).total_memory)
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return 0.0
