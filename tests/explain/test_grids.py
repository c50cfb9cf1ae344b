"""Attention of a pyramid, a grid in each stage and fewer keys than queries, against Transformers and laid by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.scenes import scene
from torch import Tensor, nn

import dougong as dg
from dougong.errors import UserError
from dougong.explain.capture import capture
from dougong.explain.opening import Sample, make_subject
from dougong.report.examples import methods_for

SIZE = (48, 64)
SEGFORMER = {"architecture": "segformer", "layers": [2, 1, 1], "widths": [8, 16, 24], "n_heads": [1, 2, 3],
             "reductions": [5, 2, 1], "patch_sizes": [7, 3, 3], "strides": [4, 2, 2], "mlp_ratios": [2, 2, 2],
             "d_head": 16, "n_classes": 3}  # fmt: skip
"""The first stage has 12 x 16 queries and 2 x 3 keys, made of 10 x 15 of them: two rows and a column are left over."""
GRIDS = ((12, 16), (12, 16), (6, 8), (3, 4))
KEYS, STRIDES = ((2, 3), (2, 3), (3, 4), (3, 4)), (5, 5, 2, 1)
LAST, HEADS = (1, 2, 3), (1, 2, 3)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    built = dg.build(SEGFORMER, seed=3).eval()
    with torch.no_grad():  # weights that are far from even, so that a wrong one is seen
        for name, values in built.named_parameters():
            if name.endswith(("query.weight", "key.weight")):
                values.mul_(40)
    return built


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.from_numpy(scene(4, SIZE)[0]).permute(2, 0, 1).float()[None] / 128 - 1


@pytest.fixture(scope="module")
def theirs(model: nn.Module, pixels: Tensor, tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """What Transformers' own code gives of each layer, (H, L, S)."""
    import transformers

    place = tmp_path_factory.mktemp("segformer")
    dg.save(model, place)
    other = transformers.SegformerForSemanticSegmentation.from_pretrained(place, attn_implementation="eager").eval()
    with torch.no_grad():
        found = other(pixels, output_attentions=True).attentions
    return [each[0].double().numpy() for each in found]


def laid_by_hand(shares: np.ndarray, number: int, units: Any) -> np.ndarray:
    """Shares of a layer's keys to cells, pixel by pixel: each goes to the pixels whose place it was made of."""
    rows, columns = KEYS[number]
    of: dict[int, list[tuple[int, int]]] = {}
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            down, across = y // (SIZE[0] // GRIDS[number][0]), x // (SIZE[1] // GRIDS[number][1])
            row, column = down // STRIDES[number], across // STRIDES[number]
            if row < rows and column < columns:
                of.setdefault(row * columns + column, []).append((y, x))
    found = np.zeros(len(units))
    for key, places in of.items():
        for place in places:
            found[units.owner[place]] += shares[key] / len(places)
    return found


