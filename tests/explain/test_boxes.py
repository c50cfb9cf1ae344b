"""Why a box was found: where its query looked, and what the class at the box hangs on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.numbers import shake
from support.small import built

import dougong
from dougong.errors import UserError
from dougong.explain.boxes import box_subject

BOTH = pytest.mark.parametrize("name", ["dab_detr", "detr"])
CLASSES = ("a", "b", "c")


def pixels() -> torch.Tensor:
    return torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(2))


@BOTH
def test_attention_of_the_query_that_found_it(name: str) -> None:
    torch.manual_seed(1)
    model = shake(built(name), 0.5)
    first = dougong.explain(model, pixels(), at=1)
    assert first.method == "attention" and first.checks["reproduction"].passed
    assert {"reproduction", "deletion", "randomised weights"} == set(first.checks)
    assert abs(first.scores.sum() - 1) < 1e-4 and first.scores.min() >= 0  # every place's share is spread, none is lost
    assert first.units.boxes is not None and len(first.units) == len(first.scores)
    assert "the query that found the box" in first.meaning and "pixels" in first.notes[0]
    again = dougong.explain(model, pixels(), at=1)
    np.testing.assert_array_equal(first.scores, again.scores)
    other = dougong.explain(model, pixels() * 1.5 + 0.3, at=1)
    assert np.abs(first.scores - other.scores).max() > 1e-6


def test_shares_of_places_are_spread_over_what_they_cover() -> None:
    model = built("dab_detr")
    subject = box_subject(model, pixels(), CLASSES, None, None)
    units = subject.cells()
    sizes = [each.shape[-2:] for each in model(pixels()).features[-2:]]
    count = sum(h * w for h, w in sizes)
    (rows, columns), seen = sizes[0], np.zeros((1, count))
    seen[0, columns + 1] = 1.0  # the second row, the second column of the finer map
    found = subject.gather(units, seen)[0]
    assert abs(found.sum() - 1) < 1e-9
    (left, top, right, bottom) = (48 // columns, 32 // rows, 2 * 48 // columns, 2 * 32 // rows)
    boxes = np.array(units.boxes)
    inside = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)
    assert found[inside].sum() == pytest.approx(1) and found[~inside].sum() == pytest.approx(0)


@BOTH
def test_what_the_class_at_the_box_hangs_on(name: str) -> None:
    torch.manual_seed(1)
    model = shake(built(name), 0.3)
    subject = box_subject(model, pixels(), CLASSES, "b", 0)
    output = model(pixels())
    logits = output.logits[0]
    shares = logits.sigmoid() if name == "dab_detr" else logits.softmax(-1)
    assert subject.target.name == "b"
    assert subject.target.probability == pytest.approx(float(shares[:, 1].max()), abs=1e-6)
    assert float(subject.probability(pixels())) == pytest.approx(subject.target.probability, abs=1e-5)
    far = box_subject(model, pixels(), CLASSES, "b", 0)
    object.__setattr__(far, "box", torch.tensor([0.0, 0.0, 1e-3, 1e-3]))
    assert float(far.probability(pixels())) == 0  # no box is near: it is not found


def test_a_box_is_marked_and_bad_questions_are_refused() -> None:
    model = built("dab_detr")
    subject = box_subject(model, pixels(), CLASSES, None, None)
    plain = np.full((32, 48, 3), 200, np.uint8)
    assert (subject.marked(plain) != plain).any() and (plain == 200).all()
    with pytest.raises(UserError, match="gives 5 boxes"):
        dougong.explain(model, pixels(), at=9)
    with pytest.raises(UserError, match="is no number of a box"):
        dougong.explain(model, pixels(), at="cell")
    with pytest.raises(UserError, match="use method=attention"):
        dougong.explain(model, pixels(), method="rollout")
