"""Tutorials as programs: the cells of a page, what they print, and what the page says they print.

A page is read by these rules:

- a ```python cell is run, all cells of a page one after another in one namespace and one folder;
- a ```bash cell is run line by line; every command in it must be ``dougong ...``. Other shell lines stand in ```sh,
  which is shown only;
- a ```text block right after a cell states what the cell prints; a comment before it, ``<!-- numbers within 5 % -->``
  or ``<!-- numbers of one machine -->``, says how far the numbers may be off.

``python -m support.tutorials PAGE [ZH_PAGE]`` (with tests/ on PYTHONPATH) runs a page, writes what was printed
into its text blocks and those of its translation, and copies the pictures that its cells saved to its img folder.
"""

from __future__ import annotations

import ast
import contextlib
import io
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from support.registering import forgotten

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOTE = re.compile(r"<!-- numbers (?:within ([\d.]+) %|(of one machine)) -->\s*\Z")


@dataclass
class Cell:
    """One cell of a page.

    Args:
        kind: "python" or "bash".
        code: what stands in it.
        line: of the page, from 1.
        stated: what the page says it prints; None where it says nothing.
        span: of the stated text in the page.
        within: share by which stated numbers may differ; 0 where they are compared to the last digit, infinite where
            they are those of one machine.
    """

    kind: str
    code: str
    line: int
    stated: str | None = None
    span: tuple[int, int] | None = None
    within: float = 0.0


@dataclass
class Page:
    """A page and its cells in order."""

    path: Path
    text: str
    cells: list[Cell] = field(default_factory=list)


def read(path: Path) -> Page:
    """The page with its cells, and the text block that follows each."""
    page = Page(path, path.read_text(encoding="utf-8"))
    end = 0
    for block in FENCE.finditer(page.text):
        kind, code = block[1], block[2]
        if kind in ("python", "bash"):
            page.cells.append(Cell(kind, code, page.text[: block.start()].count("\n") + 1))
        elif kind == "text" and page.cells and page.cells[-1].stated is None:
            between = page.text[end : block.start()]
            note = NOTE.search(between)
            if not NOTE.sub("", between).strip():
                cell = page.cells[-1]
                cell.stated, cell.span = code, block.span(2)
                cell.within = 0.0 if note is None else math.inf if note[2] else float(note[1]) / 100
        end = block.end()
    return page


@forgotten()
def run(page: Page, folder: Path, told: Callable[[Cell, float], None] | None = None) -> list[str]:
    """What each cell prints, all run in ``folder``; families that they register are forgotten at the end.

    Args:
        page: whose cells are run.
        folder: where.
        told: called after each cell with the seconds that it took.

    Raises:
        AssertionError: a cell failed, or a bash cell holds something else than dougong.
    """
    os.environ.setdefault("MPLBACKEND", "Agg")
    module = types.ModuleType("__tutorial__")  # classes of a page look for the module that they are defined in
    sys.modules[module.__name__] = module
    printed = []
    try:
        for cell in page.cells:
            where = f"{page.path.name}:{cell.line}"
            start = time.perf_counter()
            with contextlib.chdir(folder):
                python = cell.kind == "python"
                printed.append(_python(cell.code, vars(module), where) if python else _bash(cell.code, where))
            if told is not None:
                told(cell, time.perf_counter() - start)
    finally:
        del sys.modules[module.__name__]
    return printed


def _python(code: str, names: dict[str, object], where: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(code, where, "exec"), names)
        except Exception as error:
            raise AssertionError(f"{where}: {type(error).__name__}: {error}\n{code}") from error
    return out.getvalue()


def _bash(code: str, where: str) -> str:
    out = []
    for words in _commands(code):
        line = shlex.join(words)
        assert words[0] == "dougong", f"{where}: {line!r} is no dougong command: put it into a ```sh block"
        environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, f"{where}: {line}\nends with {done.returncode}\n{done.stdout}{done.stderr}"
        out.append(done.stdout)
    return "".join(out)


def _commands(code: str) -> list[list[str]]:
    """The words of each command, continued lines joined and comments left out."""
    lines = code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


