"""The parts of reports by themselves."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix
from support.pages import Page

from dougong.explain.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Dot, Line, dot_chart, line_chart, ticks
from dougong.report.curves import learning_curves, mean_curve
from dougong.report.examples import choose
from dougong.report.predictions import Predictions, thumbnail
from dougong.report.tables import confusion, facts, table, tabs

NASTY = '"><script>alert(1)</script>'


def predictions(probabilities: object, labels: list[int]) -> Predictions:
    shares = np.asarray(probabilities, dtype=float)
    names = tuple(f"c{number}" for number in range(shares.shape[1]))
    return Predictions(shares, np.asarray(labels), names, tuple(f"f{number}" for number in range(len(labels))))


@pytest.fixture
def several() -> Predictions:
    generator = np.random.default_rng(0)
    return predictions(generator.dirichlet(np.ones(4), 60), generator.integers(0, 4, 60).tolist())


def test_confusion_counts(several: Predictions) -> None:
    np.testing.assert_array_equal(several.confusion(), confusion_matrix(several.labels, several.given))
    cells = re.findall(r"<td[^>]*title[^>]*>(\d*)</td>", confusion(several.confusion(), several.classes))
    np.testing.assert_array_equal([int(cell or 0) for cell in cells], several.confusion().ravel())


def test_many_classes_are_listed_by_pairs() -> None:
    matrix = np.diag(np.full(30, 9))
    matrix[3, 7], matrix[8, 2] = 5, 1
    text = Page(confusion(matrix, [f"n{number}" for number in range(30)])).text
    assert "n3 n7 5 36% n8 n2 1 10%" in text and "n4" not in text


def test_worst_mistakes_come_first(several: Predictions) -> None:
    wrong = [number for number in range(60) if several.probabilities[number].argmax() != several.labels[number]]
    expected = sorted(wrong, key=lambda number: several.probabilities[number, several.labels[number]])
    assert several.worst(5) == expected[:5] and several.worst(1000) == expected


def test_choice_of_examples() -> None:
    #           surely right  barely right  disagree      all wrong
    one = predictions([[0.9, 0.1], [0.55, 0.45], [0.8, 0.2], [0.1, 0.9]], [0, 0, 0, 0])
    two = predictions([[0.95, 0.05], [0.6, 0.4], [0.1, 0.9], [0.2, 0.8]], [0, 0, 0, 0])
    chosen = choose([one, two])
    assert list(chosen) == [0, 2, 3, 1]
    assert "disagree" in chosen[2] and "wrong" in chosen[3] and "only just" in chosen[1]
    assert list(choose([one])) == [0, 3, 1]
    flawless = predictions([[0.9, 0.1]], [0])
    assert list(choose([flawless])) == [0]


def test_mean_curve_goes_as_far_as_all() -> None:
    assert mean_curve([([1, 2, 3], [0, 2, 4]), ([1, 2], [2, 4])]) == ([1, 2], [1, 3])
    assert mean_curve([([], []), ([1], [1])]) == ([], [])


def test_learning_curves_draw_each_seed_and_the_mean() -> None:
    rows = [[{"split": "val", "step": step, "accuracy": step / 10 + seed} for step in (1, 2)] for seed in (0, 1)]
    drawn = learning_curves({NASTY: rows, "other": rows[:1]}, "val", "accuracy", "step")
    assert drawn.count("faint") == 2 and "<script" not in drawn
    assert len(re.findall(r'class="line c\d"', drawn.split("</div>")[-1])) == 2
    assert "Nothing was measured" in learning_curves({"a": [[]]}, "val", "accuracy", "step")


@pytest.mark.parametrize("log", [False, True])
def test_lines_land_where_the_ticks_say(log: bool) -> None:
    """A point on a tick is drawn at that tick's place on the axis, whatever the axis."""
    x = [10.0, 100.0, 1000.0] if log else [0.0, 50.0, 100.0]
    across = Axis("x", log=log, low=x[0], high=x[2])
    drawn = line_chart([Line("a", x, [0.0, 0.5, 1.0], 0)], across, Axis("y", low=0, high=1), "chart")
    path = re.findall(r"[ML]([\d.]+) ([\d.]+)", re.findall(r'stroke-width="2.0" d="([^"]+)"', drawn)[-1])
    below = re.findall(r'<text x="([\d.]+)" y="300" class="mid">([\d.]+)<', drawn)
    beside = re.findall(r'y="([\d.]+)" class="end">([\d.]+)<', drawn)
    labels = {float(text): float(at) for at, text in below}
    sides = {float(text): float(at) - 4 for at, text in beside}
    for (place, down), value, height in zip(path, x, (0.0, 0.5, 1.0), strict=True):
        if value in labels:
            assert float(place) == pytest.approx(labels[value], abs=0.11)
        if height in sides:
            assert float(down) == pytest.approx(sides[height], abs=0.11)
    assert set(x) & set(labels), "some tick is at a point"
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    expected = [(LEFT, bottom), ((LEFT + right) / 2, (TOP + bottom) / 2), (right, TOP)]
    np.testing.assert_allclose(np.asarray(path, float), expected, atol=0.11)  # corner to corner, more is higher


