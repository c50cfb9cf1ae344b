"""Norms, feed-forward networks, embeddings and convolutions against torch, Transformers and formulas."""

from __future__ import annotations

import math

import pytest
import torch
from support.numbers import assert_different, assert_equal_to_rounding, in_both_precisions, shake
from torch import Tensor, nn
from torch.nn import functional

from dougong.parts.cache import Cache
from dougong.parts.context import Context
from dougong.parts.convolution import (
    ChannelsLast,
    Convolution,
    Layers,
    Parallel,
    Subsample,
    basic_convolutions,
    bottleneck_convolutions,
    convolution,
)
from dougong.parts.embeddings import LinearEmbedding, MapEmbedding, PatchEmbedding, TokenEmbedding, pair
from dougong.parts.feedforward import Activation, FeedForward, feed_forward
from dougong.parts.norms import LayerNorm, RMSNorm

D = 8


def test_rms_norm_equals_its_formula_and_transformers() -> None:
    from transformers.models.gemma import modeling_gemma as gemma
    from transformers.models.llama import modeling_llama as llama

    x = torch.randn(3, 5, D) * 4
    ours, theirs = shake(RMSNorm(D, 1e-5)), llama.LlamaRMSNorm(D, 1e-5)
    theirs.weight.data.copy_(ours.weight)
    assert_equal_to_rounding(ours(x), theirs(x))
    formula = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-5).sqrt() * ours.weight.double()
    assert_equal_to_rounding(ours(x).double(), formula, torch.float32)
    assert_different(functional.layer_norm(x, (D,), ours.weight), ours(x))  # no mean is taken away
    shifted, reference = shake(RMSNorm(D, offset=1.0)), gemma.GemmaRMSNorm(D)
    reference.weight.data.copy_(shifted.weight)
    assert_equal_to_rounding(shifted(x), reference(x))
    assert torch.equal(RMSNorm(D, offset=1.0).weight, torch.zeros(D))
    assert_equal_to_rounding(RMSNorm(D, offset=1.0)(x), RMSNorm(D)(x))


def test_rms_norm_counts_in_float32_whatever_comes() -> None:
    x = torch.full((1, 4), 300.0, dtype=torch.float16)  # its square is beyond float16
    assert torch.equal(RMSNorm(4).half()(x), torch.ones(1, 4, dtype=torch.float16))
    assert RMSNorm(4).double()(torch.ones(1, 4).double()).dtype == torch.float64


