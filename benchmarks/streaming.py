"""Memory and time to the first step on generated tables of several sizes, each training in a process of its own.

Anonymous memory is what a process cannot give back: pages of mapped files are not in it. "cold" reads the table and
makes its tokens, "warm" finds both in the cache. glibc keeps much of what is freed, in pieces between what is not: some
80 MB more, the more the longer a run is, up to a bound. "tight" is a warm run whose memory is given back at once, so
that what remains is what the training holds.

python benchmarks/streaming.py [--megabytes 70 280 840] [--steps 20] [--threads 2]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from record import record

MODELS: dict[str, dict[str, Any]] = {
    "textcnn": {"architecture": "textcnn", "d_model": 32, "n_filters": 16},
    "gpt2": {"architecture": "gpt2", "d_model": 32, "n_heads": 2, "n_layers": 2},
}


TIGHT = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20), "MALLOC_TRIM_THRESHOLD_": str(2**20)}
TURNS: dict[str, dict[str, str]] = {"cold": {}, "warm": {}, "tight": TIGHT}
"""Environment of each run: glibc's, see mallopt(3)."""


def write_table(path: Path, megabytes: int) -> int:
    """A CSV of about so many megabytes: a text of 20 to 80 words of 20,000, one of two labels. Returns its rows."""
    drawn = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(drawn.choices(letters, k=drawn.randint(2, 9))) for _ in range(20_000)]
    rows = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["text", "label"])
        while file.tell() < megabytes * 10**6:
            several = [
                (f"{' '.join(drawn.choices(words, k=drawn.randint(20, 80)))}", drawn.choice("ab")) for _ in range(1000)
            ]
            out.writerows(several)
            rows += len(several)
    return rows


def anonymous() -> int:
    """Bytes of this process's anonymous memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not say; run it on Linux")


def learn(table: str, model: str, steps: int, threads: int, out: str) -> None:
    """Train in this process, and print what it took."""
    began = time.perf_counter()
    import torch

    import dougong as dg
    from dougong.training.loop import Loop

    torch.set_num_threads(threads)
    seen: dict[str, float] = {"imported": time.perf_counter() - began}
    began, peak, over = time.perf_counter(), [anonymous()], threading.Event()
    start = peak[0]

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], anonymous())

    threading.Thread(target=watch, daemon=True).start()
    step = Loop._step

    def first(self: Any, *given: Any, **named: Any) -> Any:
        found = step(self, *given, **named)
        seen.setdefault("first_step", time.perf_counter() - began)
        return found

    Loop._step = first  # type: ignore[method-assign]
    task = "causal-language" if model == "gpt2" else None
    dg.train(
        MODELS[model], table, task=task, budget=f"{steps}steps", batch_size=32, max_length=64, split="98/1/1", out=out,
        tensorboard=False,
    )  # fmt: skip
    over.set()
    figures = {"anonymous_at_start": start, "anonymous_peak": peak[0], "first_step_seconds": seen["first_step"]}
    print("FIGURES " + json.dumps(figures))


def compared(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures, with what grew from a table to the next."""
    found: dict[str, Any] = json.loads(json.dumps(figures))
    sizes = [held for held in found.values() if isinstance(held, dict)]
    for before, after in itertools.pairwise(sizes):
        for name, held in after.items():
            if isinstance(held, dict):
                grown = (held["anonymous_mb"] - before[name]["anonymous_mb"]) * 10**6
                held["bytes_a_row"] = round(grown / (after["rows"] - before["rows"]), 1)
    for model in MODELS if len(sizes) > 1 else ():
        held, again = (each.get(f"{model}_tight") for each in sizes[-2:])
        if held and again:
            found[model] = {"tight_ratio": again["anonymous_mb"] / held["anonymous_mb"]}  # of the two largest tables
    return found


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[70, 280])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", nargs=3, help="TABLE MODEL OUT: train and say what it took")
    options = parser.parse_args()
    if options.child:
        table, model, out = options.child
        return learn(table, model, options.steps, options.threads, out)

    figures: dict[str, Any] = {
        "steps": options.steps,
        "threads": options.threads,
        "of": "anonymous memory above that after the imports, MB; bytes_a_row: what it grew by from the size before",
    }
    with tempfile.TemporaryDirectory() as place:
        for size in options.megabytes:
            table = Path(place) / f"{size}.csv"
            rows = write_table(table, size)
            row: dict[str, Any] = {"rows": rows, "bytes": table.stat().st_size}
            for model in MODELS:
                for turn, own in TURNS.items():
                    done = subprocess.run(
                        [sys.executable, __file__, "--steps", str(options.steps), "--threads", str(options.threads),
                         "--child", str(table), model, str(Path(place) / f"run-{size}-{model}-{turn}")],
                        env={**os.environ, "DOUGONG_CACHE": str(Path(place) / "cache"), **own}, capture_output=True,
                        text=True,
                    )  # fmt: skip
                    if done.returncode:
                        raise SystemExit(done.stderr)
                    said = next(line for line in done.stdout.splitlines() if line.startswith("FIGURES "))
                    held = json.loads(said.removeprefix("FIGURES "))
                    row[f"{model}_{turn}"] = {
                        "anonymous_mb": round((held["anonymous_peak"] - held["anonymous_at_start"]) / 10**6, 1),
                        "first_step_seconds": round(held["first_step_seconds"], 2),
                    }
                    print(size, model, turn, row[f"{model}_{turn}"], flush=True)
                    figures[f"{size}_megabytes"] = row
                    record("streaming", compared(figures))  # the largest table takes half an hour
    print(figures)


if __name__ == "__main__":
    main()
