"""Losses over some items: the papers' formulas in float64, and what the correction for drawing is good for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import dougong
from dougong.heads.language import Project
from dougong.heads.recommend import IGNORED, binary, sampled_softmax, scores_at
from dougong.parts.output import Output, Pending, deferring

V = 17
MODELS = {
    "sasrec": {"architecture": "sasrec", "vocab_size": V, "max_length": 9, "d_model": 8, "dropout": 0.0},
    "bert4rec": {"architecture": "bert4rec", "vocab_size": V, "max_length": 9, "d_model": 8, "n_heads": 2},
    "gru4rec": {"architecture": "gru4rec", "vocab_size": V, "d_model": 8, "tied": False},
}  # fmt: skip
EACH = pytest.mark.parametrize("name", MODELS)


def asked(name: str) -> tuple[torch.nn.Module, Output, Tensor, Callable[[], Output]]:
    """A model, its answer with logits that wait, what came, and how to ask again; some places are not asked about."""
    torch.manual_seed(0)
    model = dougong.build(MODELS[name], seed=0).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    tokens, lengths = torch.randint(0, V, (4, 9)), torch.tensor([9, 3, 5, 1])
    targets = torch.where(torch.arange(9) < lengths[:, None], torch.randint(0, V, (4, 9)), IGNORED)

    def again() -> Output:
        with deferring():
            return model(tokens, lengths)

    output = again()
    assert isinstance(output, Pending)
    return model, output, targets, again


def gradients(model: torch.nn.Module, loss: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss.backward()
    return [torch.zeros(()) if p.grad is None else p.grad.clone() for p in model.parameters()]


@EACH
def test_binary_is_the_papers_equation(name: str) -> None:
    model, output, targets, again = asked(name)
    targets = torch.cat((targets[..., None], torch.randint(0, V, (4, 9, 3))), 2)
    logits = model.head(output.hidden)
    total, count = torch.zeros((), dtype=torch.double), 0
    for row in range(4):
        for place in range(9):
            true, *others = targets[row, place].tolist()
            if true != IGNORED:
                r = logits[row, place].sigmoid()
                total = total - r[true].log() - sum((1 - r[other]).log() for other in others)
                count += 1
    wanted = gradients(model, total / count)
    loss = binary(again(), targets)
    assert torch.allclose(loss, total.detach() / count)
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(gradients(model, loss), wanted, strict=True))
    other = torch.where(targets == IGNORED, IGNORED, (targets + 1) % V)
    assert not torch.allclose(binary(again(), other), total.detach() / count)


@EACH
def test_against_every_item_the_sampled_loss_is_the_softmax(name: str) -> None:
    model, output, targets, _ = asked(name)
    even = torch.full((V,), 1 / V, dtype=torch.double)
    whole = F.cross_entropy(model.head(output.hidden).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    found = sampled_softmax(output, targets, torch.randperm(V), even, 10**6)
    assert torch.allclose(found, whole)
    fewer = sampled_softmax(output, targets, torch.randperm(V)[:9], even, 10**6)
    assert float(fewer.detach()) < float(whole.detach()), "the control: of fewer items it is less"


def test_the_correction_undoes_what_drawing_by_popularity_does() -> None:
    """Minimised over free scores, the corrected loss finds the real probabilities, the plain one flattens them."""
    true = torch.tensor([0.5, 0.25, 0.15, 0.1], dtype=torch.double)

    def learnt(shares: Tensor) -> Tensor:
        draw, head = torch.Generator().manual_seed(0), Project(1, 4, bias=False).double()
        torch.nn.init.zeros_(head.linear.weight)
        optimizer = torch.optim.Adam(head.parameters(), lr=0.03)
        hidden = torch.ones(1, 64, 1, dtype=torch.double)
        mean = torch.zeros(4, dtype=torch.double)
        for step in range(700):
            targets = torch.multinomial(true, 64, replacement=True, generator=draw)[None]
            others = torch.multinomial(true, 2, replacement=True, generator=draw)
            loss = sampled_softmax(Pending(head, hidden), targets, others.unique(), shares, 2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mean += head.linear.weight.detach()[:, 0] * (step >= 300)
        return (mean / 400).softmax(0)

    assert (learnt(true) - true).abs().max() < 0.03
    assert (learnt(torch.full((4,), 0.25, dtype=torch.double)) - true).abs().max() > 0.1


@EACH
def test_scores_at_one_place_are_those_of_the_whole(name: str) -> None:
    model, output, _, _ = asked(name)
    places = torch.tensor([8, 2, 4, 0])
    found = scores_at(output, places)
    assert "logits" not in vars(output), "not made for all places"
    assert torch.allclose(found, model.head(output.hidden)[torch.arange(4), places])
    assert torch.equal(scores_at(Output(output.hidden, model.head(output.hidden)), places), found)
