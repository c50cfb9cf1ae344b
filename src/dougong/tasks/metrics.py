"""How well classes were told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dougong.parts.output import Output
from dougong.tasks.scores.bootstrap import interval_of
from dougong.tasks.scores.calibration import Calibration
from dougong.tasks.scores.kept import Kept
from dougong.tasks.task import Batch


class ClassificationMetrics:
    """Loss, accuracy, macro F1 and calibration, from sums kept in float64.

    Args:
        classes: their names.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        size = len(self.classes)
        self.confusion = torch.zeros(size, size, dtype=torch.int64)
        """(C, C) counts, true classes down, predicted ones across."""
        self.loss = 0.0
        self.calibration = Calibration()
        self._right = Kept(1)

    def update(self, output: Output, batch: Batch) -> None:
        """Add a batch: logits (B, C), targets (B,)."""
        assert output.logits is not None and batch.targets is not None
        logits, targets = output.logits.detach().float(), batch.targets
        self.loss += float(F.cross_entropy(logits, targets, reduction="sum").double())
        logits, targets = logits.cpu(), targets.cpu()
        confidence, given = logits.double().softmax(-1).max(-1)
        size = len(self.classes)
        self.confusion += torch.bincount(targets * size + given, minlength=size * size).view(size, size)
        self._right.add((given == targets).tolist())
        self.calibration.update(confidence, given == targets)

    @property
    def count(self) -> int:
        """Samples so far."""
        return int(self.confusion.sum())

    def compute(self) -> dict[str, float]:
        """loss (nats a sample, without smoothing), accuracy, macro_f1, ece; NaN before the first batch.

        macro_f1 is the mean over classes that occur or were predicted. ece is the expected calibration error in 15
        equal bins of confidence (Guo et al. 2017, section 2).
        """
        if not self.count:
            return dict.fromkeys(("loss", "accuracy", "macro_f1", "ece"), float("nan"))
        matrix = self.confusion.double()
        occurs = (matrix.sum(0) + matrix.sum(1)) > 0
        _, _, f1 = self._scores()
        return {
            "loss": self.loss / self.count,
            "accuracy": float(matrix.trace() / self.count),
            "macro_f1": float(f1[occurs].mean()),
            "ece": self.calibration.compute(),
        }

    def sample_scores(self) -> list[float]:
        """1 for each sample whose class was found, else 0, in the order they came; their mean is the accuracy."""
        return self._right.rows()[:, 0].tolist()

    def interval(self) -> tuple[float, float]:
        """The bootstrap interval of the accuracy."""
        return interval_of(self._right.rows(), lambda sums: float(sums[0]) / self.count)

    def table(self) -> dict[str, Any]:
        """The confusion matrix, and precision, recall, F1 and count of each class."""
        precision, recall, f1 = (values.tolist() for values in self._scores())
        support = self.confusion.sum(1).tolist()
        return {
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "per_class": {
                name: {"precision": precision[i], "recall": recall[i], "f1": f1[i], "support": support[i]}
                for i, name in enumerate(self.classes)
            },
        }

    def _scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Precision, recall and F1 of each class, (C,); 0 where nothing was there to divide by."""
        matrix = self.confusion.double()
        right, given, true = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
        return right / given.clamp_min(1), right / true.clamp_min(1), 2 * right / (given + true).clamp_min(1)