def rows_of(box: tuple[int, int, int, int], number: int) -> list[int]:
    """The queries of a layer that lie under a box of pixels, which is a whole number of places of every grid."""
    left, top, right, bottom = box
    down, across = SIZE[0] // GRIDS[number][0], SIZE[1] // GRIDS[number][1]
    return [
        y * GRIDS[number][1] + x
        for y in range(top // down, bottom // down)
        for x in range(left // across, right // across)
    ]


def test_each_stage_is_that_of_transformers(model: nn.Module, pixels: Tensor, theirs: list[np.ndarray]) -> None:
    assert [each.shape for each in theirs] == [
        (1, 192, 6), (1, 192, 6), (2, 48, 12), (3, 12, 12)
    ]  # fmt: skip
    box = (16, 16, 48, 32)
    found = dg.explain(model, pixels, method="attention", at=",".join(map(str, box)))
    names = [f"stage {s + 1}, layer {LAST[s] + 1}, head {h + 1}" for s in range(3) for h in range(HEADS[s])]
    assert [each.name for each in found.maps] == names
    stages, maps = [], iter(found.maps)
    for stage, number in enumerate(LAST):
        rows = rows_of(box, number)
        # at the edges of a region, a grid's places are read where its enlarged scores read them
        seen = set(make_readout(model, pixels, box, number))
        assert set(rows) <= seen
        heads = []
        for head in range(HEADS[stage]):
            expected = laid_by_hand(theirs[number][head][sorted(seen)].mean(0), number, found.units)
            assert np.allclose(next(maps).scores, expected, atol=1e-5)
            heads.append(expected)
        stages.append(np.mean(heads, 0))
    assert np.allclose(found.scores, np.mean(stages, 0), atol=1e-5) and found.scores.sum() == pytest.approx(1, abs=1e-5)
    assert found.checks["reproduction"].passed
    assert "the attention that the region pays to each cell, mean of 3 stages" in found.meaning
    assert found.scores.std() > 0.3 * found.scores.mean()  # no even haze, of which anything would be right


def make_readout(model: nn.Module, pixels: Tensor, box: tuple[int, ...], number: int) -> list[int]:
    """The queries of a layer that the mean score of a box is read at, found by taking gradients to them one by one."""
    region = np.zeros(SIZE, bool)
    region[box[1] : box[3], box[0] : box[2]] = True
    masks = torch.zeros(1, 1, *GRIDS[0], requires_grad=True)
    large = nn.functional.interpolate(masks, size=SIZE, mode="bilinear", align_corners=False)
    large[0, 0][torch.from_numpy(region)].sum().backward()
    assert masks.grad is not None
    touched, found = masks.grad[0, 0].numpy() > 0, set()
    for y, x in zip(*touched.nonzero(), strict=True):
        step = GRIDS[0][0] // GRIDS[number][0]
        found.add((y // step) * GRIDS[number][1] + x // step)
    return sorted(found)


def test_chosen_layers_heads_and_rows(model: nn.Module, pixels: Tensor, theirs: list[np.ndarray]) -> None:
    found = dg.explain(model, pixels, method="attention", layers=[0], heads=[0], rows=[7, 100])
    assert [each.name for each in found.maps] == [f"stage 1, layer 1, head 1, row {row}" for row in (7, 100)]
    for each, row in zip(found.maps, (7, 100), strict=True):
        assert np.allclose(each.scores, laid_by_hand(theirs[0][0, row], 0, found.units), atol=1e-5)
    # what was made into no key, at the lower and right edge, is given nothing
    below = [name for name, box in enumerate(found.units.boxes or ()) if box[1] >= 40 or box[0] >= 60]
    assert found.units.boxes is not None and found.units.boxes[0] == (0, 0, 20, 20) and len(found.units) == 12
    assert below and found.scores[below].max() == 0 and found.scores.sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(UserError, match="1 head;"):
        dg.explain(model, pixels, method="attention", layers=[0], heads=[1])


def test_a_turned_layout_would_be_seen(model: nn.Module, pixels: Tensor, theirs: list[np.ndarray]) -> None:
    found = dg.explain(model, pixels, method="attention", layers=[1], rows=[7])
    turned = theirs[1][0, 7].reshape(KEYS[1]).T.ravel()
    assert not np.allclose(found.scores, laid_by_hand(turned, 1, found.units), atol=1e-3)
    another = theirs[0][0, 7]
    assert not np.allclose(found.scores, laid_by_hand(another, 1, found.units), atol=1e-3)


def test_keys_know_their_grid(model: nn.Module, pixels: Tensor) -> None:
    subject = make_subject(model, Sample(pixels), (), None)
    layers = capture(subject, "attention")
    found = [(each.grids.queries, each.grids.keys, each.grids.stride) for each in layers if each.grids is not None]
    assert found == list(zip(GRIDS, KEYS, STRIDES, strict=True))


def test_rollout_says_why_not(model: nn.Module, pixels: Tensor) -> None:
    with pytest.raises(UserError, match=r"segformer attends on several grids.*use method=attention"):
        dg.explain(model, pixels, method="rollout")


def test_a_classifier_reads_its_last_stage(pixels: Tensor, tmp_path: Path) -> None:
    model = dg.build({**SEGFORMER, "head": "classes"}, seed=1).eval()
    found = dg.explain(model, pixels, method="attention")
    assert [each.name for each in found.maps] == [f"stage 3, layer 4, head {head}" for head in (1, 2, 3)]
    assert "the average position pays" in found.meaning and found.checks["reproduction"].passed
    layer = capture(make_subject(model, Sample(pixels), (), None), "attention")[-1]
    weights = layer.weights().double().numpy().mean((0, 1))
    assert np.allclose(found.scores, laid_by_hand(weights, 3, found.units), atol=1e-6)
    assert methods_for(model) == ["integrated-gradients", "attention"]
    assert methods_for(dg.build("unet-micro")) == ["integrated-gradients"]
    found.save(tmp_path / "why.png")
