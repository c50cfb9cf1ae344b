"""Every benchmark of speed and memory, one after another; results/speed.json and docs/results.md are written.

python benchmarks/speed.py [NAME ...]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ALL = (
    "startup", "cost_speed", "cost_band", "train_step", "loop_overhead", "tokenizing", "loading", "generating",
    "fine_tuning", "language_step", "streaming", "segmenting", "detecting", "recommending",
)  # fmt: skip


def main() -> None:
    """Run those named, or all; go on after one that fails, and say so at the end."""
    here = Path(__file__).parent
    failed = []
    for name in sys.argv[1:] or ALL:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, here / f"{name}.py"], check=False).returncode:
            failed.append(name)
    subprocess.run([sys.executable, here / "results.py"], check=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
