"""Coloured texts: nothing of the text is lost or obeyed, and it can be read on any ground."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pages import browsing, check_self_contained
from torch import nn

import dougong as dg
from dougong.explain import Explanation
from dougong.explain.colours import AGAINST, FOR
from dougong.explain.page import page_of
from dougong.explain.passages import DEPTH, depths, pieces, strongest, style, terminal
from dougong.tasks import TextClassification

HOSTILE = 'a <script>alert(1)</script> \x1b[31m marvellous  film & "dreadful"\n story'


@pytest.fixture(scope="module")
def hostile(readers: dict[str, nn.Module], opinions: TextClassification) -> Explanation:
    return dg.explain(readers["textcnn"], HOSTILE, task=opinions, target="bad")


def test_pieces_make_the_text_again(hostile: Explanation) -> None:
    assert "".join(said for said, _ in pieces(hostile)[0]) == HOSTILE
    assert [said for said, word in pieces(hostile)[0] if word >= 0] == list(hostile.units.names)


def test_page(hostile: Explanation, tmp_path: Path) -> None:
    path = hostile.save(tmp_path / "x.html")
    text = path.read_text(encoding="utf-8")
    page = check_self_contained(text)
    assert "<script" not in text and "&lt;" in text and "alert" in page.text
    for depth, score in zip(depths(hostile.scores, True), hostile.scores, strict=True):
        colour = FOR if score >= 0 else AGAINST
        shown = f'background:rgba({",".join(map(str, colour))},{abs(depth) * DEPTH:.3f})" title="{score:+.3g}"'
        assert shown in text or abs(depth) * DEPTH < 5e-4
    assert "for" in page.text and "against" in page.text, "the legend names both sides"
    with browsing(path) as seen:
        assert seen.locator(".passage").first.text_content().replace("\ufffd", "\x1b") == HOSTILE
        assert seen.locator(".passage .word").count() == len(hostile.units)
    several = page_of("some <b>", {"<i>one": hostile, "two": hostile})
    assert check_self_contained(several).text.count("alert") >= 2 and "<i>" not in several
    assert "<h1>some &lt;b&gt;</h1>" in several


def luminance(colour: tuple[float, ...]) -> float:
    """WCAG 2.1, relative luminance."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(ink: tuple[float, ...], paper: tuple[float, ...]) -> float:
    high, low = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("look", [0, 1])
@pytest.mark.parametrize("colour", [FOR, AGAINST])
def test_words_can_be_read_on_their_colours(look: int, colour: tuple[int, int, int]) -> None:
    """Contrast of at least 4.5, as WCAG 2.1 asks (1.4.3), light and dark; full colour would fail."""
    css = (Path(dg.explain.__file__).parent / "style.css").read_text()
    paper, ink = (
        tuple(int(value * (2 if len(value) == 1 else 1), 16) / 255 for value in re.findall(pattern, found[look]))
        for name in ("paper", "ink")
        for found in [re.findall(rf"--{name}: #([0-9a-f]+)", css)]
        for pattern in [r"..?" if len(found[look]) > 3 else r"."]
    )
    worst = []
    for depth in np.linspace(0, 1, 11):
        share = depth * DEPTH
        ground = tuple(share * part / 255 + (1 - share) * under for part, under in zip(colour, paper, strict=True))
        worst.append(contrast(ink, ground))
    assert min(worst) >= 4.5
    if look == 0 and colour == AGAINST:
        assert contrast(ink, tuple(part / 255 for part in colour)) < 4.5, "negative control: full colour"


def test_terminal(hostile: Explanation) -> None:
    whole = terminal(hostile)
    assert whole.plain == HOSTILE.replace("\x1b", "\ufffd"), "what would change the terminal is taken out"
    top, low = strongest(hostile)["for"][0][0], strongest(hostile)["against"][0][0]
    styles = {whole.plain[span.start : span.end]: str(span.style) for span in whole.spans}
    assert "underline" not in styles[top] and "underline" in styles[low]
    assert style(0.01) == "" and style(1, few=True) != style(-1, few=True) and "yellow" in style(1, few=True)
    for depth in (0.2, 0.6, 1.0, -0.2, -0.6, -1.0):
        mixed = tuple(int(part) / 255 for part in re.findall(r"\d+", style(depth)))
        assert contrast((0.0, 0.0, 0.0), mixed) >= 4.5


def test_drawing(
    hostile: Explanation, readers: dict[str, nn.Module], opinions: TextClassification, tmp_path: Path
) -> None:
    drawn = Image.open(hostile.save(tmp_path / "x.png"))
    assert drawn.width > 1000 and np.unique(np.asarray(drawn)).size > 50
    long = "the film was a story of $people$ here " * 6
    shown = dg.explain(readers["bert"], long, task=opinions, method="attention")
    assert Image.open(shown.save(tmp_path / "y.png")).width > 1000
    page = check_self_contained(shown.save(tmp_path / "y.html").read_text(encoding="utf-8")).text
    assert "2 single maps" in page and "layer 2, head 2" in page


def test_shares_have_one_side(readers: dict[str, nn.Module], opinions: TextClassification) -> None:
    shown = dg.explain(readers["bert"], "the film was horrid", task=opinions, method="rollout")
    assert list(strongest(shown)) == ["highest"] and (depths(shown.scores, False) >= 0).all()
    assert 'class="word against"' not in shown.html()
