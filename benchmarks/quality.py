"""How well models learn on the real data sets: several seeds, equal budgets; results/quality.json and docs/results.md.

python benchmarks/quality.py [--seeds 3] [--only digits cifar10]

The digits are bundled; the others are looked for in the folder that DOUGONG_DATA names, and are left out without it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import record

import dougong as dg

# name -> models, where the data lies, the budget of each run, and what the data set is
STUDIES: dict[str, dict[str, Any]] = {
    "digits": {
        "models": ["vit-micro", "resnet-20", "lstm-micro"],
        "data": "digits",
        "budget": "1.5e11flops",
        "note": "8x8 pictures, 1,439 to train; the goals are 0.95 for the ViT and 0.97 for the best",
    },
    "cifar10": {
        "models": ["vit-mini", "resnet-20", "lstm-micro"],
        "data": "cifar10",
        "budget": "2e12flops",
        "note": "32x32 pictures, 9,000 to train of a tenth of CIFAR-10; 2,000 to test",
    },
}


def study(name: str, seeds: int, folder: Path) -> dict[str, Any]:
    """One comparison, as a dictionary of figures."""
    plan = STUDIES[name]
    data = plan["data"] if plan["data"] == "digits" else str(Path(os.environ["DOUGONG_DATA"]) / plan["data"])
    found = dg.compare(plan["models"], data, budget=plan["budget"], seeds=seeds, out=folder / name)
    rows = [
        {
            "model": row.name,
            "scores": row.scores,
            "mean": row.mean,
            "low": row.low,
            "high": row.high,
            "p_against_best": row.p_value,
            "parameters": row.parameters,
            "training_flops": row.flops,
            "training_seconds": row.seconds,
        }
        for row in found.rows
    ]
    return {
        "metric": f"test {found.metric}",
        "budget": plan["budget"],
        "seeds": seeds,
        "note": plan["note"],
        "rows": rows,
    }


def main() -> None:
    """Train, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=list(STUDIES))
    options = parser.parse_args()
    for name in options.only:
        if name != "digits" and not os.environ.get("DOUGONG_DATA"):
            print(f"{name}: left out, DOUGONG_DATA is not set", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            figures = study(name, options.seeds, Path(folder))
        for row in figures["rows"]:
            print(f"{name}: {row['model']} {row['mean']:.4f}", flush=True)
        record(name, figures, "quality.json")
    subprocess.run([sys.executable, Path(__file__).parent / "results.py"], check=True)


if __name__ == "__main__":
    main()
