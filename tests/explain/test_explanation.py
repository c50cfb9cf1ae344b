"""The contract: what comes in, what goes out, how it is drawn."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.pages import browsing, check_self_contained
from torch import Tensor, nn

import dougong as dg
from dougong.errors import UserError
from dougong.explain.draw import drawable
from dougong.explain.pictures import grid_units


class Task:
    """A task's part in explanations: how it prepares, and what it says of itself."""

    def describe(self) -> dict:
        return {"classes": [f"<b>{digit}</b>" for digit in range(10)], "mean": [0.5] * 3, "std": [0.25] * 3}


@pytest.mark.parametrize("method", ["attention", "rollout", "integrated-gradients"])
def test_save(method: str, vit: nn.Module, digits: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    explanation = dg.explain(vit, digits[0][1500], method=method, task=Task())
    drawn = Image.open(explanation.save(tmp_path / "x.png"))
    assert drawn.width > 1000 and drawn.height > 400 and np.unique(np.asarray(drawn)).size > 50
    page = explanation.save(tmp_path / "x.html").read_text(encoding="utf-8")
    check_self_contained(page)
    assert "<b>" not in page and "&lt;b&gt;" in page, "class names are text, not tags"
    held = json.loads(explanation.save(tmp_path / "x.json").read_text(encoding="utf-8"))
    assert held["scores"] == explanation.scores.tolist() and held["method"] == method
    assert held["target"]["name"] == explanation.target.name and len(held["units"]["boxes"]) == len(explanation.units)
    assert set(held["checks"]) == {"deletion", "randomised weights"} | (
        {"completeness"} if method == "integrated-gradients" else {"reproduction"}
    )


def test_wrong_endings_and_folders(vit: nn.Module, digits: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    explanation = dg.explain(vit, digits[0][0])
    with pytest.raises(UserError, match=r"cannot be saved as \.gif; end the name in \.png"):
        explanation.save(tmp_path / "x.gif")
    with pytest.raises(UserError, match="there is no folder"):
        explanation.save(tmp_path / "none" / "x.png")
    assert not list(tmp_path.iterdir())


def test_the_same_twice(vit: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    first, second = (dg.explain(vit, digits[0][1500]).to_dict() for _ in range(2))
    assert first == second


def test_picture_seen_takes_the_normalisation_back(vit: nn.Module) -> None:
    shown = torch.arange(64.0).view(1, 8, 8).repeat(3, 1, 1) / 64
    seen = dg.explain(vit, (shown - 0.5) / 0.25, task=Task()).picture_seen
    np.testing.assert_array_equal(seen, (shown * 255).round().permute(1, 2, 0).numpy().astype(np.uint8))


def test_target_by_name_and_number(vit: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    named = dg.explain(vit, digits[0][0], target="<b>3</b>", task=Task())
    assert named.target.index == 3 and dg.explain(vit, digits[0][0], target=3).target.probability == pytest.approx(
        named.target.probability
    )
    with pytest.raises(UserError, match="target=10: the model has 10 classes; choose from 0 to 9"):
        dg.explain(vit, digits[0][0], target=10)
    with pytest.raises(UserError, match="unknown class '<b>33'; did you mean '<b>3</b>'"):
        dg.explain(vit, digits[0][0], target="<b>33", task=Task())


def test_bad_requests(vit: nn.Module, digits: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown method 'roll-out'; did you mean 'rollout'"):
        dg.explain(vit, digits[0][0], method="roll-out")
    with pytest.raises(UserError, match="2 samples at once; explain one at a time"):
        dg.explain(vit, digits[0][:2])
    with pytest.raises(UserError, match="does not say how its inputs are prepared"):
        dg.explain(vit, tmp_path / "cat.jpg")
    with pytest.raises(UserError, match="int is no model"):
        dg.explain(3, digits[0][0])
    with pytest.raises(UserError, match="answers with no class"):
        both = dg.build("transformer", vocab_size=9, d_model=8, n_heads=2, d_ff=8, n_layers=1)
        dg.explain(both, torch.zeros(1, 4).long())


def test_units_cover_each_pixel_once() -> None:
    for size, cell in (((8, 8), (2, 2)), ((7, 5), (2, 2)), ((8, 6), (1, 6)), ((5, 4), (5, 1))):
        units = grid_units("cell", size, cell)
        drawn = np.full(size, -1)
        for number, (left, top, right, bottom) in enumerate(units.boxes or ()):
            assert (drawn[top:bottom, left:right] == -1).all()
            drawn[top:bottom, left:right] = number
        np.testing.assert_array_equal(drawn, units.owner)


def test_rows_of_a_recurrent_model(lstm: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    explanation = dg.explain(lstm, digits[0][0])
    assert explanation.units.kind == "pixel" and len(explanation.units) == 64


def test_large_pictures_are_scored_in_cells() -> None:
    model = dg.build("resnet", image_size=64, layers=[1], width=4, block="basic", stem="small", n_classes=3, seed=0)
    explanation = dg.explain(model, torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert len(explanation.units) == 256 and explanation.units.boxes is not None
    assert explanation.units.boxes[1] == (4, 0, 8, 4)


def test_page_in_a_browser(vit: nn.Module, digits: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    path = dg.explain(vit, digits[0][0], method="attention", task=Task()).save(tmp_path / "x.html")
    with browsing(path) as page:
        assert page.locator("svg.chart path.line").count() == 3
        assert all(page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)"))
        assert page.locator("text=<b>0</b>").count() > 0


def test_names_that_no_font_can_write(vit: nn.Module, digits: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    """A private character has no picture in any font: the drawing falls back to the number, the page keeps the name."""

    class Strange(Task):
        def describe(self) -> dict:
            return {"classes": [f"\ue0a1{digit}" for digit in range(10)]}

    explanation = dg.explain(vit, digits[0][0], task=Strange())
    shown, _ = drawable(explanation)
    assert shown.target.name == f"class {explanation.target.index}" and "No font" in shown.notes[-1]
    assert "\ue0a1" in explanation.html()
    assert drawable(dg.explain(vit, digits[0][0]))[0].target.name == str(explanation.target.index)


@pytest.mark.parametrize(
    ("highest", "lowest", "ends"),
    [(0.9, 0.1, (0, 1)), (0.002, 0.0005, (0, 0.0022)), (0.5, -0.3, (-0.3, 1)), (0, 0, (0, 1))],
)
def test_curves_of_small_probabilities_are_seen(highest: float, lowest: float, ends: tuple[float, float]) -> None:
    from dougong.explain.explanation import Curves

    line = np.array([highest, (highest + lowest) / 2, lowest])
    assert Curves(np.linspace(0, 1, 3), line, line, np.stack((line, line))).ends == pytest.approx(ends)


@pytest.mark.parametrize("method", ["occlusion", "integrated-gradients"])
def test_what_needs_no_gradient_runs_by_the_fast_convolutions(
    method: str, resnet: nn.Module, digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks of every method, and occlusion itself; what they find is what the plain model says."""
    from dougong.explain import checks
    from dougong.explain.methods import occlusion
    from dougong.runtime.convolving import FastConvolutions

    entered = []
    enter = FastConvolutions.__enter__
    monkeypatch.setattr(FastConvolutions, "__enter__", lambda self: (entered.append(1), enter(self))[1])
    fast = dg.explain(resnet, digits[0][3], method=method)
    assert len(entered) >= (1 if method != "occlusion" else 2)
    for module in (checks, sys.modules[occlusion.__module__]):
        monkeypatch.setattr(module, "FastPictures", lambda _: nullcontext())
    count = len(entered)
    plain = dg.explain(resnet, digits[0][3], method=method)
    assert len(entered) == count  # the control
    assert np.allclose(fast.scores, plain.scores, atol=1e-4 * np.abs(plain.scores).max())
    assert fast.curves is not None and plain.curves is not None
    assert np.allclose(fast.curves.most, plain.curves.most, atol=1e-3)
    assert not any("forward" in vars(part) for part in resnet.modules())
