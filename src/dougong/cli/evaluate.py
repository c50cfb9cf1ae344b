"""``dougong evaluate``: the metrics of a trained model on one split of a data set."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dougong import console
from dougong.cli.app import verb
from dougong.cli.sharing import Data, LabelColumns, LabelsSplit, Precision, RunFolder, TextColumns, columns
from dougong.figures import many

MOST = 12
"""Classes of which a confusion matrix is shown; of more, the pairs that are mistaken most often."""


@verb(
    "dougong evaluate runs/first",
    "dougong evaluate runs/first --data photos/ --split test",
    "dougong evaluate runs/first --split val --predictions answers.csv",
)
def evaluate(
    run: RunFolder,
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    predictions: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write each sample's answer beside the truth: .jsonl or .csv.")
    ] = None,
    text: TextColumns = None,
    label: LabelColumns = None,
    labels_split: LabelsSplit = None,
    ranking: Annotated[
        str | None, typer.Option(help="Of next items: full, among all items; or sampled-100, as papers did.")
    ] = None,
    seen: Annotated[
        str | None, typer.Option(help="Of next items: exclude or include those that a user has met.")
    ] = None,
    precision: Precision = None,
) -> dict[str, Any]:
    """Measure a trained model on a split of a data set.

    It is the data that the model was trained with, unless --data names other, whose columns --text and --label name.
    """
    from dougong.data.writing import checked_table

    named = columns(text, label, labels_split)
    if predictions is not None:
        checked_table(predictions, "--predictions")
    from dougong.training import evaluate as measure

    named |= {"ranking": ranking, "seen": seen, "precision": precision}
    found = dict(measure(run, data, split=split, predictions=predictions, **named))
    numbers = {k: v for k, v in found.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    rules = found.get("baselines") or {}
    rows = [[key, value, *(rule.get(key) for rule in rules.values())] for key, value in numbers.items()]
    console.table(f"{run}, {split}", ["metric", "model" if rules else "value", *rules], rows)
    if found.get("protocol"):
        console.say(found["protocol"])
    _show_classes(found.get("per_class") or {})
    _show_confusion(found.get("classes") or [], found.get("confusion") or [])
    for name, line in zip(("bleu", "chrf"), found.get("signatures") or (), strict=False):
        console.say(f"signature of {name}: {line}")
    if predictions is not None:
        console.say(f"{many(found['samples'], 'prediction')}: {predictions}")
    return {"run": run, "data": data, "split": split, "predictions": predictions, **found}


COLUMNS = {
    "precision": "precision", "recall": "recall", "f1": "F1", "iou": "IoU", "accuracy": "accuracy",
    "boundary_f1": "boundary F1", "ap50": "AP50", "support": "samples", "pixels": "pixels",
}  # fmt: skip


def _show_classes(scores: dict[str, dict[str, float]]) -> None:
    """What was measured of each class, and how many samples, boxes or pixels it has."""
    if scores and not console.is_json():
        console.say()
        keys = [key for key in COLUMNS if key in next(iter(scores.values()))]
        whole = ("support", "pixels")
        rows = [[name, *(int(row[key]) if key in whole else row[key] for key in keys)] for name, row in scores.items()]
        heads = [COLUMNS[key] if (key, keys[0]) != ("support", "ap50") else "boxes" for key in keys]
        console.table("", ["class", *heads], rows)


def _show_confusion(classes: list[str], counts: list[list[int]]) -> None:
    """The matrix of a few classes, the most frequent mistakes of many."""
    if not counts or console.is_json():
        return
    console.say()
    if len(classes) <= MOST:
        rows = [[name, *row] for name, row in zip(classes, counts, strict=True)]
        console.table("", ["is, taken for:", *classes], rows)
        return
    wrong = [
        (row[other], classes[true], classes[other])
        for true, row in enumerate(counts)
        for other in range(len(classes))
        if other != true and row[other]
    ]
    worst = sorted(wrong, key=lambda each: -each[0])[:MOST]
    console.table("", ["is", "taken for", "times"], [[true, other, times] for times, true, other in worst])
