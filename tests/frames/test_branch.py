"""Branches and blocks against the residual rules written out."""

from __future__ import annotations

import pytest
import torch
from support.numbers import assert_different, assert_equal_to_rounding, shake
from torch import Tensor, nn

from dougong.frames.branch import Add, Block, Branch, Replace
from dougong.frames.pyramid import Pyramid
from dougong.parts.context import Context
from dougong.parts.convolution import Layers, Parallel, Subsample, basic_convolutions, convolution
from dougong.parts.feedforward import feed_forward

D = 6


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """Layer norm from its formula."""
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
    return (x - mean) / (variance + layer.eps).sqrt() * layer.weight + layer.bias


@pytest.mark.parametrize("places", [[], ["before"], ["after"], ["before", "inside"], ["before", "inside", "after"]])
def test_norms_stand_where_they_are_put(places: list[str]) -> None:
    norms = {place: shake(nn.LayerNorm(D)) for place in places}
    body = shake(feed_forward(D, 9))
    x = torch.randn(2, 4, D)
    y = norm(norms["before"], x) if "before" in places else x
    y = body(y)
    y = x + (norm(norms["inside"], y) if "inside" in places else y)
    y = norm(norms["after"], y) if "after" in places else y
    assert_equal_to_rounding(Branch(body, **norms)(x), y)
    if places == ["before"]:
        assert_different(Branch(body, after=norms["before"])(x), y)


def test_residual_rules() -> None:
    body, shortcut = shake(nn.Linear(D, 4)), shake(nn.Linear(D, 4))

    class Body(nn.Module):
        def forward(self, x: Tensor, context: Context) -> Tensor:
            return body(x)

    x = torch.randn(2, 3, D)
    assert_equal_to_rounding(Branch(Body(), residual=Replace())(x), body(x))
    assert_equal_to_rounding(Branch(Body(), residual=Add(shortcut))(x), shortcut(x) + body(x))
    scaled = Branch(Body(), residual=Add(shortcut, scale=0.1, d_model=4))
    assert scaled.residual.scale.shape == (4,)
    assert_equal_to_rounding(scaled(x), shortcut(x) + 0.1 * body(x))
    with torch.no_grad():
        scaled.residual.scale.copy_(torch.tensor([1.0, 2, 3, 4]))
    assert_equal_to_rounding(scaled(x), shortcut(x) + torch.tensor([1.0, 2, 3, 4]) * body(x))


def test_dropout_falls_on_the_answer_and_not_on_the_stream() -> None:
    branch = Branch(feed_forward(D, 9), dropout=0.999)
    x = torch.randn(50, 4, D)
    kept = (branch(x) - x).abs() < 1e-12
    assert kept.float().mean() > 0.9
    assert_equal_to_rounding(branch.eval()(x), x + branch.body(x))


def test_a_block_runs_its_branches_in_order_and_hands_on_the_context() -> None:
    class Note(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor, context: Context) -> Tensor:
            return x * self.factor + context.prefix

    block = Block("local", first=Branch(Note(2), residual=Replace()), second=Branch(Note(3), residual=Replace()))
    assert block.kind == "local" and [name for name, _ in block.named_children()] == ["first", "second"]
    assert block(torch.tensor([1.0]), Context(prefix=10)).tolist() == [(1 * 2 + 10) * 3 + 10]
    side_by_side = Branch(Parallel([Note(2), Note(3)], "sum"))
    assert side_by_side(torch.tensor([1.0]), Context(prefix=10)).tolist() == [1 + (2 + 10) + (3 + 10)]


@pytest.mark.parametrize("kind", ["projection", "subsample"])
def test_a_residual_convolution_branch_where_the_shape_changes(kind: str) -> None:
    body = shake(basic_convolutions(3, 5, 2)).eval()
    shortcut = shake(convolution(3, 5, 1, 2)).eval() if kind == "projection" else Subsample(3, 5, 2)
    x = torch.randn(2, 3, 8, 8)
    y = Branch(body, residual=Add(shortcut), after=nn.ReLU())(x)
    assert y.shape == (2, 5, 4, 4)
    assert_equal_to_rounding(y, (shortcut(x) + body(x)).clamp(min=0))


def test_a_pyramid_keeps_the_map_of_every_stage() -> None:
    stages = [Layers(shake(convolution(3, 4, 3, 2))).eval(), Layers(shake(convolution(4, 6, 3, 2))).eval()]
    x = torch.randn(1, 3, 8, 8)
    fine, coarse = Pyramid(stages)(x)
    assert fine.shape == (1, 4, 4, 4) and coarse.shape == (1, 6, 2, 2)
    assert torch.equal(fine, stages[0](x)) and torch.equal(coarse, stages[1](stages[0](x)))
