"""Which past items led to the next one: the units are the items, the answer is that of predict, the checks are real."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import dougong
from dougong.errors import UserError
from dougong.explain import explain
from dougong.parts.output import deferring
from dougong.tasks.next_item import Choices, NextItem
from dougong.tasks.recommending.asking import Catalogue

NAMES = [f"game {number}" for number in range(12)]
HISTORY = ("game 1", "game 5", "game 2", "game 9", "game 3", "game 7")
MODELS: dict[str, dict[str, Any]] = {
    "sasrec": {"max_length": 8, "d_model": 8, "n_layers": 1},
    "bert4rec": {"max_length": 8, "d_model": 8, "n_layers": 1},
    "gru4rec": {"d_model": 8},
}


def asked(name: str, seen: str = "include") -> tuple[torch.nn.Module, NextItem]:
    task = NextItem(Catalogue(NAMES, np.arange(12)), Choices(seen=seen), 8)
    fitted, _ = task.adapt(dougong.resolve(name, **MODELS[name]))
    model = dougong.build(fitted, seed=1).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    return model, task


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["integrated-gradients", "occlusion"])
def test_the_units_are_the_items_and_the_answer_is_that_of_predict(name: str, method: str) -> None:
    model, task = asked(name, "exclude")
    found = explain(model, HISTORY, method=method, task=task)
    batch = task.prepare(HISTORY)
    with torch.no_grad(), deferring():
        best = task.decode(model(*batch.inputs), batch)[0]
    assert found.target.name == best.label and best.label not in HISTORY
    assert found.units.kind == "item" and found.units.names == HISTORY and len(found.scores) == 6
    assert {"deletion", "randomised weights"} <= set(found.checks) and "items were removed" in found.checks[
        "deletion"
    ].meaning
    if method == "integrated-gradients":
        assert found.checks["completeness"].passed


def test_an_item_s_score_is_what_is_lost_without_it() -> None:
    """Occlusion by hand: the item's vector set to zero, its place kept."""
    model, task = asked("sasrec")
    found = explain(model, HISTORY, method="occlusion", task=task, target="game 4")
    tokens = torch.tensor([[int(name.split()[1]) for name in HISTORY]])

    def evidence(without: int | None) -> float:
        x = model.embedding(tokens).x.clone()
        if without is not None:
            x[:, without] = 0
        with torch.no_grad():
            scores = model.head(model.body(x))[0, -1]
        return float(scores[4] - scores.mean())

    right = [evidence(None) - evidence(place) for place in range(6)]
    assert found.target.name == "game 4" and np.allclose(found.scores, right, atol=1e-5)
    assert not np.allclose(found.scores, right[::-1], atol=1e-3)


def test_attention_of_masks_and_long_histories() -> None:
    model, task = asked("bert4rec")
    found = explain(model, tuple(NAMES), method="rollout", task=task)  # 7 items and the mask are read
    assert found.units.names == tuple(NAMES[-7:]) and any("5 older" in note for note in found.notes)
    assert found.checks["reproduction"].passed


def test_what_cannot_be_explained_is_said() -> None:
    model, task = asked("sasrec")
    for history, at, what in (
        ("nobody's", None, "no item"),
        (HISTORY, 2, "after the history"),
        ([HISTORY, HISTORY], None, "2"),
    ):
        with pytest.raises(UserError, match=what):
            explain(model, history, task=task, at=at)
    with pytest.raises(UserError, match="unknown class 'chess'"):
        explain(model, HISTORY, task=task, target="chess")
