"""CSV rows and their quotes, strictly and leniently: RFC 4180, and what people write instead."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

MOST_LINES = 2000
"""Lines that one row may take before its opening quote counts as never ended."""
MOST_CHARACTERS = 1 << 24
_QUOTED = re.compile(r'"((?:[^"]++|"")*+)"')


@dataclass(frozen=True)
class Record:
    """A row of a CSV file as it stands there.

    Args:
        line: where it begins.
        last: where it ends.
        text: of all its lines; of a broken one, the first alone.
        cells: without their quotes; none where the quotes are broken.
        trouble: "open" for a quote that does not end, "stray" for text after a closing quote, else "".
    """

    line: int
    last: int
    text: str
    cells: list[str]
    trouble: str = ""


def cells_of(text: str, mark: str) -> tuple[list[str], str]:
    """The cells of a row, and "open" or "stray" where its quotes are broken.

    >>> cells_of('a,"b, c"', ",")
    (['a', 'b, c'], '')
    >>> cells_of('a,"b', ",")
    ([], 'open')
    """
    if '"' not in text:
        return text.split(mark), ""
    cells, at = [], 0
    while True:
        if text.startswith('"', at):
            found = _QUOTED.match(text, at)
            if found is None:
                return [], "open"
            cells.append(found[1].replace('""', '"'))
            at = found.end()
            if at < len(text) and text[at] != mark:
                return [], "stray"
        else:
            end = text.find(mark, at)
            cells.append(text[at:] if end < 0 else text[at:end])
            at = len(text) if end < 0 else end
        if at >= len(text):
            return cells, ""
        at += 1
        if at == len(text):
            return [*cells, ""], ""


def joined(lines: Iterator[tuple[int, str]], mark: str, wide: int | None = None) -> Iterator[Record]:
    """Rows of lines: those inside quotes belong to one row.

    A quote that never ends would swallow the rows below it. So where the lines together make no row that is in order,
    the first of them is a broken row and the others are read again by themselves.

    Args:
        lines: number and text of each.
        mark: between cells.
        wide: cells of a row that is in order, where that is known.
    """
    waiting: deque[tuple[int, str]] = deque()

    def following() -> tuple[int, str] | None:
        return waiting.popleft() if waiting else next(lines, None)

    while (now := following()) is not None:
        number, text = now
        cells, trouble = cells_of(text, mark)
        held = [now]
        size = len(text)
        while trouble == "open" and len(held) < MOST_LINES and size < MOST_CHARACTERS:
            more = following()
            if more is None:
                break
            held.append(more)
            size += len(more[1]) + 1
            if '"' in more[1]:
                cells, trouble = cells_of("\n".join(each for _, each in held), mark)
        whole = not trouble and (len(held) == 1 or wide is None or len(cells) == wide)
        if whole:
            yield Record(number, held[-1][0], "\n".join(each for _, each in held), cells)
            continue
        waiting.extendleft(reversed(held[1:]))
        yield Record(number, number, text, [], cells_of(text, mark)[1] or "open")


def mended(text: str, mark: str, wide: int) -> tuple[list[str], bool]:
    """The cells of a row whose quotes are broken, and whether they are as many as they must be.

    A quote closes only before a mark or the end; failing that, quotes are letters like others.

    >>> mended('"he said "yes" twice",positive', ",", 2)
    (['he said "yes" twice', 'positive'], True)
    >>> mended('"never ended,negative', ",", 2)
    (['"never ended', 'negative'], True)
    """
    closing = re.compile(rf'"(?={re.escape(mark)}|\Z)')
    cells, at = [], 0
    while at <= len(text):
        quoted = closing.search(text, at + 1) if text.startswith('"', at) else None
        if quoted:
            cells.append(text[at + 1 : quoted.start()].replace('""', '"'))
            at = quoted.end() + 1
        else:
            end = text.find(mark, at)
            end = len(text) if end < 0 else end
            cells.append(text[at:end])
            at = end + 1
    if len(cells) == wide:
        return cells, True
    letters = text.split(mark)
    return letters, len(letters) == wide
