"""The goals of speed beside what was measured, as a table, and the picture of the roofline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

WINDOWED = "mistral, window 1024"


@dataclass(frozen=True)
class Goal:
    """One line of the table.

    Args:
        workload: in English and Chinese.
        against: the same.
        path: of the figure in speed.json; its ends have the same name with _low and _high.
        bound: that it should reach.
        most: whether it should be at most that, not at least.
    """

    workload: tuple[str, str]
    against: tuple[str, str]
    path: tuple[str, str, str]
    bound: float
    most: bool = False

    def measured(self, results: dict[str, Any]) -> tuple[float, float | None, float | None] | None:
        """The median, the lowest and the highest; None where it was not measured."""
        study, case, name = self.path
        held = results.get(study, {}).get(case, {})
        if name not in held:
            return None
        stem = name.removesuffix("_ratio")  # process_ratio has process_low
        ends = [
            next((held[key] for key in (f"{name}_{end}", f"{stem}_{end}") if key in held), None)
            for end in ("low", "high")
        ]
        return held[name], ends[0], ends[1]

    def met(self, value: float) -> bool:
        """Whether a median will do."""
        return value <= self.bound if self.most else value >= self.bound


def _same(text: str) -> tuple[str, str]:
    return text, text


TRANSFORMERS, LLAMA, ONNX = _same("Transformers"), "llama.cpp", "ONNX Runtime"
PADDED, SORTED = ("padded", "按原序填充"), ("sorted", "按长度排序")
ONE = ("writing, 1 text, Llama 125M, {}", "写 1 个文本，Llama 125M，{}")
MANY = ("writing, 16 texts, Llama 125M, float32", "写 16 个文本，Llama 125M，float32")
PREFILL = ("reading a prompt of 512, {}", "读 512 个词元的提示，{}")
BERT = ("BERT-base on real sentences, {}", "BERT-base 读真实句子，{}")
FORESEEN = ("perplexity of a small Llama on plays, {}", "小 Llama 在戏剧文本上的困惑度，{}")
TRAIN = ("training a GPT-2 of 6 x 512, {}", "训练 6 x 512 的 GPT-2，{}")


def _of(text: tuple[str, str], word: str) -> tuple[str, str]:
    return text[0].format(word), text[1].format(word)


def _with(name: str, how: tuple[str, str]) -> tuple[str, str]:
    return f"{name}, {how[0]}", f"{name}，{how[1]}"


GOALS = (
    Goal(_of(ONE, "float32"), TRANSFORMERS, ("decoding", "one, float32", "times_transformers"), 4.5),
    Goal(_of(ONE, "float32"), _same(f"{LLAMA} f32"), ("decoding", "one, float32", "times_llama.cpp"), 1.0),
    Goal(
        _of(ONE, "float32"),
        ("reading the weights once at the measured bandwidth", "以测得的带宽读一遍权重"),
        ("decoding", "one, float32", "share_of_memory"),
        0.85,
    ),
    Goal(_of(ONE, "int8"), _same(f"{LLAMA} q8_0"), ("decoding", "one, int8", "times_llama.cpp"), 1.0),
    Goal(_of(ONE, "int4"), _same(f"{LLAMA} q4_0"), ("decoding", "one, int4", "times_llama.cpp"), 1.0),
    Goal(MANY, TRANSFORMERS, ("decoding", "sixteen, float32", "times_transformers"), 3.0),
    Goal(_of(PREFILL, "float32"), TRANSFORMERS, ("decoding", "prefill, float32", "times_transformers"), 2.2),
    Goal(_of(PREFILL, "bf16"), TRANSFORMERS, ("decoding", "prefill, bf16", "times_transformers"), 1.4),
    Goal(
        _of(BERT, "float32"), _with("Transformers", PADDED), ("encoding", "float32", "times_transformers_padded"), 5.0
    ),
    Goal(
        _of(BERT, "float32"), _with("Transformers", SORTED), ("encoding", "float32", "times_transformers_sorted"), 2.5
    ),
    Goal(
        _of(BERT, "float32"),
        ("the measured rate of matrix products", "测得的矩阵乘法速率"),
        ("encoding", "float32", "share_of_matrix_rate"),
        0.8,
    ),
    Goal(_of(BERT, "float32"), _with(ONNX, PADDED), ("encoding", "float32", "times_onnxruntime_padded"), 2.2),
    Goal(_of(BERT, "float32"), _with(ONNX, SORTED), ("encoding", "float32", "times_onnxruntime_sorted"), 1.15),
    Goal(_of(BERT, "bf16"), _with("Transformers", PADDED), ("encoding", "bf16", "times_transformers_padded"), 2.2),
    Goal(_of(BERT, "bf16"), _with("Transformers", SORTED), ("encoding", "bf16", "times_transformers_sorted"), 1.2),
    Goal(_of(TRAIN, "float32"), TRANSFORMERS, ("language_step", "float32", "speedup"), 1.8),
    Goal(_of(TRAIN, "bf16"), TRANSFORMERS, ("language_step", "bfloat16", "speedup"), 1.6),
    Goal(
        _of(TRAIN, "float32"),
        ("memory of Transformers", "Transformers 的内存"),
        ("language_step", "float32", "memory_ratio"),
        0.6,
        most=True,
    ),
    Goal(
        ("fine-tuning MiniLM on sentences, float32", "在句子上微调 MiniLM，float32"),
        ("time of Transformers, padded to the longest", "Transformers 填充到最长时的时间"),
        ("fine_tuning_minilm_sst2", "float32", "ratio"),
        0.7,
        most=True,
    ),
    Goal(
        ("a classifier on 2,565,000 streamed rows", "在 2,565,000 行流式数据上的分类器"),
        ("its memory on 855,000", "在 855,000 行上的内存"),
        ("streaming", "textcnn", "tight_ratio"),
        1.05,
        most=True,
    ),
    Goal(("ViT-B/16, float32", "ViT-B/16，float32"), TRANSFORMERS, ("seeing", "float32", "times_transformers"), 2.0),
    Goal(
        ("from 500 MB to the first token", "从 500 MB 的检查点到第一个词元"),
        ("time of Transformers", "Transformers 的时间"),
        ("opening", "gpt2", "process_ratio"),
        0.5,
        most=True,
    ),
    Goal(
        ("a token as the text grows to 8k", "文本增长到 8k 时一个词元的耗时"),
        ("a straight line", "一条直线"),
        ("long_texts", "llama", "bend"),
        1.1,
        most=True,
    ),
    Goal(
        ("the same with a sliding window", "同上，滑动窗口"),
        ("its cost at the window's length", "窗口长度处的耗时"),
        ("long_texts", WINDOWED, "tilt"),
        1.1,
        most=True,
    ),
    Goal(
        _of(FORESEEN, "int8"),
        ("perplexity of float32", "float32 的困惑度"),
        ("perplexity", "int8", "times_float32"),
        1.01,
        most=True,
    ),
    Goal(
        _of(FORESEEN, "int4"),
        ("perplexity of float32", "float32 的困惑度"),
        ("perplexity", "int4", "times_float32"),
        1.05,
        most=True,
    ),
)


def rows(results: dict[str, Any], language: int, words: dict[str, str]) -> list[list[str]]:
    """The cells of every goal.

    Args:
        results: what speed.json holds.
        language: 0 for English, 1 for Chinese.
        words: for "not measured", "met" and "not met".
    """
    found = []
    for goal in GOALS:
        measured, sign = goal.measured(results), "≤" if goal.most else "≥"
        cells = [goal.workload[language], goal.against[language], f"{sign} {goal.bound:g}"]
        if measured is None:
            found.append([*cells, words["missing"].rstrip(".。"), "-"])
            continue
        value, low, high = measured
        ends = "" if low is None or high is None else f" ({low:.3g} - {high:.3g})"
        found.append([*cells, f"{value:.3g}{ends}", words["met" if goal.met(value) else "unmet"]])
    return found


def roofline(figures: dict[str, Any], path: Path) -> bool:
    """Draw what models reach below what the machine can do (Williams et al. 2009), as SVG; whether there was anything.

    Args:
        figures: of benchmarks/limits.py.
        path: of the picture.
    """
    workloads = figures.get("workloads", {})
    rates = {name: rate for name, rate in figures.get("limits", {}).items() if rate}
    bandwidth = max((rate for name, rate in rates.items() if name.startswith("memory")), default=0.0)
    roofs = {
        name: max((rate for each, rate in rates.items() if each.startswith(f"matrix product, {name}")), default=0.0)
        for name in ("float32", "bf16")
    }
    if not workloads or not bandwidth or not roofs["float32"]:
        return False
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "dougong"  # the same figures give the same file
    from matplotlib import pyplot

    drawn, axes = pyplot.subplots(figsize=(8, 5))
    points = {name: (each["flops"] / each["bytes"], each["rate"] * each["flops"]) for name, each in workloads.items()}
    left = min(x for x, _ in points.values()) / 2
    right = max(*(x for x, _ in points.values()), *(roof / bandwidth for roof in roofs.values())) * 3
    colours = {"float32": "#8c4a2f", "bf16": "#2f6f8c", "int8": "#5c8c2f", "int4": "#7a4f9a"}
    for name, roof in roofs.items():
        if roof:
            xs = [left, roof / bandwidth, right]
            axes.plot(xs, [min(roof, x * bandwidth) for x in xs], color=colours[name], lw=1.5, label=f"limit, {name}")
    kinds = {"writing": "o", "reading": "s", "training": "^"}
    seen: set[str] = set()
    for name, (x, y) in points.items():
        precision = workloads[name]["precision"]
        kind = next(kind for kind in kinds if f", {kind}" in name)
        label = f"{kind}, {precision}"
        axes.plot(
            x, y, kinds[kind], color=colours[precision], ms=7, mec="white", label=None if label in seen else label
        )
        seen.add(label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("FLOPs for each byte of memory")
    axes.set_ylabel("FLOPs a second")
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    drawn.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(drawn)
    return True
