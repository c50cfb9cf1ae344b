"""Image classification: one class a picture."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dougong.data.augment import NONE, Augmentation, augmented, choose
from dougong.data.images import ImageData
from dougong.errors import UserError, unknown
from dougong.parts.output import Output
from dougong.tasks.class_weights import counted
from dougong.tasks.fitting import fit_config
from dougong.tasks.metrics import ClassificationMetrics
from dougong.tasks.picture_task import PictureTask
from dougong.tasks.pictures import picture_size
from dougong.tasks.task import Batch, Prediction

Augment = str | Mapping[str, Any] | Augmentation


class ImageClassification(PictureTask):
    """What a sample is, what is learnt from it, and how well.

    Args:
        classes: their names.
        image_size: (h, w) that a model reads.
        mean: of each channel, of values from 0 to 1.
        std: of each channel.
        data: None for a task that only predicts.
        augment: of training pictures: see `dougong.data.augment.choose`.

    Raises:
        UserError: an unknown augmentation.
    """

    name = "image-classification"
    primary = "accuracy"
    higher_is_better = True
    limits = (0.0, 1.0)
    several = False
    class_weights: Tensor | None = None
    """What a sample of each class counts for in the loss, (C,); all the same when None."""

    def __init__(
        self,
        classes: Sequence[str],
        image_size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        data: ImageData | None = None,
        augment: Augment = "none",
    ) -> None:
        super().__init__(image_size, mean, std, data)
        self.classes = tuple(classes)
        self.augmentation = choose(augment, self.image_size, self.classes)

    @classmethod
    def from_data(
        cls, data: ImageData, augment: Augment = "auto", image_size: tuple[int, int] | None = None
    ) -> ImageClassification:
        """The task that a data set poses; mean and deviation are those of its training pictures."""
        task = cls(data.classes, image_size or picture_size(data), (0.0,) * 3, (1.0,) * 3, data)
        ready = cls(data.classes, task.image_size, *task.statistics(), data, augment)
        ready._prepared = task._prepared
        return ready

    def adapt(
        self, config: dict[str, Any], fixed: Collection[str] = (), trained: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """A model's configuration made to fit the pictures and classes; see `dougong.tasks.fitting.fit_config`."""
        fitted, lines = fit_config(config, len(self.classes), self.image_size, fixed)
        if self.augmentation != NONE:
            lines.append(f"augment: training pictures are varied by {self.augmentation.describe()}")
        return fitted, lines

    def batch(self, split: str, indices: Tensor, *, train: bool, epoch: int, seed: int) -> Batch:
        """Some samples of a split: inputs float32 (B, 3, h, w), targets int64 (B,).

        Only the split "train" is ever augmented.
        """
        part = self._split(split)
        pixels = self.raw(split, indices)
        if train and split == "train":
            pixels = augmented(pixels, self.augmentation, seed=seed, epoch=epoch, indices=indices)
        numbers = indices.tolist()
        targets = torch.tensor([part.labels[number] for number in numbers], dtype=torch.int64)
        return Batch((self.normalised(pixels.float()),), targets, indices, [part.where(number) for number in numbers])

    def loss(self, output: Output, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy in nats, the mean over samples, weighed by class where weights are set (smoothing: Szegedy et
        al. 2016, section 7)."""
        assert output.logits is not None and batch.targets is not None
        weights = None if self.class_weights is None else self.class_weights.to(output.logits.device)
        return F.cross_entropy(output.logits.float(), batch.targets, weights, label_smoothing=label_smoothing)

    def weight(self, batch: Batch) -> float:
        """What the mean of a batch is over."""
        assert batch.targets is not None
        return counted(batch.targets, self.class_weights)

    def counts(self) -> list[int]:
        """Training samples of each class."""
        labels = torch.tensor(self._split("train").labels, dtype=torch.long)
        return torch.bincount(labels, minlength=len(self.classes)).tolist()  # type: ignore[no-any-return]

    def new_metrics(self) -> ClassificationMetrics:
        """Sums that are still empty."""
        return ClassificationMetrics(self.classes)

    def decode(self, output: Output, batch: Batch | None = None) -> list[Prediction]:
        """Logits (B, C) to classes with their probabilities."""
        assert output.logits is not None
        shares, order = output.logits.detach().float().softmax(-1).cpu().sort(dim=-1, descending=True, stable=True)
        found = []
        for values, numbers in zip(shares.tolist(), order.tolist(), strict=True):
            top = [(self.classes[number], value) for number, value in zip(numbers, values, strict=True)]
            found.append(Prediction(top[0][0], top[0][1], top))
        return found

    def describe(self) -> dict[str, Any]:
        """What a saved model needs to predict without its data."""
        return {
            "task": self.name,
            "classes": list(self.classes),
            "image_size": list(self.image_size),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_description(cls, description: dict[str, Any], folder: Path = Path()) -> ImageClassification:
        """The task that ``describe`` described; it predicts and explains, and has no splits.

        Raises:
            UserError: a value is missing or is none of its kind.
        """
        checked(description)
        height, width = description["image_size"]
        return cls(description["classes"], (height, width), description["mean"], description["std"])

    def on(self, data: ImageData) -> ImageClassification:
        """The same task, with its classes, size, mean and deviation, on other pictures; they are not augmented.

        Raises:
            UserError: the pictures have a class that the task does not know.
        """
        for name in data.classes:
            if name not in self.classes:
                raise unknown(data.source, "class", name, self.classes)
        number = {old: self.classes.index(name) for old, name in enumerate(data.classes)}
        splits = {
            name: replace(split, labels=[number[label] for label in split.labels])
            for name, split in data.splits.items()
        }
        same = replace(data, classes=self.classes, splits=splits)
        return ImageClassification(self.classes, self.image_size, self.mean, self.std, same, "none")


def checked(description: Mapping[str, Any]) -> None:
    """Refuse a description that does not describe a classification of pictures.

    Raises:
        UserError: a value is missing or is none of its kind; ``where`` is its key.
    """
    numbers: tuple[type, ...] = (int, float)
    for key, what, kinds, count in (
        ("classes", "names", (str,), None),
        ("image_size", "height and width", (int,), 2),
        ("mean", "three numbers", numbers, 3),
        ("std", "three numbers above 0", numbers, 3),
    ):
        value = description.get(key)
        right = isinstance(value, list | tuple) and all(type(each) in kinds for each in value)
        right = right and len(value) == (count or max(1, len(value)))  # type: ignore[arg-type]
        if key in ("image_size", "std"):
            right = right and all(each > 0 for each in value)  # type: ignore[union-attr]
        if not right:
            raise UserError(key, f"{str(value)[:60]!r} will not do", f"write {what}")
