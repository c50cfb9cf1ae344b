"""Picture models by folded convolutions compute what they compute one operation at a time."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from support.numbers import assert_different, assert_equal_to_rounding, shake
from torch import Tensor, nn

import dougong as dg
from dougong.parts.convolution import convolution
from dougong.parts.norms import FrozenBatchNorm
from dougong.runtime.convolving import FastConvolutions, FastPictures

MODELS: dict[str, dict[str, Any]] = {
    "detr": {"image_size": 64, "layers": [1, 1], "width": 4, "block": "basic", "d_model": 16, "n_encoder_layers": 1,
             "n_layers": 1, "n_heads": 2, "d_ff": 24, "n_queries": 5, "n_classes": 3},
    "resnet": {"image_size": 32, "layers": [1, 2], "width": 4, "n_classes": 5},
    "unet": {"image_size": [16, 24], "widths": [4, 6, 8], "n_classes": 5},
    "segformer": {"image_size": 32, "layers": [1], "widths": [8], "n_heads": [1], "reductions": [4], "patch_sizes": [7],
                  "strides": [4], "mlp_ratios": [2], "d_head": 10, "n_classes": 5},
}  # fmt: skip


def model_of(family: str) -> nn.Module:
    return shake(dg.build({"architecture": family, **MODELS[family]})).eval()


def said(model: nn.Module, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        output = model(pixels)
    return output.masks if output.masks is not None else output.logits


@pytest.mark.parametrize("family", MODELS)
def test_folded_convolutions_compute_the_same(family: str) -> None:
    model = model_of(family)
    side = model.config["image_size"]
    first, second = (torch.randn(2, 3, *(side if isinstance(side, list) else (n, n))) for n in (32, 64))
    plain = [said(model, pixels) for pixels in (first, second)]
    fast = FastPictures(model)
    for _ in range(2):  # it may be entered again, and pictures of another size may come between
        with fast:
            for pixels, right in zip((first, second), plain, strict=True):
                assert_equal_to_rounding(said(model, pixels), right, factor=5)
        assert torch.equal(said(model, first), plain[0])
    assert not any("forward" in vars(part) for part in model.modules())


@pytest.mark.parametrize("norm", [FrozenBatchNorm, nn.BatchNorm2d])
def test_one_convolution_equals_its_norm_by_hand(norm: Any) -> None:
    group = shake(convolution(3, 5, 3, 2, activation=nn.ReLU(), norm=norm)).eval()
    x, conv, rule = torch.randn(2, 3, 7, 6), group[0], group[1]
    y = nn.functional.conv2d(x.double(), conv.weight.double(), None, 2, 1)
    y = (y - rule.running_mean[:, None, None]) / (rule.running_var[:, None, None] + rule.eps).double().sqrt()
    right = (y * rule.weight[:, None, None] + rule.bias[:, None, None]).relu().float()
    fast = FastConvolutions(group)
    assert len(fast.groups) == 1
    with torch.no_grad(), fast:
        assert_equal_to_rounding(group(x), right)
    other = copy.deepcopy(group)
    other[1].running_var.mul_(2)  # control: what is folded matters
    with torch.no_grad(), FastConvolutions(other):
        assert_different(other(x), right)


def test_what_learns_is_watched_or_is_no_picture_stays_as_it_is() -> None:
    model = model_of("unet")
    assert FastConvolutions(model).groups
    assert not FastPictures(model.train()).kinds and not FastConvolutions(model).groups
    model.eval().body.stages[0][0][0].register_forward_hook(lambda *_: None)
    assert len(FastConvolutions(model).groups) == len(FastConvolutions(model_of("unet")).groups) - 1
    assert not FastConvolutions(model_of("unet").double()).groups
    text = dg.build({"architecture": "bert", "vocab_size": 9, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8})
    assert not FastPictures(text.eval()).kinds
