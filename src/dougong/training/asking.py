"""Asking a trained model: evaluate it on a split, predict on files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dougong import console
from dougong.errors import UserError
from dougong.tasks import KINDS, load_task
from dougong.tasks.scores.bootstrap import interval
from dougong.training.run import Run
from dougong.training.scoring import score
from dougong.training.training import trained_model


@dataclass(frozen=True)
class Answer:
    """What a model says about one input.

    Args:
        where: the input.
        label: of the likeliest class.
        probability: of that class.
        top: (class, probability), likeliest first.
        parts: what was found in the input, as entities.
    """

    where: str
    label: str
    probability: float
    top: list[tuple[str, float]]
    parts: list[dict[str, Any]] = field(default_factory=list)


def evaluate(source: str | Path | Run, data: str | Path | None = None, split: str = "test") -> dict[str, Any]:
    """The metrics of a trained model on a split.

    Args:
        source: a run, or a model's folder.
        data: other data than the run's own; with the same classes.
        split: "train", "val" or "test".

    Returns:
        The task's metrics, ``samples``, and ``<primary>_low`` and ``_high``, a 95 % bootstrap interval.

    Raises:
        UserError: no such split, other classes, or data that is not what it was.
    """
    from dougong.data import open_data

    if split not in ("train", "val", "test"):
        raise UserError("--split", f"{split!r} is none", "write train, val or test")
    model, place = trained_model(source)
    folder = source.path if isinstance(source, Run) else Path(source)
    if data is None:
        if not (folder / "config.yaml").is_file():
            raise UserError(str(folder), "is a model without its data", "name the data by --data")
        task = Run.open(folder).task()
    else:
        task = load_task(place)
        task = task.on(open_data(str(data), kind=KINDS.get(task.name)))
    if task.size(split) == 0:
        raise UserError(str(data or folder), f"has no {split} split", "name another by --split")
    found, metrics = score(model, task, split)
    own = getattr(metrics, "interval", None)  # of scores that are no mean over samples
    low, high = own() if own is not None else interval(metrics.sample_scores())
    return {**found, "samples": task.size(split), f"{task.primary}_low": low, f"{task.primary}_high": high}


def predict(source: str | Path | Run, inputs: Any, batch_size: int = 64) -> Iterator[Answer]:
    """What a trained model says about each input, in order, a batch at a time.

    Args:
        source: a run, or a model's folder.
        inputs: a file, a picture or an array, or a sequence of them.
        batch_size: inputs that are in memory at once.

    Raises:
        UserError: a file that cannot be read, or a model that does not say what it was trained for.
    """
    model, place = trained_model(source)
    task = load_task(place)
    several = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    with console.progress(len(several), "predict", unit="inputs") as bar:
        for start in range(0, len(several), batch_size):
            chunk = several[start : start + batch_size]
            batch = task.prepare(chunk)
            with torch.no_grad():
                respond = getattr(task, "respond", None)  # of tasks whose answers are written token by token
                found = respond(model, batch) if respond is not None else task.decode(model(*batch.inputs), batch)
            for where, said in zip(batch.where, found, strict=True):
                yield Answer(where, said.label, said.probability, said.top, said.parts)
            bar.advance(len(chunk))
