"""Tables that pages of the manual quote from results/speed.json, between two comments that name them.

A page says ``<!-- measured: perplexity -->`` and ``<!-- end -->``; what stands between is written by results.py and
never by hand. What was not measured yet says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARKS = re.compile(r"(<!-- measured: ([a-z ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
HEADS = {
    "perplexity": (
        ("precision", "perplexity", "times float32", "95 % interval", "bits a byte", "weights, MB"),
        ("精度", "困惑度", "相对 float32", "95 % 区间", "每字节比特数", "权重，MB"),
    ),
}
MISSING = "Not measured yet.", "尚未测量。"


def perplexity(figures: dict[str, Any], language: int) -> list[str]:
    """What narrower weights cost, of benchmarks/perplexity.py. Args: language: 0 for English, 1 for Chinese."""
    rows = []
    for precision, held in figures.items():
        if isinstance(held, dict) and "perplexity" in held:
            times, ends = "1", "-"
            if "times_float32" in held:
                times = f"{held['times_float32']:.4f}"
                ends = f"{held['times_float32_low']:.4f} - {held['times_float32_high']:.4f}"
            weights = f"{held['megabytes']:.1f}"
            rows.append(
                [f"`{precision}`", f"{held['perplexity']:.4f}", times, ends, f"{held['bits_per_byte']:.4f}", weights]
            )
    return table(HEADS["perplexity"][language], rows)


def table(head: Any, rows: list[list[str]]) -> list[str]:
    """In Markdown."""
    return [f"| {' | '.join(row)} |" for row in [list(head), ["---"] * len(head), *rows]]


WRITERS: dict[str, tuple[str, Callable[[dict[str, Any], int], list[str]]]] = {"perplexity": ("perplexity", perplexity)}
"""By the name in the page, the key in speed.json and who writes the lines."""


def filled(text: str, results: dict[str, Any], language: int) -> str:
    """A page with what is measured now.

    Args:
        text: of the page.
        results: what speed.json holds.
        language: 0 for English, 1 for Chinese.

    Raises:
        KeyError: it names what there is not.
    """

    def written(found: re.Match[str]) -> str:
        key, writer = WRITERS[found[2]]
        lines = writer(results[key], language) if key in results else [MISSING[language]]
        return "\n".join([found[1], *lines, "", found[4]])

    return MARKS.sub(written, text)


def fill(docs: Path, results: dict[str, Any]) -> None:
    """Write the tables of all pages. Args: docs: the manual's folder; results: what speed.json holds."""
    for page in sorted(docs.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if MARKS.search(text):
            page.write_text(filled(text, results, int(page.is_relative_to(docs / "zh"))), encoding="utf-8")
