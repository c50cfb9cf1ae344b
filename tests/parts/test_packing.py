"""Packed equals padded equals one by one, whatever the lengths; and the kernel's causal path is really taken."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.numbers import assert_different, assert_equal_to_rounding, shake
from torch import Tensor, nn

from dougong.frames.branch import Block, Branch
from dougong.frames.stack import Stack
from dougong.parts import scaled_dot_product as room
from dougong.parts.attention import Memory, SoftCap, multi_head_attention
from dougong.parts.context import Context
from dougong.parts.convolution import Convolution, Parallel
from dougong.parts.masks import OPEN, Causal, Explicit, Padding, Window
from dougong.parts.positions import ALiBi, Places, Rotary
from dougong.parts.recurrence import Recurrence
from dougong.parts.segments import Segments

D, H = 16, 4
LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def padded(lengths: list[int], extra: int = 0, width: int = D) -> tuple[Tensor, Tensor]:
    """Random sequences with rubbish where padding is, and their lengths."""
    return torch.randn(len(lengths), max(lengths) + extra, width) * 3, torch.tensor(lengths)


def pack(x: Tensor, lengths: Tensor) -> tuple[Tensor, Segments]:
    """Packed with a layout of its own, even where nothing is padded."""
    layout = Segments.of(lengths, x.shape[1])
    if layout is None:  # one column more, so that everything is padded
        x = torch.cat((x, x[:, :1]), 1)
        layout = Segments.of(lengths, x.shape[1])
    assert layout is not None
    return layout.strip(x), layout


@given(LENGTHS, st.integers(0, 3))
def test_strip_and_restore_undo_each_other(lengths: list[int], extra: int) -> None:
    x, sizes = padded(lengths, extra)
    layout = Segments.of(sizes, x.shape[1])
    if layout is None:
        assert min(lengths) == x.shape[1]
        return
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    packed = layout.strip(x)
    assert torch.equal(packed, torch.cat([x[row, : lengths[row]] for row in order]))
    assert torch.equal(layout.index, torch.cat([torch.arange(lengths[row]) for row in order]))
    real = torch.arange(x.shape[1])[None, :, None] < sizes[:, None, None]
    assert torch.equal(layout.restore(packed), x * real)
    assert layout.padded_lengths.tolist() == lengths
    assert sum(count * size for _, count, size in layout.groups) == sum(lengths)
    reference = nn.utils.rnn.pack_padded_sequence(x, sizes, batch_first=True, enforce_sorted=False)
    assert torch.equal(packed[layout.time_major], reference.data)
    assert torch.equal(layout.steps, reference.batch_sizes)


@pytest.mark.parametrize("lengths", [[0, 3], [5, 2], [-1, 4]])
def test_lengths_that_do_not_fit_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match=r"lengths must lie in 1\.\.4"):
        Segments.of(torch.tensor(lengths), 4)
    with pytest.raises(ValueError, match="whole numbers of shape"):
        Segments.of(torch.tensor([2.0, 3.0]), 4)


BODIES = {
    "attention": lambda: multi_head_attention(D, H),
    "causal, grouped": lambda: multi_head_attention(D, H, 2, mask=Causal()),
    "window": lambda: multi_head_attention(D, H, 1, mask=Window(2, 1)),
    "soft cap": lambda: multi_head_attention(D, H, mask=Causal(), scores=SoftCap(3.0)),
    "convolution": lambda: Convolution(D, 12, 3),
    "even, causal, depthwise": lambda: Parallel([Convolution(D, D, 4, groups=D), Convolution(D, 5, 3, causal=True)]),
    "rnn": lambda: Recurrence("rnn", D, 10),
    "gru": lambda: Recurrence("gru", D, 10, bidirectional=True),
    "lstm": lambda: Recurrence("lstm", D, 10, bidirectional=True),
}


@pytest.mark.parametrize("kind", list(BODIES))
@given(lengths=LENGTHS, placed=st.booleans())
def test_packed_equals_padded_equals_one_by_one(kind: str, lengths: list[int], placed: bool) -> None:
    body = shake(BODIES[kind]()).eval()
    x, sizes = padded(lengths, 2)

    def surroundings(index: Tensor, end: int, **further: object) -> Context:
        keys = torch.arange(end)
        rotation = Rotary(D // H).rotation(Places(index, end)) if placed else None
        return Context(rotation=rotation, bias=ALiBi(H).bias(keys, keys) if placed else None, **further)

    packed, layout = pack(x, sizes)
    with torch.no_grad():
        by_packing = layout.restore(body(packed, surroundings(layout.index, layout.length, segments=layout)))
        by_padding = body(x, surroundings(torch.arange(x.shape[1]), x.shape[1], lengths=sizes))
        for row, length in enumerate(lengths):
            alone = body(x[row : row + 1, :length], surroundings(torch.arange(length), length))[0]
            assert_equal_to_rounding(by_packing[row, :length], alone)
            assert_equal_to_rounding(by_padding[row, :length], alone)
            assert by_packing[row, length:].abs().sum() == 0


@given(LENGTHS, st.data())
def test_cross_attention_with_either_side_packed(lengths: list[int], data: st.DataObject) -> None:
    sources = data.draw(st.lists(st.integers(1, 7), min_size=len(lengths), max_size=len(lengths)))
    layer = shake(multi_head_attention(D, H, 2, source=Memory())).eval()
    (x, sizes), (memory, memory_sizes) = padded(lengths, 1), padded(sources, 1)
    packed, layout = pack(x, sizes)
    packed_memory, memory_layout = pack(memory, memory_sizes)
    masked = {"memory": memory, "memory_mask": Padding(memory_sizes)}
    stripped = {"memory": packed_memory, "memory_segments": memory_layout}
    with torch.no_grad():
        answers = [
            layout.restore(layer(packed, Context(segments=layout, **stripped))),
            layout.restore(layer(packed, Context(segments=layout, **masked))),
            layer(x, Context(**stripped)),
            layer(x, Context(**masked)),
        ]
        for row, (length, source) in enumerate(zip(lengths, sources, strict=True)):
            alone = layer(x[row : row + 1, :length], Context(memory=memory[row : row + 1, :source]))[0]
            for answer in answers:
                assert_equal_to_rounding(answer[row, :length], alone)
        weights = layer.weights(packed, Context(segments=layout, **stripped))
        again = layer.mix(weights, packed, Context(segments=layout, **stripped))
        assert_equal_to_rounding(layout.strip(again[:, : layout.length]), layout.strip(answers[0]))


def test_weights_of_a_packed_batch_give_its_output() -> None:
    layer = shake(multi_head_attention(D, H, 2, mask=Causal())).eval()
    x, sizes = padded([5, 2, 7])
    packed, layout = pack(x, sizes)
    keys = torch.arange(layout.length)
    context = Context(segments=layout, bias=ALiBi(H).bias(keys, keys))
    weights = layer.weights(packed, context)
    assert weights.shape == (3, H, 7, 7)
    assert (weights[1, :, :, 2:] == 0).all()  # nobody looks at padding
    assert_equal_to_rounding(layout.strip(layer.mix(weights, packed, context)), layer(packed, context))
    swapped = layer.mix(weights.transpose(-1, -2), packed, context)
    assert_different(layout.strip(swapped), layer(packed, context))


def kernel_calls(layer: nn.Module, x: Tensor, context: Context) -> list[tuple[bool, bool]]:
    """For each call of the kernel: whether its own causal path was asked for, and whether a table was given."""
    with mock.patch.object(room, "scaled_dot_product_attention", wraps=room.scaled_dot_product_attention) as kernel:
        layer(x, context)
    return [(call.kwargs["is_causal"], call.kwargs["attn_mask"] is not None) for call in kernel.call_args_list]


def test_the_fused_causal_path_is_used_whenever_it_can_be() -> None:
    layer = multi_head_attention(D, H, mask=Causal())
    x, lengths = padded([6, 3, 3, 6])
    assert kernel_calls(layer, x, Context()) == [(True, False)]
    assert kernel_calls(layer, x, Context(mask=Causal())) == [(True, False)]  # said twice is said once
    assert kernel_calls(layer, x, Context(mask=Window(5, 5))) == [(True, False)]  # wide enough to say nothing
    packed, layout = pack(x, lengths)
    assert kernel_calls(layer, packed, Context(segments=layout)) == [(True, False), (True, False)]  # 6s and 3s
    assert kernel_calls(multi_head_attention(D, H), packed, Context(segments=layout)) == [(False, False)] * 2
    # and only then
    assert kernel_calls(layer, x, Context(mask=Window(2, 0))) == [(False, True)]
    assert kernel_calls(layer, x, Context(lengths=lengths)) == [(False, True)]
    assert kernel_calls(layer, x, Context(bias=torch.zeros(H, 6, 6))) == [(False, True)]
    assert kernel_calls(multi_head_attention(D, H), x, Context()) == [(False, False)]


@pytest.mark.parametrize("mask", [OPEN, Explicit(torch.ones(7, 7).tril().bool())], ids=["padding", "given table"])
def test_layers_of_one_pass_share_one_table(mask: Explicit) -> None:
    """A table of (B, 1, L, S) a layer would be most of a long model's memory."""
    x, lengths = padded([7, 4])
    stack = Stack([Block(attention=Branch(multi_head_attention(D, H))) for _ in range(3)])
    tables = []
    kernel = room.scaled_dot_product_attention

    def spy(*args: Tensor, **kwargs: Tensor) -> Tensor:
        tables.append(kwargs["attn_mask"])
        return kernel(*args, **kwargs)

    with mock.patch.object(room, "scaled_dot_product_attention", spy):
        with mock.patch.object(torch.compiler, "is_exporting", lambda: True):  # padding stays where it is
            stack(x, lengths=lengths, mask=mask)
    assert len(tables) == 3 and tables[0] is tables[1] is tables[2] and tables[0] is not None


