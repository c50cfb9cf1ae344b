"""Rules on scores and drawing from them, against Transformers' own and against probabilities worked out by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from dougong.runtime.choosing import Chooser, Rules, narrowed, nucleus, penalised, repeating
from dougong.runtime.settings import Settings

TEXTS = [[3, 1, 4, 1, 5], [9, 2, 6], [5, 3, 5, 8, 9, 7, 9]]


def scores(rows: int = 3, size: int = 40, seed: int = 0) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)) * 3


WARPERS: list[tuple[str, dict[str, Any], list[tuple[str, tuple[Any, ...]]]]] = [
    ("temperature", {"temperature": 0.7}, [("TemperatureLogitsWarper", (0.7,))]),
    ("top_k", {"top_k": 5}, [("TopKLogitsWarper", (5,))]),
    ("top_k of one", {"top_k": 1}, [("TopKLogitsWarper", (1,))]),
    ("more than all", {"top_k": 99}, [("TopKLogitsWarper", (99,))]),
    ("top_p", {"top_p": 0.8}, [("TopPLogitsWarper", (0.8,))]),
    ("tiny top_p", {"top_p": 1e-6}, [("TopPLogitsWarper", (1e-6,))]),
    ("min_p", {"min_p": 0.05}, [("MinPLogitsWarper", (0.05,))]),
    (
        "all",
        {"temperature": 1.4, "top_k": 20, "top_p": 0.9, "min_p": 0.02},
        [
            ("TemperatureLogitsWarper", (1.4,)),
            ("TopKLogitsWarper", (20,)),
            ("TopPLogitsWarper", (0.9,)),
            ("MinPLogitsWarper", (0.02,)),
        ],
    ),
]


@pytest.mark.parametrize(("name", "ours", "theirs"), WARPERS, ids=[one[0] for one in WARPERS])
def test_scores_are_narrowed_as_transformers_does(
    name: str, ours: dict[str, Any], theirs: list[tuple[str, tuple[Any, ...]]]
) -> None:
    from transformers.generation import logits_process

    for seed in range(5):
        expected = scores(seed=seed)
        for kind, arguments in theirs:
            expected = getattr(logits_process, kind)(*arguments)(torch.zeros(3, 1, dtype=torch.long), expected)
        found = narrowed(scores(seed=seed), Settings(**ours))
        assert torch.equal(found.isinf(), expected.isinf()) and bool(found.isfinite().any(-1).all())
        torch.testing.assert_close(found, expected)


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([3, 300, 5000]), st.floats(0.01, 0.999), st.sampled_from([0.0, 0.1, 3.0]))
def test_the_fewest_tokens_of_a_share_are_those_of_a_sorted_vocabulary(
    seed: int, vocabulary: int, share: float, spread: float
) -> None:
    """Flat scores need more tokens than are looked at first; rounded ones are often equal."""
    generator = torch.Generator().manual_seed(seed)
    some = (torch.randn(2, vocabulary, generator=generator) * spread * 4).round() / 4
    ordered, places = some.sort(descending=True, stable=True)
    shares = ordered.double().softmax(-1)
    before = shares.cumsum(-1) - shares
    found = nucleus(some, share)
    expected = torch.zeros_like(found).scatter(1, places, before < share)
    if float((before - share).abs().min()) > 1e-9:  # else rounding says which side a token is on
        assert torch.equal(found, expected)
    assert not torch.equal(found, expected.roll(1, -1)) or bool(expected.all())


@pytest.mark.parametrize("penalty", [0.5, 1.3, 2.0])
def test_repetition_is_punished_as_transformers_does(penalty: float) -> None:
    from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

    found = penalised(scores(), TEXTS, penalty)
    for row, text in enumerate(TEXTS):
        expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([text]), scores()[row : row + 1])
        torch.testing.assert_close(found[row : row + 1], expected)
    assert not torch.equal(found, scores())


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 4))
def test_a_run_that_would_come_twice_is_found(text: list[int], size: int) -> None:
    runs = {tuple(text[i : i + size]) for i in range(len(text) - size + 1)}
    expected = {token for token in range(4) if len(text) + 1 >= size and (*text, token)[-size:] in runs}
    assert set(repeating(text, size)) == expected


def test_bans_ends_and_forced_tokens() -> None:
    rules = Rules(Settings(banned=[7], min_new_tokens=2), [1, 2], first=11, last=12)
    assert rules(scores(), TEXTS, [0] * 3, [9] * 3).argmax(-1).tolist() == [11, 11, 11]
    early, later, last = (rules(scores(), TEXTS, [written] * 3, [9] * 3) for written in (1, 2, 8))
    assert early[:, [1, 2, 7]].isinf().all() and later[:, 7].isinf().all() and later[:, [1, 2]].isfinite().all()
    assert last.argmax(-1).tolist() == [12, 12, 12]
    mixed = rules(scores(), TEXTS, [0, 1, 8], [9, 9, 9])  # rows that began at different times
    alone = [rules(scores(), TEXTS, [count] * 3, [9] * 3)[row] for row, count in enumerate((0, 1, 8))]
    assert torch.equal(mixed, torch.stack(alone))
    assert torch.equal(Rules(Settings())(scores(), TEXTS, [0] * 3, [9] * 3), scores())


def test_tokens_are_drawn_as_often_as_they_are_probable() -> None:
    one, settings = scores(1, 12) / 2, Settings(temperature=0.8, top_p=0.9)
    choose = Chooser(settings, [0])
    counts = Counter(int(choose(one, [0])) for _ in range(20_000))
    expected = narrowed(one, settings).softmax(-1)[0]
    assert {token for token, share in enumerate(expected.tolist()) if share == 0}.isdisjoint(counts)
    for token, share in enumerate(expected.tolist()):  # five standard deviations
        assert abs(counts[token] / 20_000 - share) <= 5 * (share * (1 - share) / 20_000) ** 0.5 + 1e-9
    control = torch.ones(12) / 12
    assert any(abs(counts[token] / 20_000 - float(control[token])) > 0.02 for token in range(12))


def test_each_row_draws_from_its_own_numbers() -> None:
    together = Chooser(Settings(temperature=1, seed=5), [0, 1, 0])
    drawn = [together(scores(), [0, 1, 2]).tolist() for _ in range(20)]
    alone = Chooser(Settings(temperature=1, seed=5), [1])
    assert [row[1] for row in drawn] == [int(alone(scores()[1:2], [0])) for _ in range(20)]
    same = Chooser(Settings(temperature=1, seed=5), [0, 1, 0])
    part = [same(scores()[[0, 2]], [0, 2]).tolist() for _ in range(20)]  # a row that has left disturbs nobody
    assert part == [[row[0], row[2]] for row in drawn]
    other = Chooser(Settings(temperature=1, seed=6), [0, 1, 0])
    assert [other(scores(), [0, 1, 2]).tolist() for _ in range(20)] != drawn
