"""Packed documents: nothing lost, nothing crosses, and a model's loss of each is what it is alone."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import dougong as dg
from dougong.data.packing import PADDING, arrange, pack, pack_stream
from dougong.data.tagging import IGNORED
from dougong.parts.masks import SameSegment

SIZES = st.lists(st.integers(0, 40), max_size=30)


def documents_of(sizes: list[int]) -> list[list[int]]:
    """Documents in which each token says which it is."""
    return [[1000 * number + place for place in range(size)] for number, size in enumerate(sizes)]


@given(SIZES, st.integers(1, 25))
def test_every_token_once_and_every_next_token_once(sizes: list[int], length: int) -> None:
    documents = documents_of(sizes)
    packed = pack(documents, length, fill=-7)
    real = packed.segments != PADDING
    assert sorted(packed.tokens[real].tolist()) == sorted(token for one in documents for token in one)
    assert (packed.tokens[~real] == -7).all() and (packed.targets[~real] == IGNORED).all()
    aimed = packed.targets != IGNORED
    assert (packed.targets[aimed] == packed.tokens[aimed] + 1).all()  # the next of the same document
    assert sorted(packed.targets[aimed].tolist()) == sorted(token for one in documents for token in one[1:])
    for row in range(len(packed)):
        for place in range(length):
            if not real[row, place]:
                continue
            same = packed.segments[row] == packed.segments[row, place]
            numbers = packed.tokens[row][same]
            assert len({int(number) // 1000 for number in numbers}) == 1
            assert packed.positions[row][same].tolist() == list(range(int(same.sum())))
            assert numbers.tolist() == list(range(int(numbers[0]), int(numbers[0]) + len(numbers)))
    assert packed.filled == pytest.approx(sum(sizes) / max(1, len(packed) * length)) or not sum(sizes)


@given(SIZES, st.integers(1, 25))
def test_rows_are_few(sizes: list[int], length: int) -> None:
    """Best fit decreasing needs at most 11/9 of the best, and 6/9 of a row (Johnson 1974); only long ones are cut."""
    rows = arrange(sizes, length)
    assert len(rows) <= 11 / 9 * -(-sum(sizes) // length) + 2 or max(sizes) > length / 3
    assert all(sum(stop - start for _, start, stop in row) <= length for row in rows)
    assert all(start % length == 0 for row in rows for _, start, _ in row)
    halves = [sum(stop - start for _, start, stop in row) for row in rows]
    assert sum(2 * size <= length for size in halves) <= 1


def test_a_stream_holds_some_at_a_time() -> None:
    documents = documents_of([3, 0, 5, 9, 2, 2, 0, 0])
    seen: list[int] = []

    def source() -> Any:
        for number, document in enumerate(documents):
            seen.append(number)
            yield document

    stream = pack_stream(source(), 6, hold=3)
    first = next(stream)
    assert seen == [0, 1, 2]
    found = [first, *stream]
    tokens = [int(token) for one in found for token in one.tokens[one.segments != PADDING]]
    assert sorted(tokens) == sorted(token for document in documents for token in document)
    assert list(pack_stream([], 6)) == [] and len(pack([], 6)) == 0


def test_refused() -> None:
    with pytest.raises(ValueError, match="rows of 0"):
        arrange([1], 0)
    with pytest.raises(ValueError, match="-1 tokens"):
        arrange([-1], 4)


@functools.cache
def small(family: str) -> nn.Module:
    """Two layers of a decoder, for evaluation."""
    size = {"vocab_size": 40, "d_model": 32, "n_layers": 2, "n_heads": 4, **FAMILIES[family]}
    model = dg.build({"architecture": family, **size}, seed=0)
    for name, parameter in model.named_parameters():  # positions and weights that matter
        if parameter.dim() > 1 and "embedding" not in name:
            nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(len(name)))
    return model.eval()


def losses(model: nn.Module, packed: Any, mask: bool = True, restart: bool = True) -> Tensor:
    """The loss of each place, (R, L), with documents kept apart by segments and, for learnt positions, restarted."""
    learnt = [value for name, value in model.named_parameters() if name.startswith("body.positions")]
    table = learnt[0].detach() if learnt and restart else None
    hooks = []
    if table is not None:  # as long as models have no input for it: what a restarted position differs by is added

        def restarted(module: nn.Module, inputs: Any, embedded: Any) -> Any:
            shift = table[packed.positions] - table[: packed.tokens.shape[1]]
            return dataclasses.replace(embedded, x=embedded.x + shift)

        hooks.append(model.embedding.register_forward_hook(restarted))  # type: ignore[union-attr, operator]
    length = packed.tokens.shape[1]
    apart = SameSegment(packed.segments).dense(length, length)[:, 0] if mask else None
    with torch.no_grad():
        logits = model(packed.tokens, mask=apart).logits
    for hook in hooks:
        hook.remove()
    return F.cross_entropy(logits.transpose(1, 2), packed.targets, ignore_index=IGNORED, reduction="none")


def alone(model: nn.Module, document: list[int]) -> Tensor:
    with torch.no_grad():
        logits = model(torch.tensor([document])).logits
    return F.cross_entropy(logits[0, :-1], torch.tensor(document[1:], dtype=torch.long), reduction="none")


FAMILIES = {"gpt2": {"max_length": 32}, "llama": {"d_ff": 64}}


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 24), min_size=3, max_size=8), st.integers(0, 99))
def test_a_packed_document_has_the_loss_that_it_has_alone(family: str, sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    documents = [torch.randint(40, (size,), generator=generator).tolist() for size in sizes]
    model, packed = small(family), pack(documents, 24)
    found = losses(model, packed)
    for row, pieces in enumerate(packed.pieces):
        for number, (document, _, _) in enumerate(pieces):
            here = found[row][packed.segments[row] == number][:-1]
            torch.testing.assert_close(here, alone(model, documents[document]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_contamination_would_be_seen(family: str) -> None:
    """Without the mask, and for learnt positions without the restart, losses differ."""
    documents = [list(range(1, 9)), list(range(20, 30))]
    model, packed = small(family), pack(documents, 24)
    right = losses(model, packed)
    second = packed.segments[0] == 1
    assert (losses(model, packed, mask=False) - right)[0][second].abs().max() > 1e-2
    moved = (losses(model, packed, restart=False) - right)[0][second].abs().max()
    assert moved > 1e-2 if family == "gpt2" else moved < 1e-5
