"""What vectors of test texts lie near: a part of the report of sentence embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dougong.explain.texts import TOO_FEW, word_spans
from dougong.report.examples import Question, explained
from dougong.report.parts import WORST
from dougong.report.predictions import LONGEST_TEXT
from dougong.report.tables import table, tabs
from dougong.tasks.scores.likeness import ranks
from dougong.training.scoring import score

NEAR = 3
"""Neighbours of a text that are shown."""


def of_sentences(models: Mapping[str, nn.Module], task: Any) -> dict[str, str]:
    """The nearest test texts of some, the worst found ones among them; of scored pairs those furthest off."""
    panes = {}
    for name, model in models.items():
        first, second, targets = score(model, task, "test")[1].gathered()  # type: ignore[attr-defined]
        learns = task.measure.learns
        panes[name] = (
            _furthest_off(task, (first * second).sum(1))
            if learns == "scored"
            else _nearest(task, first, second, targets, single=learns == "single")
        )
    title = "Scored pairs that are furthest off" if task.measure.learns == "scored" else "Nearest neighbours"
    asked = questions(models, task)
    return {title: tabs("neighbours", panes)} | (
        {"Explanations": explained(models, task, asked, "pair")} if asked else {}
    )


def questions(models: Mapping[str, nn.Module], task: Any) -> list[Question]:
    """Two pairs of test texts, each both ways: one that the first model gets right, and one that it gets most wrong.

    Of single texts, the two that lie nearest to each other, and the pair of middling nearness.
    """
    model = next(iter(models.values()))
    first, second, targets = score(model, task, "test")[1].gathered()  # type: ignore[attr-defined]
    split, learns = task.split("test"), task.measure.learns
    long = torch.tensor([all(len(word_spans(text)) > TOO_FEW for text in row.texts) for row in split])
    pairs: list[tuple[str, int, int]] = []
    if learns == "single":
        same = targets[:, :1] == targets[None, :, 0]  # a text and its copies
        cosines = (first @ first.T).masked_fill(same, -2.0)
        cosines = cosines.masked_fill(~(long[:, None] & long[None]), -2.0)
        near, which = cosines.max(1)
        order = [number for number in near.argsort(descending=True).tolist() if near[number] > -1.5]
        if order:
            pairs = [("Nearest of all", order[0], int(which[order[0]]))]
            middle = order[len(order) // 2]
            if {middle, int(which[middle])} != {*pairs[0][1:]}:
                pairs.append(("A text and its nearest, of middling nearness", middle, int(which[middle])))
        texts = [(why, split[a].texts[0], split[b].texts[0], split[a].where) for why, a, b in pairs]
    else:
        off = _off(task, (first * second).sum(1)) if learns == "scored" else ranks(first, second, targets).double()
        order = [number for number in off.argsort(stable=True).tolist() if long[number]]
        chosen = dict.fromkeys([*order[:1], *order[-1:]])
        if learns == "scored":
            whys = ["As near as its score says", "Furthest from what its score says"]
        else:
            whys = [f"Found as number {off[number]:g}" for number in chosen]
        texts = [(why, *split[n].texts, split[n].where) for why, n in zip(whys, chosen, strict=False)]
    asked = []
    for why, one, other, where in texts:
        asked += [Question((one, other), None, why, where, None)]
        asked += [Question((other, one), None, f"{why}, the other way round", where, None)]
    return asked


def _nearest(task: Any, first: Tensor, second: Tensor, ids: Tensor, single: bool) -> str:
    """A table of texts, their own second texts with their ranks, and the nearest of all second texts."""
    found = ranks(first, second, ids)
    worst = found.argsort(descending=True).tolist()
    half = WORST // 2
    mixed = dict.fromkeys([*worst[:half], *worst[len(worst) // 2 :][:half]])
    chosen = list(range(min(WORST, len(worst)))) if single else list(mixed)
    split, rows = task.split("test"), []
    for number in chosen:
        texts = split[number].texts
        cosines = second @ first[number]
        if single:  # nothing is near itself
            cosines = cosines.masked_fill(ids[:, 1] == ids[number, 1], -2.0)
        near: list[str] = []
        seen: set[int] = set()
        for place in cosines.argsort(descending=True).tolist():
            if int(ids[place, 1]) not in seen and len(near) < NEAR and cosines[place] >= -1.5:
                seen.add(int(ids[place, 1]))
                near.append(f"{_cut(split[place].texts[-1])} ({float(cosines[place]):.2f})")
            if len(near) == NEAR:
                break
        own = [] if single else [_cut(texts[1]), f"{float(found[number]):g}"]
        rows.append([_cut(texts[0]), *own, "; ".join(near)])
    if single:
        return table(["text", "nearest, with their cosines"], rows, left=(1,))
    note = f'<p class="note">Ranks among {len(ids[:, 1].unique())} second texts: the worst, and middling ones.</p>'
    return note + table(["text", "belongs to", "rank", "nearest, with their cosines"], rows, left=(1, 3))


def _furthest_off(task: Any, cosines: Tensor) -> str:
    """A table of the pairs whose order by cosine differs most from that by score."""
    split = task.split("test")
    order = _off(task, cosines).argsort(descending=True)[:WORST].tolist()
    rows = [
        [*(_cut(text) for text in split[number].texts), f"{float(split[number].tags[0]):g}", f"{cosines[number]:.2f}"]
        for number in order
    ]
    return table(["text", "other text", "score", "cosine"], rows, left=(1,))


def _off(task: Any, cosines: Tensor) -> Tensor:
    """How far the place of each test pair by cosine is from its place by score, (N,)."""
    from scipy.stats import rankdata

    scores = [float(row.tags[0]) for row in task.split("test")]
    return torch.from_numpy(abs(rankdata(cosines.double().numpy()) - rankdata(scores)))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."
