"""What models of masks answer: each class, the worst pictures beside their truth, and classes explained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
import torch
from torch import nn

from dougong.data.masks.drawing import drawn, wrong_pixels
from dougong.explain.page import image
from dougong.report.examples import Question, explained
from dougong.report.predictions import thumbnail
from dougong.report.tables import table, tabs
from dougong.training.scoring import score

WORST = 6
SIDE = 260
"""Pixels of a picture's longer side as it is shown."""


def of_masks(models: Mapping[str, nn.Module], task: Any) -> dict[str, str]:
    """Scores of each class, the worst pictures drawn, and some answers explained."""
    classes, pictures = {}, {}
    asked: list[Question] = []
    for name, model in models.items():
        masks: list[np.ndarray] = []

        def watch(output: Any, batch: Any, _: Any, masks: list[np.ndarray] = masks) -> None:
            masks += [each.mask for each in task.decode(output, batch)]

        _, metrics = score(model, task, "test", watch=watch)
        classes[name] = class_table(metrics.table()["per_class"])
        scores = metrics.sample_scores()
        order = [int(each) for each in np.argsort(np.nan_to_num(np.array(scores), nan=1.0), kind="stable")]
        pictures[name] = worst_pictures(task, order[:WORST], scores, masks)
        if not asked:
            asked = _to_explain(task, order, masks)
    return {
        "Classes": tabs("classes", classes),
        "Worst pictures": legend(task) + tabs("pictures", pictures),
        "Explanations": explained(models, task, asked),
    }


def class_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """IoU, accuracy, boundary F1 and pixels of each class."""
    rows = [
        [name, *(_percent(row[key]) for key in ("iou", "accuracy", "boundary_f1")), f"{int(row['pixels']):,}"]
        for name, row in scores.items()
    ]
    return table(["class", "IoU", "pixels found", "boundary F1", "true pixels"], rows)


def worst_pictures(task: Any, chosen: list[int], scores: list[float], masks: list[np.ndarray]) -> str:
    """Pictures with what is there, what the model gives, and where the two differ."""
    split, parts = task.data.splits["test"], []
    for number in chosen:
        pixels, truth, given = split.pixels(number), split.mask(number), masks[number]
        sides = {
            "picture": pixels,
            "true": drawn(pixels, truth, task.colours),
            "given": drawn(pixels, given, task.colours),
            "wrong, in red": wrong_pixels(pixels, given, truth),
        }
        figures = "".join(
            f"<figure>{image(thumbnail(each, SIDE), said)}<figcaption>{said}</figcaption></figure>"
            for said, each in sides.items()
        )
        where = escape(split.where(number))
        parts.append(f'<h3>mean IoU {_percent(scores[number])} <span class="faint">{where}</span></h3>')
        parts.append(f'<div class="pictures">{figures}</div>')
    return "".join(parts)


def legend(task: Any) -> str:
    """The colour of each class."""
    items = "".join(
        f'<span style="white-space:nowrap"><span style="display:inline-block;width:1em;height:1em;'
        f'background:rgb({red},{green},{blue});vertical-align:-0.1em"></span> {escape(name)}</span> '
        for name, (red, green, blue) in zip(task.classes, task.colours, strict=True)
    )
    return f'<p class="note">{items}</p>'


def _to_explain(task: Any, order: list[int], masks: list[np.ndarray]) -> list[Question]:
    """The largest class of the best picture, and that of the worst."""
    split, found = task.data.splits["test"], []
    for why, number in (("The best picture", order[-1]), ("The worst picture", order[0])):
        sample = task.batch("test", torch.tensor([number]), train=False, epoch=0, seed=0).inputs[0]
        true = np.bincount(split.mask(number).ravel(), minlength=256)[: len(task.classes)]
        largest = task.classes[int(true.argmax())]
        found.append(Question(sample, None, f"{why}: its largest class", split.where(number), largest))
    return found


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1%}"
