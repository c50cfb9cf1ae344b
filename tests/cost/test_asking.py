"""Of a catalogue of items only the scores that are used are counted: those at the last place, and some in training."""

from __future__ import annotations

import pytest

import dougong
from dougong.cost.asking import DRAWN, SOFTMAX
from dougong.cost.passes import trace
from dougong.cost.running import run

FAMILIES = ["sasrec-kang", "gru4rec-hidasi", "bert4rec-sun"]
BATCH, LENGTH = 4, 10


def traced(name: str, items: int, train: bool, **given: bool) -> object:
    model = dougong.build(name, vocab_size=items, device="meta")
    return trace(model, model.example_inputs(BATCH, LENGTH, "meta"), train=train, **given)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("train", [False, True])
def test_what_is_counted_is_what_a_real_pass_does(name: str, train: bool) -> None:
    for items in (500, SOFTMAX + 1):
        model = dougong.build(name, vocab_size=items, seed=0)
        real = run(model, model.example_inputs(BATCH, LENGTH), train=train, rounds=1)
        assert traced(name, items, train).flops == real.flops


@pytest.mark.parametrize("name", FAMILIES)
def test_a_million_items_fit(name: str) -> None:
    items, width = 1_000_000, dougong.build(name, device="meta").config["d_model"]
    table = 4 * items * width
    answer, learning = traced(name, items, False), traced(name, items, True)
    assert answer.peak_live < 3 * 4 * BATCH * items, "scores of all items at one place of each row, and little more"
    assert learning.peak_live < 3.1 * table, "gradients of the table, as torch makes them, and little more"
    whole = traced(name, items, False, whole=True)  # a control
    assert whole.peak_live >= 4 * BATCH * LENGTH * items > 3 * 4 * BATCH * items


def test_the_sheet_says_so() -> None:
    sheet = dougong.cost({"architecture": "sasrec", "vocab_size": 1_000_000}, batch=BATCH, length=LENGTH)
    notes = " ".join(sheet.notes())
    assert f"{DRAWN:,} drawn items" in notes and "last place" in notes
    assert "drawn items" not in " ".join(dougong.cost("gpt2", batch=1, length=8).notes())
