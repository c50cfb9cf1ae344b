"""FLOPs: against published figures, pencil and paper, and torch's own counter on real tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.costed import BATCH, SIZES, deep, made, real, traced
from support.small import LENGTH, VARIANTS
from torch import nn

from dougong.architectures import resolve
from dougong.cost import cost, forward_flops, training_flops
from dougong.cost.closed import FORMULAS, blocks, forward_formula, pair
from dougong.cost.formulas import counter
from dougong.cost.passes import loss_of


@pytest.mark.parametrize(("model", "giga_macs"), [("vit-base", 17.6), ("resnet-50", 4.1)])
def test_published_macs(model: str, giga_macs: float) -> None:
    """ViT-B/16 at 224: 17.6 (Touvron et al. 2021, table 5); ResNet-50: 4.1 (torchvision's model card)."""
    assert forward_flops(model) / 2e9 == pytest.approx(giga_macs, rel=0.02)


@pytest.mark.parametrize("train", [False, True], ids=["forward", "training"])
@pytest.mark.parametrize("name", VARIANTS)
def test_trace_is_what_the_counter_counts(name: str, train: bool) -> None:
    model, inputs = made(name)
    said = traced(name, train).flops
    model.train(train)
    with torch.set_grad_enabled(train), counter() as counted:
        output = model(*inputs)
        if train:
            loss_of(output).backward()
    assert said == counted.get_total_flops() > 0


@pytest.mark.parametrize("name", [n for n, c in VARIANTS.items() if c["architecture"] in FORMULAS])
def test_pencil_and_paper(name: str) -> None:
    for length in (LENGTH, LENGTH + 2):
        assert forward_formula(resolve(deep(name)), BATCH, length) == forward_flops(deep(name), BATCH, length)


@pytest.mark.parametrize("name", [name for name in SIZES if resolve(name)["architecture"] in FORMULAS])
def test_pencil_and_paper_at_published_sizes(name: str) -> None:
    assert forward_formula(resolve(name), 2, 40) == forward_flops(name, 2, 40)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_two_per_weight_and_token(dropout: float) -> None:
    """2 N L for the weights of matrices and 4 L^2 D for each attention, and in training three times as much. The fused
    kernel, which the CPU has only without dropout, works the scores out again: 2 L^2 D more."""
    n, d, length, vocabulary, batch = 5, 32, 24, 50, 2
    config = {"architecture": "gpt2", "d_model": d, "n_heads": 4, "n_layers": n, "vocab_size": vocabulary,
              "max_length": 64, "dropout": dropout}  # fmt: skip
    matrices = n * 12 * d * d + vocabulary * d
    attention = n * 4 * length**2 * d
    again = 0 if dropout else n * 2 * length**2 * d
    assert blocks(length, n, d, 4 * d) + 2 * vocabulary * d * length == 2 * matrices * length + attention
    assert forward_flops(config, batch, length) == batch * (2 * matrices * length + attention)
    assert training_flops(config, batch, length) == batch * (6 * matrices * length + 3 * attention + again)


def test_flops_grow_with_batch_and_length_as_they_should() -> None:
    config = deep("gpt2")
    assert forward_flops(config, 4, 8) == 4 * forward_flops(config, 1, 8)
    one, two, four = (forward_flops(config, 1, length) for length in (2, 4, 8))
    assert four - 2 * two == 4 * (two - 2 * one) > 0  # what is left when the linear part is taken away is quadratic


def test_an_operation_without_a_formula_is_listed() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cumsum(self.layer(x), 0)

    sheet = cost(Odd(), inputs=(torch.zeros(2, 4),), device="h100")
    missing = {item.name: item for item in sheet.uncounted}
    assert missing["aten.cumsum"].calls == 1 and missing["aten.cumsum"].elements == 8
    assert "aten.addmm" not in missing and "aten.mm" not in missing
    assert sheet.flops.forward == 2 * 2 * 4 * 4
    plain = cost(nn.Linear(4, 4), inputs=(torch.zeros(2, 4),), device="h100")
    assert "aten.cumsum" not in {item.name for item in plain.uncounted}
    assert "aten.cumsum" in sheet.table()


def test_torch_alone_misses_attention() -> None:
    """The negative control of the registered formulas: without them the counter sees fewer FLOPs."""
    from torch.utils.flop_counter import FlopCounterMode

    model, inputs = real("vit-micro")
    model.eval()
    with torch.no_grad(), counter() as ours:
        model(*inputs)
    with torch.no_grad(), FlopCounterMode(display=False) as theirs:
        model(*inputs)
    c: dict[str, Any] = model.config
    (height, width), (rows, columns) = pair(c["image_size"]), pair(c["patch_size"])
    tokens = height * width // (rows * columns) + 1
    missed = BATCH * c["n_layers"] * 4 * tokens**2 * c["d_model"]
    assert ours.get_total_flops() - theirs.get_total_flops() == missed > 0
