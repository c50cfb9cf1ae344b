"""What the loop adds to a step: the same step by a bare loop and by ours, in turns.

The model is small, so that what the loop adds, which does not depend on the model, stands out from a shared machine's
noise; it is stated as a share of a step of 50 ms.

python benchmarks/loop_overhead.py [--rounds 15] [--steps 100]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from record import record

import dougong as dg
from dougong.data import epoch_order
from dougong.training.loop import Loop
from dougong.training.metrics import Journal
from dougong.training.optimizers import make_optimizer, rate_at
from dougong.training.run import Run
from dougong.training.training import configure


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()

    from dougong.data import open_data

    data = open_data("digits")
    settings = {"batch_size": 64, "budget": "100000steps", "evaluate_every": 10**6, "tensorboard": False}
    config, task, _ = configure("vit-micro", data, "digits", task=None, fixed=None, seed=0, augment="none", **settings)
    config = config.model_copy(update={"model": {**config.model, "d_model": 32, "d_ff": 64, "n_layers": 1}})
    ours, bare = (dg.build(config.model, seed=0) for _ in range(2))
    optimizer = make_optimizer(bare, config)
    folder = Path(tempfile.mkdtemp())
    journal = Journal(folder, tensorboard=False)
    loop = Loop(config, task, ours, 1, journal, Run(folder).checkpoints)
    order = epoch_order(task.size("train"), 0, 0)
    batches = [task.batch("train", part, train=True, epoch=0, seed=0) for part in order.split(64)[:20]]

    def run_bare(steps: int) -> None:
        bare.train()
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step / 100000, config)
            batch = batches[step % len(batches)]
            optimizer.zero_grad()
            loss = task.loss(bare(*batch.inputs), batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(bare.parameters(), 1.0)
            optimizer.step()
            loss.item()

    def run_ours(steps: int) -> None:
        end = loop.state.step + steps
        loop.total = end
        loop.evaluate_every, loop._evaluate = 10**9, lambda show: None  # type: ignore[method-assign]
        loop.run()

    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    for turn in range(options.rounds + 1):
        for name, run in (("bare", run_bare), ("ours", run_ours)):
            start = time.perf_counter()
            run(options.steps)
            if turn:
                seconds[name].append((time.perf_counter() - start) / options.steps)
    added = sorted(a - b for a, b in zip(seconds["ours"], seconds["bare"], strict=True))
    figures = {
        "bare_step_seconds": statistics.median(seconds["bare"]),
        "step_seconds": statistics.median(seconds["ours"]),
        "added_seconds": statistics.median(added),
        "percent_of_50_ms": 100 * statistics.median(added) / 0.05,
        "percent_low": 100 * added[0] / 0.05,
        "percent_high": 100 * added[-1] / 0.05,
        "rounds": options.rounds,
        "goal": "under 3 % of a step of 50 ms",
    }
    print(figures)
    record("loop_overhead", figures)


if __name__ == "__main__":
    main()