# What differs from one machine or day to the next, and is not compared.
MASKS = [
    (re.compile(r"\b\d[\d,.]*(?:e[+-]?\d+)? ?(?:µs|us|ms|s|min|seconds|h)\b"), "TIME"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T_ -]\d\d[:h-]?\d\d(?:[:-]?\d\d)?)?\b|\b\d{8}-\d{6}\b"), "DATE"),
    (re.compile(r"(?<![\w.])/[^\s'\",;:()]+"), "PATH"),
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "HASH"),
    (re.compile(r"-{3,}"), "---"),
]
CHANCE = re.compile(r"<(?=\d)|\b(?:passed|failed|FAILED)\b")  # of one machine, as the numbers are
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")


def differences(stated: str, printed: str, within: float = 0.0) -> list[str]:
    """Where what was printed is not what is stated; a stated line ``...`` stands for any lines.

    Times, dates, absolute paths and hashes are masked; blanks count as one. Whole numbers must agree, others to their
    last stated digit give or take one; with ``within`` all numbers may differ by that share.
    """
    expected, found = ([_clean(line) for line in text.splitlines() if line.strip()] for text in (stated, printed))
    at, skipping, faults = 0, False, []
    for line in expected:
        if line == "...":
            skipping = True
            continue
        if skipping:
            ahead = [i for i in range(at, len(found)) if _same(line, found[i], within)]
            at, skipping = (ahead[0] if ahead else at), False
        if at >= len(found):
            faults.append(f"stated and not printed: {line}")
        elif not _same(line, found[at], within):
            faults.append(f"stated: {line}\n   printed: {found[at]}")
        at += 1
    if not skipping:
        faults.extend(f"printed and not stated: {line}" for line in found[at:])
    return faults


def _clean(line: str) -> str:
    for pattern, word in MASKS:
        line = pattern.sub(word, line)
    return re.sub(r"TIME(?: TIME)+", "TIME", " ".join(line.split()))


def _same(stated: str, printed: str, within: float) -> bool:
    if math.isinf(within):
        stated, printed = (CHANCE.sub("", line) for line in (stated, printed))
    if NUMBER.sub("#", stated) != NUMBER.sub("#", printed):
        return False
    pairs = zip(NUMBER.findall(stated), NUMBER.findall(printed), strict=True)
    return all(_close(one, other, within) for one, other in pairs)


def _close(stated: str, printed: str, within: float) -> bool:
    one, other = (float(text.replace(",", "")) for text in (stated, printed))
    if math.isinf(within) or abs(one - other) <= within * max(abs(one), abs(other)):
        return True
    mantissa, _, exponent = stated.replace(",", "").partition("e")
    decimals = len(mantissa.partition(".")[2])
    if not decimals and not exponent:
        return one == other
    return abs(one - other) <= 1.01 * 10.0 ** (int(exponent or 0) - decimals)


def skeleton(cell: Cell) -> str:
    """The cell without comments, blanks and docstrings: what a translation must not change."""
    if cell.kind == "bash":
        return "\n".join(shlex.join(words) for words in _commands(cell.code))
    tree = ast.parse(cell.code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def main(paths: list[str]) -> None:
    """Write what the cells print into the page and its translations, and keep their pictures."""
    pages = [read(Path(path)) for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        printed = run(
            pages[0], Path(folder), lambda cell, took: print(f"line {cell.line}: {took:.1f} s", file=sys.stderr)
        )
        pictures = pages[0].path.parent / "img"
        for picture in Path(folder).glob("*.png"):
            if f"img/{picture.name}" in pages[0].text:
                pictures.mkdir(exist_ok=True)
                with Image.open(picture) as full:  # 128 colours are enough for a drawing, and a third of the bytes
                    full.convert("RGB").quantize(128).save(pictures / picture.name, optimize=True)
    for page in pages:
        text = page.text
        for cell, output in reversed(list(zip(page.cells, printed, strict=True))):
            if cell.span is not None and "\n...\n" not in f"\n{cell.stated}":
                text = text[: cell.span[0]] + output.rstrip("\n") + "\n" + text[cell.span[1] :]
        page.path.write_text(text, encoding="utf-8")
    for cell, output in zip(pages[0].cells, printed, strict=True):
        sys.stdout.write(f"--- line {cell.line}\n{output}")


if __name__ == "__main__":
    main(sys.argv[1:])
