"""Asking a trained model: evaluate it on a split, predict on files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dougong import console
from dougong.data.texts.asked import Input, Reading
from dougong.data.texts.inputs import file_rows
from dougong.data.videos import frames, is_video
from dougong.errors import UserError
from dougong.figures import are
from dougong.tasks import KINDS, load_task
from dougong.tasks.cutting import cut_of
from dougong.tasks.picture_task import PictureTask
from dougong.tasks.records import Records
from dougong.tasks.scores.bootstrap import interval
from dougong.tasks.task import Batch, Task
from dougong.training.answering import Answer, Tally, answers
from dougong.training.run import Run
from dougong.training.scoring import score
from dougong.training.training import trained_model


def evaluate(
    source: str | Path | Run,
    data: str | Path | None = None,
    split: str = "test",
    *,
    predictions: str | Path | None = None,
    text: str | list[str] | None = None,
    label: str | list[str] | None = None,
    labels_split: str | None = None,
    ranking: str | None = None,
    seen: str | None = None,
    precision: str | None = None,
) -> dict[str, Any]:
    """The metrics of a trained model on a split.

    Args:
        source: a run, or a model's folder.
        data: other data than the run's own; with the same classes.
        split: "train", "val" or "test".
        predictions: a .jsonl or .csv file to which each sample's answer is written beside what is true, see
            `dougong.tasks.records.Records`; it is there whole or not at all.
        text: of other data, the column of the text, or two columns; that of the run's own when None.
        label: of other data, the column of the label, or columns of 0 and 1; likewise.
        labels_split: of other data, the sign between the labels of a cell; likewise.
        ranking: of next items, "full" or "sampled-100"; as in training when None.
        seen: of next items, "exclude" or "include" those that a user has met; likewise.
        precision: of the weights: "float32", "bf16", "int8" or "int4", see `dougong.prepare`; as saved when None.

    Returns:
        The task's metrics, ``samples``, and ``<primary>_low`` and ``_high``, a 95 % bootstrap interval; with classes
        ``per_class`` and, where a sample has one, ``confusion`` (true classes down) in the order of ``classes``; of
        translations sacrebleu's ``signatures``; of next items the ``protocol`` in words, and ``baselines``, the metrics
        of rules without weights, judged alike; ``cut``, how many texts are read in part only, where there are any.

    Raises:
        UserError: no such split, other classes, data that is not what it was, or a file that cannot be written.
    """
    from dougong.data.writing import RowWriter, checked_table

    if split not in ("train", "val", "test"):
        raise UserError("--split", f"{split!r} is none", "write train, val or test")
    if predictions is not None:
        checked_table(predictions, "--predictions")
    model, place = trained_model(source, precision)
    folder = source.path if isinstance(source, Run) else Path(source)
    task = _task_on(folder, place, data, {"text": text, "label": label, "labels_split": labels_split})
    if ranking is not None or seen is not None:
        if not hasattr(task, "judged_by"):
            raise UserError("--ranking and --seen", f"are of next items, and this is {task.name}", "leave them out")
        task = task.judged_by(ranking, seen)
    if task.size(split) == 0:
        raise UserError(str(data or folder), f"has no {split} split", "name another by --split")
    with contextlib.ExitStack() as stack:
        records = Records(task, split) if predictions is not None else None
        writer = stack.enter_context(RowWriter(predictions, "--predictions")) if predictions is not None else None
        bar = stack.enter_context(console.progress(task.size(split), "evaluate", unit="samples"))
        cut = 0

        def watch(output: Any, batch: Batch, written: list[str] | None) -> None:
            nonlocal cut
            if task.data.kind in ("texts", "tags", "pairs", "sentences"):
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
        console.note(f"{cut} of {task.size(split)} texts {are(cut)} cut to {getattr(task, 'max_length', 0)} tokens")
        more["cut"] = cut
    ends = {f"{task.primary}_low": low, f"{task.primary}_high": high}
    if hasattr(task, "beside"):
        more["baselines"] = task.beside(split)
    return {**found, "samples": task.size(split), **ends, **more}


TABLES = ("classes", "confusion", "per_class", "signatures", "protocol")
"""What of the metrics' tables `evaluate` hands on."""


def _task_on(folder: Path, place: Path, data: str | Path | None, columns: dict[str, Any]) -> Task:
    """The task of a model with its own data, or on other data.

    Args:
        folder: as the user gave it.
        place: of the model.
        data: other data; its own when None.
        columns: what of other data is the text and the label; what is None is as in its own.
    """
    from dougong.data import open_data

    own = (folder / "config.yaml").is_file()
    if data is None:
        if not own:
            raise UserError(str(folder), "is a model without its data", "name the data by --data")
        if any(value is not None for value in columns.values()):
            raise UserError("--text and --label", "are of other data", "name it by --data")
        return Run.open(folder).task()
    task = load_task(place)
    kind = KINDS.get(task.name)
    if kind is None:
        return task.on(open_data(str(data)))
    if own:
        columns = Run.open(folder).config.reading() | {key: each for key, each in columns.items() if each is not None}
    return task.on(open_data(str(data), kind=kind, **columns))


