"""Poolings and heads against plain indexing, one sequence at a time."""

from __future__ import annotations

import torch
from support.numbers import assert_different, assert_equal_to_rounding, shake

from dougong.heads.classify import Classify, Ends, First, Last, Max, Mean
from dougong.heads.language import Project, Tied
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
