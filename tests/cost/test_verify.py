"""Verification: formula, counter, trace, allocator and clock beside each other, for every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.costed import SIZES, deep
from support.small import VARIANTS
from torch import nn

import dougong
from dougong.architectures import families, resolve
from dougong.cost import verify
from dougong.cost.closed import FORMULAS
from dougong.cost.verifying import MOST_LENGTH, shrunken
from dougong.errors import UserError

ONE_OF_EACH = {config["architecture"]: name for name, config in VARIANTS.items()}


def test_every_family_is_verified_below() -> None:
    assert set(ONE_OF_EACH) == set(families())


@pytest.mark.parametrize("family", ONE_OF_EACH)
def test_verification(family: str) -> None:
    tried = verify(deep(ONE_OF_EACH[family]), rounds=1)
    forward, training = (tried.row("FLOPs", of) for of in ("forward", "training step"))
    assert forward.ratio == training.ratio == 1.0
    assert (forward.formula is not None) == (family in FORMULAS)
    if forward.formula is not None:
        assert forward.formula == forward.measured
    kept = tried.row("kept for backward", "training step")
    assert kept.predicted - kept.measured == 4  # the loss
    for of in ("forward", "training step"):
        peak = tried.row("memory peak", of)
        assert -(2**19) < peak.predicted - peak.measured < 0.05 * peak.measured  # libraries' scratch space
        time = tried.row("time", of)
        assert time.low is not None and time.low < time.predicted < (time.high or 0) and time.measured > 0
    title, columns, rows = tried.sections()[0]
    assert family in title and len(rows) == 7 and all(len(row) == len(columns) for row in rows)
    assert len(tried.to_dict()["rows"]) == 7


@pytest.mark.parametrize("name", SIZES)
def test_shrunken_is_small_and_alike(name: str) -> None:
    whole = resolve(name)
    small = resolve(shrunken(whole))
    assert small["architecture"] == whole["architecture"] and set(small) == set(whole)
    model = dougong.build(small, device="meta")
    assert sum(parameter.numel() for parameter in model.parameters()) < 8_000_000
    length = min(MOST_LENGTH, small.get("max_length") or MOST_LENGTH) if model.input_kind != "image" else None
    model(*model.example_inputs(2, length, device="meta"))
    for key, value in whole.items():
        if isinstance(value, bool | str | float) or value is None:
            assert small[key] == value


def test_a_model_that_leaves_the_trace_is_found() -> None:
    """The negative control: a model that does on a real device what it does not do on the meta device."""

    class Sly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 64)

        def forward(self, x: Any) -> Any:
            return self.layer(x) if x.is_meta else self.layer(self.layer(x))

    tried = verify(Sly(), inputs=(torch.zeros(8, 64),), rounds=1)
    assert tried.row("FLOPs", "forward").ratio == 0.5
    assert tried.row("kept for backward", "training step").ratio < 1
    assert tried.config is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"batch": 0}, "batch: must be at least 1"),
        ({"length": 0}, "length: must be at least 1"),
        ({"device": "h100"}, "h100 is not this machine"),
        ({"model": nn.Linear(2, 2)}, "does not say what it reads"),
        ({"model": "vit-bse"}, "did you mean 'vit-base'"),
    ],
    ids=str,
)
def test_bad_input(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        verify(**{"model": "vit-micro", **arguments})
    assert said in str(caught.value)
