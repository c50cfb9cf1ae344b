"""An explanation as one drawing: the picture, the heat map, the deletion curve and the checks."""

from __future__ import annotations

import io
import textwrap
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dougong.explain.colours import AGAINST, FOR, overlay

if TYPE_CHECKING:
    from PIL.Image import Image

    from dougong.explain.explanation import Explanation

FONTS = ["DejaVu Sans", "Noto Sans CJK SC", "Noto Sans SC", "WenQuanYi Micro Hei", "PingFang SC", "Microsoft YaHei"]
MAPS_ACROSS = 8
TITLE = 118
"""Characters of the title that fit into its line."""
MOST_MAPS = 32
MOST_WORDS = 28
INK, FAINT, GRID = "#222222", "#767676", "#d0d0d0"
MARKS = {True: ("passed", "#1b6e3c"), False: ("FAILED", "#b3261e")}


def rgb(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    """0..255 to matplotlib's 0..1."""
    return (colour[0] / 255, colour[1] / 255, colour[2] / 255)


def draw(explanation: Explanation) -> Image:
    """The drawing, about 1400 pixels wide."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image as images

    explanation, fonts = drawable(explanation)
    shown = explanation.maps[:MOST_MAPS] if explanation.picture_seen is not None and len(explanation.maps) > 1 else ()
    map_rows = -(-len(shown) // MAPS_ACROSS)
    lines = sentences(explanation)
    heights = [3.7, *([1.55] * map_rows), 0.21 * sum(len(body) for _, _, body in lines) + 0.1]
    figure = Figure(figsize=(14, sum(heights) + 0.9), dpi=100, facecolor="white")
    figure.set_layout_engine("constrained")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        import matplotlib

        with matplotlib.rc_context({"font.family": fonts or ["sans-serif"], "text.color": INK, "axes.edgecolor": GRID}):
            figure.suptitle(title(explanation), fontsize=15, x=0.02, ha="left", parse_math=False)
            parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
            if explanation.picture_seen is not None:
                top = parts[0].subplots(1, 3, width_ratios=[1, 1.12, 1.25])
                _pictures(top[0], top[1], explanation)
            else:
                top = parts[0].subplots(1, 2, width_ratios=[2.12, 1.25])
                _bars(top[0], explanation)
            _curves(top[-1], explanation)
            for row in range(map_rows):
                axes = parts[1 + row].subplots(1, MAPS_ACROSS)
                _maps(axes, explanation, shown[row * MAPS_ACROSS : (row + 1) * MAPS_ACROSS])
            _text(parts[-1], lines)
            file = io.BytesIO()
            FigureCanvasAgg(figure).print_png(file)
    return images.open(file).convert("RGB")


def drawable(explanation: Explanation) -> tuple[Explanation, list[str]]:
    """The explanation with names that the fonts of this machine can write, and those fonts.

    A class name in a script without a font is replaced by the class's number, and a note says so.
    """
    from matplotlib.font_manager import findfont, get_font, get_font_names

    fonts = [name for name in FONTS if name in get_font_names()]
    known: set[int] = set()
    for name in fonts:
        known |= set(get_font(findfont(name)).get_charmap())
    target, source, notes = explanation.target, explanation.source, explanation.notes
    if known and not all(ord(letter) in known for letter in target.name):
        compared = target.measure == "cosine"
        target = replace(target, name="the other text" if compared else f"class {target.index}")
        what = "the other text" if compared else "the class's name"
        notes = (*notes, f"No font of this machine can write {what}; the page (.html) shows it.")
    if known and not all(ord(letter) in known for letter in source):
        source = ""
    units = explanation.units
    if known:
        names = tuple(
            name if all(ord(letter) in known for letter in name) else f"{units.kind} {place + 1}"
            for place, name in enumerate(units.names)
        )
        if names != units.names:
            units = replace(units, names=names)
            notes = (*notes, "No font of this machine can write some of the words; the page (.html) shows them.")
    return replace(explanation, target=target, source=source, notes=notes, units=units), fonts


def title(explanation: Explanation) -> str:
    """What was asked, and by which method it was answered; the source as far as there is room in the line."""
    target = explanation.target
    said = f"{target.question} {target.given}  By {explanation.method}"
    sources = (explanation.source, Path(explanation.source).name) if explanation.source else ()
    return said + next((f"   ({each})" for each in sources if len(said) + len(each) + 5 <= TITLE), "")


def sentences(explanation: Explanation) -> list[tuple[str, str, list[str]]]:
    """(heading, colour, lines) for the meaning, each check and each note."""
    found = [("how to read it", INK, explanation.key())]
    for name, check in explanation.checks.items():
        word, colour = MARKS[check.passed]
        found.append((f"{name}: {word}", colour, check.meaning))
    found += [("note", FAINT, note) for note in explanation.notes]
    return [(heading, colour, textwrap.wrap(body, 158)) for heading, colour, body in found]


def _bare(axes: Any, heading: str) -> None:
    axes.set_title(heading, fontsize=11, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])


def _pictures(left: Any, right: Any, explanation: Explanation) -> None:
    """The picture as the model sees it, and the heat map over it with its colour bar."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    picture = explanation.picture_seen
    assert picture is not None
    height, width = picture.shape[:2]
    kind = "nearest" if max(height, width) <= 96 else "antialiased"
    left.imshow(picture, interpolation=kind)
    _bare(left, f"what the model sees ({width}×{height} pixels)")
    coloured = overlay(picture, explanation.scores, explanation.units.owner, explanation.signed)
    right.imshow(coloured, interpolation="nearest")
    most = float(np.abs(explanation.scores).max(initial=0)) or 1.0
    colours = [rgb(AGAINST), (1, 1, 1), rgb(FOR)] if explanation.signed else [(1, 1, 1), rgb(FOR)]
    low = -most if explanation.signed else float(explanation.scores.min())
    span = Normalize(low, most if most > low else low + 1)
    scale = ScalarMappable(span, LinearSegmentedColormap.from_list("", colours))
    bar = right.figure.colorbar(scale, ax=right, shrink=0.9, pad=0.02)
    bar.outline.set_edgecolor(GRID)
    bar.ax.tick_params(labelsize=8, color=GRID)
    if explanation.signed:
        bar.ax.set_title("for", fontsize=9, color=rgb(FOR))
        bar.ax.set_xlabel("against", fontsize=9, color=rgb(AGAINST))
    _bare(right, f"score of each {explanation.units.kind}")


def _bars(axes: Any, explanation: Explanation) -> None:
    """A sequence: the score of each position as a bar; of a text, the words with the largest scores, in its order."""
    if explanation.texts:
        _words(axes, explanation)
        return
    colours = [rgb(FOR) if score >= 0 else rgb(AGAINST) for score in explanation.scores]
    axes.bar(np.arange(1, len(colours) + 1), explanation.scores, color=colours)
    axes.set_title(f"score of each {explanation.units.kind}", fontsize=11, loc="left")
    axes.set_xlabel("position", fontsize=9)
    axes.tick_params(labelsize=8, color=GRID)
    axes.spines[["top", "right"]].set_visible(False)


def _words(axes: Any, explanation: Explanation) -> None:
    scores, count = explanation.scores, len(explanation.scores)
    chosen = np.sort(np.argsort(-np.abs(scores), kind="stable")[:MOST_WORDS])
    shown, at = scores[chosen], np.arange(len(chosen))
    axes.bar(at, shown, color=[rgb(FOR) if score >= 0 else rgb(AGAINST) for score in shown])
    names = [
        name if len(name) <= 14 else f"{name[:13]}…" for name in (explanation.units.names[each] for each in chosen)
    ]
    axes.set_xticks(at, names, rotation=55, ha="right", rotation_mode="anchor", parse_math=False)
    of = f"score of each {explanation.units.kind}"
    axes.set_title(
        of if len(chosen) == count else f"{of}: the {len(chosen)} largest of {count}", fontsize=11, loc="left"
    )
    axes.axhline(0, color=GRID, lw=1)
    axes.tick_params(labelsize=9, color=GRID)
    axes.spines[["top", "right"]].set_visible(False)


def _maps(axes: Any, explanation: Explanation, maps: Any) -> None:
    for place, each in zip(axes, [*maps, *[None] * (len(axes) - len(maps))], strict=True):
        if each is None:
            place.set_axis_off()
            continue
        coloured = overlay(explanation.picture_seen, each.scores, explanation.units.owner, False)
        place.imshow(coloured, interpolation="nearest")
        place.set_title(each.name, fontsize=8, loc="left")
        place.set_xticks([])
        place.set_yticks([])


def _curves(axes: Any, explanation: Explanation) -> None:
    """The deletion curves, each with its name beside it."""
    curves = explanation.curves
    if curves is None:
        axes.set_axis_off()
        return
    removed = 100 * curves.removed
    axes.fill_between(removed, curves.random.min(0), curves.random.max(0), color="#e3e3e3", lw=0)
    axes.plot(removed, curves.random.mean(0), color=FAINT, ls="--", lw=1.5, label="random order (mean and range)")
    axes.plot(removed, curves.least, color=rgb(AGAINST), lw=1.8, label="least important first")
    axes.plot(removed, curves.most, color=rgb(FOR), lw=2.4, label="most important first")
    handles, labels = axes.get_legend_handles_labels()
    low, high = curves.ends
    axes.set_ylim(low - 0.03 * high, 1.03 * high)
    axes.set_xlim(0, 100)
    axes.set_title(f"{explanation.target.watched} as {explanation.units.plural} are removed", fontsize=11,
                   loc="left", parse_math=False)  # fmt: skip
    axes.set_xlabel(f"{explanation.units.plural} removed, %", fontsize=9)
    axes.tick_params(labelsize=8, color=GRID)
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(handles[::-1], labels[::-1], fontsize=8.5, frameon=False, loc="upper center",
                bbox_to_anchor=(0.5, -0.17), ncols=3, columnspacing=1.2, handlelength=1.8)  # fmt: skip


def _text(figure: Any, lines: list[tuple[str, str, list[str]]]) -> None:
    total = sum(len(body) for _, _, body in lines) + 0.5
    at = 0.3
    for heading, colour, body in lines:
        height = 1 - at / total
        figure.text(0.012, height, heading, fontsize=9.5, weight="bold", color=colour, va="top")
        for line in body:
            figure.text(0.19, 1 - at / total, line, fontsize=9.5, va="top", parse_math=False)
            at += 1
