"""What narrower weights cost a language model that has learnt: its perplexity on text that it has not seen.

python benchmarks/perplexity.py [--model RUN_OR_FOLDER] [--data DATA] [--budget 900steps] [--threads 1] [--quick]

A small Llama learns Shakespeare's plays by characters for 900 steps, two or three minutes of one core; random weights
would be no witness, since they foresee nothing that rounding could spoil. Then it is loaded once for each precision,
prepared, and reads the same windows of the test split. The ratio of perplexities to that of float32 is what is judged;
its ends are a 95 % bootstrap interval over windows, the same windows drawn for both. What `dougong evaluate RUN
--precision P` says is compared with what is counted here, and float32 with Transformers on the files of the same model,
where it is installed.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import options, peer, prepared, say
from record import record

import dougong
from dougong.tasks.scores.bootstrap import interval_of
from dougong.training import Run, evaluate

MODEL = {
    "architecture": "llama", "d_model": 256, "n_layers": 5, "n_heads": 4, "n_kv_heads": 4, "d_ff": 704,
    "max_length": 128,
}  # fmt: skip
SMALL = {**MODEL, "d_model": 64, "n_layers": 2, "d_ff": 128}
SETTINGS: dict[str, Any] = {
    "tokenizer": "characters", "max_length": 128, "batch_size": 4, "learning_rate": 3e-3,
    "betas": (0.9, 0.99), "weight_decay": 0.1,
}  # fmt: skip
PRECISIONS = ("float32", "bf16", "int8", "int4")
GOALS = "times the perplexity of float32: int8 at most 1.01, int4 at most 1.05"
SAME = 1e-4
"""How far two ways to count one loss may lie apart, nats a token: the last bits of sums in another order."""
AT_ONCE = 16


def losses(model: Any, task: Any) -> torch.Tensor:
    """(N, 4) of each window of the test split: nats, tokens, bytes and 1, float64.

    Args:
        model: gives logits (B, L, V); of ours, or of Transformers.
        task: with its data.
    """
    rows = []
    with torch.inference_mode():
        for indices in torch.arange(task.size("test")).split(AT_ONCE):
            batch = task.batch("test", indices, train=False, epoch=0, seed=0)
            counted = batch.targets >= 0
            logits = model(batch.inputs[0]).logits.float()
            shares = logits.log_softmax(-1).gather(-1, batch.targets.clamp(min=0)[..., None])[..., 0]
            nats = -(shares.double() * counted).sum(1)
            octets = torch.tensor([len(text.encode("utf-8", "surrogatepass")) for text in batch.truth])
            rows.append(torch.stack((nats, counted.sum(1).double(), octets.double(), torch.ones(len(nats))), 1))
    return torch.cat(rows)


def ratio(sums: torch.Tensor) -> float:
    """Of two perplexities. Args: sums: nats of one, nats of the other, tokens."""
    return math.exp(float((sums[0] - sums[1]) / sums[2]))


def measured(place: Path, run: Path | None, task: Any) -> dict[str, Any]:
    """The figures of every precision.

    Args:
        place: of the model's files.
        run: that it comes from, which `dougong evaluate` is asked about; None of a model without one.
        task: with its data.

    Raises:
        SystemExit: two ways to count the same loss disagree.
    """
    figures: dict[str, Any] = {}
    first = torch.empty(0)
    for precision in PRECISIONS:
        model = prepared(dougong.load(place), precision)
        if model is None:
            continue
        found = losses(model, task)
        nats, tokens, octets, _ = found.sum(0).tolist()
        told = {"perplexity": math.exp(nats / tokens), "bits_per_byte": nats / math.log(2) / octets}
        if precision == "float32":
            first = found
            told |= {"tokens": int(tokens), "windows": len(found), **beside(place, task, nats / tokens)}
        else:
            pairs = torch.stack((found[:, 0], first[:, 0], found[:, 1]), 1)
            told["times_float32"] = ratio(pairs.sum(0))
            told["times_float32_low"], told["times_float32_high"] = interval_of(pairs, ratio)
        told["megabytes"] = model.prepared.n_bytes / 1e6
        if run is not None:
            said = evaluate(run, precision=precision)
            agree(f"dougong evaluate --precision {precision}", said["loss"], nats / tokens)
        figures[precision] = told
        say(precision, told)
    return figures


def beside(place: Path, task: Any, ours: float) -> dict[str, float]:
    """The perplexity of the same files in Transformers, where it is installed."""
    transformers = peer("transformers")
    if transformers is None:
        return {}
    nats, tokens, *_ = losses(transformers.AutoModelForCausalLM.from_pretrained(place).eval(), task).sum(0).tolist()
    agree("transformers", nats / tokens, ours)
    return {"transformers_perplexity": math.exp(nats / tokens)}


def agree(who: str, theirs: float, ours: float) -> None:
    """Stop where another counts another loss."""
    if abs(theirs - ours) > SAME:
        sys.exit(f"{who}: a loss of {theirs:.6f}, and {ours:.6f} here")


def main() -> None:
    """Train or open, measure, print, record."""
    given = options(
        __doc__,
        model={"default": None, "help": "a run, or a model's folder with --data; one is trained else"},
        data={"default": None, "help": "of a model's folder"},
        budget={"default": "900steps", "help": "of the training"},
    )
    data = given.data or str(Path(os.environ.get("DOUGONG_DATA", "")) / "tinyshakespeare")
    if given.model is None and not Path(data).exists():
        sys.exit("tinyshakespeare: not here; name the folder that holds it by DOUGONG_DATA, or a model by --model")
    with tempfile.TemporaryDirectory() as folder:
        if given.model is None:
            model, budget = (SMALL, "20steps") if given.quick else (MODEL, given.budget)
            place = dougong.train(model, data, budget=budget, out=Path(folder) / "run", **SETTINGS).path
        else:
            place = Path(given.model)
        run = place if (place / "config.yaml").is_file() else None
        told: dict[str, Any] = {}
        if run is not None:
            opened = Run.open(run)
            task, place = opened.task(), run / "model"
            told = {"model": opened.config.name, "data": Path(opened.config.data).name, "budget": opened.config.budget}
        else:
            from dougong.data import open_data
            from dougong.tasks import load_task

            task, told = load_task(place).on(open_data(data)), {"model": place.name, "data": Path(data).name}
        count = sum(weight.numel() for weight in dougong.load(place).parameters())
        figures = {**told, "parameters": count, "goal": GOALS, **measured(place, run, task)}
    if not given.dry:
        record("perplexity", figures)


if __name__ == "__main__":
    main()
