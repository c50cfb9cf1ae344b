"""Blocks that are computed again give the same gradients, bit for bit, and keep less."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dougong.architectures import build
from dougong.frames.recomputing import Recomputing, recomputable

SMALL = {"d_model": 32, "n_layers": 3, "n_heads": 2, "d_ff": 64, "dropout": 0.2}
MODELS = {
    "gpt2": {"architecture": "gpt2", "vocab_size": 50, "max_length": 16, **SMALL},
    "t5, whose blocks share a table that learns": {"architecture": "t5", "vocab_size": 50, **SMALL},
    "vit": {"architecture": "vit", "image_size": 8, "patch_size": 4, "n_classes": 5, **SMALL},
    "lstm": {"architecture": "lstm", "vocab_size": 50, "n_classes": 2, "d_model": 16, "n_layers": 2, "dropout": 0.2},
}


def gradients(model: nn.Module, count: int, *, lengths: bool = False) -> list[Tensor]:
    inputs = model.example_inputs(2, None if model.input_kind == "image" else 8)  # type: ignore[operator]
    if lengths:
        inputs = (*inputs, torch.tensor([5, 8]))
    torch.manual_seed(3)
    model.zero_grad()
    with Recomputing(model, count):
        answer = model(*inputs).logits
    answer.square().mean().backward()
    return [each.grad.clone() for each in model.parameters() if each.grad is not None]


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_same_with_dropout(name: str) -> None:
    model = build(MODELS[name], seed=0).train()
    blocks = len(recomputable(model))
    assert blocks >= 2
    plain = gradients(model, 0)
    for count in (1, blocks):
        again = gradients(model, count)
        assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_rows_of_unequal_lengths() -> None:
    model = build(MODELS["gpt2"], seed=0).train()
    plain, again = (gradients(model, count, lengths=True) for count in (0, 3))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_without_the_random_state_they_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: dropout must draw the same numbers again."""
    from dougong.frames import recomputing

    model = build(MODELS["gpt2"], seed=0).train()
    plain = gradients(model, 0)
    real = recomputing.checkpoint
    monkeypatch.setattr(
        recomputing, "checkpoint", lambda *a, **others: real(*a, **{**others, "preserve_rng_state": False})
    )
    again = gradients(model, 3)
    assert not all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_the_model_is_left_as_it_was() -> None:
    model = build(MODELS["gpt2"], seed=0)
    with Recomputing(model, 2):
        assert ["forward" in vars(block) for block in model.body.blocks] == [True, True, False]
    assert not any("forward" in vars(part) for part in model.modules())


def test_blocks_whose_norms_count_batches_are_not_computed_twice() -> None:
    model = build(MODELS["vit"], seed=0)
    model.body.blocks[1].extra = nn.BatchNorm1d(4)
    assert [block in recomputable(model) for block in model.body.blocks] == [True, False, True]