def test_gaps_and_names() -> None:
    drawn = line_chart([Line(NASTY, [0, 1, 2], [0, math.nan, 1], 0)], Axis(NASTY), Axis("y"), NASTY)
    assert "nan" not in drawn and "<script" not in drawn
    two = [Dot(NASTY, 5.0, 0.5, 0.4, 0.6, 0), Dot("b", 5.0, 0.5, 0.4, 0.6, 1)]
    dots = dot_chart(two, Axis("x", log=True), Axis("y"), "")
    assert "<script" not in dots
    places = re.findall(r'y="([\d.]+)" class="name', dots)
    assert abs(float(places[0]) - float(places[1])) >= 12, "names of points on one spot do not cover one another"


def test_ticks_are_round_and_inside() -> None:
    for low, high in ((0, 1), (0.93, 0.99), (-3, 7), (1e6, 5e6), (0.5, 0.5001)):
        found = ticks(low, high, False)
        assert 3 <= len(found) <= 9 and all(low - 1e-9 <= value <= high + 1e-9 for value in found)
    for low, high in ((1, 2), (3, 50), (1e3, 1e12), (0.9e9, 1.1e9)):
        found = ticks(low, high, True)
        assert 2 <= len(found) <= 9 and all(low * 0.99 <= value <= high * 1.01 for value in found)


def test_tables_escape_and_mark() -> None:
    drawn = table(["model", NASTY], [["a", 1], [NASTY, 2]], best={1: 1})
    assert "<script" not in drawn and '<td class="best">2</td>' in drawn and Page(drawn)
    assert "<script" not in facts({NASTY: {NASTY: [NASTY, 0.5]}}) and "a.b" in facts({"a": {"b": 1}})
    assert "<script" not in confusion(np.eye(2, dtype=int), [NASTY, "b"])


def test_tabs() -> None:
    two = tabs("x", {"a": "<p>1</p>", NASTY: "<p>2</p>"})
    assert two.count('type="radio"') == 2 and two.count(" checked") == 1 and "<script" not in two
    assert tabs("x", {"a": "<p>1</p>"}) == "<p>1</p>"
    assert tabs("x", {str(number): "" for number in range(13)}).count("<details>") == 13


def test_thumbnails() -> None:
    assert thumbnail(np.zeros((8, 8, 3), np.uint8)).shape == (8, 8, 3)
    assert thumbnail(np.zeros((400, 200, 3), np.uint8)).shape == (160, 80, 3)


@pytest.mark.parametrize("write", [lambda value: f"{value:.6g}", lambda value: f"{value:,.2f}"], ids=["short", "long"])
def test_ticks_run_into_nothing(write: Callable[[float], str]) -> None:
    """A letter is about 7 pixels wide; the axis's own label stands upright, 8 pixels to either side of x = 14."""
    x = [float(value) for value in range(0, 2_000_001, 100_000)]
    chart = line_chart(
        [Line("a", x, [1e6 + each for each in x], 0)], Axis("x", write=write), Axis("y", write=write), ""
    )
    at = [
        (float(x), float(y), text)
        for x, y, text in re.findall(r'<text x="([^"]+)" y="([^"]+)" class="end">([^<]+)', chart)
    ]
    assert len(at) >= 4 and all(x - 7 * len(text) >= 22 for x, _, text in at)
    below = re.findall(r'<text x="([^"]+)" y="[^"]+" class="mid">([^<]+)', chart)
    spans = [(float(x) - 3.5 * len(text), float(x) + 3.5 * len(text)) for x, text in below]
    assert len(spans) >= 2 and all(b[0] - a[1] > 3 for a, b in itertools.pairwise(spans))
    assert spans[-1][1] <= WIDTH + 2


def test_places_break_between_folders_alone() -> None:
    drawn = table(["text", "where"], [["a/b", "reviews/spring/train-1.csv:12"]], left=(1,))
    assert 'class="left place">reviews/<wbr>spring/<wbr>train-1.csv:12<' in drawn and "<td>a/b</td>" in drawn
    assert Page(drawn).text.endswith("train-1.csv:12")
