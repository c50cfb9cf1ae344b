"""What a model says about every sample of a split, and where it is most wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np
import torch
from torch import nn

from dougong.data.texts.stored import StoredSplit
from dougong.explain.page import image
from dougong.explain.subject import evaluation
from dougong.report.tables import table

LONGEST_TEXT = 400
"""Characters of a text that are shown."""
BATCH = 256
MOST = 2**16
"""Samples on disk whose answers are held at once."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's answers on one split.

    Args:
        probabilities: (n, C).
        labels: (n,) the true classes.
        classes: their names.
        where: of each sample, as its data says it.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    where: tuple[str, ...]

    @property
    def given(self) -> np.ndarray:
        """(n,) the class that the model gives each sample."""
        return self.probabilities.argmax(1)

    @property
    def right(self) -> np.ndarray:
        """(n,) whether that is true."""
        return self.given == self.labels

    @property
    def of_truth(self) -> np.ndarray:
        """(n,) the probability that the model gives the true class."""
        return self.probabilities[np.arange(len(self.labels)), self.labels]

    @property
    def of_given(self) -> np.ndarray:
        """(n,) the probability that the model gives its own answer."""
        return self.probabilities.max(1)

    def name_true(self, number: int) -> str:
        """What a sample is."""
        return self.classes[self.labels[number]]

    def name_given(self, number: int) -> str:
        """What the model says it is."""
        return self.classes[self.given[number]]

    def confusion(self) -> np.ndarray:
        """(C, C) counts, true classes down, given classes across."""
        size = len(self.classes)
        return np.bincount(self.labels * size + self.given, minlength=size * size).reshape(size, size)

    def worst(self, most: int) -> list[int]:
        """The wrong samples, the least probable truth first."""
        order = np.argsort(self.of_truth, kind="stable")
        return [int(number) for number in order if not self.right[number]][:most]


@dataclass(frozen=True, eq=False)
class SeveralPredictions(Predictions):
    """A model's answers on samples that may have several classes, each with a probability of its own.

    Args:
        probabilities: (n, C), each from 0 to 1.
        labels: (n, C) 1 for the true classes, else 0.
        classes: their names.
        where: of each sample, as its data says it.
    """

    @property
    def given(self) -> np.ndarray:
        """(n, C) whether the model gives a sample a class."""
        return self.probabilities > 0.5

    @property
    def right(self) -> np.ndarray:
        """(n,) whether all classes are right."""
        return (self.given == (self.labels > 0)).all(1)

    @property
    def of_truth(self) -> np.ndarray:
        """(n,) the probability that the model gives the true set of classes, each by itself."""
        return np.where(self.labels > 0, self.probabilities, 1 - self.probabilities).prod(1)

    @property
    def of_given(self) -> np.ndarray:
        """(n,) the probability that the model gives its own set of classes."""
        return np.maximum(self.probabilities, 1 - self.probabilities).prod(1)

    def name_true(self, number: int) -> str:
        """The classes of a sample."""
        return self._named(self.labels[number] > 0)

    def name_given(self, number: int) -> str:
        """The classes that the model gives it."""
        return self._named(self.given[number])

    def _named(self, chosen: np.ndarray) -> str:
        return ", ".join(name for name, each in zip(self.classes, chosen, strict=True) if each) or "none"

    def confusion(self) -> np.ndarray:
        """(C, 3) of each class: how often it was found, missed, and given wrongly."""
        true, given = self.labels > 0, self.given
        return np.stack([(true & given).sum(0), (true & ~given).sum(0), (~true & given).sum(0)], 1)


@torch.no_grad()
def predict_split(model: nn.Module, task: Any, split: str = "test") -> Predictions:
    """The model's answers on every sample of a split, in their order."""
    device = next(model.parameters()).device
    several = bool(getattr(task, "several", False))
    size, probabilities, labels, where = task.size(split), [], [], []
    with evaluation(model):
        for indices in torch.arange(size).split(BATCH):
            batch = task.batch(split, indices, train=False, epoch=0, seed=0)
            scores = model(*(part.to(device) for part in batch.inputs)).logits
            shares = scores.float().sigmoid() if several else scores.float().softmax(-1)
            probabilities.append(shares.cpu().numpy())
            labels.append(batch.targets.cpu().numpy())
            where += [str(place) for place in batch.where]
    classes = tuple(str(name) for name in task.describe()["classes"])
    kind = SeveralPredictions if several else Predictions
    return kind(np.concatenate(probabilities), np.concatenate(labels), classes, tuple(where))


def looked_at(task: Any) -> tuple[Any, int]:
    """A task of which no more than `MOST` test samples are asked where they lie on disk, since all that is said of them
    is held in memory; and how many samples come to one that is asked, which are as far apart.
    """
    split = task.split("test") if hasattr(task, "split") else None
    if not isinstance(split, StoredSplit) or len(split) <= MOST:
        return task, 1
    apart = -(-len(split) // MOST)
    return task.on(replace(task.data, splits={**task.data.splits, "test": split[::apart]})), apart


def gallery(predictions: Predictions, chosen: Sequence[int], pictures: Any) -> str:
    """Samples as pictures with what they are, what the model says, how sure it is, and where they stand.

    Args:
        predictions: of the model.
        chosen: numbers of samples.
        pictures: with ``pixels(number)``, uint8 (h, w, 3).
    """
    figures = []
    for number in chosen:
        true, given = predictions.name_true(number), predictions.name_given(number)
        sure, truth = predictions.of_given[number], predictions.of_truth[number]
        figures.append(
            f"<figure>{image(thumbnail(pictures.pixels(number)), predictions.where[number])}"
            f"<figcaption>is <b>{escape(true)}</b> ({truth:.1%})<br>taken for <b>{escape(given)}</b> ({sure:.1%})<br>"
            f'<span class="faint">{escape(predictions.where[number])}</span></figcaption></figure>'
        )
    return f'<div class="pictures">{"".join(figures)}</div>'


def passages(predictions: Predictions, chosen: Sequence[int], texts: Any) -> str:
    """Samples as texts with what they are, what the model says, how sure it is, and where they stand.

    Args:
        predictions: of the model.
        chosen: numbers of samples.
        texts: a split of `dougong.data.texts.TextData`.
    """
    rows = []
    for number in chosen:
        true, given = predictions.name_true(number), predictions.name_given(number)
        sure, truth = predictions.of_given[number], predictions.of_truth[number]
        said = " / ".join(texts[number].texts)
        text = said if len(said) <= LONGEST_TEXT else f"{said[: LONGEST_TEXT - 1]}…"
        rows.append([text, f"{true} ({truth:.1%})", f"{given} ({sure:.1%})", predictions.where[number]])
    return table(["text", "is", "taken for", "where"], rows, left=(1, 2, 3))


def thumbnail(picture: np.ndarray, side: int = 160) -> np.ndarray:
    """A large picture made smaller, so that a page of many stays light; small ones as they are."""
    if max(picture.shape[:2]) <= side:
        return picture
    from PIL import Image

    small = Image.fromarray(picture)
    small.thumbnail((side, side))
    return np.asarray(small)
