"""Splits: disjoint, whole, stratified, settled by the seed, and the same picture never on two sides."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dougong.data.splitting import parse_split, split_samples
from dougong.errors import UserError

SHARES = (0.8, 0.1, 0.1)
labels_and_keys = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60)), min_size=1, max_size=200)


@given(labels_and_keys, st.integers(0, 99))
def test_every_sample_is_in_one_part_and_copies_stay_together(samples: list[tuple[int, int]], seed: int) -> None:
    labels, keys = [a for a, _ in samples], [str(b) for _, b in samples]
    parts = split_samples(labels, keys, SHARES, seed)
    assert sorted(index for part in parts for index in part) == list(range(len(samples)))
    sides = [{keys[index] for index in part} for part in parts]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


@given(st.lists(st.integers(1, 120), min_size=1, max_size=5), st.integers(0, 99))
def test_stratified(sizes: list[int], seed: int) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    parts = split_samples(labels, [str(i) for i in range(len(labels))], SHARES, seed)
    found = [Counter(labels[index] for index in part) for part in parts]
    for label, size in enumerate(sizes):
        for part in (1, 2):
            assert abs(found[part][label] - size * 0.1) <= 1
            assert found[part][label] >= (1 if size >= 3 else 0)
        assert found[0][label] >= 1


@given(labels_and_keys, st.integers(0, 99), st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(samples: list[tuple[int, int]], seed: int, shuffle: object) -> None:
    def sides(rows: list[tuple[int, int]]) -> list[Counter[tuple[int, int]]]:
        parts = split_samples([a for a, _ in rows], [str(b) for _, b in rows], SHARES, seed)
        return [Counter(rows[index] for index in part) for part in parts]

    other = list(samples)
    shuffle.shuffle(other)  # type: ignore[attr-defined]
    assert sides(samples) == sides(other)


def test_the_seed_settles_it() -> None:
    labels, keys = [i % 3 for i in range(90)], [str(i) for i in range(90)]
    assert split_samples(labels, keys, SHARES, 1) == split_samples(labels, keys, SHARES, 1)
    assert split_samples(labels, keys, SHARES, 1) != split_samples(labels, keys, SHARES, 2)


def test_a_picture_under_two_labels_is_never_judged_by() -> None:
    labels, keys = [0, 1] * 30, [f"{i}" for i in range(60)]
    keys[1] = keys[0]
    for seed in range(30):
        assert {0, 1} <= set(split_samples(labels, keys, SHARES, seed)[0])


def test_shares_are_read() -> None:
    assert parse_split("70/10/20") == (0.7, 0.1, 0.2)


@pytest.mark.parametrize("text", ["", "80/20", "80/10/20", "a/b/c", "100/0/0", "-10/50/60", "80/10/10/0", "nan/50/50"])
def test_shares_that_cannot_be(text: str) -> None:
    with pytest.raises(UserError, match="--split"):
        parse_split(text)
