"""Rows on the terminal as they come, however many."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from dougong import console


def flow(columns: Sequence[str], rows: Iterable[Sequence[str]], first: int = 64) -> None:
    """Print rows as they come: a table where they are few; of more, plain columns as wide as the first rows need.

    A column that is empty in all of the first rows is left out. Nothing is printed under ``--json``.

    Args:
        columns: the headings.
        rows: cells; there may be no end of them.
        first: rows that are looked at before anything is printed.
    """
    source = iter(rows)
    head = list(itertools.islice(source, first))
    kept = [place for place in range(len(columns)) if any(row[place] for row in head)]
    following = next(source, None)
    if following is None:
        console.table("", [columns[place] for place in kept], [[row[place] for place in kept] for row in head])
        return
    widths = [max(width(row[place]) for row in [columns, *head]) for place in kept]
    line = ["-" * (widths[kept.index(place)] if place in kept else 0) for place in range(len(columns))]
    for row in itertools.chain([columns, line], head, [following], source):
        cells = [row[place] + " " * (wide - width(row[place])) for place, wide in zip(kept, widths, strict=True)]
        console.say("  ".join(cells).rstrip())


def width(text: str) -> int:
    """Columns that a text takes on a terminal: two for each Chinese character."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
