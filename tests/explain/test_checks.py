"""The tests of explanations tell good ones from bad ones."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import dougong as dg
from dougong.explain.checks import deletion, randomised_weights, rank_correlation, rows_read, shuffle
from dougong.explain.explanation import Target
from dougong.explain.finding import Ask, Finding
from dougong.explain.methods import METHODS
from dougong.explain.opening import make_subject
from dougong.explain.subject import Subject


class Corner(nn.Module):
    """Class 1 for what is bright in the four pixels of the top left corner; it sees nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, pixels: Tensor) -> Tensor:
        bright = pixels[:, :, :2, :2].mean((1, 2, 3)) * self.weight
        return torch.stack((2 - 8 * bright, 8 * bright - 2), -1)


@pytest.fixture
def corner() -> Subject:
    return make_subject(Corner().eval(), torch.ones(1, 3, 8, 8), (), None)


def scores_of_corner(value: float) -> np.ndarray:
    scores = np.zeros((8, 8))
    scores[:2, :2] = value
    return scores.ravel()


def test_deletion_of_known_pixels(corner: Subject) -> None:
    units = corner.cells()
    good, curves = deletion(corner, units, scores_of_corner(1.0))
    assert good.passed and good.value > 0.3
    assert curves.most[0] == curves.least[0] == pytest.approx(torch.tensor(12.0).sigmoid().item(), rel=1e-5)
    # 16 steps over 64 pixels take 4 pixels each: after the first the whole corner is gone
    np.testing.assert_allclose(curves.most[1:], torch.tensor(-4.0).sigmoid().item(), rtol=1e-5)
    # least important first keeps the corner to the last step
    np.testing.assert_allclose(curves.least[:-1], curves.least[0], rtol=1e-6)
    assert curves.removed[1] == pytest.approx(4 / 64)


def test_deletion_fails_what_points_elsewhere(corner: Subject) -> None:
    bad, _ = deletion(corner, corner.cells(), -scores_of_corner(1.0))
    assert not bad.passed and bad.value < 0 and "chance" in bad.meaning
    flat, _ = deletion(corner, corner.cells(), np.zeros(64))
    assert not flat.passed


def test_deletion_is_seeded(corner: Subject) -> None:
    first, second, other = (deletion(corner, corner.cells(), np.zeros(64), seed)[1].random for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def edges(subject: Subject, _: Ask) -> Finding:
    """An explanation that never asks the model: an edge detector (Adebayo et al. 2018, section 4)."""
    light = subject.points[0].mean(0)
    across = (light - light.roll(1, 1)).abs() + (light - light.roll(1, 0)).abs()
    return Finding(subject.cells(), across.flatten().double().numpy(), "edges")


@pytest.mark.parametrize("which", ["vit", "lstm", "resnet"])
def test_edges_fail_the_randomised_weights(
    which: str, digits: tuple[Tensor, Tensor], request: pytest.FixtureRequest
) -> None:
    subject = make_subject(request.getfixturevalue(which), digits[0][1500:1501], (), None)
    check = randomised_weights(subject, edges(subject, Ask()), edges, Ask())
    assert not check.passed and check.value == pytest.approx(1) and "without any learning" in check.meaning
    method = METHODS["integrated-gradients"]
    real = randomised_weights(subject, method(subject, Ask()), method, Ask())
    assert real.passed and abs(real.value) < 0.5


def test_good_explanations_of_trained_models_pass(
    vit: nn.Module, lstm: nn.Module, resnet: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    for model in (vit, lstm, resnet):
        passed = [dg.explain(model, digits[0][number]).checks["deletion"].passed for number in range(1500, 1504)]
        assert sum(passed) >= 3, "integrated gradients should beat random orders on nearly every digit"


def test_shuffling_keeps_every_number(vit: nn.Module) -> None:
    other = copy.deepcopy(vit)
    shuffle(other, vit, 0)
    for (name, mine), (_, theirs) in zip(vit.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(mine.flatten().sort().values, theirs.flatten().sort().values), name
    mine, theirs = (model.body.blocks[0].attention.body.query.weight for model in (vit, other))
    assert not torch.equal(mine, theirs)


@pytest.mark.parametrize("head", ["sequence", "masked-language"])
def test_of_a_large_vocabulary_only_what_is_read_is_shuffled(head: str) -> None:
    """Numbers of the whole table, each at most once; a table that the answers read, too, is shuffled whole."""
    config = {"architecture": "bert", "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 16, "vocab_size": 500}
    model = dg.build({**config, "head": head, "max_length": 8}, seed=3).eval()
    points = torch.zeros(1, 4, 8)
    subject = Subject(model, torch.tensor([[1, 7, 7, 400]]), points, points, (), Target(0, "", 0.0))
    rows = rows_read(subject)
    other = copy.deepcopy(model)
    shuffle(other, model, 0, rows)
    mine, theirs = model.embedding.weight, other.embedding.weight
    if head == "masked-language":
        assert rows is None and torch.equal(mine.flatten().sort().values, theirs.flatten().sort().values)
        return
    assert rows is not None and rows.tolist() == [1, 7, 400]
    found, whole, read = (set(each.flatten().tolist()) for each in (theirs[rows], mine, mine[rows]))
    assert found <= whole and len(found) == 24 and not found <= read
    query, theirs_query = (each.body.blocks[0].attention.body.query.weight for each in (model, other))
    assert not torch.equal(query, theirs_query)  # all the rest is shuffled whole
    assert torch.equal(query.flatten().sort().values, theirs_query.flatten().sort().values)
    again = copy.deepcopy(model)
    shuffle(again, model, 1, rows)
    assert not torch.equal(again.embedding.weight[rows], theirs[rows])


def test_rank_correlation_is_spearmans() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        a, b = generator.integers(0, 6, 12), generator.normal(size=12).round(1)
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert rank_correlation(np.ones(4), np.arange(4.0)) == 0
