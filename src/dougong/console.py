"""What the user sees while work goes on: progress, tables, trees, and one JSON object when asked for.

Rules: results go to stdout; progress, notes and errors go to stderr. After ``configure(json=True)`` stdout
carries the one object given to ``emit`` and nothing else: what would be said there is said on stderr.
On a terminal rich draws; elsewhere there are plain lines. rich is imported on first use.

    with progress(500, "vit-micro", unit="steps") as bar:
        bar.advance(1, loss=0.41)
    table("Models", ["model", "accuracy"], [["vit-micro", 0.97]])
    say("report: runs/compare/report.html")
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from dougong.figures import count, duration, number, parameters, percent, size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.tree import Tree

__all__ = [
    "configure",
    "count",
    "duration",
    "emit",
    "fields",
    "is_json",
    "note",
    "number",
    "parameters",
    "percent",
    "progress",
    "say",
    "size",
    "table",
    "tree",
]

_json = False
_quiet = False


def configure(*, json: bool = False, quiet: bool = False) -> None:
    """Choose how output is written from now on.

    Args:
        json: keep stdout for the one object of ``emit``; tables are dropped and lines go to stderr.
        quiet: no progress and no notes (errors are still raised).
    """
    global _json, _quiet
    _json, _quiet = json, quiet


def is_json() -> bool:
    """Whether stdout is kept for one JSON object."""
    return _json


def say(line: str = "") -> None:
    """Print one line of the result (to stderr under ``--json``)."""
    _write(sys.stderr if _json else sys.stdout, line)


def note(line: str) -> None:
    """Print a remark about what was decided or noticed, on stderr."""
    if not _quiet:
        _write(sys.stderr, f"note: {line}")


def emit(value: Any) -> None:
    """Print ``value`` as one JSON object on stdout; NaN and infinities become null."""
    text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)
    try:
        sys.stdout.write(text + "\n")
    except UnicodeEncodeError:  # a terminal that is not UTF-8
        sys.stdout.write(json.dumps(_plain(value), allow_nan=False) + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table: drawn on a terminal, aligned plain columns elsewhere, nothing under ``--json``.

    Args:
        title: one line above the table; "" for none.
        columns: the headings.
        rows: cells of any type; floats are shown with four significant digits, None as "-".
            A column that holds only numbers is aligned to the right.
    """
    if _json:
        return
    values = [list(row) for row in rows]
    cells = [[_cell(value) for value in row] for row in values]
    right = [bool(values) and all(_numeric(row[i]) for row in cells) for i in range(len(columns))]
    if sys.stdout.isatty():
        from rich.table import Table
        from rich.text import Text

        drawn = Table(title=Text(title) if title else None, title_justify="left", title_style="bold")
        for heading, to_right in zip(columns, right, strict=True):
            drawn.add_column(Text(heading), justify="right" if to_right else "left", overflow="fold")
        for row in cells:
            drawn.add_row(*[Text(cell) for cell in row])
        _console(sys.stdout).print(drawn)
        return
    widths = [max(_width(heading), *(_width(row[i]) for row in cells), 0) for i, heading in enumerate(columns)]
    if title:
        say(title)
    for line in [list(columns), ["-" * width for width in widths], *cells]:
        padded = [_pad(cell, width, to_right) for cell, width, to_right in zip(line, widths, right, strict=True)]
        say("  ".join(padded).rstrip())


Node = tuple[str, "Sequence[Node]"]


def tree(root: Node) -> None:
    """Print a tree of ``(label, children)`` pairs; nothing under ``--json``."""
    if _json:
        return
    from rich.text import Text
    from rich.tree import Tree

    def grow(into: Tree, children: Sequence[Node]) -> None:
        for label, below in children:
            grow(into.add(Text(label, no_wrap=True)), below)

    drawn = Tree(Text(root[0], style="bold", no_wrap=True))
    grow(drawn, root[1])
    _console(sys.stdout).print(drawn, soft_wrap=True)


class Progress(Protocol):
    """The handle that ``progress`` gives."""

    def __enter__(self) -> Progress: ...

    def __exit__(self, *exception: Any) -> None: ...

    def advance(self, n: float = 1, **values: Any) -> None:
        """Move on by ``n`` units; ``values`` (loss=0.41) are shown beside the bar."""

    def set(self, done: float, **values: Any) -> None:
        """Move to ``done`` units in all."""


def progress(total: float | None, label: str, *, unit: str = "") -> Progress:
    """A context manager that shows how far the work has come, on stderr.

    Args:
        total: units in all; None when it is not known.
        label: what is being done.
        unit: what is counted ("steps", "images"); "s" for seconds.
    """
    if _quiet:
        return _Silent()
    if sys.stderr.isatty() and not _Drawn.foreign():
        return _Drawn(total, label, unit)
    return _Lines(total, label, unit)


class _Silent:
    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *exception: Any) -> None: ...

    def advance(self, n: float = 1, **values: Any) -> None: ...

    def set(self, done: float, **values: Any) -> None: ...


