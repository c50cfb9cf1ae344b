"""The report of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from dougong.figures import count, duration
from dougong.report.answers import answer_parts
from dougong.report.curves import all_curves
from dougong.report.parts import (
    cost_part,
    data_part,
    how_part,
    plain,
    read_json,
    spaced,
    whole,
)
from dougong.report.tables import facts

METRICS = {
    "macro_f1": "macro F1", "micro_f1": "micro F1", "subset_accuracy": "subset accuracy",
    "mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy", "class_accuracy": "class accuracy",
    "boundary_f1": "boundary F1",
    "mean_average_precision": "mean average precision", "ece": "expected calibration error", "f1": "F1",
    "bits_per_character": "bits per character", "bits_per_byte": "bits per byte", "bleu": "BLEU", "chrf": "chrF",
    "mrr": "MRR",
}  # fmt: skip
SPENT: dict[str, tuple[str, Callable[[Any], str]]] = {
    "parameters": ("parameters", count),
    "flops": ("training FLOPs", count),
    "seconds": ("training time", duration),
    "steps": ("optimizer steps", lambda value: str(int(value))),
    "padding": (
        "padding, of the tokens of a batch",
        lambda shares: f"{shares['takes']:.1%}; drawn at random {shares['would_take']:.1%}",
    ),
}


def write_run_report(run: Any) -> Path:
    """Write ``report.html`` into a run's folder: one file, no network, no script.

    It holds the metrics, the learning curve, the answers on test samples (see `dougong.report.answers`; for classes the
    confusion matrix, the worst mistakes, and some predictions explained with the checks of each explanation), the cost
    sheet, the data, and how all was measured.

    Args:
        run: a `dougong.training.Run`.
    """
    folder = Path(run.path)
    model, task, config = run.model(), run.task(), plain(run.config)
    result: dict[str, Any] = run.result or {}
    name = str(config.get("name") or model.config["architecture"])
    parts = {
        "Result": result_part(result),
        "Learning": all_curves({name: [run.metrics()]}, task.primary),
        **answer_parts({name: model}, task),
        "Cost": cost_part(model, int(config.get("batch_size", 1)), task.typical_length),
        "Data": data_part(read_json(folder / "data.json")),
        "How it was measured": how_part(read_json(folder / "env.json"), config),
    }
    path = folder / "report.html"
    words = f"Budget {spaced(config['budget'])}, seed {config['seed']}; it ended because {result.get('ended', '?')}. "
    words += f"The model shown is the best by the validation split, of step {result.get('best_step', '?')}."
    said = f"<p>Run <code>{escape(str(folder))}</code>. {escape(words)}</p>"
    path.write_text(whole(f"{name} on {task.data.name}", said, parts), encoding="utf-8")
    return path


def result_part(result: Mapping[str, Any]) -> str:
    """The test metrics, and what they cost."""
    test: dict[str, Any] = result.get("test", {})
    shown = {METRICS.get(name, name): value for name, value in test.items() if isinstance(value, int | float)}
    spent = {words: write(result[name]) for name, (words, write) in SPENT.items() if result.get(name) is not None}
    left, right = f"<h3>on the test samples</h3>{facts(shown)}", f"<h3>what it took</h3>{facts(spent)}"
    return f'<div class="row"><div>{left}</div><div>{right}</div></div>'
