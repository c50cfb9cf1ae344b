"""Poolings and heads against plain indexing, one sequence at a time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.numbers import assert_different, assert_equal_to_rounding, shake

from dougong.heads.classify import Classify, Ends, First, Last, Max, Mean
from dougong.heads.language import Project, Tied
from dougong.heads.segment import AllMlp
from dougong.parts.embeddings import TokenEmbedding

D = 8


def test_poolings_look_at_real_tokens_only() -> None:
    hidden, lengths = torch.randn(3, 5, 4), torch.tensor([5, 2, 1])
    rubbish = hidden.clone()
    for row, length in enumerate(lengths.tolist()):
        rubbish[row, length:] = 1e3
    for pool, right in {
        First(): lambda x: x[0],
        Last(): lambda x: x[-1],
        Mean(): lambda x: x.mean(0),
        Max(): lambda x: x.max(0).values,
        Ends(): lambda x: torch.cat((x[-1, :2], x[0, 2:])),
    }.items():
        expected = torch.stack([right(hidden[row, :length]) for row, length in enumerate(lengths.tolist())])
        assert_equal_to_rounding(pool(rubbish, lengths), expected)
        assert_equal_to_rounding(pool(hidden[:1]), right(hidden[0])[None])
        if not isinstance(pool, First):
            assert_different(pool(rubbish), expected)
    assert_equal_to_rounding(Mean(skip=1)(rubbish[:2], lengths[:2])[1], hidden[1, 1])
    assert_equal_to_rounding(Mean(skip=2)(hidden), hidden[:, 2:].mean(1))
    assert_equal_to_rounding(Mean()(hidden[:, :, :, None]), hidden.mean(2))


def test_heads() -> None:
    hidden = torch.randn(2, 3, D)
    classify = shake(Classify(First(), D, 4)).eval()
    assert_equal_to_rounding(classify(hidden), hidden[:, 0] @ classify.linear.weight.T + classify.linear.bias)
    project = shake(Project(D, 6, bias=False))
    assert_equal_to_rounding(project(hidden), hidden @ project.linear.weight.T)
    embedding = TokenEmbedding(9, D, scale=3.0)
    tied = Tied(embedding)
    assert tied.weight is embedding.weight  # and the scale is for reading only
    assert_equal_to_rounding(tied(hidden), hidden @ embedding.weight.T)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_maps_are_joined_as_the_paper_writes_it(dtype: torch.dtype) -> None:
    head = shake(AllMlp([4, 6, 8], D, 5)).to(dtype).eval()
    maps = [torch.randn(2, c, h, w, dtype=dtype) for c, h, w in ((4, 9, 7), (6, 5, 4), (8, 3, 2))]
    large = []
    for side, each in zip(head.sides, maps, strict=True):
        tokens = torch.einsum("bchw,dc->bdhw", each, side.weight) + side.bias[:, None, None]
        large.append(F.interpolate(tokens, (9, 7), mode="bilinear", align_corners=False))
    joined = F.conv2d(torch.cat(large[::-1], 1), head.join.weight)
    right = head.score(head.norm(joined).relu())
    found = head(maps)
    assert_equal_to_rounding(found, right)
    assert_different(head.score(head.norm(F.conv2d(torch.cat(large, 1), head.join.weight)).relu()), right)
    mine, theirs = (torch.autograd.grad(y.square().sum(), list(head.parameters())) for y in (found, right))
    for a, b in zip(mine, theirs, strict=True):
        assert_equal_to_rounding(a, b, dtype, factor=10)
    shapes: list[torch.Size] = []  # who wants to see a step gets to see it
    handle = head.join.register_forward_hook(lambda _, given, answer: shapes.append(answer.shape))
    assert_equal_to_rounding(head(maps), right)
    handle.remove()
    assert shapes == [(2, D, 9, 7)]
    assert torch.equal(head(maps), found) and len(shapes) == 1