def test_layer_norm_is_torchs_own() -> None:
    x, norm = torch.randn(2, 3, D), shake(LayerNorm(D))
    mean, variance = x.double().mean(-1, keepdim=True), x.double().var(-1, correction=0, keepdim=True)
    right = (x.double() - mean) / (variance + 1e-5).sqrt() * norm.weight.double() + norm.bias.double()
    assert_equal_to_rounding(norm(x).double(), right, torch.float32)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("relu", lambda x: x.clamp(min=0)),
        ("gelu", lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2),
        ("gelu_tanh", lambda x: x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2),
        ("silu", lambda x: x / (1 + torch.exp(-x))),
    ],
)
def test_feed_forward_equals_its_formula(name: str, formula: object, gated: bool) -> None:
    def compare(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        torch.manual_seed(2)
        part = shake(feed_forward(D, 12, name, gated=gated)).to(dtype).eval()
        x = torch.randn(2, 3, D, dtype=dtype)
        up = x @ part.up.weight.T + part.up.bias
        middle = formula(x @ part.gate.weight.T + part.gate.bias) * up if gated else formula(up)
        return part(x), middle @ part.down.weight.T + part.down.bias

    in_both_precisions(compare)


def test_feed_forward_mixes_between_up_and_activation() -> None:
    class Shift(nn.Module):
        def forward(self, x: Tensor, context: Context | None) -> Tensor:
            return x + (7 if context is None else context.prefix)

    part = FeedForward(nn.Identity(), nn.Identity(), Activation("relu"), mix=Shift())
    x = torch.tensor([[-5.0, -9.0]])
    assert part(x).tolist() == [[2.0, 0.0]] and part(x, Context(prefix=6)).tolist() == [[1.0, 0.0]]
    assert feed_forward(4, 8, bias=False).up.bias is None
    with pytest.raises(ValueError, match="no activation 'swosh'"):
        Activation("swosh")


def test_token_embedding_is_scaled() -> None:
    part = TokenEmbedding(11, D, scale=math.sqrt(D))
    tokens = torch.tensor([[3, 10, 0]])
    assert torch.equal(part(tokens).x, part.weight[tokens] * math.sqrt(D))
    assert part.example(2, 5, None).shape == (2, 5)


def test_linear_embedding() -> None:
    part, x = shake(LinearEmbedding(3, D)), torch.randn(2, 4, 3)
    assert_equal_to_rounding(part(x).x, x @ part.project.weight.T + part.project.bias)
    for wrong in (torch.randn(2, 4, 5), torch.randn(4, 3)):
        with pytest.raises(ValueError, match=r"expected vectors of shape \(B, L, 3\)"):
            part(wrong)


def test_patches_are_read_row_by_row() -> None:
    part = shake(PatchEmbedding((6, 8), (3, 2), 3, D, n_prefix=2))
    pixels = torch.randn(2, 3, 6, 8)
    got = part(pixels)
    assert got.grid == (2, 4) and got.prefix == 2 and part.length == 10 and got.x.shape == (2, 10, D)
    kernel = part.project.weight.flatten(1).double()
    for row in range(2):
        for column in range(4):
            patch = pixels[:, :, 3 * row : 3 * row + 3, 2 * column : 2 * column + 2].flatten(1).double()
            right = patch @ kernel.T + part.project.bias.double()
            assert_equal_to_rounding(got.x[:, 2 + 4 * row + column].double(), right, torch.float32)
    assert torch.equal(got.x[:, :2], part.prefix.expand(2, -1, -1))
    with pytest.raises(ValueError, match="patches of 4x2 do not divide 6x8"):
        PatchEmbedding((6, 8), (4, 2), 3, D)
    with pytest.raises(ValueError, match=r"expected pixels of shape \(B, 3, 6, 8\), got \(1, 3, 8, 6\)"):
        part(torch.randn(1, 3, 8, 6))
    with pytest.raises(ValueError, match="expected pixels"):
        MapEmbedding(nn.Identity(), (4, 4))(torch.randn(3, 4, 4))
    assert pair(3) == (3, 3) and pair([1, 2]) == (1, 2)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("causal", [False, True])
def test_convolution_equals_sums_over_neighbours(size: int, causal: bool) -> None:
    part, x = shake(Convolution(D, 5, size, causal=causal)), torch.randn(2, 7, D)
    right = part.filters.bias.double().expand(2, 7, 5).clone()
    first = -(size - 1) if causal else -((size - 1) // 2)
    for place in range(7):
        for tap in range(size):
            at = place + first + tap
            if 0 <= at < 7:
                right[:, place] += x[:, at].double() @ part.filters.weight[:, :, tap].double().T
    assert_equal_to_rounding(part(x).double(), right, torch.float32)
    future = x.clone()
    future[:, 4:] += 1
    assert torch.equal(part(future)[:, :4], part(x)[:, :4]) == (causal or (size <= 2 and size < 2))


@pytest.mark.parametrize("cuts", [[8], [1] * 8, [3, 1, 4]])
def test_a_causal_convolution_reads_on_from_a_cache(cuts: list[int]) -> None:
    part, x, cache = shake(Convolution(D, 5, 4, causal=True)), torch.randn(2, 8, D), Cache(8)
    pieces = []
    for piece in x.split(cuts, 1):
        pieces.append(part(piece, Context(cache=cache)))
        cache.advance(piece.shape[1])
    assert_equal_to_rounding(torch.cat(pieces, 1), part(x))
    with pytest.raises(ValueError, match="cannot go on from a cache"):
        Convolution(D, 5, 3)(x, Context(cache=Cache(8)))


def test_bodies_side_by_side() -> None:
    x = torch.randn(2, 3, D)
    one, two = Convolution(D, D, 1), Convolution(D, D, 3)
    assert torch.equal(Parallel([one, two])(x), torch.cat((one(x), two(x)), -1))
    assert_equal_to_rounding(Parallel([one, two], "sum")(x), one(x) + two(x))
    with pytest.raises(ValueError, match="join must be"):
        Parallel([one], "product")


@pytest.mark.parametrize("stride", [1, 2])
def test_residual_convolutions_equal_functional_torch(stride: int) -> None:
    x = torch.randn(2, 8, 6, 6)

    def by_hand(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, step: int, relu: bool) -> Tensor:
        pad = conv.weight.shape[-1] // 2
        y = functional.conv2d(x, conv.weight, None, step, pad)
        scale = norm.weight / (norm.running_var + 1e-5).sqrt()
        y = (y - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
        return y.relu() if relu else y

    basic = shake(basic_convolutions(8, 12, stride)).eval()
    right = by_hand(by_hand(x, *list(basic[0])[:2], stride, True), *list(basic[1])[:2], 1, False)
    assert_equal_to_rounding(basic(x), right)
    deep = shake(bottleneck_convolutions(8, 16, stride)).eval()
    assert [layer[0].weight.shape[0] for layer in deep] == [4, 4, 16]
    right = x
    for index, layer in enumerate(deep):
        right = by_hand(right, *list(layer)[:2], stride if index == 1 else 1, index < 2)
    assert_equal_to_rounding(deep(x), right)


def test_subsample_takes_every_second_pixel_and_adds_empty_channels() -> None:
    x = torch.randn(1, 2, 4, 5)
    y = Subsample(2, 5, 2)(x)
    assert y.shape == (1, 5, 2, 3) and torch.equal(y[:, :2], x[:, :, [0, 2]][..., [0, 2, 4]]) and (y[:, 2:] == 0).all()


def test_layers_with_channels_last_give_the_same_laid_out_as_usual() -> None:
    x = torch.randn(2, 3, 9, 8)
    plain = Layers(shake(convolution(3, 4, 3, 2, activation=nn.ReLU())), nn.MaxPool2d(3, 2, 1)).eval()
    turned = ChannelsLast(*plain)
    assert_equal_to_rounding(turned(x), plain(x))
    assert turned(x).is_contiguous() and turned.state_dict().keys() == plain.state_dict().keys()
    seen: list[bool] = []
    turned[1].register_forward_hook(lambda _, given, __: seen.append(given[0].is_contiguous()))
    turned(x), plain(x)
    assert seen == [False, True]
