"""Options and output that several verbs share."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dougong import console
from dougong.errors import UserError
from dougong.figures import many

Data = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="digits; a folder; a CSV, TSV, JSON Lines, Parquet, .inter, CoNLL, text or zip file; or hf:org/name.",
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="What to learn, as text-classification, token-classification, causal-language, masked-language, "
        "translation, sentence-embedding, image-classification, object-detection, semantic-segmentation or "
        "next-item; read off the data by default."
    ),
]
Budget = Annotated[str, typer.Option(metavar="BUDGET", help="10min, 300s, 1e15flops, 3epochs or 500steps.")]
Split = Annotated[
    str | None,
    typer.Option(
        metavar="A/B/C",
        help="Per cent for train/val/test, where the data has no split of its own; of interactions by time, or "
        "leave-one-out.",
    ),
]
Seed = Annotated[
    int, typer.Option(help="Of the weights, the order and the augmentation (split_seed=N is the split's).")
]
TextColumns = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Of tables, the column of the text; twice for two texts. Guessed by default."),
]
LabelColumns = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN", help="The column of the label; several, of 0 and 1, a label each. Guessed by default."
    ),
]
LabelsSplit = Annotated[
    str | None,
    typer.Option(metavar="SIGN", help="Where a text may have several labels: the sign between those of a cell."),
]
Precision = Annotated[
    str | None,
    typer.Option(
        metavar="PRECISION",
        help="Of the weights: float32 (by this machine's fastest kernels), bf16, int8 or int4; as saved by default.",
    ),
]
RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or a model's.")]

NEXT = {
    "next-item": ("predict {} --user USER", "explain {} ITEM,ITEM,ITEM --out why.html"),
    "object-detection": ("predict {} FILE --draw drawn/", "explain {} FILE --out why.png"),
    "image-classification": ("predict {} FILE", "explain {} FILE --out why.png"),
    "text-classification": ('predict {} "TEXT"', "predict {} FILE --out answers.csv", 'explain {} "TEXT"'),
    "token-classification": ('predict {} "TEXT"', "predict {} FILE --out answers.jsonl", 'explain {} "TEXT"'),
    "causal-language": ('generate {} --prompt "TEXT"', 'explain {} "TEXT"'),
    "masked-language": ('predict {} "A TEXT WITH [MASK]"', 'explain {} "A TEXT WITH [MASK]"'),
    "translation": ('predict {} "TEXT"', "predict {} FILE --out answers.csv", "evaluate {}"),
    "semantic-segmentation": ("predict {} PICTURES --out masks/", "evaluate {}", "explain {} FILE --out why.png"),
    "sentence-embedding": ("predict {} FILE --out vectors.jsonl", "evaluate {}", "explain {} --out why.html"),
}
"""What can be done with a run of each task."""
MOST_TRIALS = 10
"""Trials of a search that are shown, best first."""


def columns(
    text: list[str] | None = None, label: list[str] | None = None, labels_split: str | None = None
) -> dict[str, Any]:
    """The columns that were named, as settings: one word as itself, several as a list.

    Raises:
        UserError: more than two texts.
    """
    if text and len(text) > 2:
        raise UserError("--text", f"names {len(text)} columns", "name one, or two")
    named = {"text": text, "label": label, "labels_split": labels_split}
    single = {key: each[0] if isinstance(each, list) and len(each) == 1 else each for key, each in named.items()}
    return {key: each for key, each in single.items() if each}


def metrics_line(metrics: Mapping[str, Any]) -> str:
    """The plain numbers among metrics, in one line."""
    numbers = {k: v for k, v in metrics.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return console.fields(numbers)


def shell(path: str | Path) -> str:
    """A path as it can be pasted into a shell."""
    return shlex.quote(str(path))


def show_run(run: Any) -> dict[str, Any]:
    """Say how a run ended, write its report, and say what can be done with it; what --json prints."""
    from dougong.report import write_run_report

    result = dict(run.result or {})
    test = result.get("test", {})
    if test:
        console.say(f"test: {metrics_line(test)}")
    spent = {
        "steps": result.get("steps"),
        "time": console.duration(result["seconds"]) if result.get("seconds") is not None else None,
        "FLOPs": console.count(result["flops"]) if result.get("flops") is not None else None,
        "parameters": console.parameters(result["parameters"]) if result.get("parameters") is not None else None,
    }
    console.say(console.fields({key: value for key, value in spent.items() if value is not None}))
    console.say(f"run: {run.path}")
    report = write_run_report(run)
    console.say(f"report: {report}")
    task = json.loads((Path(run.path) / "model" / "task.json").read_text(encoding="utf-8"))["task"]
    console.say("next: " + "    ".join(f"dougong {line.format(shell(run.path))}" for line in NEXT[task]))
    return {"run": str(run.path), "report": str(report), **result}


def show_search(search: Any) -> dict[str, Any]:
    """Say what a search found, write its report, and say what can be done with it; what --json prints."""
    from dougong.report import write_run_report, write_search_report

    head, rows = search.table(MOST_TRIALS)
    console.table(f"{search.data}, {many(len(search.trials), 'trial')} of {search.budget} each", head, rows)
    if len(search.trials) > len(rows):
        console.say(f"and {len(search.trials) - len(rows)} more, in the report")
    if search.importance:
        shares = [[key, console.percent(share)] for key, share in search.importance.items()]
        console.table("\nwhat mattered", ["setting", "share of the variance"], shares)
    console.say()
    console.say(f"best: {' '.join(shell(f'{key}={_value(value)}') for key, value in search.settings.items())}")
    console.say(f"test: {metrics_line(search.test)}")
    console.say(f"run: {search.path}, a copy of {search.run().path}")
    write_run_report(search.run())
    report = write_search_report(search)
    console.say(f"report: {report}")
    where = shell(search.path)
    console.say(f"next: dougong predict {where} FILE    dougong evaluate {where}")
    return {**search.to_dict(), "run": str(search.run().path), "settings": search.settings, "report": str(report)}


def _value(value: Any) -> str:
    """A setting's value as it is written on the command line."""
    return str(value) if isinstance(value, str) else json.dumps(value)
