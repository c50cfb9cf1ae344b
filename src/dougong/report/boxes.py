"""Boxes drawn on pictures: those that were found, and those that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import torch
from torch import nn

from dougong.explain import explain
from dougong.explain.page import explanation_part, image
from dougong.report.tables import table, tabs
from dougong.training.scoring import score

WORST = 9
"""Pictures shown of each model."""
SIDE = 420
"""Pixels of their longer side."""
COLOURS = (
    (217, 95, 2), (33, 102, 172), (27, 158, 119), (231, 41, 138), (117, 112, 179), (102, 166, 30), (166, 118, 29),
    (0, 160, 190), (120, 120, 120), (200, 30, 30),
)  # fmt: skip


def drawn(
    picture: np.ndarray, boxes: Sequence[Mapping[str, Any]], classes: Sequence[str], side: int | None = None
) -> np.ndarray:
    """A picture with boxes, each in its class's colour, with the class and, where it has one, its probability.

    Args:
        picture: uint8 (h, w, 3).
        boxes: with "label", "box" (left, top, right, bottom in pixels) and perhaps "score".
        classes: in the order that settles their colours.
        side: pixels that the longer side is brought to; as it is when None.
    """
    from PIL import Image, ImageDraw, ImageFont

    drawing = Image.fromarray(np.ascontiguousarray(picture))
    scale = 1.0 if side is None else side / max(drawing.size)
    if scale != 1.0:
        drawing = drawing.resize((max(1, round(drawing.width * scale)), max(1, round(drawing.height * scale))))
    pen = ImageDraw.Draw(drawing)
    thick = max(1, round(max(drawing.size) / 300))
    font = ImageFont.load_default(size=max(10, round(max(drawing.size) / 45)))
    for each in sorted(boxes, key=lambda one: one.get("score", 1.0)):
        place = list(classes).index(each["label"]) if each["label"] in classes else 0
        colour = COLOURS[place % len(COLOURS)]
        left, top, right, bottom = (value * scale for value in each["box"])
        right, bottom = max(left, right), max(top, bottom)
        pen.rectangle((left, top, right, bottom), outline=colour, width=thick)
        words = each["label"] + (f" {each['score']:.0%}" if "score" in each else "")
        x0, y0, x1, y1 = pen.textbbox((0, 0), words, font=font)
        over = top - (y1 - y0) - 4 if top > (y1 - y0) + 4 else top
        pen.rectangle((left, over, left + (x1 - x0) + 4, over + (y1 - y0) + 4), fill=colour)
        pen.text((left + 2 - x0, over + 2 - y0), words, fill="white", font=font)
    return np.asarray(drawing)


def of_boxes(models: Mapping[str, nn.Module], task: Any) -> dict[str, str]:
    """AP50 of each class, and the pictures in which each model is worst, drawn beside what is there."""
    classes, pictures, explained = {}, {}, {}
    for name, model in models.items():
        _, metrics = score(model, task, "test")
        rows = [
            [kind, "-" if row["ap50"] != row["ap50"] else f"{row['ap50']:.1%}", int(row["support"])]
            for kind, row in metrics.table()["per_class"].items()
        ]
        classes[name] = table(["class", "AP50", "true boxes"], rows)
        pictures[name] = _worst(task, metrics)
        explained[name] = _explained(model, task, metrics)
    return {
        "Classes": tabs("classes", classes),
        "Worst pictures": tabs("worst", pictures),
        "Explanations": tabs("why", explained),
    }


def _explained(model: nn.Module, task: Any, metrics: Any) -> str:
    """Where the query looked that found the surest box, in the best picture and in the worst."""
    scores, split = metrics.sample_scores(), task.data.splits["test"]
    order = sorted(range(len(scores)), key=lambda number: scores[number])
    parts = []
    for words, number in (("the picture with the highest AP", order[-1]), ("the one with the lowest", order[0])):
        sample = task.batch("test", torch.tensor([number]), train=False, epoch=0, seed=0).inputs[0]
        found = explain(model, sample, task=task, at=1)
        title = f"The surest box of {words}: {found.target.name}, {found.target.probability:.1%}"
        where = f'<p class="faint">{escape(split.where(number))}</p>'
        parts.append(f"<h3>{escape(title)}</h3>{where}{explanation_part(found)}")
    return "".join(parts)


def _worst(task: Any, metrics: Any) -> str:
    """The pictures with the lowest AP, what was found on the left and what is there on the right."""
    from dougong.tasks.object_detection import SURE

    scores, split = metrics.sample_scores(), task.data.splits["test"]
    order = sorted(range(len(scores)), key=lambda number: scores[number])[:WORST]
    figures = []
    for number in order:
        one, picture = metrics.found[number], split.pixels(number)
        found = [
            {"label": task.classes[kind], "score": share, "box": box}
            for box, share, kind in zip(one.boxes.tolist(), one.scores.tolist(), one.classes.tolist(), strict=True)
            if share >= SURE
        ]
        true = [{"label": task.classes[int(row[0])], "box": row[1:5].tolist()} for row in one.true]
        pair = [
            f"<figure>{image(drawn(picture, boxes, task.classes, SIDE), f'{words} in {split.where(number)}')}"
            f"<figcaption>{words}: {len(boxes)}</figcaption></figure>"
            for words, boxes in (("found", found), ("there", true))
        ]
        said = f'AP {scores[number]:.1%} <span class="faint">{escape(split.where(number))}</span>'
        figures.append(f'<p>{said}</p><div class="pictures wide">{"".join(pair)}</div>')
    every = len(order) == len(scores)
    which = "All test pictures, the worst first" if every else f"The {len(order)} worst of {len(scores)} test pictures"
    note = (
        f'<p class="note">{which}, by their own AP. Shown are boxes with a probability of at least {SURE:.0%}. Look at '
        "them first for objects that nobody has boxed.</p>"
    )
    return note + "".join(figures)
