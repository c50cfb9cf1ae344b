"""The parts that the report of a run and that of a comparison have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from torch import nn

from dougong.explain.page import page
from dougong.report.predictions import Predictions, SeveralPredictions, gallery, passages
from dougong.report.tables import confusion, facts, section, table

WORST = 12
"""Mistakes shown of each model."""


def read_json(path: Path) -> dict[str, Any]:
    """A file of a run's folder; nothing when it is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def confusion_part(predictions: Predictions) -> str:
    """The confusion matrix, and how many samples it is of."""
    if isinstance(predictions, SeveralPredictions):
        return labels_part(predictions)
    right, of = int(predictions.right.sum()), len(predictions.labels)
    said = f"{right} of {of} test samples right. Rows are the true classes, columns what the model says."
    return f'<p class="note">{said}</p>' + confusion(predictions.confusion(), predictions.classes)


def labels_part(predictions: SeveralPredictions) -> str:
    """Of classes that stand side by side: how often each was found, missed and given wrongly, and its F1."""
    right, of = int(predictions.right.sum()), len(predictions.labels)
    said = f"{right} of {of} test samples have all labels right. A label is given where its probability is above 50 %."
    rows = []
    for name, (found, missed, wrong) in zip(predictions.classes, predictions.confusion().tolist(), strict=True):
        given, true = found + wrong, found + missed
        shares = [found / given if given else 0.0, found / true if true else 0.0]
        f1 = 2 * found / (given + true) if given + true else 0.0
        rows.append([name, found, missed, wrong, *(f"{share:.1%}" for share in [*shares, f1])])
    head = ["label", "found", "missed", "given wrongly", "precision", "recall", "F1"]
    return f'<p class="note">{said}</p>' + table(head, rows)


def mistakes_part(predictions: Predictions, task: Any, split: str = "test") -> str:
    """The mistakes in which the model found the truth least probable, as pictures or as texts."""
    worst, wrong = predictions.worst(WORST), int((~predictions.right).sum())
    if not worst:
        return "<p>It made no mistake on the test samples.</p>"
    said = (
        f'<p class="note">{len(worst)} of {wrong} mistakes: those in which the model found the truth least '
        "probable. Look at them first for wrong labels.</p>"
    )
    show = gallery if task.data.kind == "images" else passages
    return said + show(predictions, worst, task.data.splits[split])


def cost_part(model: nn.Module, batch_size: int, length: int | None = None) -> str:
    """The cost sheet of a batch as it was trained: FLOPs, memory and time, in total and by part.

    Args:
        model: that was trained.
        batch_size: samples.
        length: tokens of one, where samples have a length.
    """
    from dougong.cost import cost

    sheet = cost(model.config, batch=batch_size, length=length)  # type: ignore[operator, arg-type]
    parts = []
    for title, columns, rows in sheet.sections():
        shown = [[str(cell).replace("  ", "\u2003") for cell in row] for row in rows]
        parts.append(f"<h3>{escape(title)}</h3>{table(columns, shown)}")
    notes = "".join(f"<li>{escape(line)}</li>" for line in sheet.notes())
    return f'{"".join(parts)}<ul class="note">{notes}</ul>'


def data_part(data: Mapping[str, Any]) -> str:
    """What data.json says of the data, the samples themselves left out."""
    shown = {
        name: value
        for name, value in data.items()
        if name not in ("samples", "notes", "duplicates", "counts") and not is_long(value)
    }
    parts = [facts(shown)] if shown else []
    counts = data.get("counts")
    if isinstance(counts, Mapping) and counts:
        parts.append(counts_table(counts))
    for name, title in (("notes", "Notes"), ("duplicates", "Duplicates")):
        value = data.get(name)
        if value:
            lines = value if isinstance(value, Sequence) and not isinstance(value, str) else [json.dumps(value)]
            shown_lines = "".join(f"<li>{escape(str(line))}</li>" for line in list(lines)[:12])
            more = f'<p class="note">and {len(lines) - 12} more, in data.json</p>' if len(lines) > 12 else ""
            parts.append(f"<h3>{title}</h3><ul>{shown_lines}</ul>{more}")
    return "".join(parts) or '<p class="note">Nothing was written down about the data.</p>'


def counts_table(counts: Mapping[str, Any]) -> str:
    """Samples of each class in each split."""
    splits = list(counts)
    if not all(isinstance(value, Mapping) for value in counts.values()):
        return facts(counts)
    classes = list(dict.fromkeys(name for value in counts.values() for name in value))
    rows: list[list[Any]] = [[name, *(counts[split].get(name, 0) for split in splits)] for name in classes[:30]]
    rows.append(["all", *(sum(counts[split].values()) for split in splits)])
    return table(["class", *splits], rows, total=True)


def is_long(value: Any) -> bool:
    """Whether a value is a list of samples rather than a fact."""
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 30


def how_part(env: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The machine and the versions, and the whole configuration."""
    return (
        f"<h3>machine and versions</h3>{facts(env)}<details><summary>configuration</summary>{facts(config)}</details>"
    )


def whole(title: str, said: str, parts: Mapping[str, str]) -> str:
    """A page of sections with their names above."""
    anchors = {name: name.lower().replace(" ", "-") for name in parts}
    links = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for name, anchor in anchors.items())
    body = "".join(section(name, part, anchors[name]) for name, part in parts.items())
    return page(title, f"<h1>{escape(title)}</h1>{said}<nav>{links}</nav>{body}")


def plain(config: Any) -> dict[str, Any]:
    """A configuration as a dict."""
    return config.model_dump() if hasattr(config, "model_dump") else dict(config)


def spaced(budget: str) -> str:
    """A budget as people write it: "8epochs" is "8 epochs"."""
    return re.sub(r"(?<=\d)([a-z]{2,}|s|h)$", r" \1", str(budget))
