"""Tables in HTML: every text in them is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

MOST_CLASSES = 20
"""A confusion matrix of more classes than this is no longer readable; its largest entries are listed instead."""
PLACE = "where"
"""The heading of a column of files and rows."""
MOST_TABS = 12
"""As many as the style sheet knows."""


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    best: Mapping[int, int] | None = None,
    left: Sequence[int] = (),
    total: bool = False,
) -> str:
    """A table; the first column is at the left, numbers at the right.

    Args:
        headers: of the columns.
        rows: cells, as text or numbers.
        best: row by column: the cell to print bold.
        left: further columns of text.
        total: whether the last row sums up the others.
    """
    kinds = {column: ' class="left"' for column in left}
    head = "".join(f"<th{kinds.get(at, '')}>{escape(name)}</th>" for at, name in enumerate(headers))
    lines = list(rows)
    body = []
    for number, row in enumerate(lines):
        cells = []
        for at, cell in enumerate(row):
            kind = ' class="best"' if (best or {}).get(at) == number else kinds.get(at, "")
            said = escape(str(cell))
            if headers[at] == PLACE:  # a path breaks between folders, and not within a name
                kind, said = ' class="left place"', said.replace("/", "/<wbr>")
            cells.append(f"<td{kind}>{said}</td>")
        mark = ' class="total"' if total and number == len(lines) - 1 else ""
        body.append(f"<tr{mark}>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def facts(pairs: Mapping[str, Any]) -> str:
    """Names with their values, two columns; nested mappings are joined with dots."""
    rows = [(name, _said(value)) for name, value in flat(pairs)]
    body = "".join(f'<tr><td>{escape(name)}</td><td class="left">{escape(value)}</td></tr>' for name, value in rows)
    return f'<div class="wide"><table><tbody>{body}</tbody></table></div>'


def flat(pairs: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    """(dotted name, value) of nested mappings."""
    for name, value in pairs.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_said(item) for item in value) or "–"
    return str(value)


def confusion(matrix: np.ndarray, classes: Sequence[str]) -> str:
    """How often each true class (rows) was given each class (columns); many classes as a list of the worst pairs."""
    if len(classes) > MOST_CLASSES:
        wrong = matrix - np.diag(np.diag(matrix))
        order = np.argsort(-wrong, axis=None, kind="stable")[:20]
        pairs = [np.unravel_index(place, wrong.shape) for place in order]
        rows = [
            (classes[a], classes[b], int(wrong[a, b]), f"{wrong[a, b] / max(1, matrix[a].sum()):.0%}")
            for a, b in pairs if wrong[a, b]
        ]  # fmt: skip
        said = f'<p class="note">{len(classes)} classes: the pairs that are most often taken for one another.</p>'
        return said + table(["true", "predicted", "times", "share of the true class"], rows, left=[1])
    head = "".join(f"<th>{escape(name)}</th>" for name in classes)
    body = []
    for number, name in enumerate(classes):
        total, cells = max(1, int(matrix[number].sum())), []
        for other in range(len(classes)):
            value = int(matrix[number, other])
            share = 100 * value / total
            hue = "--c0" if other == number else "--c1"
            # small shares of mistakes must still be seen: their root is drawn
            depth = share * 0.7 if other == number else (share / 100) ** 0.5 * 90
            look = f' style="background:color-mix(in srgb, var({hue}) {depth:.0f}%, transparent)"' if value else ""
            said = f"{name} taken for {classes[other]}: {value} of {total}"
            cells.append(f'<td{look} title="{escape(said)}">{value or ""}</td>')
        right = matrix[number, number] / total
        body.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}<td>{total}</td><td>{right:.0%}</td></tr>")
    return (
        f'<div class="wide"><table class="confusion"><thead><tr><th>true ↓ predicted →</th>{head}<th>all</th>'
        f"<th>right</th></tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def tabs(group: str, panes: Mapping[str, str]) -> str:
    """Panes of which one is shown at a time, chosen without a script; one pane alone has no tab.

    Args:
        group: a name that no other tabs of the page have; letters, digits and hyphens.
        panes: by the text of the tab, their HTML; more than 12 are folded instead.
    """
    if len(panes) == 1:
        return next(iter(panes.values()))
    if len(panes) > MOST_TABS:
        return "".join(f"<details><summary>{escape(name)}</summary>{body}</details>" for name, body in panes.items())
    heads, bodies = [], []
    for number, (name, body) in enumerate(panes.items()):
        shown = " checked" if number == 0 else ""
        heads.append(
            f'<input type="radio" name="{group}" id="{group}-{number}"{shown}>'
            f'<label for="{group}-{number}">{escape(name)}</label>'
        )
        bodies.append(f'<div class="pane">{body}</div>')
    return f'<div class="tabs">{"".join(heads)}{"".join(bodies)}</div>'


def section(title: str, body: str, anchor: str = "") -> str:
    """A heading with what stands under it."""
    mark = f' id="{escape(anchor)}"' if anchor else ""
    return f"<section><h2{mark}>{escape(title)}</h2>{body}</section>"
