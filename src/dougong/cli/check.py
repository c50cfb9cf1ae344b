"""``dougong check``: what is wrong with a data set, in which file and row, and what to do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dougong import console
from dougong.cli.app import Outcome, verb
from dougong.cli.sharing import LabelsSplit
from dougong.errors import UserError
from dougong.figures import many

MOST_CLASSES = 30
"""Rows of the summary; a data set of more classes is summed up in one."""


@verb(
    "dougong check digits",
    "dougong check photos/",
    "dougong check reviews.csv --length 512",
    "dougong check topics.csv --labels-split ';'",
    "dougong check reviews.csv --fix cleaned/",
    "dougong check plays.csv --user listener --item song",
)
def check(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Pictures, texts or interactions: digits, a folder, or a file.")
    ],
    limit: Annotated[int, typer.Option(help="Show at most this many faults; 0 for all.", min=0)] = 50,
    fix: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Write a cleaned copy there (not of pictures).")
    ] = None,
    text: Annotated[str | None, typer.Option(help="The column of the text; guessed by default.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label; guessed by default.")] = None,
    labels_split: LabelsSplit = None,
    task: Annotated[str | None, typer.Option(help="What is to be learnt from texts; read off the data.")] = None,
    length: Annotated[int | None, typer.Option(help="Tokens that a model reads; names longer texts.", min=1)] = None,
    tokenizer: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Whose tokens are counted: a tokenizer's, a run's, a model's.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of texts that are no UTF-8, as gb18030; guessed by default.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of interactions: the user's column.")] = None,
    item: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of interactions: the item's column.")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of interactions: the column of times.")] = None,
) -> dict[str, Any] | Outcome:
    """Read all of a data set and name every fault in it.

    The exit code is 2 when there are errors, which training would refuse; warnings leave it at 0. With --fix it is that
    of the cleaned copy.
    """
    from dougong.data.kinds import INTERACTIONS, PICTURES, TEXTS, Asked, kind_for

    kind = _kind(task)
    columns = {"user": user, "item": item, "time": time}
    wanted = "interactions" if any(columns.values()) and kind != "masks" else kind
    asked = Asked(wanted, text=text or None, label=label or None)
    found = kind_for(data, asked)
    if found is INTERACTIONS:
        from dougong.cli.checking_interactions import check_interactions

        return check_interactions(data, limit, fix, columns)
    if found is TEXTS and found.recognises(data, asked):
        from dougong.cli.checking import check_texts

        return check_texts(data, limit, fix, kind, text, label, length, tokenizer, encoding, labels_split)
    if found is TEXTS:  # asked for, and not there
        found = PICTURES
    given = {
        "fix": fix, "text": text, "label": label, "labels-split": labels_split, "length": length,
        "tokenizer": tokenizer, "encoding": encoding,
    }  # fmt: skip
    for option, value in given.items():
        if value is not None:
            raise UserError(f"--{option}", f"is for texts, which {data} does not hold", "leave it out")
    seen = found.examine(data)
    for line in getattr(seen, "notes", ()):
        console.note(line)
    return _pictures(data, limit, seen, found.unit)


def _kind(task: str | None) -> str | None:
    """The kind of texts that a task learns from."""
    if task is None:
        return None
    from dougong.tasks import KINDS, TASKS

    if task not in TASKS:
        from dougong.errors import unknown

        raise unknown("--task", "task", task, TASKS)
    return KINDS.get(task)


def _pictures(data: str, limit: int, found: Any, unit: str) -> dict[str, Any] | Outcome:
    """What the doctor saw of pictures. Args: unit: what is counted of each class."""
    errors = [fault for fault in found.faults if fault.severity == "error"]
    faults = sorted(found.faults, key=lambda fault: fault.severity != "error")
    if faults:
        show_faults(faults[: limit or None])
        if limit and len(faults) > limit:
            console.say(f"... and {len(faults) - limit} more; --limit 0 shows all")
        console.say()
    show_counts(found.counts, unit)
    ending = f"{many(len(errors), 'error')}, {many(len(faults) - len(errors), 'warning')}"
    console.say(f"{data}: {many(found.pictures, 'picture')}, {many(len(found.counts), 'class')}, {ending}")
    value = {
        "data": data,
        "pictures": found.pictures,
        "classes": found.counts,
        "errors": len(errors),
        "warnings": len(faults) - len(errors),
        "faults": [{"severity": f.severity, "where": f.where, "what": f.what, "remedy": f.remedy} for f in faults],
    }
    return Outcome(value, 2) if errors else value


def show_faults(faults: list[Any]) -> None:
    """A table of faults."""
    rows = [[fault.severity, fault.where, fault.what, fault.remedy] for fault in faults]
    console.table("", ["severity", "where", "what is wrong", "what to do"], rows)


def show_counts(counts: dict[str, dict[str, int]], unit: str) -> None:
    """A table of the classes and how many samples of each there are in each split, and of all of them together."""
    if not counts:
        return
    splits = list(next(iter(counts.values())))
    total = [sum(parts[split] for parts in counts.values()) for split in splits]
    rows = [[name, *parts.values()] for name, parts in counts.items()] if len(counts) <= MOST_CLASSES else []
    console.table("", ["class", *[unit if split == "all" else split for split in splits]], [*rows, ["all", *total]])
    console.say()
