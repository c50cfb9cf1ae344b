"""Positions against the papers' formulas in plain Python numbers, and against Transformers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.attention import rotary_formula
from support.numbers import assert_different, assert_equal_to_rounding, gap
from torch import Tensor

from dougong.parts.positions import (
    ALiBi,
    AtEveryLayer,
    Learned,
    Places,
    Positions,
    RelativeBuckets,
    Rotary,
    Rotary2d,
    Sinusoidal,
    Sinusoidal2d,
)


def places(length: int, start: int = 0, grid: tuple[int, int] | None = None, prefix: int = 0) -> Places:
    return Places(torch.arange(start, start + length), start + length, grid, prefix)


def sinusoid(length: int, width: int, base: float = 10000.0) -> Tensor:
    """Vaswani et al. 2017, section 3.5, number by number."""
    table = torch.zeros(length, width, dtype=torch.float64)
    for position in range(length):
        for channel in range(width):
            i = channel // 2
            angle = position / base ** (2 * i / width)
            table[position, channel] = math.sin(angle) if channel % 2 == 0 else math.cos(angle)
    return table


@pytest.mark.parametrize("width", [2, 8, 64, 512, 7])
def test_sinusoids_equal_section_3_5(width: int) -> None:
    ours = Sinusoidal(width).embedding(places(300))
    right = sinusoid(300, width)
    assert ours.shape == right.shape
    assert_equal_to_rounding(ours, right, torch.float64)
    far = Places(torch.tensor([100_003]), 100_004)  # where float32 would know the angle to a hundredth
    expected = [100_003 / 10000 ** (2 * (c // 2) / width) for c in range(width)]
    right = torch.tensor([[math.cos(a) if c % 2 else math.sin(a) for c, a in enumerate(expected)]]).double()
    assert_equal_to_rounding(Sinusoidal(width).embedding(far).double(), right, torch.float32)


def test_control_the_shortened_form_is_another_encoding() -> None:
    """sin(p / 10000) and cos(p / 10000) in every channel, without the dimension's index, tell far less."""
    width, length = 64, 100
    right = Sinusoidal(width).embedding(places(length))
    even, position = torch.arange(width) % 2 == 0, torch.arange(length)[:, None]
    shortened = torch.where(even, (position / 10000).sin(), (position / 10000).cos())
    assert_different(right, shortened)
    for one_wavelength in (shortened, torch.where(even, (2.0 * position).sin(), (2.0 * position).cos())):
        assert torch.linalg.matrix_rank(one_wavelength.double(), atol=1e-4) <= 2  # two channels say it all
    assert torch.linalg.matrix_rank(right.double(), atol=1e-4) > 20
    swapped = right.view(length, -1, 2).flip(-1).flatten(1)  # cosine where sine belongs
    assert gap(swapped.double(), sinusoid(length, width)) > 0.5


@given(st.integers(0, 40), st.integers(0, 40))
def test_a_shift_of_position_is_one_rotation_everywhere(start: int, shift: int) -> None:
    """Section 3.5: PE(p + k) is a linear function of PE(p), the same for every p."""
    width = 16
    here, there = (Sinusoidal(width).embedding(places(5, at)).double() for at in (start, start + shift))
    for i in range(width // 2):
        turn = shift * 10000 ** (-2 * i / width)
        sine, cosine = here[:, 2 * i], here[:, 2 * i + 1]
        assert_equal_to_rounding(there[:, 2 * i], sine * math.cos(turn) + cosine * math.sin(turn), torch.float32)


def test_learned_positions_and_their_offset() -> None:
    part = Learned(6, 4, offset=2)
    assert part.weight.shape == (8, 4)
    assert torch.equal(part.embedding(places(3, 1)), part.weight[3:6])
    with pytest.raises(ValueError, match="7 tokens is longer than the 6"):
        part.embedding(places(7))


def test_two_dimensional_sinusoids() -> None:
    height, width, channels, prefix = 3, 5, 16, 2
    ours = Sinusoidal2d(channels).embedding(places(prefix + height * width, grid=(height, width), prefix=prefix))
    assert (ours[:prefix] == 0).all()
    half = sinusoid(max(height, width), channels // 2)
    right = torch.stack([torch.cat((half[r], half[c])) for r in range(height) for c in range(width)])
    assert_equal_to_rounding(ours[prefix:].double(), right, torch.float32)
    by_columns = torch.stack([torch.cat((half[r], half[c])) for c in range(width) for r in range(height)])
    assert_different(ours[prefix:].double(), by_columns)
    with pytest.raises(ValueError, match="multiple of 4"):
        Sinusoidal2d(6)
    with pytest.raises(ValueError, match="need the grid"):
        Sinusoidal2d(8).embedding(places(4))


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("start", [0, 11])
def test_rotary_equals_complex_numbers(interleaved: bool, start: int) -> None:
    x = torch.randn(2, 13, 3, 8)  # (B, L, H, K)
    ours = Rotary(8, 1000.0, interleaved).rotation(places(13, start)).apply(x)
    for head in range(3):
        right = rotary_formula(8, 1000.0, interleaved, start)(x[:, :, head])
        assert_equal_to_rounding(ours[:, :, head].double(), right, torch.float32)
        other = rotary_formula(8, 1000.0, not interleaved, start)(x[:, :, head])
        assert_different(ours[:, :, head].double(), other)


def test_rotary_equals_transformers_llama() -> None:
    from transformers.models.llama import modeling_llama as llama

    config = llama.LlamaConfig(hidden_size=32, num_attention_heads=2, max_position_embeddings=64)
    query, key = torch.randn(2, 2, 20, 16), torch.randn(2, 2, 20, 16)
    cos, sin = llama.LlamaRotaryEmbedding(config)(query, torch.arange(20)[None])
    rotation = Rotary(16).rotation(places(20))
    for ours, theirs in zip((query, key), llama.apply_rotary_pos_emb(query, key, cos, sin), strict=True):
        assert_equal_to_rounding(rotation.apply(ours.transpose(1, 2)).transpose(1, 2), theirs)
        wrong = Rotary(16, interleaved=True).rotation(places(20)).apply(ours.transpose(1, 2)).transpose(1, 2)
        assert_different(wrong, theirs)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 100))
