"""Results are written by the program that measured them, with the machine and the versions."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PEERS = {"llama-cpp-python": "llama_cpp", "ctranslate2": "ctranslate2", "onnxruntime": "onnxruntime",
         "x-transformers": "x_transformers"}  # fmt: skip
"""Libraries that are named with a figure where they had a part in it: by package, its module."""


def machine() -> dict[str, Any]:
    """The processor, its cores and the versions that a figure depends on."""
    import torch

    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    names = ["dougong", "torch", "transformers", *(name for name, module in PEERS.items() if module in sys.modules)]
    versions = {name: found for name in names if (found := version(name))}
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **versions,
    }


def version(name: str) -> str:
    """Of an installed package; "" where it is not."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def record(key: str, figures: dict[str, Any], file: str = "speed.json") -> None:
    """Write one benchmark's figures under its key, leaving the others as they are."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / file
    results = json.loads(path.read_text()) if path.exists() else {}
    results[key] = {**figures, "machine": machine(), "date": time.strftime("%Y-%m-%d")}
    half = path.with_suffix(".part")
    half.write_text(json.dumps(dict(sorted(results.items())), indent=2) + "\n")
    half.replace(path)


def in_turns(
    candidates: dict[str, Callable[[], Any]], rounds: int, warmup: int = 2, most: float | None = None
) -> dict[str, list[float]]:
    """Seconds of each candidate, run A B A B ... so that a drift of the machine's speed meets all alike.

    Args:
        candidates: by name.
        rounds: of all of them.
        warmup: rounds before, which are not timed.
        most: seconds after which no further round begins; two are always done.
    """
    end = time.perf_counter() + (most if most is not None else float("inf"))
    for _ in range(warmup):
        for run in candidates.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds):
        if turn >= 2 and time.perf_counter() > end:
            break
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], ours: str, theirs: str) -> dict[str, float]:
    """Medians of both, and the median, lowest and highest of ours / theirs pair by pair."""
    pairs = sorted(a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True))
    return {
        f"{ours}_seconds": statistics.median(seconds[ours]),
        f"{theirs}_seconds": statistics.median(seconds[theirs]),
        "ratio": statistics.median(pairs),
        "ratio_low": pairs[0],
        "ratio_high": pairs[-1],
    }
