"""docs/results.md and docs/zh/results.md out of results/speed.json and results/quality.json.

Tables that other pages quote are written too, see sections.py.

python benchmarks/results.py
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import bars
import goals
import sections

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PICTURE = "img/roofline.svg"
BARS = "img/where-the-time-goes.svg"

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "title": "Results",
        "intro": "Written by `make quality` and `make bench`; every figure comes from the program that measured it. "
        "Ratios are medians of pairs measured in turns in one process, with the lowest and the highest beside them.",
        "quality": "Quality",
        "speed": "Speed and memory",
        "missing": "Not measured yet.",
        "model": "model",
        "interval": "95 % interval",
        "p": "p against best",
        "parameters": "parameters",
        "flops": "training FLOPs",
        "seconds": "seconds",
        "budget": "budget of each run",
        "seeds": "seeds",
        "machine": "machine",
        "figure": "figure",
        "value": "value",
        "goals": "Goals of speed",
        "goals_note": "How many times as fast as another library, or which share of a limit or of another library's "
        "time or memory; the median, with the lowest and the highest. Outputs of every pair are compared first.",
        "workload": "workload",
        "against": "against",
        "goal": "goal",
        "measured": "measured",
        "reached": "reached",
        "met": "yes",
        "unmet": "no",
        "roofline": "What models reach of this machine's limits: a point below its line leaves something to gain.",
    },
    "zh": {
        "title": "测量结果",
        "intro": "由 `make quality` 和 `make bench` 写成；每个数字都由测量它的程序直接写入。"
        "比值是在同一进程中轮流测量的成对结果的中位数，旁边给出最小值和最大值。",
        "quality": "质量",
        "speed": "速度与内存",
        "missing": "尚未测量。",
        "model": "模型",
        "interval": "95 % 区间",
        "p": "与最佳者相比的 p 值",
        "parameters": "参数量",
        "flops": "训练 FLOPs",
        "seconds": "秒",
        "budget": "每次训练的预算",
        "seeds": "种子数",
        "machine": "机器",
        "figure": "项目",
        "value": "数值",
        "goals": "速度目标",
        "goals_note": "是另一个库的多少倍速度，或者占某个极限、另一个库的时间或内存的多少；"
        "给出中位数，以及最小值和最大值。计时之前，先比较每一对的输出。",
        "workload": "工作",
        "against": "相比于",
        "goal": "目标",
        "measured": "测得",
        "reached": "达到",
        "met": "是",
        "unmet": "否",
        "roofline": "模型达到了这台机器极限的多少：点在线的下方，就还有可以提升的余地。",
    },
}


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


def written(value: Any) -> str:
    """A figure with as many digits as it deserves."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def machine(figures: dict[str, Any]) -> str:
    """The machine and the versions in one line."""
    held = dict(figures["machine"])
    cores, threads = held.pop("cores"), held.pop("threads")
    first = f"{held.pop('processor')}, {cores} cores, {threads} threads"
    return f"{first}; {', '.join(f'{name} {version}' for name, version in held.items())}; {figures['date']}"


def average(values: list[float] | float | None) -> str:
    """The mean of some figures, or the one figure."""
    if not values:
        return "-"
    return f"{statistics.mean(values) if isinstance(values, list) else values:.4f}"


def quality(results: dict[str, Any], words: dict[str, str]) -> list[str]:
    """A table for each study."""
    lines: list[str] = []
    for name, study in results.items():
        lines += [f"### {name}", "", study["note"] + ".", ""]
        second = study.get("also")
        told = study["metric"].removeprefix("test ")
        on_val = any(row.get("val") for row in study["rows"])
        head = [words["model"], study["metric"], words["interval"], words["p"], words["parameters"], words["flops"]]
        head[2:2] = [*([f"val {told}"] if on_val else []), *([second] if second else [])]
        rows = [
            [
                row["model"],
                f"{row['mean']:.4f}",
                *([average(row.get("val"))] if on_val else []),
                *([average(row["also"])] if second else []),
                "-" if row["low"] is None else f"{row['low']:.4f} - {row['high']:.4f}",
                "-" if row["p_against_best"] is None else f"{row['p_against_best']:.3f}",
                f"{row['parameters']:,}",
                "-" if row["training_flops"] is None else f"{row['training_flops']:.3g}",
            ]
            for row in study["rows"]
        ]
        lines += [*table(head, rows), ""]
        lines += [f"{words['budget']}: {study['budget']}; {words['seeds']}: {study['seeds']}.", ""]
        lines += [f"{words['machine']}: {machine(study)}.", ""]
    return lines


def leaves(figures: dict[str, Any], path: str = "") -> dict[str, dict[str, Any]]:
    """Plain figures of dictionaries in dictionaries, by the names on the way to them."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in figures.items():
        name = f"{path}, {key}" if path else key
        plain = {inner: each for inner, each in value.items() if not isinstance(each, dict)}
        found |= {name: plain} if plain else {}
        found |= leaves({inner: each for inner, each in value.items() if isinstance(each, dict)}, name)
    return found


def speed(results: dict[str, Any], words: dict[str, str]) -> list[str]:
    """A table for each benchmark."""
    lines: list[str] = []
    for name, figures in results.items():
        told = {key: value for key, value in figures.items() if key not in ("machine", "date")}
        rows = [[key, written(value)] for key, value in told.items() if not isinstance(value, dict)]
        lines += [f"### {name}", "", *([*table([words["figure"], words["value"]], rows), ""] if rows else [])]
        cases = leaves({key: value for key, value in told.items() if isinstance(value, dict)})
        names = list(dict.fromkeys(key for case in cases.values() for key in case))
        if len(cases) > len(names):
            rows = [[case, *(written(held.get(key, "-")) for key in names)] for case, held in cases.items()]
            lines += [*table([words["figure"], *names], rows), ""]
        elif cases:
            rows = [[key, *(written(case.get(key, "-")) for case in cases.values())] for key in names]
            lines += [*table([words["figure"], *cases], rows), ""]
        lines += [f"{words['machine']}: {machine(figures)}.", ""]
    return lines


def goals_of(results: dict[str, Any], words: dict[str, str], language: str) -> list[str]:
    """The table of goals, and the picture of the roofline where there is one."""
    head = [words[key] for key in ("workload", "against", "goal", "measured", "reached")]
    rows = goals.rows(results, ("en", "zh").index(language), words)
    lines = [f"## {words['goals']}", "", words["goals_note"], "", *table(head, rows), ""]
    if (DOCS / PICTURE).exists():
        up = "" if language == "en" else "../"
        lines += [f"![{words['roofline']}]({up}{PICTURE})", "", words["roofline"], ""]
    return lines


def page(words: dict[str, str], language: str) -> str:
    """The whole page."""
    lines = [f"# {words['title']}", "", words["intro"], ""]
    file = HERE / "results" / "speed.json"
    lines += goals_of(json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}, words, language)
    for part, write in (("quality", quality), ("speed", speed)):
        file = HERE / "results" / f"{part}.json"
        lines += [f"## {words[part]}", ""]
        lines += write(json.loads(file.read_text(encoding="utf-8")), words) if file.exists() else [words["missing"], ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write both pages, and what others quote."""
    file = HERE / "results" / "speed.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    goals.roofline(results.get("limits", {}), DOCS / PICTURE)
    bars.bars(results.get("profiles", {}), DOCS / BARS)
    sections.fill(DOCS, results)
    for language, folder in (("en", DOCS), ("zh", DOCS / "zh")):
        (folder / "results.md").write_text(page(WORDS[language], language), encoding="utf-8")


if __name__ == "__main__":
    main()
