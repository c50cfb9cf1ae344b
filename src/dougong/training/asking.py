"""Asking a trained model: evaluate it on a split, predict on files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dougong import console
from dougong.errors import UserError
from dougong.tasks import KINDS, load_task
from dougong.tasks.cutting import cut_of
from dougong.tasks.records import Records
from dougong.tasks.scores.bootstrap import interval
from dougong.tasks.task import Batch, Task
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


def evaluate(
    source: str | Path | Run,
    data: str | Path | None = None,
    split: str = "test",
    *,
    predictions: str | Path | None = None,
    text: str | list[str] | None = None,
    label: str | None = None,
) -> dict[str, Any]:
    """The metrics of a trained model on a split.

    Args:
        source: a run, or a model's folder.
        data: other data than the run's own; with the same classes.
        split: "train", "val" or "test".
        predictions: a .jsonl or .csv file to which each sample's answer is written beside what is true, see
            `dougong.tasks.records.Records`; it is there whole or not at all.
        text: of other data, the column of the text, or two columns; that of the run's own when None.
        label: of other data, the column of the label; likewise.

    Returns:
        The task's metrics, ``samples``, and ``<primary>_low`` and ``_high``, a 95 % bootstrap interval; with classes
        ``per_class`` and, where a sample has one, ``confusion`` (true classes down) in the order of ``classes``; of
        translations sacrebleu's ``signatures``; ``cut``, how many texts are read in part only, where there are any.

    Raises:
        UserError: no such split, other classes, data that is not what it was, or a file that cannot be written.
    """
    from dougong.data.writing import RowWriter, checked_table

    if split not in ("train", "val", "test"):
        raise UserError("--split", f"{split!r} is none", "write train, val or test")
    if predictions is not None:
        checked_table(predictions, "--predictions")
    model, place = trained_model(source)
    folder = source.path if isinstance(source, Run) else Path(source)
    task = _task_on(folder, place, data, text, label)
    if task.size(split) == 0:
        raise UserError(str(data or folder), f"has no {split} split", "name another by --split")
    with contextlib.ExitStack() as stack:
        records = Records(task, split) if predictions is not None else None
        writer = stack.enter_context(RowWriter(predictions, "--predictions")) if predictions is not None else None
        bar = stack.enter_context(console.progress(task.size(split), "evaluate", unit="samples"))
        cut = 0

        def watch(output: Any, batch: Batch, written: list[str] | None) -> None:
            nonlocal cut
            if task.data.kind in ("texts", "tags", "pairs"):
                rows = task.split(split)  # type: ignore[attr-defined]
                cut += cut_of(task, batch, [rows[int(index)].texts for index in batch.indices])
            if writer is not None and records is not None:
                writer.write(records(output, batch, written))
            bar.advance(len(batch))

        found, metrics = score(model, task, split, watch=watch)
    own = getattr(metrics, "interval", None)  # of scores that are no mean over samples
    low, high = own() if own is not None else interval(metrics.sample_scores())
    more = {key: value for key, value in metrics.table().items() if key in TABLES}
    if cut:
        console.note(f"{cut} of {task.size(split)} texts are cut to {getattr(task, 'max_length', 0)} tokens")
        more["cut"] = cut
    ends = {f"{task.primary}_low": low, f"{task.primary}_high": high}
    return {**found, "samples": task.size(split), **ends, **more}


TABLES = ("classes", "confusion", "per_class", "signatures")
"""What of the metrics' tables `evaluate` hands on."""


def _task_on(
    folder: Path, place: Path, data: str | Path | None, text: str | list[str] | None, label: str | None
) -> Task:
    """The task of a model with its own data, or on other data.

    Args:
        folder: as the user gave it.
        place: of the model.
        data: other data; its own when None.
        text, label: columns of other data; those of its own when None.
    """
    from dougong.data import open_data

    own = (folder / "config.yaml").is_file()
    if data is None:
        if not own:
            raise UserError(str(folder), "is a model without its data", "name the data by --data")
        if text is not None or label is not None:
            raise UserError("--text and --label", "are of other data", "name it by --data")
        return Run.open(folder).task()
    task = load_task(place)
    kind = KINDS.get(task.name)
    if kind is None:
        return task.on(open_data(str(data)))
    if own:
        config = Run.open(folder).config
        text, label = text or config.text, label or config.label
    return task.on(open_data(str(data), kind=kind, text=text, label=label))


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
