"""The stack: padding is stripped once, positions reach the right blocks, and what does not fit is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
import torch
from support.attention import attention_formula, rotary_formula
from support.numbers import assert_different, assert_equal_to_rounding, shake
from torch import Tensor, nn

from dougong.frames.branch import Block, Branch
from dougong.frames.stack import Stack
from dougong.parts.attention import Attention, Memory, multi_head_attention
from dougong.parts.cache import Cache
from dougong.parts.context import Context
from dougong.parts.convolution import Convolution
from dougong.parts.feedforward import feed_forward
from dougong.parts.masks import Causal, Explicit, Window
from dougong.parts.positions import (
    ALiBi,
    AtEveryLayer,
    Learned,
    Places,
    Positions,
    RelativeBuckets,
    Rotary,
    Sinusoidal,
    Sinusoidal2d,
)
from dougong.parts.recurrence import Recurrence
from dougong.parts.segments import Segments

B, L, D, H = 3, 8, 16, 4
LENGTHS = torch.tensor([8, 3, 5])


def block(kind: str = "", **slots: object) -> Block:
    return Block(
        kind,
        attention=Branch(shake(multi_head_attention(D, H, **slots)), before=nn.LayerNorm(D)),
        feed_forward=Branch(shake(feed_forward(D, 20)), before=nn.LayerNorm(D)),
    )


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """How often padding is stripped and restored."""
    counts = {"strip": 0, "restore": 0}

    def spy(name: str, method: object) -> object:
        def call(self: Segments, x: Tensor) -> Tensor:
            counts[name] += 1
            return method(self, x)

        return call

    with mock.patch.object(Segments, "strip", spy("strip", Segments.strip)):
        with mock.patch.object(Segments, "restore", spy("restore", Segments.restore)):
            yield counts


def test_padding_is_stripped_once_and_restored_once() -> None:
    stack, x = Stack([block() for _ in range(3)], after=nn.LayerNorm(D)), torch.randn(B, L, D)
    seen = []
    for each in stack.blocks:
        each.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    with counted() as counts:
        stack(x, lengths=LENGTHS)
    assert counts == {"strip": 1, "restore": 1}
    assert seen == [(int(LENGTHS.sum()), D)] * 3
    with counted() as counts:
        stack(x)
        stack(x, lengths=torch.full((B,), L))  # nothing is padded
    assert counts == {"strip": 0, "restore": 0}


@pytest.mark.parametrize("given", [False, True], ids=["packed", "given table"])
@pytest.mark.parametrize(
    "positions",
    [Positions(), Sinusoidal(D), Learned(L, D), AtEveryLayer(Learned(L, D)), Rotary(4), ALiBi(H), RelativeBuckets(H)],
    ids=lambda part: type(part).__name__,
)
def test_padding_changes_nothing_whatever_the_positions(positions: Positions, given: bool) -> None:
    stack = Stack([block(mask=Window(3, 1)), block()], positions=shake(positions), after=shake(nn.LayerNorm(D))).eval()
    x = torch.randn(B, L, D)
    arguments = {"mask": Explicit(torch.ones(L, L).tril(2).bool())} if given else {}
    y = stack(x, lengths=LENGTHS, **arguments)
    rubbish = x + 50 * (torch.arange(L)[None, :, None] >= LENGTHS[:, None, None])
    assert torch.equal(stack(rubbish, lengths=LENGTHS, **arguments), y)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = {"mask": Explicit(torch.ones(length, length).tril(2).bool())} if given else {}
        assert_equal_to_rounding(y[row, :length], stack(x[row : row + 1, :length], **alone)[0])
        assert (y[row, length:] == 0).all()
    real = x.clone()
    real[1, 2, 0] += 3  # a control: a real token does change something
    assert_different(stack(real, lengths=LENGTHS, **arguments)[1, 0], y[1, 0])


def test_each_kind_of_block_has_its_own_positions() -> None:
    """ModernBERT: local layers with a window and one wavelength, global ones with another (Warner et al. 2024, 2.1)."""
    local = multi_head_attention(D, H, mask=Window(1, 1))
    wide = multi_head_attention(D, H)
    stack = Stack(
        [Block("local", attention=Branch(shake(local))), Block("global", attention=Branch(shake(wide)))],
        positions={"local": Rotary(4, base=100.0), "global": Rotary(4, base=5000.0)},
    ).eval()
    x = torch.randn(B, L, D)
    near = (torch.arange(L)[:, None] - torch.arange(L)[None, :]).abs() <= 1

    def by_hand(local_base: float, global_base: float) -> Tensor:
        middle = x.double() + attention_formula(local, x, table=near, turn=rotary_formula(4, local_base))[0]
        return middle + attention_formula(wide, middle, turn=rotary_formula(4, global_base))[0]

    assert_equal_to_rounding(stack(x).double(), by_hand(100.0, 5000.0), torch.float32)
    assert_different(stack(x).double(), by_hand(5000.0, 100.0))
    for row, length in enumerate(LENGTHS.tolist()):
        assert_equal_to_rounding(stack(x, lengths=LENGTHS)[row, :length], stack(x[row : row + 1, :length])[0])
    with pytest.raises(ValueError, match=r"\['far'\] have no positions"):
        Stack([block("far")], positions={"local": Rotary(4)})


def test_positions_are_asked_once_a_pass_and_saved_once() -> None:
    part = RelativeBuckets(H)
    stack = Stack([block() for _ in range(3)], positions=part)
    with mock.patch.object(part, "buckets", wraps=part.buckets) as buckets:
        stack(torch.randn(B, L, D))
    assert buckets.call_count == 1
    assert [name for name in stack.state_dict() if "positions" in name] == ["positions.all.weight"]


def detr() -> tuple[Stack, Stack, Attention, Attention, Attention, Learned]:
    """An encoder and a decoder of one layer, without feed-forward network."""
    queries = shake(Learned(5, D))
    own, again, cross = (
        shake(multi_head_attention(D, H, **slots)) for slots in ({}, {}, {"source": Memory()})
    )  # fmt: skip
    encoder = Stack([Block(attention=Branch(own))], positions=AtEveryLayer(Sinusoidal2d(D)))
    decoder = Stack(
        [Block(attention=Branch(again), cross=Branch(cross))],
        positions=AtEveryLayer(queries),
        memory_positions=AtEveryLayer(Sinusoidal2d(D)),
    )
    return encoder, decoder, own, again, cross, queries


def test_detr_adds_positions_to_queries_and_keys_of_every_layer() -> None:
    """Carion et al. 2020, figure 10: q and k get positions, v does not; the decoder's memory gets the picture's."""
    encoder, decoder, own, again, cross, queries = detr()
    grid = (2, 4)
    x, objects = torch.randn(B, L, D), torch.zeros(B, 5, D)
    memory = encoder(x, grid=grid)
    picture = Sinusoidal2d(D).embedding(Places(torch.arange(L), L, grid)).float()

    def torch_attention(layer: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        reference = nn.MultiheadAttention(D, H, batch_first=True)
        with torch.no_grad():
            sides = (layer.query, layer.key, layer.value)
            reference.in_proj_weight.copy_(torch.cat([side.weight for side in sides]))
            reference.in_proj_bias.copy_(torch.cat([side.bias for side in sides]))
            reference.out_proj.load_state_dict(layer.output.state_dict())
        return reference(query, key, value, need_weights=False)[0]

    right = x + torch_attention(own, x + picture, x + picture, x)
    assert_equal_to_rounding(memory, right)
    assert_different(memory, x + torch_attention(own, x + picture, x + picture, x + picture))
    hidden = objects + torch_attention(again, objects + queries.weight, objects + queries.weight, objects)
    right = hidden + torch_attention(cross, hidden + queries.weight, memory + picture, memory)
    got = decoder(objects, memory=memory, grid=grid)
    assert_equal_to_rounding(got, right)
    assert_different(got, hidden + torch_attention(cross, hidden + queries.weight, memory, memory))


def test_positions_of_a_padded_memory() -> None:
    decoder = Stack(
        [Block(cross=Branch(shake(multi_head_attention(D, H, source=Memory()))))],
        positions=AtEveryLayer(shake(Learned(5, D))),
        memory_positions=AtEveryLayer(Sinusoidal(D)),
    ).eval()
    objects, memory = torch.randn(B, 5, D), torch.randn(B, L, D)
    padded = decoder(objects, memory=memory, memory_lengths=LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = decoder(objects[row : row + 1], memory=memory[row : row + 1, :length])
        assert_equal_to_rounding(padded[row], alone[0])


@pytest.mark.parametrize("cuts", [[1] * 8, [3, 1, 4], [8]])
@pytest.mark.parametrize(
    "positions",
    [Positions(), Sinusoidal(D), Learned(L, D), AtEveryLayer(Sinusoidal(D)), Rotary(4), ALiBi(H), RelativeBuckets(H)],
    ids=lambda part: type(part).__name__,
)
def test_cache_on_equals_cache_off(positions: Positions, cuts: list[int]) -> None:
    cross = Block(cross=Branch(shake(multi_head_attention(D, H, source=Memory()))))
    blocks = [block(mask=Causal() & Window(4, 0), n_kv_heads=2), cross, block(mask=Causal())]
    stack = Stack(blocks, positions=shake(positions)).eval()
    x, memory, cache = torch.randn(B, L, D), torch.randn(B, 6, D), Cache(L)
    sources = torch.tensor([6, 2, 4])
    with torch.no_grad():
        pieces = [stack(piece, memory=memory, memory_lengths=sources, cache=cache) for piece in x.split(cuts, 1)]
        whole = stack(x, memory=memory, memory_lengths=sources)
    assert_equal_to_rounding(torch.cat(pieces, 1), whole)
    assert cache.length == L
    tokens = L * (2 + 4) + 6 * 4  # two layers of 2 and 4 key heads, and the memory's 6 places
    assert cache.n_bytes == 4 * 2 * B * (D // H) * tokens
    with pytest.raises(ValueError, match=r"the cache holds 8 tokens and 9 are needed|9 tokens is longer than the 8"):
        stack(x[:, :1], memory=memory, cache=cache)


@pytest.mark.parametrize("kept", [[0, 1, 2], [1], [2, 0], [1, 1, 0, 2]])
@pytest.mark.parametrize(
    "positions",
    [Positions(), Sinusoidal(D), Learned(20, D), AtEveryLayer(Sinusoidal(D)), Rotary(4), ALiBi(H), RelativeBuckets(H)],
    ids=lambda part: type(part).__name__,
)
def test_rows_of_unequal_length_go_on_from_a_cache_as_each_alone(positions: Positions, kept: list[int]) -> None:
    cross = Block(cross=Branch(shake(multi_head_attention(D, H, source=Memory()))))
    mixers = [Recurrence("lstm", D, D), Convolution(D, D, 4, causal=True)]
    others = [Block(other=Branch(shake(mixer))) for mixer in mixers]
    local = block(mask=Causal() & Window(2, 0), n_kv_heads=2)  # its buffer of 6 columns is filled again and again
    stack = Stack([local, cross, *others, block(mask=Causal())], positions=shake(positions)).eval()
    x, memory, cache = torch.randn(B, 20, D), torch.randn(B, 6, D), Cache(20)
    sources, steps = torch.tensor([6, 2, 4]), (1, 1, 3, 1, 1, 1, 4)
    assert len(set(LENGTHS.tolist())) > 1 and int(LENGTHS.max()) == L
    with torch.no_grad():
        first = stack(x[:, :L], lengths=LENGTHS, memory=memory, memory_lengths=sources, cache=cache)
        rows = torch.tensor(kept)
        cache.reorder(rows)
        places = LENGTHS[rows]
        pieces = []
        for step in steps:
            new = torch.stack([x[row, place : place + step] for row, place in zip(rows, places, strict=True)])
            pieces.append(stack(new, cache=cache))
            places = places + step
        for number, row in enumerate(kept):
            length, end = int(LENGTHS[row]), int(places[number])
            alone = stack(x[[row], :end], memory=memory[[row], : sources[row]])[0]
            assert_equal_to_rounding(first[row, :length], alone[:length])
            assert_equal_to_rounding(torch.cat(pieces, 1)[number], alone[length:])
    assert (cache.starts is None) == (len(set(LENGTHS[rows].tolist())) == 1)


def test_control_rows_that_all_begin_at_once_are_seen() -> None:
    stack, x, cache = Stack([block(mask=Causal())], positions=Rotary(4)).eval(), torch.randn(B, 20, D), Cache(20)
    with torch.no_grad():
        stack(x[:, :L], lengths=LENGTHS, cache=cache)
        right = stack(x[:, L : L + 1], cache=cache)
        cache.length, cache.starts = L, None
        for kept in cache._layers.values():
            kept.used = L
        assert_different(stack(x[:, L : L + 1], cache=cache), right)


def test_a_window_of_a_long_text_takes_little_memory() -> None:
    stack = Stack([block(mask=Causal() & Window(3, 0))], positions=Rotary(4)).eval()
    x, cache = torch.randn(1, 300, D), Cache(10_000)
    with torch.no_grad():
        pieces = [stack(piece, cache=cache) for piece in x.split([50, *[1] * 250], 1)]
        assert_equal_to_rounding(torch.cat(pieces, 1), stack(x))
    assert cache.n_bytes == 4 * 2 * D * 2 * 4  # twice the window


def test_control_a_cache_that_is_not_advanced_is_seen() -> None:
    stack, x, cache = Stack([block(mask=Causal())], positions=Rotary(4)).eval(), torch.randn(1, 4, D), Cache(8)
    with torch.no_grad(), mock.patch.object(Cache, "advance"):
        pieces = [stack(piece, cache=cache) for piece in x.split(1, 1)]
        assert_different(torch.cat(pieces, 1), stack(x))


def test_refusals() -> None:
    stack, x = Stack([block()]), torch.randn(B, L, D)
    full = Cache(9)
    full.advance(1)
    with pytest.raises(ValueError, match="lengths go with the first pass"):
        stack(x, lengths=LENGTHS, cache=full)
    with pytest.raises(ValueError, match=r"lengths must lie in 1\.\.8"):
        stack(x, lengths=torch.tensor([9, 1, 2]))
    for wrong in ([8, 3], [8, 8, 8, 8], [8]):
        with pytest.raises(ValueError, match=f"{len(wrong)} lengths for 3 sequences"):
            stack(x, lengths=torch.tensor(wrong))
    with pytest.raises(ValueError, match="2 lengths for 3 sequences"):
        Stack([block(source=Memory())])(x, memory=x, memory_lengths=torch.tensor([1, 8]))
    assert Context().past == 0
