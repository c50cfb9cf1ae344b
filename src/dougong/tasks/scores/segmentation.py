"""How well pixels were told apart: intersections over unions, and how close the borders lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dougong.heads.segment import enlarged
from dougong.parts.output import Output
from dougong.tasks.scores.bootstrap import interval_of
from dougong.tasks.task import Batch

TOLERANCE = 0.0075
"""How far a border may lie from the true one, as a share of the picture's diagonal (Csurka et al. 2013, section 3)."""


class SegmentationMetrics:
    """Loss, mean IoU, pixel accuracy and boundary F1 over all pixels that are of some class.

    Args:
        classes: their names.
        void: pixels of this class do not count.
    """

    def __init__(self, classes: Sequence[str], void: int) -> None:
        self.classes, self.void = tuple(classes), void
        size = len(self.classes)
        self.confusion = torch.zeros(size, size, dtype=torch.int64)
        """(C, C) pixels, true classes down, given ones across."""
        self.loss, self.pixels = 0.0, 0
        self._sums: list[Tensor] = []
        self._borders: list[tuple[float, Tensor]] = []

    def update(self, output: Output, batch: Batch) -> None:
        """Add a batch: masks (B, C, h', w'), targets (B, h, w); where the batch holds whole truths, against those."""
        assert output.masks is not None and batch.targets is not None
        for place, masks in enumerate(output.masks.detach()):
            truth = batch.truth[place] if batch.truth else batch.targets[place]
            truth = torch.as_tensor(truth).to(masks.device).long()
            scores = enlarged(masks[None].float(), truth.shape)
            self.loss += float(F.cross_entropy(scores, truth[None], ignore_index=self.void, reduction="sum").double())
            self.add(scores[0].argmax(0).cpu(), truth.cpu())

    def add(self, given: Tensor, truth: Tensor) -> None:
        """Add a picture: classes given (h, w), and the true ones (h, w) with void."""
        size, real = len(self.classes), truth != self.void
        pairs = torch.bincount(truth[real] * size + given[real], minlength=size * size).view(size, size)
        self.confusion += pairs
        self.pixels += int(real.sum())
        self._sums.append(torch.cat((pairs.diagonal(), pairs.sum(0), pairs.sum(1))))
        self._borders.append(boundary_f1(given, truth, size, self.void))

    def compute(self) -> dict[str, float]:
        """loss (nats a pixel), mean_iou, pixel_accuracy, class_accuracy, boundary_f1; NaN before the first pixel.

        mean_iou is the mean over classes that occur or were given, each of all pixels of the split together (Everingham
        et al. 2015, section 4.2); class_accuracy that of the shares of each class's pixels that were found;
        boundary_f1 the mean over pictures of `boundary_f1`.
        """
        if not self.pixels:
            names = ("loss", "mean_iou", "pixel_accuracy", "class_accuracy", "boundary_f1")
            return dict.fromkeys(names, float("nan"))
        matrix = self.confusion.double()
        true = matrix.sum(1)
        found = matrix.diagonal()[true > 0] / true[true > 0]
        borders = [value for value, _ in self._borders if not math.isnan(value)]
        return {
            "loss": self.loss / self.pixels,
            "mean_iou": _mean_iou(torch.cat((matrix.diagonal(), matrix.sum(0), true))),
            "pixel_accuracy": float(matrix.trace() / self.pixels),
            "class_accuracy": float(found.mean()),
            "boundary_f1": sum(borders) / len(borders) if borders else float("nan"),
        }

    def sample_scores(self) -> list[float]:
        """The mean IoU of each picture by itself, in the order they came; their mean is not that of the split."""
        return [_mean_iou(sums.double()) for sums in self._sums]

    def interval(self) -> tuple[float, float]:
        """The bootstrap interval of the mean IoU over pictures."""
        if not self._sums:
            return float("nan"), float("nan")
        return interval_of(torch.stack(self._sums), _mean_iou)

    def table(self) -> dict[str, Any]:
        """The confusion of pixels, and IoU, accuracy, boundary F1 and pixels of each class; NaN where it never is."""
        matrix = self.confusion.double()
        right, given, true = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
        borders = torch.stack([each for _, each in self._borders]) if self._borders else torch.zeros(0, len(right))
        return {
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "per_class": {
                name: {
                    "iou": float(right[i] / (given[i] + true[i] - right[i])),
                    "accuracy": float(right[i] / true[i]),
                    "boundary_f1": float(borders[:, i].nanmean()),
                    "pixels": int(true[i]),
                }
                for i, name in enumerate(self.classes)
            },
        }


