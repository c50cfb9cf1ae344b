"""What is printed: every figure in its place, sums that hold, nothing left out without a word."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dougong.cost import CostSheet, cost
from dougong.cost.tables import SMALL, in_total, sections
from dougong.figures import count, duration, size

CARD = "h100"


@pytest.fixture(scope="module")
def sheet() -> CostSheet:
    return cost("vit-base", batch=8, device=CARD)


def of(sheet: CostSheet, label: str) -> list[Any]:
    """The two cells of one row of the totals."""
    return next(row[1:] for row in in_total(sheet) if row[0].strip().startswith(label))


def test_totals(sheet: CostSheet) -> None:
    assert of(sheet, "parameters") == ["86,567,656"] * 2
    assert of(sheet, "FLOPs") == [count(sheet.flops.forward), count(sheet.flops.training)]
    assert of(sheet, "as multiply-adds")[0] == "141 G"  # 8 x 17.6
    assert of(sheet, "memory at its peak") == [size(sheet.inference.peak), size(sheet.training.peak)]
    assert of(sheet, "gradients") == ["-", size(4 * 86_567_656)]
    assert of(sheet, "optimizer (adamw)") == ["-", size(8 * 86_567_656)]
    assert of(sheet, "time") == [duration(sheet.forward_seconds.estimate), duration(sheet.training_seconds.estimate)]
    assert duration(sheet.forward_seconds.low) in of(sheet, "error band")[0]
    assert of(sheet, "memory of the device") == ["74.5 GiB"] * 2


def test_what_does_not_fit_is_said() -> None:
    large = cost("gpt3-175b", length=2048, device=CARD, precision="bfloat16")
    assert [cell.endswith("x: too much") for cell in of(large, "taken of it")] == [True, True]
    assert of(cost("vit-micro", device=CARD), "taken of it")[0].endswith("%")


@pytest.mark.parametrize("train", [False, True])
def test_parts_are_of_the_pass_that_was_asked_for(train: bool) -> None:
    sheet = cost("resnet-50", batch=2, device=CARD, train=train)
    title, columns, rows = sections(sheet)[1]
    assert ("training" in title) is train and ("kept for backward" in columns) is train
    label, parameters, flops, share, *rest = rows[-1]
    assert (label, parameters, share) == ("sum", count(25_557_032), "100.0 %")
    assert flops == count(sheet.flops.training if train else sheet.flops.forward)
    assert rest[-1] == duration(sheet.seconds.estimate)
    assert ("(optimizer)" in [row[0] for row in rows]) is train


def test_waiting_for_other_devices_is_a_row_and_an_optimizer_steps_a_share_each() -> None:
    given = {"length": 128, "precision": "bfloat16", "train": True}
    one = cost("gpt3-175b", batch=1, device=CARD, **given)  # type: ignore[arg-type]
    many = cost("gpt3-175b", batch=8, devices="8xh100", **given)  # type: ignore[arg-type]
    rows = sections(many)[1][2]
    assert "(waiting for other devices)" in [row[0] for row in rows]
    assert rows[-1][-1] == duration(many.training_seconds.estimate)
    alone, shared = (next(p for p in s.parts if p.name == "(optimizer)").training_seconds for s in (one, many))
    assert shared < alone / 4


def test_every_uncounted_operation_is_named(sheet: CostSheet) -> None:
    title, _, rows = sections(sheet)[2]
    named = {row[0] for row in rows} | set(sheet.notes()[0].removeprefix("also not in the FLOPs: ").split(", "))
    assert named == {item.name for item in sheet.uncounted}
    whole = sum(item.elements for item in sheet.uncounted)
    large = {item.name for item in sheet.uncounted if item.elements >= SMALL * whole}
    assert {row[0] for row in rows} == large and len(large) < len(named)
    assert f"{100 * whole / sheet.flops.forward:.2g} %" in title
    assert len(sections(dataclasses.replace(sheet, uncounted=[]))) == 2


def test_nothing_is_printed_as_zero(sheet: CostSheet) -> None:
    for _, columns, rows in sections(sheet):
        for row in rows:
            assert len(row) == len(columns)
            assert not {"0", "0 B", "0 ms"} & set(row), row


def test_print_shows_the_tables(sheet: CostSheet) -> None:
    text = str(sheet)
    assert text == sheet.table() and "CostSheet(" not in text
    assert all(line in text for line in sheet.assumptions)
    totals = text.splitlines()[2 : 2 + len(in_total(sheet))]
    assert len({len(line) for line in totals}) == 1, "columns stand below each other"


def test_a_table_that_is_looked_into_is_not_worked_through() -> None:
    sheet = cost("gpt2-small", length=64, device=CARD)
    (found,) = [item for item in sheet.uncounted if item.name == "aten.embedding"]
    assert (found.calls, found.elements) == (2, 64 * 768 * 2)  # tokens and positions, not the 50,257 rows
