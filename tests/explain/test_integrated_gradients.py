"""Integrated gradients against closed forms, and their completeness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dougong as dg
from dougong.explain.finding import Ask
from dougong.explain.methods.integrated_gradients import attribute, completeness, integrated_gradients
from dougong.explain.opening import make_subject


class Linear(nn.Module):
    """Logits that are linear in the pixels."""

    def __init__(self, side: int = 4) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * side * side, 3, dtype=torch.float64)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.linear(pixels.flatten(1))


class Square(Linear):
    """Logits that are quadratic in the pixels: the gradient changes along the path."""

    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels**2)


def expected(model: Linear, pixels: Tensor, target: int, power: int = 1) -> np.ndarray:
    """weight times input for the logit less the mean logit, summed over channels."""
    weights = model.linear.weight.detach()
    row = weights[target] - weights.mean(0)
    return (row * (pixels**power).flatten()).view(3, -1).sum(0).numpy()


@pytest.mark.parametrize(("kind", "power"), [(Linear, 1), (Square, 2)])
def test_closed_form(kind: type[Linear], power: int) -> None:
    """Linear: w x. Quadratic: the integral of 2 w a x over a from 0 to 1, times x: w x^2."""
    torch.manual_seed(0)
    model, pixels = kind(), torch.randn(3, 4, 4, dtype=torch.float64)
    explanation = dg.explain(model, pixels, target=1)
    np.testing.assert_allclose(explanation.scores, expected(model, pixels, 1, power), atol=1e-10)
    assert explanation.checks["completeness"].passed
    other = expected(model, pixels, 2, power)  # another class: negative control
    assert np.abs(explanation.scores - other).max() > 1e-2


@pytest.mark.parametrize("which", ["vit", "lstm", "resnet"])
def test_scores_add_up(which: str, digits: tuple[Tensor, Tensor], request: pytest.FixtureRequest) -> None:
    model, pixels = request.getfixturevalue(which), digits[0][1510]
    explanation = dg.explain(model, pixels)
    assert explanation.method == "integrated-gradients" and explanation.checks["completeness"].passed
    with torch.no_grad():
        ends = model(torch.stack((torch.zeros_like(pixels), pixels))).logits.double()
    centred = ends[:, explanation.target.index] - ends.mean(1)
    rise = float(centred[1] - centred[0])
    assert explanation.scores.sum() == pytest.approx(rise, abs=max(0.01, 0.01 * abs(rise)) + 1e-4)
    assert explanation.target.probability == pytest.approx(float(ends[1].softmax(0).max()), rel=1e-4)


def test_too_few_steps_fail(digits: tuple[Tensor, Tensor]) -> None:
    """A kinked function with one step on its path: the scores do not add up, and the check says so."""

    class Kink(Linear):
        def forward(self, pixels: Tensor) -> Tensor:
            return super().forward(50 * torch.relu(pixels - 0.55))

    torch.manual_seed(0)
    model = Kink(8)
    subject = make_subject(model, digits[0][:1].double(), (), 0)
    check = integrated_gradients(subject, Ask(steps=1)).checks["completeness"]
    assert not check.passed and "do NOT add up" in check.meaning
    gaps = [abs(float(attribute(subject, steps).sum()) - rise_of(subject)) for steps in (1, 512)]
    assert gaps[1] < gaps[0] / 10


def rise_of(subject: object) -> float:
    with torch.no_grad():
        return float(subject.evidence(subject.points) - subject.evidence(subject.baseline))  # type: ignore[attr-defined]


def test_completeness_rule() -> None:
    assert completeness(0.009, 1.0, 32).passed and not completeness(0.011, 1.0, 32).passed
    assert completeness(0.009, 0.0, 32).passed and not completeness(0.011, 0.0, 32).passed
    assert completeness(0.09, -10.0, 32).passed


def test_steps_are_doubled_until_the_scores_add_up(resnet: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    subject = make_subject(resnet, digits[0][1500:1501], (), None)
    few, many = (integrated_gradients(subject, Ask(steps=steps)).checks["completeness"] for steps in (1, 512))
    assert many.value <= few.value and many.passed


def test_tokens_are_explained_through_their_embeddings() -> None:
    """One token decides: class 1 if token 7 is there. Its position gets the score."""

    class Spotter(nn.Module):
        input_kind = "tokens"

        def __init__(self) -> None:
            super().__init__()
            self.embedding = dg.build("gru", vocab_size=9, d_model=4).embedding
            with torch.no_grad():
                self.embedding.weight.zero_()
                self.embedding.weight[:, 1] = 0.1
                self.embedding.weight[7, 0] = 5.0

        def forward(self, tokens: Tensor) -> Tensor:
            seen = self.embedding(tokens).x[..., 0].sum(1)
            return torch.stack((1 - seen, seen - 1), -1)

    explanation = dg.explain(Spotter(), torch.tensor([1, 2, 7, 3, 4, 5, 6, 8]))
    assert explanation.target.index == 1 and explanation.top(1)[0][0] == "token 3"
    np.testing.assert_allclose(explanation.scores, [0, 0, 5, 0, 0, 0, 0, 0], atol=1e-6)
    assert explanation.picture_seen is None and "token 3" in explanation.html()


@pytest.mark.parametrize("family", ["gru", "textcnn"])
def test_a_token_model_is_left_as_it_was(family: str) -> None:
    model = dg.build(family, vocab_size=20, d_model=8, seed=0).eval()
    tokens = torch.arange(1, 13)[None]
    before = model(tokens).logits
    explanation = dg.explain(model, tokens)
    assert len(explanation.scores) == 12 and explanation.checks["completeness"].passed
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(model(tokens).logits, before)
