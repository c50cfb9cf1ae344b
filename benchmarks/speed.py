"""Every benchmark of speed and memory, one after another; results/speed.json and docs/results.md are written.

python benchmarks/speed.py [NAME ...]

Each writes what it has as soon as it has it, so an interrupted run keeps what it measured; Ctrl-C ends the run, and the
pages are written from what is there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ALL = (
    "limits", "decoding", "encoding", "seeing", "opening", "long_texts", "startup", "cost_speed", "cost_band",
    "train_step", "loop_overhead", "tokenizing", "loading", "generating", "fine_tuning", "language_step", "streaming",
    "segmenting", "detecting", "recommending", "speculating", "on_gpu", "perplexity", "profiles",
)  # fmt: skip


def main() -> None:
    """Run those named, or all; go on after one that fails, and say so at the end."""
    here = Path(__file__).parent
    failed = []
    stopped = False
    for name in sys.argv[1:] or ALL:
        print(f"== {name}", flush=True)
        try:
            if subprocess.run([sys.executable, here / f"{name}.py"], check=False).returncode:
                failed.append(name)
        except KeyboardInterrupt:
            stopped = True
            break
    subprocess.run([sys.executable, here / "results.py"], check=True)
    if stopped:
        sys.exit("stopped; what was measured is kept")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
