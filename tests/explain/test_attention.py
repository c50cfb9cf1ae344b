"""Attention maps and rollout against weights computed by hand, in float64, from the raw parameters."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dougong as dg
from dougong.errors import UserError
from dougong.explain.capture import Layer, capture, reproduction
from dougong.explain.opening import make_subject
from dougong.explain.subject import Subject
from dougong.parts.attention import Attention


def subject_of(model: nn.Module, pixels: Tensor) -> Subject:
    return make_subject(model, pixels[None], (), None)


def by_hand(model: nn.Module, pixels: Tensor) -> list[Tensor]:
    """Each layer's weights (H, L, L) by the formula, layer by layer in plain operations: no code of the part runs."""
    x = model.embedding.project(pixels[None]).flatten(2).transpose(1, 2)
    prefix = model.embedding.prefix
    x = x if prefix is None else torch.cat((prefix[None], x), 1)
    positions = next(parameter for name, parameter in model.body.positions.named_parameters())
    x = x + positions[: x.shape[1]]
    found = []
    for block in model.body.blocks:
        branch = block.attention
        attention, y = branch.body, branch.before(x)
        heads, width = attention.n_heads, y.shape[-1] // attention.n_heads
        q, k, v = (nn.functional.linear(y, part.weight, part.bias)[0].view(-1, heads, width).transpose(0, 1)
                   for part in (attention.query, attention.key, attention.value))  # fmt: skip
        scores = q @ k.mT / width**0.5
        weights = (scores - scores.max(-1, keepdim=True).values).exp()
        weights = weights / weights.sum(-1, keepdim=True)
        found.append(weights)
        mixed = (weights @ v).transpose(0, 1).flatten(1)
        x = x + nn.functional.linear(mixed, attention.output.weight, attention.output.bias)
        x = block.feed_forward(x)
    return found


def rollout_by_hand(layers: list[Tensor], swap: bool = False) -> Tensor:
    """Abnar and Zuidema 2020, section 3, entry by entry."""
    length = layers[0].shape[-1]
    flow = [[float(i == j) for j in range(length)] for i in range(length)]
    for weights in reversed(layers) if swap else layers:
        mixed = [[0.5 * float(weights[:, i, j].mean()) + 0.5 * (i == j) for j in range(length)] for i in range(length)]
        mixed = [[entry / sum(row) for entry in row] for row in mixed]
        flow = [[sum(mixed[i][k] * flow[k][j] for k in range(length)) for j in range(length)] for i in range(length)]
    return torch.tensor(flow, dtype=torch.float64)


@pytest.fixture(scope="module")
def double(vit: nn.Module) -> nn.Module:
    return copy.deepcopy(vit).double()


def test_maps_are_the_formula(double: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    pixels = digits[0][1500].double()
    explanation = dg.explain(double, pixels, method="attention", layers=[1], heads=[2], rows=[0, 5])
    expected = by_hand(double, pixels)[1][2][[0, 5], 1:].detach().numpy()
    np.testing.assert_allclose(explanation.maps[0].scores, expected[0], atol=1e-12)
    np.testing.assert_allclose(explanation.maps[1].scores, expected[1], atol=1e-12)
    np.testing.assert_allclose(explanation.scores, expected.mean(0), atol=1e-12)
    assert explanation.maps[1].name == "layer 2, head 3, row 5"
    wrong = by_hand(double, pixels)[1][1][[0, 5], 1:].detach().numpy()  # another head: negative control
    assert np.abs(explanation.maps[0].scores - wrong[0]).max() > 1e-3


def test_default_map_is_the_class_token_in_the_last_layer(double: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    pixels = digits[0][1500].double()
    explanation = dg.explain(double, pixels, method="attention")
    expected = by_hand(double, pixels)[-1][:, 0, 1:].mean(0).detach().numpy()
    np.testing.assert_allclose(explanation.scores, expected, atol=1e-12)
    assert len(explanation.maps) == 4 and len(explanation.units) == 16 and explanation.units.kind == "patch"


def test_rollout_of_the_class_token(double: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    pixels = digits[0][1501].double()
    explanation = dg.explain(double, pixels, method="rollout")
    layers = [weights.detach() for weights in by_hand(double, pixels)]
    np.testing.assert_allclose(explanation.scores, rollout_by_hand(layers)[0, 1:].numpy(), atol=1e-12)
    swapped = rollout_by_hand(layers, swap=True)[0, 1:].numpy()  # layers in the wrong order: negative control
    assert np.abs(explanation.scores - swapped).max() > 1e-4


def test_rollout_of_a_model_that_averages(digits: tuple[Tensor, Tensor]) -> None:
    config = {"architecture": "vit", "image_size": 8, "patch_size": 4, "d_model": 16, "n_layers": 2, "n_heads": 2,
              "d_ff": 16, "n_classes": 10, "pool": "mean"}  # fmt: skip
    model = dg.build(config, seed=1, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)  # far from uniform attention
    pixels = digits[0][3].double()
    explanation = dg.explain(model, pixels, method="rollout")
    flow = rollout_by_hand([weights.detach() for weights in by_hand(model, pixels)])
    np.testing.assert_allclose(explanation.scores, flow.mean(0).numpy(), atol=1e-12)
    assert explanation.scores.sum() == pytest.approx(1)


def test_reproduction_fails_for_other_weights(vit: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    layer = capture(subject_of(vit, digits[0][0]), "attention")[0]
    weights = layer.weights()
    assert reproduction([layer.error(weights)], torch.float32, "the layer").passed
    nudged = (weights + 0.01 * torch.rand(weights.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    check = reproduction([layer.error(nudged / nudged.sum(-1, keepdim=True))], torch.float32, "the layer")
    assert not check.passed and "NOT" in check.meaning
    permuted = reproduction([layer.error(weights.flip(0))], torch.float32, "the layer")
    assert not permuted.passed


def test_reproduction_fails_when_the_layer_does_something_else(vit: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    """A kernel that forgets the scale gives other outputs; recomputed weights no longer explain them."""
    model = copy.deepcopy(vit)
    layer = capture(subject_of(model, digits[0][0]), "attention")[1]
    attention = model.body.blocks[1].attention.body
    attention.scale = 1.0
    assert Layer(layer.name, attention, layer.x, layer.context, layer.output).error(layer.weights()) > 1e-3


def test_nothing_is_left_behind(vit: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    model = copy.deepcopy(vit).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    for method in ("attention", "rollout", "integrated-gradients"):
        dg.explain(model, digits[0][0], method=method)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("method", ["attention", "rollout"])
@pytest.mark.parametrize("which", ["lstm", "resnet"])
def test_models_without_attention_are_refused_with_a_remedy(
    which: str, method: str, digits: tuple[Tensor, Tensor], request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(which)
    assert not any(isinstance(module, Attention) for module in model.modules())
    with pytest.raises(UserError, match=f"method={method}: {which} has no attention.*method=integrated-gradients"):
        dg.explain(model, digits[0][0], method=method)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"layers": [3]}, "layers=3: the model has 3 attention layers; choose from 0 to 2"),
        ({"heads": [4]}, "heads=4: the model has 4 heads; choose from 0 to 3"),
        ({"rows": [17]}, "rows=17: the model has 17 positions; choose from 0 to 16"),
    ],
)
def test_what_is_out_of_range_is_named(vit: nn.Module, digits: tuple[Tensor, Tensor], wanted: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        dg.explain(vit, digits[0][0], method="attention", **wanted)


def test_rollout_takes_all_layers(vit: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(UserError, match="goes through all layers"):
        dg.explain(vit, digits[0][0], method="rollout", layers=[0])
