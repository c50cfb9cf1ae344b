"""What vectors of test texts lie near: a part of the report of sentence embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

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
    if task.measure.learns == "scored":
        return {"Scored pairs that are furthest off": tabs("neighbours", panes)}
    return {"Nearest neighbours": tabs("neighbours", panes)}


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
    from scipy.stats import rankdata

    split = task.split("test")
    scores = torch.tensor([float(row.tags[0]) for row in split], dtype=torch.float64)
    off = abs(rankdata(cosines.double().numpy()) - rankdata(scores.numpy()))
    order = off.argsort()[::-1][:WORST].tolist()
    rows = [
        [*(_cut(text) for text in split[number].texts), f"{float(scores[number]):g}", f"{float(cosines[number]):.2f}"]
        for number in order
    ]
    return table(["text", "other text", "score", "cosine"], rows, left=(1,))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."
