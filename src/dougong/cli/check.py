"""``dougong check``: what is wrong with a data set, in which file and row, and what to do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dougong import console
from dougong.cli.app import Outcome, verb


@verb("dougong check digits", "dougong check photos/", "dougong check train.parquet --json")
def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help="digits, a folder, or a Parquet, CSV or zip file.")],
    limit: Annotated[int, typer.Option(help="Show at most this many faults; 0 for all.", min=0)] = 50,
) -> dict[str, Any] | Outcome:
    """Read all of a data set and name every fault in it.

    The exit code is 2 when there are errors, which training would refuse.
    """
    from dougong.data import check_images

    faults = list(check_images(data))
    errors = [fault for fault in faults if fault.severity == "error"]
    shown = sorted(faults, key=lambda fault: fault.severity != "error")[: limit or None]
    if faults:
        rows = [[fault.severity, fault.where, fault.what, fault.remedy] for fault in shown]
        console.table("", ["severity", "where", "what is wrong", "what to do"], rows)
        if len(shown) < len(faults):
            console.say(f"... and {len(faults) - len(shown)} more; --limit 0 shows all")
        console.say()
    console.say(f"{data}: {_many(len(errors), 'error')}, {_many(len(faults) - len(errors), 'warning')}")
    value = {
        "data": data,
        "errors": len(errors),
        "warnings": len(faults) - len(errors),
        "faults": [{"severity": f.severity, "where": f.where, "what": f.what, "remedy": f.remedy} for f in faults],
    }
    return Outcome(value, 2) if errors else value


def _many(n: int, what: str) -> str:
    return f"no {what}s" if n == 0 else f"{n} {what}{'' if n == 1 else 's'}"
