"""Learning curves: by steps, by FLOPs and by seconds; every seed faint, their mean strong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dougong.explain.svg import Axis, Line, line_chart
from dougong.figures import count, duration
from dougong.report.tables import tabs

Rows = Sequence[Mapping[str, Any]]
ACROSS = {
    "step": ("steps", "optimizer steps", lambda value: count(value)),
    "flops": ("FLOPs", "training FLOPs", lambda value: count(value)),
    "seconds": ("seconds", "seconds of training", lambda value: duration(value) if value else "0"),
    "epoch": ("epochs", "epochs", lambda value: f"{value:g}"),
}
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "12 4")


def points(rows: Rows, split: str, across: str, metric: str) -> tuple[list[float], list[float]]:
    """x and y of one run's measurements on one split."""
    pairs = [
        (float(row[across]), float(row[metric]))
        for row in rows
        if row.get("split") == split and row.get(metric) is not None and row.get(across) is not None
    ]
    return [x for x, _ in pairs], [y for _, y in pairs]


def mean_curve(curves: Sequence[tuple[list[float], list[float]]]) -> tuple[list[float], list[float]]:
    """The mean of several runs' curves, measurement by measurement, as far as all of them go."""
    length = min(len(x) for x, _ in curves)
    if not length:
        return [], []
    xs, ys = (np.mean([curve[axis][:length] for curve in curves], 0).tolist() for axis in (0, 1))
    return xs, ys


def learning_curves(models: Mapping[str, Sequence[Rows]], split: str, metric: str, across: str) -> str:
    """One metric of several models, each with several runs.

    Args:
        models: by name, the rows of metrics.jsonl of each run.
        split: "train" or "val".
        metric: as the rows name it.
        across: "step", "flops", "seconds" or "epoch".
    """
    lines: list[Line] = []
    for number, (name, runs) in enumerate(models.items()):
        curves = [points(rows, split, across, metric) for rows in runs]
        curves = [curve for curve in curves if curve[0]]
        if not curves:
            continue
        if len(curves) > 1:
            lines += [Line("", x, y, number, 1.2, faint=True) for x, y in curves]
        x, y = mean_curve(curves)
        lines.append(Line(name, x, y, number, 2.4, DASHES[number % len(DASHES)]))
    _, words, write = ACROSS[across]
    return line_chart(lines, Axis(words, write=write), Axis(f"{split} {metric}"), f"{split} {metric} by {words}")


def all_curves(models: Mapping[str, Sequence[Rows]], metric: str) -> str:
    """The metric on validation and the loss in training, by steps, FLOPs and seconds."""
    panes = {}
    for across, (name, _, _) in ACROSS.items():
        if not any(row.get(across) is not None for runs in models.values() for rows in runs for row in rows):
            continue
        left = learning_curves(models, "val", metric, across)
        right = learning_curves(models, "train", "loss", across)
        panes[f"by {name}"] = f'<div class="row"><div>{left}</div><div>{right}</div></div>'
    return tabs("curves", panes) if panes else '<p class="note">Nothing was measured.</p>'
