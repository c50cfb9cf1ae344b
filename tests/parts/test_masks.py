"""Masks against tables made by brute force, and the laws by which they compose."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dougong.parts.masks import OPEN, Causal, Explicit, Mask, Padding, SameSegment, Window, has_table

BATCH = 2
MASKS = st.one_of(
    st.just("open"),
    st.just("causal"),
    st.tuples(st.just("window"), st.integers(0, 5), st.integers(0, 5)),
    st.tuples(st.just("padding"), st.lists(st.integers(1, 8), min_size=BATCH, max_size=BATCH)),
    st.tuples(st.just("same segment"), st.lists(st.integers(0, 2), min_size=2 * 12, max_size=2 * 12)),
    st.tuples(st.just("table"), st.integers(0, 10_000), st.integers(2, 4)),
)


def made(kind: object, length: int, keys: int, offset: int) -> tuple[Mask, Tensor]:
    """A mask, and the (B, L, S) table that it means, filled place by place."""
    name, *arguments = (kind,) if isinstance(kind, str) else kind
    if name == "open":
        mask, rule = OPEN, lambda b, q, k: True
    elif name == "causal":
        mask, rule = Causal(), lambda b, q, k: k <= q
    elif name == "window":
        before, after = arguments
        mask, rule = Window(before, after), lambda b, q, k: q - before <= k <= q + after
    elif name == "padding":
        mask, rule = Padding(torch.tensor(arguments[0])), lambda b, q, k: k < arguments[0][b]
    elif name == "same segment":
        ids = torch.tensor(arguments[0]).view(BATCH, 12)
        mask, rule = SameSegment(ids), lambda b, q, k: bool(ids[b, q] == ids[b, k])
    else:
        seed, dims = arguments
        shape = {2: (12, 12), 3: (BATCH, 12, 12), 4: (BATCH, 1, 12, 12)}[dims]
        table = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
        full = table.expand(BATCH, 1, 12, 12) if dims != 3 else table[:, None]
        mask, rule = Explicit(table), lambda b, q, k: bool(full[b, 0, q, k])
    rows = [
        [[rule(b, offset + row, key) for key in range(keys)] for row in range(length)] for b in range(BATCH)
    ]  # fmt: skip
    return mask, torch.tensor(rows)


def table_of(mask: Mask, length: int, keys: int, offset: int) -> Tensor:
    table = mask.dense(length, keys, offset)
    return (table[:, 0] if table.dim() == 4 else table).expand(BATCH, length, keys)


SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 8), st.integers(0, 4))


@given(MASKS, SHAPES)
def test_each_kind_equals_its_table(kind: object, shape: tuple[int, int, int]) -> None:
    mask, table = made(kind, *shape)
    assert torch.equal(table_of(mask, *shape), table)
    if mask.is_open(*shape):
        assert table.all()


@given(MASKS, MASKS, MASKS, SHAPES)
def test_masks_compose_by_and(one: object, two: object, three: object, shape: tuple[int, int, int]) -> None:
    (a, table_a), (b, table_b), (c, _) = (made(kind, *shape) for kind in (one, two, three))
    assert torch.equal(table_of(a & b, *shape), table_a & table_b)
    assert torch.equal(table_of((a & b) & c, *shape), table_of(a & (b & c), *shape))
    assert torch.equal(table_of(a & b, *shape), table_of(b & a, *shape))
    assert torch.equal(table_of(a & a, *shape), table_a)
    assert (a & OPEN) == a and (OPEN & a) == a and (a & a) == a
    assert has_table(a & b) == (has_table(a) or has_table(b))
    if (a & b).is_open(*shape):
        assert (table_a & table_b).all()


@given(st.integers(1, 6), st.integers(0, 6))
def test_open_is_known_for_plain_kinds_without_a_table(length: int, offset: int) -> None:
    """For masks that are plain numbers, is_open says exactly whether the whole table is True."""
    keys = offset + length
    for mask in (OPEN, Causal(), Window(3, 0), Window(3, 3), Window(9, 9), Causal() & Window(20, 0)):
        assert mask.is_open(length, keys, offset) == bool(mask.dense(length, keys, offset).all()), mask


def test_one_row_of_a_table_holds_for_every_query() -> None:
    readable = torch.tensor([[True, True, False], [True, False, True]])
    table = Explicit(readable[:, None]).dense(4, 3)
    assert torch.equal(table, readable[:, None, None, :].expand(2, 1, 4, 3))


def test_a_mask_is_bool() -> None:
    with pytest.raises(ValueError, match="must be bool"):
        Explicit(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="must be bool"):
        Explicit(torch.ones(3).bool())


def test_masks_are_values() -> None:
    assert Causal() == Causal() and Window(1, 2) == Window(1, 2) != Window(2, 1) and hash(Causal()) == hash(Causal())
    lengths = torch.tensor([1, 2])
    assert Padding(lengths) == Padding(lengths) != Padding(torch.tensor([1, 2])) and Padding(lengths) != Causal()
    assert Explicit(lengths[None] > 0) != Explicit(lengths[None] > 1), "two tables are two masks"
    assert SameSegment(lengths) != Padding(lengths)
    with pytest.raises(AttributeError):
        Window(1, 2).before = 3  # type: ignore[misc]
