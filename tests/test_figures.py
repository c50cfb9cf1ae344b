"""Numbers as people read them."""

from __future__ import annotations

import doctest

import pytest

from dougong import figures


def test_examples_hold() -> None:
    found = doctest.testmod(figures)
    assert found.attempted >= 3 and not found.failed


@pytest.mark.parametrize(
    ("n", "words", "said"),
    [
        (0, ("row",), "no rows"), (1, ("row",), "1 row"), (2, ("row",), "2 rows"), (12345, ("box",), "12,345 boxes"),
        (3, ("batch",), "3 batches"),
        (1, ("entity", "entities"), "1 entity"), (2, ("entity", "entities"), "2 entities"),
    ],
)  # fmt: skip
def test_a_number_and_what_it_is_of(n: int, words: tuple[str, ...], said: str) -> None:
    assert figures.many(n, *words) == said


def test_the_verb() -> None:
    assert [figures.are(n) for n in (0, 1, 2)] == ["are", "is", "are"]