def _mean_iou(sums: Tensor) -> float:
    """Of right, given and true pixels of each class, (3 C,): the mean over classes that occur or were given."""
    right, given, true = sums.chunk(3)
    union = given + true - right
    return float((right[union > 0] / union[union > 0]).mean()) if bool((union > 0).any()) else float("nan")


def boundary_f1(given: Tensor, truth: Tensor, n_classes: int, void: int) -> tuple[float, Tensor]:
    """How well the borders between classes were met, of one picture: the mean over classes, and each class's.

    A pixel is on its class's border where one of its four neighbours is of another class; what lies beside void, or is
    void, is not. Precision is the share of the given border within the tolerance of the true one, recall the other way
    round (Csurka et al. 2013, section 3). Classes without any border are NaN.

    Args:
        given: (h, w) classes.
        truth: (h, w) classes, and void.
        n_classes: C.
        void: pixels that do not count.

    Returns:
        The mean over classes with a border, and (C,).
    """
    height, width = truth.shape
    reach = max(1.0, TOLERANCE * math.hypot(height, width))
    given = given.where(truth != void, torch.full_like(given, void))
    mine, true = (borders(each, n_classes, void) for each in (given, truth))
    counts = mine.flatten(1).sum(1), true.flatten(1).sum(1)
    used = ((counts[0] + counts[1]) > 0).nonzero()[:, 0]
    found = torch.full((n_classes,), float("nan"))
    if len(used):
        near_true, near_mine = spread(true[used], reach), spread(mine[used], reach)
        precision = (mine[used] & near_true).flatten(1).sum(1) / counts[0][used]
        recall = (true[used] & near_mine).flatten(1).sum(1) / counts[1][used]
        found[used] = (2 * precision * recall / (precision + recall)).nan_to_num(0.0)
    return (float(found[used].mean()) if len(used) else float("nan")), found


def borders(classes: Tensor, n_classes: int, void: int) -> Tensor:
    """Classes (h, w) to the border of each, bool (C, h, w)."""
    edge = torch.zeros_like(classes, dtype=torch.bool)
    for one, other in ((classes[1:], classes[:-1]), (classes[:, 1:], classes[:, :-1])):
        differs = (one != other) & (one != void) & (other != void)
        if one.shape[0] < classes.shape[0]:
            edge[1:] |= differs
            edge[:-1] |= differs
        else:
            edge[:, 1:] |= differs
            edge[:, :-1] |= differs
    marked = classes.where(edge, torch.full_like(classes, n_classes))
    return F.one_hot(marked, n_classes + 1)[..., :-1].permute(2, 0, 1) > 0


def spread(marks: Tensor, reach: float) -> Tensor:
    """Marks bool (C, h, w) and all pixels whose centres lie within ``reach`` of one."""
    found, values = torch.zeros_like(marks), marks.float()[None]
    height = marks.shape[1]
    for down in range(-int(reach), int(reach) + 1):  # a disc, row by row
        across = int(math.sqrt(reach * reach - down * down))
        wide = F.max_pool2d(values, (1, 2 * across + 1), 1, (0, across))[0] > 0
        low, high = max(0, -down), min(height, height - down)
        if low < high:
            found[:, low + down : high + down] |= wide[:, low:high]
    return found