def predict(
    source: str | Path | Run,
    inputs: Any,
    batch_size: int = 64,
    *,
    text: str | Sequence[str] | None = None,
    skip_bad: bool = False,
    users: Sequence[str] = (),
    precision: str | None = None,
) -> Iterator[Answer]:
    """What a trained model says about each input, in order, a batch at a time.

    Inputs may come from a generator without an end: no more than a batch of them is in memory.

    Args:
        source: a run, or a model's folder.
        inputs: one of, or several of: a picture's file or array; a video, whose frames are asked about one by one (see
            `dougong.data.videos.frames` for every Nth of them); a text, a tuple of two, a list of words for a model
            that tags them; or a `pathlib.Path` of texts, each row of which is an input: a table (CSV, TSV, JSON Lines,
            Parquet), CoNLL columns, or a text a line. For next items: a tuple of a user's items, oldest first, a text
            of them with commas between, or a `pathlib.Path` of interactions, of each user of which one is asked.
        batch_size: inputs that are in memory at once.
        text: of tables, the column of the text, or two columns; as in training, or guessed, when None.
        skip_bad: inputs that cannot be used are counted and left out instead of ending the work.
        users: of next items, users of the run's own data whose whole history is read; one who is not there, and one
            none of whose items is known, is answered with the most popular items.
        precision: of the weights: "float32", "bf16", "int8" or "int4", see `dougong.prepare`; as saved when None.

    Raises:
        UserError: an input that cannot be used, or a model that does not say what it was trained for.
    """
    if batch_size < 1:
        raise UserError("batch_size", f"{batch_size} is less than one", "set it higher")
    model, place = trained_model(source, precision)
    task = load_task(place)
    several: Iterable[Any] = inputs if isinstance(inputs, list | tuple | Iterator) else [inputs]
    alone = isinstance(several, list | tuple) and not any(_is_film(each, task) for each in several)
    counted = alone and not any(isinstance(each, Path) for each in several)
    total = len(several) if counted else getattr(several, "total", None)  # type: ignore[arg-type]
    folder = source.path if isinstance(source, Run) else Path(source)
    rows = _rows(several, task, reading_for(folder, task, text))
    if task.name == "next-item":
        rows = _histories(several, folder, users)
    elif users:
        raise UserError("users", f"{task.name} knows none", "leave them out")
    tally = Tally()
    with console.progress(total, "predict", unit="inputs") as bar:
        for answer in answers(model, task, rows, batch_size, skip_bad, tally):
            yield answer
            bar.advance(1)
    tally.say(getattr(task, "max_length", None))


def _rows(given: Iterable[Any], task: Task, reading: Reading) -> Iterator[Input]:
    """Inputs as rows; a file of texts becomes its rows, a video its frames."""
    for each in given:
        if isinstance(each, Path) and hasattr(task, "tokenizer"):
            yield from file_rows(each, reading)
        elif _is_film(each, task):
            yield from frames(each)
        else:
            yield each if isinstance(each, Input) else Input(each)


def _is_film(given: Any, task: Task) -> bool:
    """Whether an input to a model of pictures is a video."""
    return isinstance(task, PictureTask) and isinstance(given, str | Path) and is_video(given)


def _histories(given: Iterable[Any], folder: Path, users: Sequence[str]) -> Iterator[Input]:
    """Histories as rows; a file of interactions becomes its users."""
    from dougong.data.interactions.histories import histories_in, known_histories

    own = (folder / "config.yaml").is_file()
    if users:
        if not own:
            raise UserError(str(folder), "is a model without its data, and knows no user", "give a run, or histories")
        yield from known_histories(Run.open(folder).task().data, users)
    columns = Run.open(folder).config.reading()["interactions"] if own else {}
    columns = {key: value for key, value in columns.items() if key != "k_core"}
    for each in given:
        if isinstance(each, Path):
            yield from histories_in(each, columns)
        else:
            yield each if isinstance(each, Input) else Input(each)


def reading_for(folder: Path, task: Task, text: str | Sequence[str] | None = None) -> Reading:
    """How files are read for a model: by the columns that are named, or those that it was trained with.

    Args:
        folder: a run's, or a model's.
        task: that it learnt.
        text: columns that are named.
    """
    named = () if text is None else (text,) if isinstance(text, str) else tuple(text)
    columns: Any = {}
    file = next((each / "data.json" for each in (folder, folder.parent) if (each / "config.yaml").is_file()), None)
    if file is not None and file.is_file():
        with file.open(encoding="utf-8") as opened:
            head = opened.read(1 << 20)  # the samples come after the columns, and may be many
        place = head.find('"columns": ')
        with contextlib.suppress(ValueError):
            columns = json.JSONDecoder().raw_decode(head[place + len('"columns": ') :])[0] if place >= 0 else {}
    known = [columns[key] for key in ("text", "second") if isinstance(columns, dict) and key in columns]
    return Reading(named, tuple(map(str, known)), task.name == "token-classification")
