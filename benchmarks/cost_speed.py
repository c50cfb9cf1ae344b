"""What `dougong cost gpt3-175b` takes, as a process of its own: time and memory, beside those of `import torch`.

python benchmarks/cost_speed.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from typing import NamedTuple

from record import record

MODEL, LENGTH = "gpt3-175b", "2048"


class Spent(NamedTuple):
    """What one process took: seconds by the clock, seconds of a processor, bytes at its largest."""

    wall: float
    processor: float
    peak: float


def spent(*command: str) -> Spent:
    """Run a command, its output thrown away.

    Raises:
        SystemExit: it fails.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    start = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, nowhere, 1)])
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - start
    os.close(nowhere)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit code {os.waitstatus_to_exitcode(status)}")
    kibibyte = 1 if sys.platform == "darwin" else 1024
    return Spent(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * kibibyte)


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    cost = (sys.executable, "-m", "dougong", "cost", MODEL, "--length", LENGTH)
    torch = (sys.executable, "-c", "import torch")
    spent(*cost)  # files into the cache, and the probe of this machine, which is kept
    spent(*torch)
    pairs = [(spent(*cost), spent(*torch)) for _ in range(rounds)]

    def median(side: int, field: str) -> float:
        return statistics.median(getattr(pair[side], field) for pair in pairs)

    ratios = sorted(ours.processor / theirs.processor for ours, theirs in pairs)
    extra = statistics.median(ours.processor - theirs.processor for ours, theirs in pairs)
    record(
        "cost",
        {
            "command": f"dougong cost {MODEL} --length {LENGTH}",
            "seconds": median(0, "wall"),
            "seconds_lowest": min(ours.wall for ours, _ in pairs),
            "processor_seconds": median(0, "processor"),
            "import_torch_seconds": median(1, "wall"),
            "import_torch_processor_seconds": median(1, "processor"),
            "processor_seconds_on_top": extra,
            "ratio": statistics.median(ratios),
            "ratio_low": ratios[0],
            "ratio_high": ratios[-1],
            "peak_gigabytes": max(ours.peak for ours, _ in pairs) / 1e9,
            "import_torch_peak_gigabytes": max(theirs.peak for _, theirs in pairs) / 1e9,
            "rounds": rounds,
            "goal": "under 2 s and under 1 GB in all",
        },
    )
    print(
        f"dougong cost {MODEL}: {median(0, 'wall'):.2f} s, of which {median(1, 'wall'):.2f} s are import torch; "
        f"{extra:.2f} s of a processor on top; {max(ours.peak for ours, _ in pairs) / 1e6:.0f} MB at most"
    )


if __name__ == "__main__":
    main()
