"""How far the estimated time is from the real one, over models of every kind: the band that `dougong cost` gives.

python benchmarks/cost_band.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from typing import Any

import torch
from record import record

import dougong
from dougong.cost.probe import MEASURED_HIGH, MEASURED_LOW
from dougong.cost.running import step

MODELS: dict[str, tuple[dict[str, Any], int, int | None]] = {
    "vit-micro": ({}, 32, None),
    "vit-mini": ({}, 8, None),
    "vit-small": ({}, 1, None),
    "vit-base-32": ({}, 2, None),
    "resnet-20": ({}, 16, None),
    "resnet-18": ({}, 1, None),
    "resnet-50": ({"image_size": 128}, 2, None),
    "rnn-micro": ({}, 32, None),
    "gru-micro": ({}, 32, None),
    "lstm-micro": ({}, 32, None),
    "textcnn-kim": ({}, 16, 60),
    "transformer-base": ({"vocab_size": 8000}, 1, 64),
    "gpt2-small": ({"vocab_size": 8000, "n_layers": 4}, 1, 256),
    "bert-base": ({"vocab_size": 8000, "n_layers": 4, "head": "sequence"}, 2, 128),
}


def least(run: Any, rounds: int, seconds: float = 0.3) -> float:
    """Seconds of one run, at best: the estimate is of a machine that does nothing else."""
    run()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < rounds or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    ratios: dict[str, float] = {}
    for name, (changes, batch, length) in MODELS.items():
        config = dougong.resolve(name, **changes)
        sheet = dougong.cost(config, batch=batch, length=length, device="cpu", optimizer="none")
        model = dougong.build(config, seed=0)
        inputs = model.example_inputs(batch, length)
        for kind, train, said in (("forward", False, sheet.forward_seconds), ("step", True, sheet.training_seconds)):
            model.train(train)
            took = least(partial(step, model, inputs, train), rounds)
            ratios[f"{name}, {kind}"] = took / said.estimate
            print(f"{name:18} {kind:8} {1000 * took:9.2f} ms, {took / said.estimate:5.2f} of the estimate", flush=True)
    inside = sum(MEASURED_LOW <= ratio <= MEASURED_HIGH for ratio in ratios.values())
    ordered = sorted(ratios.values())
    record(
        "cost_band",
        {
            "measured_over_estimated": statistics.median(ordered),
            "lowest": ordered[0],
            "highest": ordered[-1],
            "band": f"{MEASURED_LOW} to {MEASURED_HIGH}",
            "passes": len(ordered),
            "passes_inside_the_band": inside,
            "rounds": rounds,
            "goal": "9 of 10 inside the band",
        },
    )
    print(f"{inside} of {len(ordered)} inside the band, median {statistics.median(ordered):.2f}")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
