"""Charts as inline SVG: small, sharp, readable in light and dark, and made of nothing but text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 330
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 46
LETTER = 7.0
"""Pixels of a letter or digit of a tick, at most."""
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "star")
Points = Sequence[float]


@dataclass(frozen=True)
class Line:
    """One line. Args: name: in the legend; x, y: points; colour: its number; width: in pixels; dash: as in SVG."""

    name: str
    x: Points
    y: Points
    colour: int
    width: float = 2.0
    dash: str = ""
    faint: bool = False


@dataclass(frozen=True)
class Band:
    """The area between two lines. Args: x: points; low, high: its borders; colour: its number, -1 for grey."""

    x: Points
    low: Points
    high: Points
    colour: int = -1


@dataclass(frozen=True)
class Dot:
    """One point with an interval. Args: name: beside it; low, high: ends of the interval of y."""

    name: str
    x: float
    y: float
    low: float
    high: float
    colour: int


@dataclass(frozen=True)
class Axis:
    """One axis. Args: label: what it measures; log: logarithmic; low, high: given ends; write: a number as text."""

    label: str
    log: bool = False
    low: float | None = None
    high: float | None = None
    write: Callable[[float], str] = lambda value: f"{value:.6g}"

    def ends(self, values: Points, pad: float = 0.04) -> tuple[float, float]:
        """From where to where it goes."""
        known = [value for value in values if math.isfinite(value) and (value > 0 or not self.log)] or [1.0]
        low, high = min(known), max(known)
        if self.log:
            room = max(math.log10(high / low) * 0.12, 0.15)
            low, high = low / 10**room, high * 10**room
        else:
            room = (high - low) * pad or abs(high) * 0.05 or 1.0
            low, high = low - room, high + room
        return (low if self.low is None else self.low), (high if self.high is None else self.high)


def ticks(low: float, high: float, log: bool, count: int = 5) -> list[float]:
    """Round numbers from low to high: about ``count`` of them.

    >>> ticks(0, 1, False)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(90, 12000, True)
    [100.0, 1000.0, 10000.0]
    """
    if log:
        decades = math.log10(high / low)
        steps = (1.0,) if decades >= 2 else (1.0, 2.0, 5.0) if decades >= 0.7 else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [step * 10.0**power for power in powers for step in steps]
        found = [value for value in found if low * 0.999 <= value <= high * 1.001]
        return found[:: max(1, -(-len(found) // 6))]
    rough = (high - low) / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]


class Frame:
    """The axes of a chart, and where a value lands on them."""

    def __init__(self, x: Axis, y: Axis, xs: Points, ys: Points, x_pad: float = 0.0) -> None:
        self.x, self.y = x, y
        self.x_ends, self.y_ends = x.ends(xs, x_pad), y.ends(ys)
        self.marks = [(value, y.write(value)) for value in ticks(*self.y_ends, y.log)]
        longest = max((len(text) for _, text in self.marks), default=0)
        self.left = max(LEFT, round(28 + LETTER * longest))  # beside the axis's label, which stands upright

    @staticmethod
    def _share(value: float, ends: tuple[float, float], log: bool) -> float:
        if log:
            return math.log(max(value, ends[0] * 1e-3) / ends[0]) / math.log(ends[1] / ends[0])
        return (value - ends[0]) / (ends[1] - ends[0])

    def across(self, value: float) -> float:
        """x in pixels."""
        return round(self.left + self._share(value, self.x_ends, self.x.log) * (WIDTH - self.left - RIGHT), 1)

    def down(self, value: float) -> float:
        """y in pixels."""
        share = min(max(self._share(value, self.y_ends, self.y.log), -0.02), 1.02)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def path(self, xs: Points, ys: Points) -> str:
        """Points as the d of a path; what is not finite is left out."""
        pairs = [(a, b) for a, b in zip(xs, ys, strict=True) if math.isfinite(a) and math.isfinite(b)]
        return " ".join(f"{'L' if at else 'M'}{self.across(a)} {self.down(b)}" for at, (a, b) in enumerate(pairs))

    def below(self) -> list[tuple[float, str]]:
        """The ticks of x with their texts: every second, or fewer, where they would run into one another."""
        found = [(value, self.x.write(value)) for value in ticks(*self.x_ends, self.x.log)]
        for step in range(1, len(found) + 1):
            some = found[::step]
            room = [
                self.across(b) - self.across(a) - LETTER * (len(one) + len(next_)) / 2
                for (a, one), (b, next_) in itertools.pairwise(some)
            ]
            if all(each >= LETTER for each in room):
                return some
        return found[:1]

    def wrap(self, inside: str, label: str) -> str:
        """The whole chart, with axes, grid and what it shows in words for those who cannot see it."""
        parts = []
        for value, text in self.below():
            at = self.across(value)
            parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
            inner = min(at, WIDTH - LETTER * len(text) / 2)  # the last one stays in the picture
            parts.append(f'<text x="{inner:g}" y="{HEIGHT - BOTTOM + 16}" class="mid">{escape(text)}</text>')
        for value, text in self.marks:
            at = self.down(value)
            parts.append(f'<line class="grid" x1="{self.left}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
            parts.append(f'<text x="{self.left - 6}" y="{at + 4}" class="end">{escape(text)}</text>')
        middle_x, middle_y = (self.left + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
        parts.append(f'<text x="{middle_x}" y="{HEIGHT - 8}" class="mid label">{escape(self.x.label)}</text>')
        parts.append(
            f'<text transform="translate(14 {middle_y}) rotate(-90)" class="mid label">{escape(self.y.label)}</text>'
        )
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
            f"{''.join(parts)}{inside}</svg>"
        )


def line_chart(lines: Sequence[Line], x: Axis, y: Axis, label: str, bands: Sequence[Band] = ()) -> str:
    """Lines over one another, a legend above them: HTML."""
    if not any(len(line.x) for line in lines):
        return '<p class="note">Nothing was measured yet.</p>'
    xs = [value for line in lines for value in line.x]
    ys = [value for line in lines for value in line.y]
    frame = Frame(x, y, xs, ys)
    parts = []
    for band in bands:
        there, back = frame.path(band.x, band.high), frame.path(band.x[::-1], band.low[::-1]).replace("M", "L", 1)
        parts.append(f'<path class="band {colour(band.colour)}" d="{there} {back} Z"/>')
    for line in lines:
        dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
        kind = f"line {colour(line.colour)}{' faint' if line.faint else ''}"
        parts.append(f'<path class="{kind}" stroke-width="{line.width}"{dash} d="{frame.path(line.x, line.y)}"/>')
        if len(line.x) == 1 and math.isfinite(line.y[0]):  # a line of one point would not be seen
            place = frame.across(line.x[0]), frame.down(line.y[0])
            parts.append(f'<path class="dot {colour(line.colour)}" d="{shape(0, *place)}"/>')
    return legend([line for line in lines if line.name]) + frame.wrap("".join(parts), label)


def legend(lines: Sequence[Line]) -> str:
    """The names of lines with a piece of each."""
    items = []
    for line in lines:
        dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
        piece = f'<path class="line {colour(line.colour)}" stroke-width="{max(2, line.width)}"{dash} d="M0 5 L22 5"/>'
        items.append(f'<span><svg width="22" height="10" aria-hidden="true">{piece}</svg> {escape(line.name)}</span>')
    return f'<div class="legend">{"".join(items)}</div>'


def dot_chart(dots: Sequence[Dot], x: Axis, y: Axis, label: str) -> str:
    """Points with intervals, each named beside it: SVG."""
    ys = [value for dot in dots for value in (dot.y, dot.low, dot.high) if math.isfinite(value)]
    frame = Frame(x, y, [dot.x for dot in dots], ys, 0.12)
    parts: list[str] = []
    taken: list[tuple[float, float]] = []
    for dot in sorted(dots, key=lambda dot: dot.y):
        across, down = frame.across(dot.x), frame.down(dot.y)
        interval = f"M{across} {frame.down(dot.low)} L{across} {frame.down(dot.high)}"
        parts.append(f'<path class="line {colour(dot.colour)}" stroke-width="1.5" d="{interval}"/>')
        parts.append(f'<path class="dot {colour(dot.colour)}" d="{shape(dot.colour, across, down)}"/>')
        place = down + 4
        while any(abs(place - other) < 14 and abs(across - beside) < 110 for beside, other in taken):
            place -= 14  # names of near points go above one another
        taken.append((across, place))
        side, anchor = (9, "") if across < WIDTH - 130 else (-9, "end")
        parts.append(f'<text x="{across + side}" y="{place}" class="name {anchor}">{escape(dot.name)}</text>')
    return frame.wrap("".join(parts), label)


def colour(number: int) -> str:
    """The class of a colour; grey below 0."""
    return "c-grey" if number < 0 else f"c{number % 8}"


def shape(number: int, x: float, y: float) -> str:
    """A mark for those who do not tell colours apart, as the d of a path around (x, y)."""
    name = SHAPES[number % len(SHAPES)]
    r = 6
    corners: dict[str, list[tuple[float, float]]] = {
        "square": [(-5, -5), (5, -5), (5, 5), (-5, 5)],
        "triangle": [(0, -7), (6, 5), (-6, 5)],
        "diamond": [(0, -7), (7, 0), (0, 7), (-7, 0)],
        "cross": [(-6, -2), (-2, -2), (-2, -6), (2, -6), (2, -2), (6, -2),
                  (6, 2), (2, 2), (2, 6), (-2, 6), (-2, 2), (-6, 2)],
        "star": [((7 if point % 2 == 0 else 3) * math.sin(math.pi * point / 5),
                  -(7 if point % 2 == 0 else 3) * math.cos(math.pi * point / 5)) for point in range(10)],
    }  # fmt: skip
    if name == "circle":
        return f"M{x - r} {y} a{r} {r} 0 1 0 {2 * r} 0 a{r} {r} 0 1 0 {-2 * r} 0 Z"
    return " ".join(f"{'L' if at else 'M'}{x + a:.1f} {y + b:.1f}" for at, (a, b) in enumerate(corners[name])) + " Z"
