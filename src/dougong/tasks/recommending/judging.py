"""How well next items were foreseen: a model's ranking, and beside it that of rules without weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dougong.parts.output import Output
from dougong.tasks.recommending.baselines import Baselines
from dougong.tasks.recommending.choices import RANKINGS
from dougong.tasks.scores.ranking import RankingScores, ndcg, ragged, standing
from dougong.tasks.task import Batch, Prediction

BATCH = 256
MOST = 100
"""Items that an answer holds."""


class RankingMetrics:
    """See `dougong.tasks.scores.RankingScores`. Args: task: with its items."""

    def __init__(self, task: Any) -> None:
        self.task = task
        self.scores = RankingScores(task.catalogue.counts, task.choices.ranking != "full")

    def update(self, output: Output, batch: Batch) -> None:
        """Add a batch of histories, each with the item that came."""
        assert batch.targets is not None
        self.add(self.task.scores(output, batch).detach(), batch)

    def add(self, scores: Tensor, batch: Batch) -> None:
        """Add scores (B, V), which are changed."""
        assert batch.targets is not None
        seen = [asked.seen for asked in batch.truth] if self.task.excludes else None
        some = None
        if batch.truth and batch.truth[0].some is not None:
            some = torch.from_numpy(np.stack([asked.some for asked in batch.truth]))
        self.scores.update(scores, batch.targets.to(scores.device), seen, some)

    def compute(self) -> dict[str, float]:
        """loss, hr@5, ndcg@5, hr@10, ndcg@10, mrr; of the full ranking coverage@10 and popularity_bias@10."""
        return self.scores.compute()

    def sample_scores(self) -> list[float]:
        """NDCG@10 of each user."""
        above, tied = self.scores.standings()
        return [float(value) for value in ndcg(above, tied, 10)]

    def table(self) -> dict[str, Any]:
        """How it was judged, in words."""
        return {"protocol": self.task.protocol}


def shown(task: Any, scores: Tensor, batch: Batch) -> list[Prediction]:
    """The items that are most probable next, by the softmax of all scores; of a user none of whose items is known, the
    most popular ones. Args: task: with its items; scores: (B, V); batch: of histories."""
    popular = torch.from_numpy(np.asarray(task.catalogue.counts, np.float32)).clamp_min(0.5).log()
    names, found = task.catalogue.names, []
    for row, asked in zip(scores.cpu(), batch.truth, strict=True):
        own = (popular if asked.cold else row).clone()
        if task.excludes and len(asked.seen):
            own[torch.from_numpy(asked.seen.astype(np.int64))] = -torch.inf
        shares, items = own.softmax(-1).topk(min(MOST, len(own)))
        top = [(names[item], share) for item, share in zip(items.tolist(), shares.tolist(), strict=True)]
        parts = [{"cold": asked.cold, "read": len(asked.seen), "unknown": list(asked.unknown)}]
        found.append(Prediction(top[0][0], top[0][1], top, parts=parts))
    return found


def rows_of(task: Any, scores: Tensor, batch: Batch) -> list[dict[str, Any]]:
    """Of each sample: where, history (oldest first), gold, rank among all items (of ties the mean), predicted (the ten
    most probable items), correct (the first of them came)."""
    assert batch.targets is not None
    names, found = task.catalogue.names, shown(task, scores, batch)
    seen = ragged([asked.seen for asked in batch.truth], scores.device) if task.excludes else None
    above, tied = standing(scores.clone(), batch.targets.to(scores.device), seen)
    ranks = (above + (tied + 1) / 2).tolist()
    rows = zip(batch.where, batch.truth, batch.targets.tolist(), ranks, found, strict=True)
    return [
        {
            "where": where, "history": [names[item] for item in asked.seen], "gold": names[true], "rank": rank,
            "predicted": [item for item, _ in said.top[:10]], "correct": said.label == names[true],
        }
        for where, asked, true, rank, said in rows
    ]  # fmt: skip


def protocol_of(task: Any) -> str:
    """How models are judged, in words; of a way that flatters, that it does."""
    count, items = RANKINGS[task.choices.ranking], len(task.catalogue.names)
    if count:
        return (
            f"the true item is ranked among {count} items drawn at random and itself, not among all {items:,}: figures "
            "are far higher than of the full ranking, and may put models in another order (Krichene and Rendle 2020)"
        )
    met = "items that a user has met are left out" if task.excludes else "items that a user has met stay in"
    return f"the true item is ranked among all {items:,} items; {met}; ties in random order, on average"


def beside(task: Any, split: str) -> dict[str, dict[str, float]]:
    """The metrics of every rule of `Baselines` on a split, judged as the models are; made once for a data set."""
    data = task.known()
    held = data.cache
    key = ("beside", split, task.choices.ranking, task.excludes)
    if key not in held:
        rules = Baselines(data).rules()
        metrics = {name: RankingMetrics(task) for name in rules}
        for indices in torch.arange(task.size(split)).split(BATCH):
            batch = task.batch(split, indices, train=False, epoch=0, seed=0)
            for name, rule in rules.items():
                metrics[name].add(rule([asked.seen for asked in batch.truth]), batch)
        held[key] = {name: each.compute() for name, each in metrics.items()}
        for figures in held[key].values():
            figures.pop("loss")  # what a rule gives are no logits
    return held[key]
