"""How well next items were foreseen: a model's ranking, and beside it that of rules without weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dougong.parts.output import Output
from dougong.tasks.recommending.baselines import Baselines
from dougong.tasks.recommending.choices import RANKINGS
from dougong.tasks.scores.ranking import RankingScores, ndcg
from dougong.tasks.task import Batch

BATCH = 256


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
