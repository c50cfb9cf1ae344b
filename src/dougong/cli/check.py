"""``dougong check``: what is wrong with a data set, in which file and row, and what to do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dougong import console
from dougong.cli.app import Outcome, verb

MOST_CLASSES = 30
"""Rows of the summary; a data set of more classes is summed up in one."""


@verb("dougong check digits", "dougong check photos/", "dougong check train.parquet --json")
def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help="digits, a folder, or a Parquet, CSV or zip file.")],
    limit: Annotated[int, typer.Option(help="Show at most this many faults; 0 for all.", min=0)] = 50,
) -> dict[str, Any] | Outcome:
    """Read all of a data set and name every fault in it.

    The exit code is 2 when there are errors, which training would refuse; warnings leave it at 0.
    """
    from dougong.data.doctor import examine

    found = examine(data)
    errors = [fault for fault in found.faults if fault.severity == "error"]
    faults = sorted(found.faults, key=lambda fault: fault.severity != "error")
    if faults:
        rows = [[fault.severity, fault.where, fault.what, fault.remedy] for fault in faults[: limit or None]]
        console.table("", ["severity", "where", "what is wrong", "what to do"], rows)
        if limit and len(faults) > limit:
            console.say(f"... and {len(faults) - limit} more; --limit 0 shows all")
        console.say()
    if found.counts:
        headings = ["pictures" if split == "all" else split for split in _splits(found.counts)]
        console.table("", ["class", *headings], _summary(found.counts))
        console.say()
    ending = f"{_many(len(errors), 'error')}, {_many(len(faults) - len(errors), 'warning')}"
    console.say(f"{data}: {_many(found.pictures, 'picture')}, {_many(len(found.counts), 'class')}, {ending}")
    value = {
        "data": data,
        "pictures": found.pictures,
        "classes": found.counts,
        "errors": len(errors),
        "warnings": len(faults) - len(errors),
        "faults": [{"severity": f.severity, "where": f.where, "what": f.what, "remedy": f.remedy} for f in faults],
    }
    return Outcome(value, 2) if errors else value


def _splits(counts: dict[str, dict[str, int]]) -> list[str]:
    return list(next(iter(counts.values())))


def _summary(counts: dict[str, dict[str, int]]) -> list[list[Any]]:
    """How many pictures each class has in each split, and all of them together."""
    total = [sum(parts[split] for parts in counts.values()) for split in _splits(counts)]
    rows = [[name, *parts.values()] for name, parts in counts.items()] if len(counts) <= MOST_CLASSES else []
    return [*rows, ["all", *total]]


def _many(n: int, what: str) -> str:
    several = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"no {several}" if n == 0 else f"{n:,} {what if n == 1 else several}"
