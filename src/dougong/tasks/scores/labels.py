"""Several labels a sample: how well the set of them was found, and how well each label ranks the samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dougong.tasks.scores.bootstrap import interval_of
from dougong.tasks.scores.calibration import Calibration
from dougong.tasks.scores.entities import ratios
from dougong.tasks.scores.kept import Kept


class LabelScores:
    """Micro and macro F1, subset accuracy, mean average precision and calibration; torchmetrics counts.

    Args:
        classes: names of the labels, two or more.
        threshold: a label is given where its probability is above this.
    """

    def __init__(self, classes: Sequence[str], threshold: float = 0.5) -> None:
        from torchmetrics.classification import MultilabelExactMatch, MultilabelStatScores

        self.classes, self.threshold = tuple(classes), threshold
        self._counts = MultilabelStatScores(len(self.classes), average=None)
        self._exact = MultilabelExactMatch(len(self.classes))
        self._samples = Kept(3)
        self._shares: list[Tensor] = []
        self._true: list[Tensor] = []
        self.calibration = Calibration()

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch: logits (B, C), targets (B, C) of 0 and 1."""
        # As 0 and 1: torchmetrics takes other numbers for logits or for probabilities by the values in the batch.
        shares = logits.detach().float().cpu().sigmoid()
        given = (shares > self.threshold).long()
        true = targets.detach().long().cpu()
        self._shares.append(shares)
        self._true.append(true)
        self.calibration.update(torch.where(given > 0, shares, 1 - shares).flatten(), (given == true).flatten())
        self._counts.update(given, true)
        self._exact.update(given, true)
        self._samples.add(torch.stack([(given & true).sum(1), given.sum(1), true.sum(1)], 1).flatten().tolist())

    def compute(self) -> dict[str, float]:
        """micro_f1, macro_f1 (the mean over labels that occur or were given), subset_accuracy (all labels right),
        mean_average_precision (over labels that occur) and ece, the calibration error of all single decisions, each
        with the probability of what was decided; NaN before the first batch."""
        if not self._shares:
            names = ("micro_f1", "macro_f1", "subset_accuracy", "mean_average_precision", "ece")
            return dict.fromkeys(names, float("nan"))
        each = [row["f1"] for row in self.table().values() if row["support"] or row["given"]]
        shares, true = torch.cat(self._shares), torch.cat(self._true)
        ranks = [average_precision(shares[:, label], true[:, label]) for label in range(len(self.classes))]
        occurring = [value for value in ranks if not math.isnan(value)]
        return {
            "micro_f1": ratios(*self.statistics().sum(0).tolist())["f1"],
            "macro_f1": sum(each) / len(each) if each else 0.0,
            "subset_accuracy": float(self._exact.compute()),
            "mean_average_precision": sum(occurring) / len(occurring) if occurring else float("nan"),
            "ece": self.calibration.compute(),
        }

    def table(self) -> dict[str, dict[str, float]]:
        """precision, recall, f1, support (how many are true) and given (how many were given) of each label."""
        if not self._shares:
            return {}
        found: dict[str, dict[str, float]] = {}
        for name, row in zip(self.classes, self._counts.compute().tolist(), strict=True):
            right, wrong, _, missed, _ = row
            counts = {"support": right + missed, "given": right + wrong}
            found[name] = {**ratios(right, right + wrong, right + missed), **counts}
        return found

    def statistics(self) -> Tensor:
        """(N, 3): labels right, given and true of each sample, in the order they came."""
        return self._samples.rows()

    def interval(self, **settings: Any) -> tuple[float, float]:
        """The bootstrap interval of micro_f1 over samples; settings as for `dougong.tasks.scores.interval`."""
        return interval_of(self.statistics(), lambda sums: ratios(*sums.tolist())["f1"], **settings)


def average_precision(scores: Tensor, true: Tensor) -> float:
    """The precision at each score that a true sample has, averaged over true samples; NaN where none is true.

    Samples of equal score are taken in at once, none before another (Manning et al. 2008, section 8.4).

    Args:
        scores: (N,) the higher, the surer.
        true: (N,) of 0 and 1.
    """
    wanted = int(true.sum())
    if not wanted:
        return float("nan")
    order = scores.argsort(descending=True)
    ranked, hits = scores[order], true[order].double().cumsum(0)
    last = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool)])  # of samples with equal scores
    found = hits[last]
    precision = found / (last.nonzero().flatten() + 1)
    return float((precision * found.diff(prepend=torch.zeros(1, dtype=torch.float64))).sum() / wanted)
