"""The reports of a real comparison and a real run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.pages import browsing, check_self_contained

from dougong.report import write_comparison_report, write_run_report
from dougong.report.predictions import predict_split
from dougong.training import Comparison, evaluate

SECTIONS = {
    "comparison": ["Result", "Quality against cost", "Learning", "Confusion", "Worst mistakes", "Explanations", "Cost",
                   "Data", "How it was measured"],
    "run": ["Result", "Learning", "Confusion", "Worst mistakes", "Explanations", "Cost", "Data", "How it was measured"],
}  # fmt: skip
LIMIT = 5 * 2**20


@pytest.fixture(scope="module")
def compared(comparison: Comparison) -> Path:
    return write_comparison_report(comparison)


@pytest.fixture(scope="module")
def ran(comparison: Comparison) -> Path:
    return write_run_report(comparison.runs("vit")[0])


@pytest.mark.parametrize("kind", ["comparison", "run"])
def test_page(kind: str, compared: Path, ran: Path) -> None:
    path = compared if kind == "comparison" else ran
    text = path.read_text(encoding="utf-8")
    page = check_self_contained(text)
    for title in SECTIONS[kind]:
        assert f">{title}</h2>" in text
    assert path.stat().st_size < LIMIT
    assert "<b>&0" not in text and "<img src=x" not in text, "names of files and classes are text, not tags"
    for shown in ("<img src=x onerror=alert(1)>", 'tom & "jerry" \'', "斗拱", "test/斗拱/<b>&"):
        assert shown in page.text, shown


def test_the_numbers_are_those_of_the_comparison(comparison: Comparison, compared: Path) -> None:
    text = check_self_contained(compared.read_text(encoding="utf-8")).text
    held = json.loads((comparison.path / "comparison.json").read_text(encoding="utf-8"))
    for row in held["rows"]:
        assert f"{row['mean']:.4f}" in text
        assert f"{row['low']:.4f} to {row['high']:.4f}" in text
        for score in row["scores"]:
            assert f"{score:.4f}" in text
    for name, version in held["environment"]["versions"].items():
        assert f"versions.{name} {version}" in text
    assert f"budget of 3 epochs on the same split of {comparison.data}, with 2 seeds; 36 test samples" in text


def test_predictions_are_what_evaluation_measures(comparison: Comparison) -> None:
    run = comparison.runs("resnet")[0]
    predictions = predict_split(run.model(), run.task())
    assert predictions.right.mean() == pytest.approx(evaluate(run)["accuracy"], abs=1e-9)
    assert predictions.confusion().sum() == 36 and predictions.confusion().sum(1).tolist() == [12, 12, 12]


def test_in_a_browser(compared: Path) -> None:
    with browsing(compared, viewport={"width": 1200, "height": 900}) as page:
        assert all(page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)"))
        assert page.locator("#confusion-0 ~ .pane >> nth=0").is_visible()
        names = page.locator("section:has(#confusion) .tabs label")
        panes = page.locator("section:has(#confusion) .pane")
        assert panes.nth(0).is_visible() and not panes.nth(1).is_visible()
        names.nth(1).click()
        assert panes.nth(1).is_visible() and not panes.nth(0).is_visible()
        names.nth(0).press("ArrowRight")
        wide = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert wide, "the page does not scroll sideways; wide tables do"


@pytest.mark.parametrize("look", ["light", "dark"])
def test_text_stands_out(compared: Path, look: str) -> None:
    """Contrast of body text with the paper of at least 7 to 1 (WCAG 2.1, 1.4.6), of notes 4.5 to 1."""
    with browsing(compared, color_scheme=look) as page:
        read = "name => getComputedStyle(document.querySelector(name))"
        paper = page.evaluate(f"({read})('body').backgroundColor")
        assert (brightness(paper) > 0.5) == (look == "light")
        for name, least in (("h1", 7), ("td", 7), (".note", 4.5), (".passed", 4.5), ("th", 4.5), ("nav a", 4.5)):
            ink = page.evaluate(f"({read})('{name}').color")
            assert contrast(ink, paper) >= least, (name, ink, paper)


def test_on_a_narrow_screen(compared: Path) -> None:
    with browsing(compared, viewport={"width": 390, "height": 800}) as page:
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")


def brightness(colour: str) -> float:
    """Relative luminance (WCAG 2.1) of "rgb(r, g, b)"."""
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Contrast ratio (WCAG 2.1)."""
    low, high = sorted((brightness(first), brightness(second)))
    return (high + 0.05) / (low + 0.05)
