"""How well boxes were found: COCO's average precision and recall, and what each picture adds."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST = 100
"""Boxes a picture that are judged, the most probable ones (Lin et al. 2014)."""
THRESHOLDS = np.linspace(0.5, 0.95, 10)
DRAWS = 200


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in a picture, beside what is there.

    Args:
        boxes: (n, 4) left, top, right, bottom in pixels, the most probable first.
        scores: (n,).
        classes: (n,) numbers.
        true: (M, 6): class, left, top, right, bottom, 1 for a crowd.
        size: (h, w) of the picture.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    true: np.ndarray
    size: tuple[int, int]


def coco_scores(found: Sequence[Found], classes: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """ap, ap50, ap75 and ar (of 100 boxes a picture) by faster-coco-eval, and ap50 of each class.

    The mean over classes that occur; -1, as COCO has it, becomes NaN where nothing is there to be found.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    truth = as_coco(found, classes)
    given = results(found)
    names = ("ap", "ap50", "ap75")
    if not truth["annotations"]:
        return dict.fromkeys((*names, "ar"), float("nan")), dict.fromkeys(classes, float("nan"))
    if not given:
        return dict.fromkeys((*names, "ar"), 0.0), dict.fromkeys(classes, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        gold = COCO(truth)
        judge = COCOeval_faster(gold, gold.loadRes(given), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    stats = [float(value) if value >= 0 else float("nan") for value in judge.stats]
    precision = judge.eval["precision"][0, :, :, 0, -1]  # (recalls, classes) at 0.5, all areas
    each = {}
    for place, name in enumerate(classes):
        held = precision[:, place][precision[:, place] > -1]
        each[name] = float(held.mean()) if len(held) else float("nan")
    return {**dict(zip(names, stats[:3], strict=True)), "ar": stats[8]}, each


def as_coco(found: Sequence[Found], classes: Sequence[str]) -> dict[str, Any]:
    """What is there, as COCO JSON; categories and pictures are numbered from 1."""
    rows: list[dict[str, Any]] = []
    for number, one in enumerate(found):
        for label, left, top, right, bottom, crowd in one.true.tolist():
            box = [left, top, right - left, bottom - top]
            rows.append(
                {
                    "id": len(rows) + 1, "image_id": number + 1, "category_id": int(label) + 1, "bbox": box,
                    "area": box[2] * box[3], "iscrowd": int(crowd),
                }
            )  # fmt: skip
    return {
        "images": [{"id": n + 1, "height": one.size[0], "width": one.size[1]} for n, one in enumerate(found)],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(classes)],
        "annotations": rows,
    }


def results(found: Sequence[Found]) -> list[dict[str, Any]]:
    """What was found, as COCO's results."""
    return [
        {
            "image_id": number + 1, "category_id": int(label) + 1,
            "bbox": [left, top, right - left, bottom - top], "score": score,
        }
        for number, one in enumerate(found)
        for (left, top, right, bottom), score, label in zip(
            one.boxes[:MOST].tolist(), one.scores.tolist(), one.classes.tolist(), strict=False
        )
    ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Judged:
    """The boxes of one class found in one picture, judged.

    Args:
        scores: (n,).
        right: bool (10, n): whether each meets a true box at each threshold, the most probable first.
        left_out: bool (10, n): whether it meets a crowd, and so counts for nothing.
        there: how many true boxes there are.
    """

    scores: np.ndarray
    right: np.ndarray
    left_out: np.ndarray
    there: int


def judged(one: Found, n_classes: int) -> list[Judged]:
    """Each class of a picture, by COCO's rules: boxes are taken by probability, each the best true one still free."""
    answers = []
    for number in range(n_classes):
        mine = np.flatnonzero(one.classes[:MOST] == number)
        boxes, scores = one.boxes[mine], one.scores[mine]
        true = one.true[one.true[:, 0] == number]
        true = true[np.argsort(true[:, 5], kind="stable")]  # crowds last
        crowd = true[:, 5] > 0
        shared = overlaps(boxes, true[:, 1:5], crowd)
        right = np.zeros((len(THRESHOLDS), len(mine)), bool)
        left_out = np.zeros_like(right)
        for t, least in enumerate(THRESHOLDS):
            taken = np.zeros(len(true), bool)
            for box in range(len(mine)):
                best, place = min(least, 1 - 1e-10), -1
                for each in range(len(true)):
                    if taken[each] and not crowd[each]:
                        continue
                    if place >= 0 and not crowd[place] and crowd[each]:
                        break
                    if shared[box, each] >= best:
                        best, place = shared[box, each], each
                if place >= 0:
                    taken[place] = True
                    left_out[t, box] = crowd[place]
                    right[t, box] = not crowd[place]
        answers.append(Judged(scores, right, left_out, int((~crowd).sum())))
    return answers


def overlaps(boxes: np.ndarray, true: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Intersection over union, (n, M); of a crowd, over the box that was found."""
    low, high = np.maximum(boxes[:, None, :2], true[None, :, :2]), np.minimum(boxes[:, None, 2:], true[None, :, 2:])
    inside = (high - low).clip(0).prod(-1)
    own, others = (boxes[:, 2:] - boxes[:, :2]).prod(-1), (true[:, 2:] - true[:, :2]).prod(-1)
    union = np.where(crowd[None], own[:, None], own[:, None] + others[None] - inside)
    return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)


def average_precision(pictures: Sequence[list[Judged]], times: np.ndarray | None = None) -> float:
    """COCO's AP, the mean over classes and thresholds of the precision at 101 recalls; NaN without true boxes.

    Args:
        pictures: each class of each, as `judged` gives them.
        times: how often each picture counts; once when None.
    """
    weights = np.ones(len(pictures)) if times is None else times
    found = []
    for number in range(len(pictures[0]) if pictures else 0):
        kind = [picture[number] for picture in pictures]
        there = float(sum(one.there * w for one, w in zip(kind, weights, strict=True)))
        if not there:
            continue
        scores = np.concatenate([one.scores for one in kind])
        order = np.argsort(-scores, kind="mergesort")
        each = np.concatenate([np.full(len(one.scores), w) for one, w in zip(kind, weights, strict=True)])[order]
        right = np.concatenate([one.right for one in kind], 1)[:, order]
        counted = ~np.concatenate([one.left_out for one in kind], 1)[:, order]
        hits, misses = (right * each).cumsum(1), ((~right & counted) * each).cumsum(1)
        for hit, miss in zip(hits, misses, strict=True):
            precision = hit / np.maximum(hit + miss, np.finfo(float).tiny)
            precision = np.maximum.accumulate(precision[::-1])[::-1]
            places = np.searchsorted(hit / there, np.linspace(0, 1, 101), side="left")
            found.append(np.append(precision, 0.0)[np.minimum(places, len(precision))].mean())
    return float(np.mean(found)) if found else float("nan")


def precision_interval(
    pictures: Sequence[list[Judged]], level: float = 0.95, draws: int = DRAWS
) -> tuple[float, float]:
    """The bootstrap interval of AP over pictures (Efron 1979)."""
    if not pictures:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(0)
    count = len(pictures)
    found = [
        average_precision(pictures, np.bincount(drawn.integers(count, size=count), minlength=count).astype(float))
        for _ in range(draws)
    ]
    low, high = np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high
