"""Attention against torch's own module and against the formula evaluated in float64."""

from __future__ import annotations

import math

import pytest
import torch
from support.attention import attention_formula, rotary_formula
from support.numbers import assert_different, assert_equal_to_rounding, copy_linear, in_both_precisions, shake
from torch import Tensor, nn

from dougong.parts.attention import Attention, Memory, NormalisedHeads, SoftCap, multi_head_attention
from dougong.parts.cache import Cache
from dougong.parts.context import Context
from dougong.parts.masks import Causal, Explicit, Mask, Padding, SameSegment, Window
from dougong.parts.norms import RMSNorm
from dougong.parts.positions import ALiBi, Places, RelativeBuckets, Rotary

B, L, S, D, H = 3, 9, 7, 24, 4
LENGTHS = torch.tensor([9, 4, 1])


def from_torch(reference: nn.MultiheadAttention, **slots: object) -> Attention:
    """Our attention with the weights of torch's."""
    ours = multi_head_attention(reference.embed_dim, reference.num_heads, **slots).to(reference.out_proj.weight.dtype)
    weights, biases = reference.in_proj_weight.chunk(3), reference.in_proj_bias.chunk(3)
    for side, weight, bias in zip((ours.query, ours.key, ours.value), weights, biases, strict=True):
        copy_linear(side, weight, bias)
    copy_linear(ours.output, reference.out_proj.weight, reference.out_proj.bias)
    return ours


def causal_table(length: int) -> Tensor:
    return torch.ones(length, length).tril().bool()


def padding_table(lengths: Tensor, keys: int) -> Tensor:
    return torch.arange(keys)[None, None, :] < lengths[:, None, None]


