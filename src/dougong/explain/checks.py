"""Tests of an explanation, whatever the method: remove what it calls important, and take the model's learning away."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from dougong.explain.explanation import Check, Curves, Units
from dougong.explain.finding import Ask, Finding
from dougong.explain.subject import Subject, evaluation
from dougong.parts.embeddings import TokenEmbedding
from dougong.runtime.convolving import FastPictures

ORDERS = 19
"""With 19 random orders, an order that is no better than chance is below all of them once in 20 times."""
POINTS = 16
SHUFFLES = 5
ALIKE = 0.5


def deletion(subject: Subject, units: Units, scores: np.ndarray, seed: int = 0) -> tuple[Check, Curves]:
    """Remove units from the most important on, and watch what the target is given (Petsiuk et al. 2018, section 3.2).

    Removed units are set to the baseline. The area under the curve is compared with those of random orders.

    Args:
        subject: what is explained.
        units: n of them.
        scores: (n,).
        seed: of the random orders.
    """
    count = len(units)
    amounts = np.unique(np.linspace(0, count, min(POINTS, count) + 1).round().astype(int))
    generator = np.random.default_rng(seed)
    ties = generator.permutation(count)  # equal scores in random order, not from the top left corner on
    most = ties[np.argsort(-scores[ties], kind="stable")]
    orders = np.stack([most, most[::-1], *(generator.permutation(count) for _ in range(ORDERS))])
    ranks = np.argsort(orders, 1)
    probabilities = np.empty((len(orders), len(amounts)))
    with FastPictures(subject.model):
        for column, amount in enumerate(amounts):  # a column at a time keeps memory small
            removed = torch.from_numpy(ranks < amount)
            probabilities[:, column] = subject.probability(subject.without(units, removed)).double().cpu().numpy()
    removed_share = amounts / count
    areas = np.asarray(np.trapezoid(probabilities, removed_share, axis=1))
    random, below = areas[2:], int((areas[0] < areas[2:]).sum())
    between = float(random.mean() - areas[0])
    passed = below == ORDERS
    verdict = "what it calls important matters to the model" if passed else (
        "what it calls important matters no more, for all this test can tell, than what chance picks"
    )  # fmt: skip
    meaning = (
        f"The {units.plural} were removed one after another while {subject.watched} was watched. The area under "
        f"its curve is {areas[0]:.2f} with the most important first, {random.mean():.2f} in random order, "
        f"{areas[1]:.2f} with the least important first. The first is below {below} of {ORDERS} random orders, "
        f"so {verdict}. Passes when below all of them."
    )
    return Check(between, meaning, passed), Curves(removed_share, probabilities[0], probabilities[1], probabilities[2:])


def randomised_weights(
    subject: Subject, finding: Finding, method: Callable[[Subject, Ask], Finding], ask: Ask, seed: int = 0
) -> Check:
    """The same method on the same model with shuffled weights must find something else (Adebayo et al. 2018, 3.1).

    Each tensor of weights is shuffled within itself: what was learnt is gone, its scale stays. An explanation that
    looks the same afterwards, as an edge detector does, did not come from the model.

    Args:
        subject: what is explained.
        finding: of the method on the real model.
        method: that is tested.
        ask: what it was asked for.
        seed: of the shuffling.
    """
    alike, model, rows = [], copy.deepcopy(subject.model), rows_read(subject)
    with evaluation(model):
        for number in range(SHUFFLES):
            shuffle(model, subject.model, seed + number, rows)
            other = method(subject.with_model(model), replace(ask, steps=min(ask.steps, 64)))
            alike.append(rank_correlation(finding.scores, other.scores))
    mean = float(np.mean(alike))
    passed = abs(mean) < ALIKE
    verdict = "it depends on what the model learnt" if passed else "it would look alike without any learning"
    meaning = (
        f"With the model's weights shuffled, the explanation's ranking agrees with this one by {mean:+.2f} (rank "
        f"correlation, mean of {SHUFFLES} shuffles from {min(alike):+.2f} to {max(alike):+.2f}; 1 is the same, 0 is "
        f"unrelated), so {verdict}. Passes below {ALIKE}."
    )
    return Check(mean, meaning, passed)


def rows_read(subject: Subject) -> Tensor | None:
    """The rows of the table of tokens that a text reads, where nothing else reads that table; None else.

    A vocabulary may hold most of a model's weights, of which a text reads a few rows.
    """
    table, model = getattr(subject.model, "embedding", None), subject.model
    if not isinstance(table, TokenEmbedding) or subject.inputs.is_floating_point():
        return None
    readers = sum(each is table.weight for _, each in model.named_parameters(remove_duplicate=False))
    return subject.tokens_read() if readers == 1 else None


@torch.no_grad()
def shuffle(copied: nn.Module, model: nn.Module, seed: int, rows: Tensor | None = None) -> None:
    """Give a copy of the model the model's numbers, each parameter's and buffer's entries in random order.

    Args:
        copied: has any numbers of the same shapes.
        model: whose numbers they are.
        seed: of the orders.
        rows: the only rows that are read of the table of tokens, and so the only ones of it that are given: numbers
            drawn from all of it, each once, as in a whole random order.
    """
    generator, drawn = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    first = getattr(model, "embedding", None)
    table = first.weight if rows is not None and isinstance(first, TokenEmbedding) else None
    mine, theirs = ([*each.parameters(), *each.buffers()] for each in (copied, model))
    for tensor, real in zip(mine, theirs, strict=True):
        if real is table and rows is not None:
            some = torch.from_numpy(drawn.choice(real.numel(), len(rows) * real.shape[1], replace=False))
            tensor[rows] = real.flatten()[some.to(tensor.device)].view(len(rows), -1)
        elif tensor.is_floating_point() and tensor.numel() > 1:
            order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
            tensor.copy_(real.flatten()[order].view_as(tensor))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation, equal values sharing their mean rank; 0 when either does not vary."""
    a, b = ranks(first), ranks(second)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 and np.isfinite(scale) else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return (ends - (counts + 1) / 2)[inverse]