def test_padding_of_the_target_is_not_taken_for_that_of_the_memory() -> None:
    """Both are padded to the same length, and both stay padded, as in an export."""
    (x, lengths), (memory, sources) = padded([6, 3, 2]), padded([2, 6, 4])
    block = Block(
        attention=Branch(shake(multi_head_attention(D, H))),
        cross=Branch(shake(multi_head_attention(D, H, source=Memory()))),
    )
    stack = Stack([block, block])
    with mock.patch.object(torch.compiler, "is_exporting", lambda: True):
        dense = stack(x, lengths=lengths, memory=memory, memory_lengths=sources)
        wrong = stack(x, lengths=lengths, memory=memory, memory_lengths=lengths)
    packed = stack(x, lengths=lengths, memory=memory, memory_lengths=sources)
    for row, length in enumerate(lengths.tolist()):
        assert_equal_to_rounding(dense[row, :length], packed[row, :length])
    assert_different(wrong[:, :2], packed[:, :2])


def test_a_window_beyond_a_padded_end_leaves_no_nan() -> None:
    """Queries in the padding see only padding there; their NaN would reach real tokens through the next layer."""
    x, lengths = padded([9, 2])
    stack = Stack([Block(attention=Branch(multi_head_attention(D, H, mask=Window(2, 0)))) for _ in range(2)])
    with mock.patch.object(torch.compiler, "is_exporting", lambda: True):
        dense = stack(x, lengths=lengths)
    assert dense.isfinite().all()
    assert_equal_to_rounding(dense[1, :2], stack(x, lengths=lengths)[1, :2])
