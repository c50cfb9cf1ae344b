"""The page of a search: the best settings, every trial, and how the result depends on each setting."""

from __future__ import annotations

import math
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from dougong.explain.svg import Axis, Frame, Line, colour, line_chart, shape
from dougong.figures import many, number, percent
from dougong.report.curves import points
from dougong.report.parts import data_part, how_part, plain, read_json, spaced, whole
from dougong.report.run import METRICS
from dougong.report.tables import facts, table

CIRCLE, SQUARE, CROSS = 0, 1, 4
MARKS = {"complete": (CIRCLE, 0), "pruned": (CROSS, -1)}
"""The mark and the colour of a trial."""


def write_search_report(search: Any) -> Path:
    """Write ``report.html`` into a search's folder: one file, no network, no script.

    It holds the best settings with what they reached, the value of every trial, the value by each setting, learning
    curves, the table of all trials, the data, and how all was measured.

    Args:
        search: a `dougong.training.Search`.
    """
    folder = Path(search.path)
    parts = {
        "Result": result_part(search),
        "Trials": trials_part(search),
        "Settings": settings_part(search),
        "Learning": learning_part(search),
        "All trials": table(*search.table(), best={0: 0, 1: 0}),
        "Data": data_part(read_json(folder / "data.json")),
        "How it was measured": how_part(search.environment, plain(search.run().config)),
    }
    path = folder / "report.html"
    title = f"Search for settings of {search.name} on {Path(search.data).name}"
    path.write_text(whole(title, summary(search), parts), encoding="utf-8")
    return path


def summary(search: Any) -> str:
    """What was searched, and how it came out."""
    states = [trial.state for trial in search.trials]
    ways = {"pruned": "ended early because they were worse than the median", "failed": "failed"}
    counts = [f"{states.count(state)} {words}" for state, words in ways.items() if state in states]
    terms = f"{many(len(states), 'trial')} with a budget of {spaced(search.budget)} each"
    terms += f"; {' and '.join(counts)}." if counts else "."
    said = f"Trial {search.best} came out best, with a val {search.metric} of {search.value:.4f}."
    test = f"The test split was measured once, with its model: {search.metric} {search.test[search.metric]:.4f}."
    return f"<p>{escape(terms)} <b>{escape(said)}</b> {escape(test)}</p>"


def result_part(search: Any) -> str:
    """The best settings, what they reached, and which settings mattered."""
    first = search.trials[0]
    shown = {METRICS.get(name, name): value for name, value in search.test.items() if isinstance(value, int | float)}
    left = f"<h3>the best settings</h3>{facts(search.settings)}"
    right = f"<h3>on the test samples</h3>{facts(shown)}"
    parts = [f'<div class="row"><div>{left}</div><div>{right}</div></div>']
    if first.value is not None:
        said = "Trial 0, with what training without a search would use as far as the space holds it, reached a val "
        said += (
            f"{search.metric} of {first.value:.4f}. What is best of many on the validation split looks better there "
        )
        said += "than it is; the test metrics are free of that."
        parts.append(f'<p class="note">{escape(said)}</p>')
    if search.importance:
        rows = [[key.replace("_", " "), percent(share)] for key, share in search.importance.items()]
        note = "The share of the variance of the trials' values that a setting explains (functional ANOVA) inside the "
        note += "space that was searched; a trial that was ended early counts with what it had reached. A few trials "
        note += "tell little."
        parts.append(f'<h3>what mattered</h3>{table(["setting", "share"], rows)}<p class="note">{note}</p>')
    return "".join(parts)


def trials_part(search: Any) -> str:
    """The value of each trial in order, and the best so far."""
    numbers: list[float] = []
    best: list[float] = []
    for trial in search.trials:
        if trial.state == "complete":
            top = max if search.higher_is_better else min
            best.append(top([trial.value, *best[-1:]]))
            numbers.append(float(trial.number))
    # a stair: level up to the next trial, then up
    stair = ([at for at in numbers for _ in (0, 1)][1:], [value for value in best for _ in (0, 1)][:-1])
    spots = [(float(trial.number), trial) for trial in search.trials]
    x = Axis("trial", write=lambda value: f"{value:g}" if value == int(value) else "")
    chart = scatter(search, spots, x, "value by trial", stair)
    return f'<div class="half">{chart}</div>{key_to_marks()}'


def settings_part(search: Any) -> str:
    """The value by each setting."""
    panes = []
    for key, written in search.space.items():
        tried = [trial.settings[key] for trial in search.trials]
        if isinstance(written, list):
            names = [_name(value) for value in written]
            x = Axis(key, low=-0.5, high=len(names) - 0.5, write=partial(_at, names))
            places = [float(names.index(_name(value))) for value in tried]
        else:
            log = is_logarithmic(written)
            x = Axis(f"{key} (logarithmic)" if log else key, log=log, write=number)
            places = [float(value) for value in tried]
        spots = list(zip(places, search.trials, strict=True))
        panes.append(f"<div>{scatter(search, spots, x, f'value by {key}')}</div>")
    panes += ["<div></div>"] * (len(panes) % 2)
    rows = ["".join(panes[at : at + 2]) for at in range(0, len(panes), 2)]
    return "".join(f'<div class="row">{row}</div>' for row in rows) + key_to_marks()


def scatter(
    search: Any,
    spots: list[tuple[float, Any]],
    x: Axis,
    label: str,
    line: tuple[list[float], list[float]] | None = None,
) -> str:
    """Trials as marks: SVG. Args: spots: x and the trial; line: drawn below them."""
    known = [(at, trial) for at, trial in spots if trial.value is not None and math.isfinite(trial.value)]
    frame = Frame(x, Axis(f"val {search.metric}"), [at for at, _ in known], [trial.value for _, trial in known], 0.06)
    parts = []
    if line is not None:
        parts.append(f'<path class="line {colour(1)} faint" stroke-width="2" d="{frame.path(*line)}"/>')
    for at, trial in sorted(known, key=lambda spot: spot[1].number == search.best):
        mark, shade = (SQUARE, 1) if trial.number == search.best else MARKS[trial.state]
        place = shape(mark, frame.across(at), frame.down(trial.value))
        told = f"trial {trial.number}: {trial.value:.4f}"
        parts.append(f'<path class="dot {colour(shade)}" d="{place}"><title>{escape(told)}</title></path>')
    return frame.wrap("".join(parts), label)


def key_to_marks() -> str:
    """What the marks mean."""
    said = "The square is the best trial, circles are complete ones, grey crosses those that were ended early."
    return f'<p class="note">{said}</p>'


def learning_part(search: Any) -> str:
    """The metric on validation of every trial as it went, the best one strong."""
    lines = []
    for trial in sorted(search.trials, key=lambda trial: trial.number == search.best):
        x, y = points(search.run(trial.number).metrics(), "val", "epoch", search.metric)
        if trial.number == search.best:
            lines.append(Line(f"trial {trial.number}, the best", x, y, 1, 2.6))
        elif x:
            lines.append(Line("", x, y, -1, 1.2, faint=True))
    chart = line_chart(lines, Axis("epochs"), Axis(f"val {search.metric}"), "learning of every trial")
    return f'<div class="half">{chart}</div>'


def is_logarithmic(written: str) -> bool:
    """Whether a range as it is written is searched by its logarithm."""
    from dougong.training.space import parse_range

    return parse_range(written)[2]


def _name(value: Any) -> str:
    return str(value)


def _at(names: list[str], value: float) -> str:
    """The name of a choice at its place on the axis."""
    return names[int(value)] if value == int(value) and 0 <= value < len(names) else ""
