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
    "profile": (("", "before, ms", "share", "after, ms", "share"), ("", "之前，ms", "占比", "之后，ms", "占比")),
    "work": (
        ("work", "FLOPs", "bytes", "FLOPs a byte", "least by FLOPs, ms", "least by bytes, ms", "after, ms"),
        ("工作", "FLOPs", "字节", "每字节 FLOPs", "按 FLOPs 至少，ms", "按字节至少，ms", "之后，ms"),
    ),
    "text": (("text before, tokens", "attention, ms", "the step, ms"), ("已有文本，词元", "注意力，ms", "整步，ms")),
}
WORK = {
    "decoding": ("a token of a Llama of 125M", "Llama 125M 的一个词元"),
    "encoding": ("a sentence in BERT-base", "BERT-base 的一个句子"),
    "training": ("a training step of a GPT-2 of 6 x 512", "6 x 512 的 GPT-2 的一个训练步"),
}
KINDS = {
    "products": ("matrix products", "矩阵乘法"),
    "vocabulary": ("scores of the vocabulary, and their loss", "词表得分及其损失"),
    "attention": ("attention", "注意力"), "elementwise": ("norms, activations, sums", "归一化、激活、加法"),
    "copies": ("copies and clearing", "复制与清零"), "optimiser": ("optimiser", "优化器"),
    "rest": ("Python, calls and views", "Python、调用与视图"), "seconds": ("all", "合计"),
}  # fmt: skip
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


def profile(case: str) -> Callable[[dict[str, Any], int], list[str]]:
    """Who writes what a workload's time is made of, of benchmarks/profiles.py. Args: case: by its key."""

    def write(figures: dict[str, Any], language: int) -> list[str]:
        if case not in figures:
            return [MISSING[language]]
        both, rows = [figures[case][name] for name in ("before", "after")], []
        for kind, said in KINDS.items():
            if any(held[kind] > 0.001 * held["seconds"] for held in both):
                pairs = [
                    (f"{1000 * max(0, held[kind]):.4g}", f"{100 * abs(held[kind]) / held['seconds']:.0f} %")
                    for held in both
                ]
                rows.append([said[language], *(cell for pair in pairs for cell in pair)])
        return table(HEADS["profile"][language], rows)

    return write


def work(figures: dict[str, Any], language: int) -> list[str]:
    """What each workload asks of the machine, and the least time that its limits allow."""
    rows = []
    for case, said in WORK.items():
        if case in figures:
            held, least = figures[case], []
            for amount, rate in (("flops", "matrix_rate"), ("bytes", "bandwidth")):
                least.append(f"{1000 * held[amount] / figures[rate]:.4g}" if figures[rate] else "-")
            amounts = [f"{held['flops']:.3g}", f"{held['bytes']:.3g}", f"{held['flops'] / held['bytes']:.3g}"]
            rows.append([said[language], *amounts, *least, f"{1000 * held['after']['seconds']:.4g}"])
    rates = (
        f"The machine: {figures['bandwidth'] / 1e9:.3g} GB/s, {figures['matrix_rate'] / 1e9:.3g} GFLOP/s in float32: "
        f"{figures['matrix_rate'] / figures['bandwidth']:.2g} FLOPs a byte.",
        f"这台机器：{figures['bandwidth'] / 1e9:.3g} GB/s，float32 {figures['matrix_rate'] / 1e9:.3g} GFLOP/s："
        f"每字节 {figures['matrix_rate'] / figures['bandwidth']:.2g} FLOPs。",
    )
    held = figures["machine"]
    where = f"{held['processor']}, {held['threads']} thread(s), torch {held['torch']}; {figures['date']}."
    return [*table(HEADS["work"][language], rows), "", f"{rates[language]} {where}"]


def text(figures: dict[str, Any], language: int) -> list[str]:
    """What attention costs as the text grows."""
    found = {key: held for key, held in figures.get("decoding", {}).items() if key.startswith("after ")}
    rows = [
        [key.split()[1], f"{1000 * held['attention']:.3g}", f"{1000 * held['seconds']:.4g}"]
        for key, held in found.items()
    ]
    return table(HEADS["text"][language], rows) if rows else [MISSING[language]]


def padding(figures: dict[str, Any], language: int) -> list[str]:
    """Which share of what a batch holds is padding."""
    if "encoding" not in figures:
        return [MISSING[language]]
    share = f"{100 * figures['encoding']['padding']:.0f} %"
    said = f"Of the places of these batches, {share} are padding.", f"这些批次的位置中，{share} 是填充。"
    return [said[language]]


def table(head: Any, rows: list[list[str]]) -> list[str]:
    """In Markdown."""
    return [f"| {' | '.join(row)} |" for row in [list(head), ["---"] * len(head), *rows]]


WRITERS: dict[str, tuple[str, Callable[[dict[str, Any], int], list[str]]]] = {
    "perplexity": ("perplexity", perplexity),
    **{f"profile of {case}": ("profiles", profile(case)) for case in WORK},
    "work": ("profiles", work), "text": ("profiles", text), "padding": ("profiles", padding),
}  # fmt: skip
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