def test_rotary_scores_depend_on_the_distance_alone(query_at: int, key_at: int, shift: int) -> None:
    query, key = torch.randn(2, 8, dtype=torch.float64)

    def score(move: int) -> Tensor:
        turned = [
            Rotary(8).rotation(Places(torch.tensor([at + move]), 400)).apply(side[None, None])
            for side, at in ((query, query_at), (key, key_at))
        ]
        return (turned[0] * turned[1]).sum()

    assert_equal_to_rounding(score(0), score(shift), torch.float32, factor=10)


def test_rotary_2d_depends_on_rows_and_columns_apart() -> None:
    height, width, prefix = 4, 5, 1
    rotation = Rotary2d(8).rotation(places(prefix + height * width, grid=(height, width), prefix=prefix))
    query, key = torch.randn(2, 8, dtype=torch.float64)
    turned = [rotation.apply(side.expand(prefix + height * width, 1, 8))[:, 0] for side in (query, key)]
    assert torch.equal(turned[0][0], query)  # the class token is not turned
    scores = (turned[0][prefix:] @ turned[1][prefix:].T).view(height, width, height, width)
    for move in ((0, 1), (1, 0), (2, 3)):
        a = scores[0, 0, move[0], move[1]]
        b = scores[1, 1, 1 + move[0], 1 + move[1]]
        assert_equal_to_rounding(a, b, torch.float32)
    assert_different(scores[0, 0, 1, 2], scores[0, 0, 2, 1])
    angle = Rotary2d(8, base=100.0).rotation(places(20, grid=(4, 5)))
    at = 2 * 5 + 3  # row 2, column 3
    right = torch.tensor([2.0, 2 * 100**-0.5, 3.0, 3 * 100**-0.5], dtype=torch.float64)
    assert_equal_to_rounding(torch.atan2(angle.sin[at], angle.cos[at]), torch.atan2(right.sin(), right.cos()))


@pytest.mark.parametrize(
    ("n_heads", "slopes"),
    [
        (8, [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]),
        (16, [2 ** (-(i + 1) / 2) for i in range(16)]),
        (12, [2.0 ** -(i + 1) for i in range(8)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]),
        (1, [1 / 256]),
        (3, [2**-4, 2**-8, 2**-2]),
    ],
)
def test_alibi_slopes_are_the_papers(n_heads: int, slopes: list[float]) -> None:
    query, key = torch.tensor([5, 2]), torch.arange(7)
    right = torch.tensor([[[-slope * abs(q - k) for k in range(7)] for q in (5, 2)] for slope in slopes])
    assert_equal_to_rounding(ALiBi(n_heads).bias(query, key), right)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("n_buckets", "max_distance"), [(32, 128), (16, 40), (8, 20)])
def test_buckets_equal_transformers_t5(bidirectional: bool, n_buckets: int, max_distance: int) -> None:
    from transformers.models.t5 import modeling_t5 as t5

    part = RelativeBuckets(2, n_buckets, max_distance, bidirectional)
    query, key = torch.arange(300), torch.arange(280)
    distance = key[None, :] - query[:, None]
    theirs = t5.T5Attention._relative_position_bucket(distance, bidirectional, n_buckets, max_distance)
    assert torch.equal(part.buckets(query, key), theirs)
    reverse = t5.T5Attention._relative_position_bucket(-distance, bidirectional, n_buckets, max_distance)
    assert not torch.equal(part.buckets(query, key), reverse)
    assert torch.equal(part.bias(query[:5], key[:6]), part.weight[theirs[:5, :6]].permute(2, 0, 1))


def test_hooks_do_nothing_unless_a_kind_uses_them() -> None:
    here, keys = places(4, grid=(2, 2)), torch.arange(4)
    used = {
        Positions(): set(), Sinusoidal(4): {"embedding"}, Learned(4, 4): {"embedding"}, Sinusoidal2d(4): {"embedding"},
        AtEveryLayer(Learned(4, 4)): {"shift"}, Rotary(4): {"rotation"}, Rotary2d(4): {"rotation"},
        ALiBi(2): {"bias"}, RelativeBuckets(2): {"bias"},
    }  # fmt: skip
    for part, hooks in used.items():
        answers = {
            "embedding": part.embedding(here), "shift": part.shift(here),
            "rotation": part.rotation(here), "bias": part.bias(keys, keys),
        }  # fmt: skip
        assert {name for name, answer in answers.items() if answer is not None} == hooks, type(part).__name__


def test_odd_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="5 is odd"):
        Rotary(5)
    with pytest.raises(ValueError, match="multiple of 4"):
        Rotary2d(6)
