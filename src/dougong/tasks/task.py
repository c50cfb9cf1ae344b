"""What training, prediction and explanation ask of every task."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from dougong.parts.output import Output


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples as a model takes them.

    Args:
        inputs: the model's arguments, each with B first.
        targets: what is to be learnt, (B, ...); None where it is not known.
        indices: (B,) the samples' numbers in their split.
        where: of each sample, the file and row it comes from.
        truth: of each sample, what answers are read and judged by beside tensors: its words and tags, or its text.
    """

    inputs: tuple[Tensor, ...]
    targets: Tensor | None
    indices: Tensor
    where: list[str]
    truth: list[Any] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device; the indices stay where they are."""
        inputs = tuple(each.to(device, non_blocking=True) for each in self.inputs)
        targets = None if self.targets is None else self.targets.to(device, non_blocking=True)
        return replace(self, inputs=inputs, targets=targets)


@dataclass(frozen=True)
class Prediction:
    """A model's answer to one sample.

    Args:
        label: the most probable class.
        probability: of that class, from 0 to 1.
        top: (class, probability) of all classes, the most probable first.
        where: the file that was asked about, when known.
        parts: what was found in the sample, as entities with type, text, place and probability.
        mask: uint8 (h, w), the class of each pixel of a picture, where that is the answer; ``top`` then are the shares
            of the picture that classes take.
    """

    label: str
    probability: float
    top: list[tuple[str, float]]
    where: str = ""
    parts: list[dict[str, Any]] = field(default_factory=list)
    mask: Any = None


class Metrics(Protocol):
    """Sums over a split, batch by batch."""

    def update(self, output: Output, batch: Batch) -> None:
        """Add a batch."""

    def compute(self) -> dict[str, float]:
        """The numbers so far; "loss" and the task's primary one are among them."""

    def sample_scores(self) -> list[float]:
        """What each sample adds to the primary metric, in the order they came; their mean is that metric."""

    def table(self) -> dict[str, Any]:
        """What is more than a number, as confusion and scores of each class; JSON-able."""


class Task(Protocol):
    """What a sample is, what is learnt from it, and how well."""

    name: str
    primary: str
    """The metric by which models are chosen and compared."""
    higher_is_better: bool
    limits: tuple[float, float]  # between which the primary metric lies
    data: Any  # `ImageData` or `TextData`; None for a task that only predicts

    @property
    def typical_length(self) -> int | None:
        """Tokens of a sample, on average; None where samples have no length."""

    def adapt(
        self, config: dict[str, Any], fixed: Collection[str] = (), trained: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """A model's whole configuration made to fit the data, and a line for each change.

        Args:
            config: as ``resolve`` gives it; left as it is.
            fixed: keys that the user set: never changed.
            trained: the model has weights already, and its sizes stay.

        Raises:
            UserError: a fixed value does not fit, or the architecture cannot learn this task.
        """

    def size(self, split: str) -> int:
        """Samples in a split."""

    def batch(self, split: str, indices: Tensor, *, train: bool, epoch: int, seed: int) -> Batch:
        """Some samples of a split; a pure function of its arguments.

        Args:
            split: "train", "val" or "test".
            indices: (B,) numbers in the split.
            train: whether they are augmented, each by its own random state from (seed, epoch, index).
            epoch: from 0.
            seed: of the training.
        """

    def loss(self, output: Output, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """What training makes small: the mean over samples."""

    def weight(self, batch: Batch) -> float:
        """What a batch counts for beside others when one mean is taken over several: what its own mean is over."""

    def new_metrics(self) -> Metrics:
        """Sums that are still empty."""

    def decode(self, output: Output, batch: Batch | None = None) -> list[Prediction]:
        """A model's output as answers. Args: output; batch: that it answers."""

    def describe(self) -> dict[str, Any]:
        """What a saved model needs to predict without its data; JSON-able."""

    def keep(self, folder: Path) -> None:
        """Write what belongs beside a model of this task: how pictures are prepared, or a tokenizer."""

    @classmethod
    def from_description(cls, description: dict[str, Any], folder: Path) -> Task:
        """The task that ``describe`` described, in this folder; it predicts and explains, and has no splits."""

    def on(self, data: Any) -> Task:
        """The same task, with its classes and its preparation, on other data; it is not augmented.

        Raises:
            UserError: the data holds a class that the task does not know.
        """

    def prepare(self, raw: Any) -> Batch:
        """Raw inputs, one or a list, as evaluation would read them from a data set.

        Raises:
            UserError: an input that cannot be read.
        """


def read_by(task: Any, model: Any) -> Any:
    """A task as a given model reads it; the task itself, where all models read it alike."""
    return task.read_by(model) if hasattr(task, "read_by") else task
