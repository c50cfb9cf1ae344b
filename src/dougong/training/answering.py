"""Answers to rows that come one after another: a batch at a time, in order, one for each row."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from dougong import console
from dougong.data.texts.asked import Input
from dougong.errors import UserError
from dougong.figures import many
from dougong.parts.output import deferring
from dougong.runtime.convolving import FastPictures
from dougong.tasks.cutting import cut_of
from dougong.tasks.task import Batch, Task

NAMED = 5
"""Rows left out that are named; all are counted."""


@dataclass(frozen=True)
class Answer:
    """What a model says about one input.

    Args:
        where: the input, or the file and row that it came from.
        label: of the likeliest class; of several, all that are likelier than not, joined by commas.
        probability: of that class.
        top: (class, probability), likeliest first.
        parts: what was found in the input, as entities.
        text: what was read: a text, or two.
        words: of a sentence whose words have tags.
        tags: one a word.
        mask: uint8 (h, w), the class of each pixel of a picture, where that is the answer.
        labels: where an input may have several, those that are likelier than not, likeliest first, with their
            probabilities; None else.
    """

    where: str
    label: str
    probability: float
    top: list[tuple[str, float]]
    parts: list[dict[str, Any]] = field(default_factory=list)
    text: str | tuple[str, ...] | None = None
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    labels: list[tuple[str, float]] | None = None
    mask: Any = None


@dataclass
class Tally:
    """What happened to the rows beside being answered.

    Args:
        skipped: where rows were left out, and why, the first few.
        skipped_count: how many there are.
        cut: texts of which the model read a part only.
        answered: rows.
        cold: histories without an item that the model knows.
        unknown: items that it does not know.
    """

    skipped: list[str] = field(default_factory=list)
    skipped_count: int = 0
    cut: int = 0
    answered: int = 0
    cold: int = 0
    unknown: dict[str, None] = field(default_factory=dict)

    def skip(self, fault: UserError) -> None:
        """Count a row that is left out."""
        self.skipped_count += 1
        if len(self.skipped) < NAMED:
            self.skipped.append(f"{fault.where} {fault.what}")

    def say(self, max_length: int | None) -> None:
        """Say what is to be known."""
        if self.skipped_count:
            more = f", and {self.skipped_count - NAMED} more" if self.skipped_count > NAMED else ""
            rows = "row is" if self.skipped_count == 1 else "rows are"
            console.note(f"{self.skipped_count} {rows} left out: {', '.join(self.skipped)}{more}")
        if self.unknown:
            some = ", ".join(list(self.unknown)[:NAMED]) + (", ..." if len(self.unknown) > NAMED else "")
            what = many(len(self.unknown), "item is not known and was", "items are not known and were")
            console.note(f"{what} passed over: {some}")
        if self.cold:
            told = "history holds" if self.cold == 1 else "histories hold"
            console.note(f"{self.cold} {told} no known item: answered with what is most popular")
        if self.cut:
            one = "text is" if self.cut == 1 else "texts are"
            console.note(f"{self.cut} of {self.answered} {one} cut to {max_length} tokens")


def answers(
    model: nn.Module, task: Task, rows: Iterable[Input], batch_size: int, skip_bad: bool, tally: Tally
) -> Iterator[Answer]:
    """What a model says about each row.

    Args:
        model: in evaluation mode.
        task: that it learnt.
        rows: read only as far as the next batch.
        batch_size: rows that are in memory at once.
        skip_bad: rows that cannot be used are counted and left out; otherwise the first of them ends the work, once
            all before it are answered.
        tally: in which they are counted.

    Raises:
        UserError: a row that cannot be used, or a source that cannot be read.
    """
    source, fast = iter(rows), FastPictures(model)
    while True:
        chunk, end = _chunk(source, batch_size, skip_bad, tally)
        batch, ready, fault = _prepared(task, chunk, skip_bad, tally)
        end = fault or end
        if batch is not None:
            with fast:
                found = _answered(model, task, batch, ready, tally)
            yield from found
        if isinstance(end, UserError):
            raise end
        if end is None:
            return


def _chunk(
    source: Iterator[Input], size: int, skip_bad: bool, tally: Tally
) -> tuple[list[Input], UserError | bool | None]:
    """The next rows that can be used; and the fault that ends them, None at the end, True where more may follow."""
    found: list[Input] = []
    while len(found) < size:
        try:
            row = next(source, None)
        except UserError as error:
            return found, error
        if row is None:
            return found, None
        if row.fault is None:
            found.append(row)
        elif skip_bad:
            tally.skip(row.fault)
        else:
            return found, row.fault
    return found, True


def _prepared(
    task: Task, rows: list[Input], skip_bad: bool, tally: Tally
) -> tuple[Batch | None, list[Input], UserError | None]:
    """Rows as a batch, those before the first that cannot be prepared, or all that can."""
    try:
        return (task.prepare([row.raw for row in rows]) if rows else None), rows, None
    except UserError:
        pass
    good: list[Input] = []
    for row in rows:  # one of them is at fault: which?
        try:
            task.prepare([row.raw])
        except UserError as error:
            fault = UserError(row.where or error.where, error.what, error.remedy)
            if not skip_bad:
                return (task.prepare([each.raw for each in good]) if good else None), good, fault
            tally.skip(fault)
        else:
            good.append(row)
    return (task.prepare([each.raw for each in good]) if good else None), good, None


@torch.no_grad()
def _answered(model: nn.Module, task: Any, batch: Batch, rows: list[Input], tally: Tally) -> list[Answer]:
    """The answers to a batch."""
    respond = getattr(task, "respond", None)  # of tasks whose answers are written token by token
    with deferring(alone=True):
        output = None if respond is not None else model(*batch.inputs)
    found = respond(model, batch) if respond is not None else task.decode(output, batch)
    texts = hasattr(task, "tokenizer")
    tagged = task.tags(output, batch) if task.name == "token-classification" else itertools.repeat(None)
    made = []
    for place, (row, where, said, tags) in enumerate(zip(rows, batch.where, found, tagged, strict=False)):
        one = Answer(row.where or where, said.label, said.probability, said.top, said.parts, mask=said.mask)
        if texts:
            one = replace(one, text=" ".join(row.raw) if isinstance(row.raw, list) else row.raw)
        if tags is not None:
            one = replace(one, words=list(batch.truth[place].row.texts), tags=tags[0])
        if getattr(task, "several", False):
            one = replace(one, labels=[each for each in said.top if each[1] > 0.5])
        made.append(one)
    if texts:
        tally.cut += cut_of(task, batch, [row.raw if isinstance(row.raw, tuple) else (row.raw,) for row in rows])
    if task.name == "next-item":
        tally.cold += sum(one.cold for one in batch.truth)
        tally.unknown |= dict.fromkeys(name for one in batch.truth for name in one.unknown)
    tally.answered += len(rows)
    return made