@pytest.mark.parametrize("kind", ["self", "cross", "causal", "padding", "causal and padding"])
def test_equals_torch_multihead_attention(kind: str) -> None:
    def compare(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        reference = shake(nn.MultiheadAttention(D, H, batch_first=True, dtype=dtype)).eval()
        x, memory = torch.randn(B, L, D, dtype=dtype), torch.randn(B, S, D, dtype=dtype)
        ours = from_torch(reference, source=Memory() if kind == "cross" else None)
        if kind == "cross":
            return ours(x, Context(memory=memory)), reference(x, memory, memory, need_weights=False)[0]
        mask, arguments = Mask(), {}
        if "causal" in kind:
            mask, arguments["attn_mask"] = mask & Causal(), ~causal_table(L)
        if "padding" in kind:
            mask, arguments["key_padding_mask"] = mask & Padding(LENGTHS), ~padding_table(LENGTHS, L)[:, 0]
        return ours(x, Context(mask=mask)), reference(x, x, x, need_weights=False, **arguments)[0]

    in_both_precisions(compare)


def test_control_permuted_heads_and_a_wrong_mask_are_seen() -> None:
    reference = shake(nn.MultiheadAttention(D, H, batch_first=True)).eval()
    x = torch.randn(B, L, D)
    right = reference(x, x, x, need_weights=False)[0]
    ours = from_torch(reference)
    assert_equal_to_rounding(ours(x), right)
    assert_different(ours(x, Context(mask=Causal())), right)
    assert_different(ours(x, Context(mask=Explicit(causal_table(L).T))), ours(x, Context(mask=Causal())))
    order = torch.arange(D).view(H, -1)[[1, 0, 2, 3]].flatten()
    with torch.no_grad():
        ours.query.weight.copy_(ours.query.weight[order].clone())
    assert_different(ours(x), right)


def contexts(n_heads: int) -> dict[str, tuple[Context, dict[str, object]]]:
    """Contexts by name, each with what the formula takes for it."""
    alibi, bucketed = ALiBi(n_heads), RelativeBuckets(n_heads, 8, 6)
    place = torch.arange(L)
    distance = place[:, None] - place[None, :]
    documents = torch.tensor([[0] * 4 + [1] * 5, [0] * 9, [0, 1, 1, 1, 2, 2, 2, 2, 2]])
    table = torch.rand(L, L) < 0.6
    table |= torch.eye(L).bool()
    by_row = torch.rand(B, L, L) < 0.6
    by_row |= torch.eye(L).bool()
    slopes = torch.tensor([2.0 ** (-8 * (head + 1) / n_heads) for head in range(n_heads)]).double()
    with torch.no_grad():
        bucketed.weight.normal_()
    rows = bucketed.weight.detach()[bucketed.buckets(place, place)].permute(2, 0, 1)
    return {
        "open": (Context(), {}),
        "causal": (Context(mask=Causal()), {"table": distance >= 0}),
        "window": (Context(mask=Window(2, 1)), {"table": (distance <= 2) & (distance >= -1)}),
        "causal window": (Context(mask=Causal() & Window(3, 0)), {"table": (distance <= 3) & (distance >= 0)}),
        "padding": (Context(lengths=LENGTHS), {"table": padding_table(LENGTHS, L)}),
        "padding and causal": (
            Context(lengths=LENGTHS, mask=Causal()),
            {"table": padding_table(LENGTHS, L) & (distance >= 0)},
        ),
        "documents": (
            Context(mask=SameSegment(documents)),
            {"table": documents[:, :, None] == documents[:, None, :]},
        ),
        "given table": (Context(mask=Explicit(table)), {"table": table}),
        "given table of each row": (Context(mask=Explicit(by_row) & Causal()), {"table": by_row & (distance >= 0)}),
        "alibi": (
            Context(mask=Causal(), bias=alibi.bias(place, place)),
            {"table": distance >= 0, "bias": -slopes[:, None, None] * distance.clamp(min=0)},
        ),
        "buckets": (Context(bias=bucketed.bias(place, place).detach()), {"bias": rows}),
        "rotary": (
            Context(rotation=Rotary(D // H).rotation(Places(place, L))),
            {"turn": rotary_formula(D // H)},
        ),
        "rotary in neighbouring pairs": (
            Context(rotation=Rotary(D // H, interleaved=True).rotation(Places(place, L)), mask=Causal()),
            {"turn": rotary_formula(D // H, interleaved=True), "table": distance >= 0},
        ),
        "rotary on part of the channels": (
            Context(rotation=Rotary(4, base=500.0).rotation(Places(place, L))),
            {"turn": lambda x: torch.cat((rotary_formula(4, 500.0)(x[..., :4]), x[..., 4:]), -1)},
        ),
    }


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1], ids=["plain", "grouped", "multi-query"])
@pytest.mark.parametrize("capped", [False, True], ids=["fused", "soft cap"])
@pytest.mark.parametrize("kind", list(contexts(H)))
def test_output_and_weights_equal_the_formula_in_float64(kind: str, capped: bool, n_kv_heads: int) -> None:
    layer = shake(multi_head_attention(D, H, n_kv_heads, scores=SoftCap(1.5) if capped else None)).eval()
    x = torch.randn(B, L, D)
    context, arguments = contexts(H)[kind]
    output, weights = attention_formula(layer, x, cap=1.5 if capped else None, **arguments)
    assert_equal_to_rounding(layer(x, context).double(), output, torch.float32)
    assert_equal_to_rounding(layer.weights(x, context).double(), weights, torch.float32)
    assert_equal_to_rounding(layer.mix(layer.weights(x, context), x, context), layer(x, context))
    wide = layer.double()
    assert_equal_to_rounding(wide(x.double(), context), output, torch.float64)


@pytest.mark.parametrize("kind", ["open", "causal window", "padding and causal", "buckets", "documents", "alibi"])
def test_weights_of_chosen_heads_and_rows(kind: str) -> None:
    layer = shake(multi_head_attention(D, H, 2)).eval()
    x, (context, _) = torch.randn(B, L, D), contexts(H)[kind]
    whole = layer.weights(x, context)
    assert whole.shape == (B, H, L, L)
    some = layer.weights(x, context, heads=[3, 1], rows=[5, 0])
    assert_equal_to_rounding(some, whole[:, [3, 1]][:, :, [5, 0]])
    assert_different(some, whole[:, [1, 3]][:, :, [5, 0]])


def test_weights_with_a_table_of_each_head() -> None:
    layer = shake(multi_head_attention(D, H)).eval()
    table = (torch.rand(B, H, L, L) < 0.5) | torch.eye(L).bool()
    x, context = torch.randn(B, L, D), Context(mask=Explicit(table))
    whole = layer.weights(x, context)
    assert ((whole > 0) == table).all()
    assert_equal_to_rounding(layer.mix(whole, x, context), layer(x, context))
    assert_equal_to_rounding(layer.weights(x, context, heads=[2], rows=[1, 4]), whole[:, [2]][:, :, [1, 4]])


@pytest.mark.parametrize("capped", [False, True], ids=["fused", "soft cap"])
def test_a_query_that_may_attend_to_nothing_gives_zero_and_no_nan(capped: bool) -> None:
    """As left padding under a causal mask does. The value is free, so the output is the output layer's bias alone."""
    layer = shake(multi_head_attention(D, H, scores=SoftCap(2.0) if capped else None))
    table = causal_table(L)
    table[:, :3] = False
    x, context = torch.randn(B, L, D, requires_grad=True), Context(mask=Explicit(table))
    y = layer(x, context)
    assert_equal_to_rounding(y[:, :3].detach(), layer.output.bias.detach().expand(B, 3, D))
    right = attention_formula(layer, x, table=table, cap=2.0 if capped else None)[0]
    assert_equal_to_rounding(y.detach().double(), right.detach(), torch.float32)
    assert (layer.weights(x, context)[:, :, :3] == 0).all()
    assert_equal_to_rounding(layer.mix(layer.weights(x, context), x, context), y)
    y.square().sum().backward()
    assert x.grad.isfinite().all() and all(p.grad.isfinite().all() for p in layer.parameters())


def test_scale_and_a_head_of_its_own_width() -> None:
    layer = shake(multi_head_attention(D, H, 2, d_head=10, scale=0.7, bias=False)).eval()
    x = torch.randn(B, L, D)
    assert layer.query.weight.shape == (40, D) and layer.key.weight.shape == (20, D) and layer.query.bias is None
    assert_equal_to_rounding(layer(x).double(), attention_formula(layer, x, scale=0.7)[0], torch.float32)
    assert_different(layer(x).double(), attention_formula(layer, x)[0])


def test_normalised_heads_come_before_the_rotation() -> None:
    width = D // H
    heads = NormalisedHeads(RMSNorm(width), RMSNorm(width))
    layer = shake(multi_head_attention(D, H, 2, heads=heads)).eval()
    x = torch.randn(B, L, D)
    context = Context(rotation=Rotary(width).rotation(Places(torch.arange(L), L)))

    def normalise(weight: Tensor):
        return lambda t: t / (t.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight.double()

    norms = (normalise(heads.query.weight), normalise(heads.key.weight))
    turn = rotary_formula(width)
    right = attention_formula(layer, x, turn=turn, normalise=norms)[0]
    assert_equal_to_rounding(layer(x, context).double(), right, torch.float32)
    after = attention_formula(layer, x, normalise=(lambda t: norms[0](turn(t)), lambda t: norms[1](turn(t))))[0]
    assert_different(layer(x, context).double(), after)
    assert_different(layer(x, context).double(), attention_formula(layer, x, turn=turn)[0])


def test_cross_attention_with_a_memory_of_another_width() -> None:
    layer = shake(multi_head_attention(D, H, 2, source=Memory(), d_memory=10)).eval()
    x, memory = torch.randn(B, L, D), torch.randn(B, S, 10)
    table = torch.rand(B, L, S) < 0.6
    table[..., 0] = True
    context = Context(memory=memory, memory_mask=Explicit(table), mask=Causal(), bias=torch.randn(H, L, L))
    output, weights = attention_formula(layer, x, memory, table=table)
    assert_equal_to_rounding(layer(x, context).double(), output, torch.float32)
    assert_equal_to_rounding(layer.weights(x, context).double(), weights, torch.float32)


def test_shifts_reach_queries_and_keys_but_not_values() -> None:
    x, memory, shift, memory_shift = (torch.randn(B, L, D), torch.randn(B, S, D), torch.randn(L, D), torch.randn(S, D))
    layer = shake(multi_head_attention(D, H)).eval()
    ours = layer(x, Context(shift=shift))
    assert_equal_to_rounding(ours.double(), attention_formula(layer, x, shift=shift)[0], torch.float32)
    assert_different(ours, layer(x + shift))  # there the values are shifted too
    cross = shake(multi_head_attention(D, H, source=Memory())).eval()
    context = Context(shift=shift, memory=memory, memory_shift=memory_shift)
    right = attention_formula(cross, x, memory, shift=shift, source_shift=memory_shift)[0]
    assert_equal_to_rounding(cross(x, context).double(), right, torch.float32)
    assert_different(cross(x, context).double(), attention_formula(cross, x, memory, shift=shift)[0])


def test_dropout_drops_weights_in_training_only() -> None:
    layer = shake(multi_head_attention(D, H, dropout=0.5))
    x = torch.randn(1, L, D)
    assert_different(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))
    capped = shake(multi_head_attention(D, H, dropout=0.5, scores=SoftCap(2.0)))
    assert_different(capped(x), capped(x))


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="3 key heads do not divide 4"):
        multi_head_attention(D, 4, 3)
    with pytest.raises(ValueError, match="24 does not divide into 5"):
        multi_head_attention(D, 5)
    for mask in (Mask(), Window(3, 1)):
        with pytest.raises(ValueError, match="cannot go on from a cache"):
            multi_head_attention(D, H, mask=mask)(torch.randn(1, 2, D), Context(cache=Cache(4)))
    with pytest.raises(ValueError, match="run it without a cache"):
        multi_head_attention(D, H, mask=Causal()).weights(torch.randn(1, 2, D), Context(cache=Cache(4)))
    with pytest.raises(ValueError, match="needs a memory"):
        multi_head_attention(D, H, source=Memory())(torch.randn(1, 2, D))


def test_soft_cap_keeps_scores_within_it() -> None:
    scores = torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4])
    expected = torch.tensor([-50.0, -50 * math.tanh(0.02), 0.0, 50 * math.tanh(0.02), 50.0])
    assert_equal_to_rounding(SoftCap(50.0)(scores), expected)
