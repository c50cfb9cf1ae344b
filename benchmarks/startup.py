"""What it takes to begin: `import dougong` beyond `import torch`, and `dougong --help`.

python benchmarks/startup.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from record import in_turns, record


def seconds_of(*command: str) -> object:
    """Something that runs the command once, its output thrown away."""
    return lambda: subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    python = sys.executable
    candidates = {
        "import torch": seconds_of(python, "-c", "import torch"),
        "import torch, dougong": seconds_of(python, "-c", "import torch, dougong"),
        "dougong --help": seconds_of(python, "-m", "dougong", "--help"),
    }
    seconds = in_turns(candidates, rounds)  # type: ignore[arg-type]
    extra = [b - a for a, b in zip(seconds["import torch"], seconds["import torch, dougong"], strict=True)]
    record(
        "import",
        {
            "import_torch_seconds": statistics.median(seconds["import torch"]),
            "dougong_on_top_seconds": statistics.median(extra),
            "rounds": rounds,
            "goal": "under 0.15 s on top",
        },
    )
    record(
        "help",
        {"seconds": statistics.median(seconds["dougong --help"]), "rounds": rounds, "goal": "under 0.4 s in all"},
    )
    print(f"import dougong: {1000 * statistics.median(extra):.0f} ms more than import torch")
    print(f"dougong --help: {statistics.median(seconds['dougong --help']):.2f} s")


if __name__ == "__main__":
    main()