class _Lines(_Silent):
    """Plain lines: after 2 s, then ever more rarely up to one in 30 s, and one at the end."""

    def __init__(self, total: float | None, label: str, unit: str) -> None:
        self.total, self.label, self.unit = total, label, unit
        self.done: float = 0
        self.shown: dict[str, Any] = {}
        self.start = time.monotonic()
        self.wait = 2.0
        self.next = self.start + self.wait
        self.told: Any = None

    def __enter__(self) -> _Lines:
        return self

    def advance(self, n: float = 1, **values: Any) -> None:
        self.set(self.done + n, **values)

    def set(self, done: float, **values: Any) -> None:
        self.done = done
        self.shown.update(values)
        if time.monotonic() >= self.next:
            self.wait = min(self.wait * 2, 30.0)
            self.next = time.monotonic() + self.wait
            self._print()

    def _print(self, *, end: bool = False) -> None:
        state = (self.done, dict(self.shown))
        if end and self.told == state and self.done == self.total:  # the last line said so
            return
        self.told = state
        spent = time.monotonic() - self.start
        parts = [_amount(self.done, self.total, self.unit), fields(self.shown), duration(spent)]
        if not end and self.total and 0 < self.done < self.total:
            parts[-1] += f", about {duration(spent * (self.total - self.done) / self.done)} left"
        _write(sys.stderr, f"{self.label}: " + "  ".join(part for part in parts if part))

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        if kind is None and self.done and time.monotonic() - self.start >= 0.5:  # what is quick needs no line
            self._print(end=True)


class _Drawn(_Silent):
    """A bar on a terminal. Bars inside bars share one display."""

    _shared: RichProgress | None = None
    _depth = 0

    def __init__(self, total: float | None, label: str, unit: str) -> None:
        self.total, self.label, self.unit = total, label, unit
        self.done: float = 0
        self.shown: dict[str, Any] = {}

    @staticmethod
    def foreign() -> bool:
        """True inside a notebook or another display, where a second one would fight it."""
        return "ipykernel" in sys.modules

    def __enter__(self) -> _Drawn:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        if _Drawn._shared is None:
            columns = [
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[amount]}", markup=False),
                TextColumn("{task.fields[shown]}", markup=False),
                TimeElapsedColumn(),
                TimeRemainingColumn(compact=True),
            ]
            both = sys.stdout.isatty()  # only then may what is printed on stdout move above the bar
            _Drawn._shared = RichProgress(
                *columns, console=_console(sys.stderr), redirect_stdout=both, transient=True, refresh_per_second=5
            )
            _Drawn._shared.start()
        _Drawn._depth += 1
        self.bar = _Drawn._shared
        self.task = self.bar.add_task(self.label, total=self.total, amount="", shown="")
        return self

    def advance(self, n: float = 1, **values: Any) -> None:
        self.set(self.done + n, **values)

    def set(self, done: float, **values: Any) -> None:
        self.done = done
        self.shown.update(values)
        amount = _amount(done, self.total, self.unit)
        self.bar.update(self.task, completed=done, amount=amount, shown=fields(self.shown))

    def __exit__(self, *exception: Any) -> None:
        self.bar.remove_task(self.task)
        _Drawn._depth -= 1
        if _Drawn._depth == 0:
            self.bar.stop()
            _Drawn._shared = None


def fields(values: dict[str, Any]) -> str:
    """``{"loss": 0.4123, "step": 3}`` as "loss 0.4123  step 3"."""
    return "  ".join(f"{name.replace('_', ' ')} {_cell(value)}" for name, value in values.items())


def visible(text: str) -> str:
    """A text as it is; in quotation marks where blanks at its ends, or nothing else, would be overlooked.

    >>> visible("key"), visible(" key"), visible("\\n")
    ('key', '“ key”', '“\\\\n”')
    """
    if text and text == text.strip():
        return text
    for sign, said in (("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        text = text.replace(sign, said)
    return f"“{text}”"


def _amount(done: float, total: float | None, unit: str) -> str:
    if unit == "s":
        return f"{duration(done)} of {duration(total)}" if total else duration(done)
    shown = [count(value) if value >= 1e6 else f"{value:.6g}" for value in ([done] if total is None else [done, total])]
    share = f" ({100 * done / total:.0f} %)" if total else ""
    return f"{'/'.join(shown)}{' ' + unit if unit else ''}{share}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def _numeric(cell: str) -> bool:
    return cell == "-" or ((cell[:1].isdigit() or cell[:1] in "+-.") and any(c.isdigit() for c in cell[:3]))


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _pad(cell: str, width: int, to_right: bool) -> str:
    blanks = " " * (width - _width(cell))
    return blanks + cell if to_right else cell + blanks


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, highlight=False, width=None if stream.isatty() else 200)


def _write(stream: TextIO, line: str) -> None:
    try:
        print(line, file=stream, flush=True)
    except UnicodeEncodeError:  # a terminal that is not UTF-8, or a file name that is not text
        encoding = getattr(stream, "encoding", None) or "ascii"
        print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def _plain(value: Any) -> Any:
    """JSON's own types, from dictionaries, sequences, paths, dataclasses, and numbers of numpy or torch."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    for method in ("to_dict", "tolist"):
        if hasattr(value, method):
            return _plain(getattr(value, method)())
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return _plain(str(value))
