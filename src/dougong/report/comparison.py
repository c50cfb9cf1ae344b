"""The report of a comparison."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from dougong.explain.svg import Axis, Dot, dot_chart
from dougong.figures import count, duration, size
from dougong.report.answers import answer_parts
from dougong.report.curves import all_curves
from dougong.report.parts import cost_part, data_part, how_part, plain, read_json, spaced, whole
from dougong.report.tables import table, tabs

COSTS: dict[str, tuple[str, Callable[[Any], float], Callable[[float], str]]] = {
    "FLOPs an input": ("FLOPs of a forward pass of one input", lambda row: row.forward_flops, count),
    "training FLOPs": ("FLOPs of the whole training", lambda row: row.flops, count),
    "training time": ("seconds of training", lambda row: row.seconds, duration),
    "parameters": ("parameters", lambda row: row.parameters, count),
    "latency": ("time of a forward pass of one input", lambda row: row.latency_1, duration),
    "memory": ("peak memory of a forward pass of 64 inputs", lambda row: row.memory, size),
}


def write_comparison_report(comparison: Any) -> Path:
    """Write ``report.html`` into a comparison's folder: one file, no network, no script.

    It holds the table, quality against cost, learning curves, the answers of every model on test samples (see
    `dougong.report.answers`), cost sheets, the data, and how all was measured.

    Args:
        comparison: a `dougong.training.Comparison`.
    """
    folder, names = Path(comparison.path), [row.name for row in comparison.rows]
    runs = {name: comparison.runs(name) for name in names}
    first = {name: several[0] for name, several in runs.items()}
    task = first[names[0]].task()
    models = {name: run.model() for name, run in first.items()}
    configs = {name: plain(run.config) for name, run in first.items()}
    sizes = {name: int(config["batch_size"] or 1) for name, config in configs.items()}
    seed = comparison.seeds[0]
    of_seed = "" if len(comparison.seeds) == 1 else f'<p class="note">Of the runs with seed {seed}.</p>'
    curves = {name: [run.metrics() for run in several] for name, several in runs.items()}
    parts = {
        "Result": result_part(comparison),
        "Quality against cost": cost_plots(comparison),
        "Learning": all_curves(curves, comparison.metric),
        **answer_parts(models, task, of_seed),
        "Cost": tabs("cost", {name: cost_part(models[name], sizes[name], task.typical_length) for name in names}),
        "Data": data_part(read_json(first[names[0]].path / "data.json")),
        "How it was measured": how_part(comparison.environment, configs),
    }
    path = folder / "report.html"
    title = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    title = f"{title} on {task.data.name if task.data is not None else comparison.data}"
    path.write_text(whole(title, summary(comparison), parts), encoding="utf-8")
    return path


def summary(comparison: Any) -> str:
    """What was compared, and how it came out, in two sentences."""
    best, others = comparison.rows[0], comparison.rows[1:]
    seeds = len(comparison.seeds)
    terms = (
        f"Each model had a budget of {spaced(comparison.budget)} on the same split of {comparison.data}, with "
        f"{seeds} seed{'s' if seeds > 1 else ''}; {comparison.samples} test samples."
    )
    said = f"{best.name} came out best, with a mean test {comparison.metric} of {best.mean:.4f}"
    close = [row.name for row in others if row.p_value is not None and row.p_value >= 0.05]
    if others:
        said += (
            f"; on these samples it cannot be told apart from {' and '.join(close)} (paired test, p ≥ 0.05)."
            if close else "; the difference to every other one is more than chance (paired test, p < 0.05)."
        )  # fmt: skip
    return f"<p>{escape(terms)} <b>{escape(said)}</b></p>"


def result_part(comparison: Any) -> str:
    """The table, and what its columns mean."""
    head, rows = comparison.table()
    best = {1: 0}
    for column, value in {
        4: lambda row: row.parameters, 5: lambda row: row.flops, 6: lambda row: row.forward_flops,
        7: lambda row: row.seconds, 8: lambda row: row.latency_1, 9: lambda row: row.latency_64,
        10: lambda row: row.memory,
    }.items():  # fmt: skip
        values = [value(row) for row in comparison.rows]
        if max(values) > 1.01 * min(values):  # equal budgets have no winner
            best[column] = values.index(min(values))
    seeds = [[row.name, *(f"{score:.4f}" for score in row.scores)] for row in comparison.rows]
    several = len(comparison.seeds) > 1
    said = (
        f"The mean of test {comparison.metric} over {len(comparison.seeds)} seeds, with the 95 % interval of that mean "
        "by Student's t: what other seeds would give. p is of a paired randomisation test on the test samples against "
        "the best model, corrected for their number by Holm's rule: what other test samples would give. Latency is the "
        "median time of a forward pass of 1 or 64 inputs, the models taking turns; memory is the peak with 64 inputs. "
        "The best value of a column is bold."
        if several else
        f"Test {comparison.metric} with one seed: how much another seed would change is not known. p is of a paired "
        "randomisation test on the test samples against the best model, corrected for their number by Holm's rule."
    )  # fmt: skip
    if comparison.rules:
        said += " Rules have no weights and are not trained; a model that does not beat them is not worth its cost."
    parts = [table(head, rows, best=best), f'<p class="note">{escape(said)}</p>']
    if several:
        head = ["model", *(f"seed {seed}" for seed in comparison.seeds)]
        parts.append(f"<details><summary>seed by seed</summary>{table(head, seeds)}</details>")
    return "".join(parts)


def cost_plots(comparison: Any) -> str:
    """The metric against each kind of cost; the upper left corner is where one wants to be."""
    panes = {}
    for name, (words, value, write) in COSTS.items():
        dots = [
            Dot(row.name, float(value(row)), row.mean, row.mean if row.low is None else row.low,
                row.mean if row.high is None else row.high, number)
            for number, row in enumerate(comparison.rows)
        ]  # fmt: skip
        x, y = Axis(f"{words} (logarithmic)", log=True, write=write), Axis(f"test {comparison.metric}")
        chart = dot_chart(dots, x, y, f"{comparison.metric} by {words}")
        panes[f"by {name}"] = f'<div class="half">{chart}</div>'
    better = "higher" if comparison.higher_is_better else "lower"
    note = f"Further left is cheaper, {better} is better."
    note += " Bars are the 95 % intervals over seeds." if len(comparison.seeds) > 1 else ""
    return tabs("costs", panes) + f'<p class="note">{note}</p>'
