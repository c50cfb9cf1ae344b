"""Very many rows go into splits piece by piece, as they would all at once."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dougong.data.texts.hashed import divided_by_hash, rows_of
from dougong.errors import UserError

ROWS = st.lists(st.tuples(st.integers(0, 60), st.integers(-1, 2)), min_size=1, max_size=300)
NAMES = ("train", "val", "test")


def divided(rows: list[tuple[int, int]], folder: Path, at_once: int, split: str | None = None) -> dict[str, list[int]]:
    keys = np.array([hashed(key) for key, _ in rows], np.uint64)
    given = np.array([part for _, part in rows], np.int8)

    def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(rows), at_once):
            yield keys[start : start + at_once], given[start : start + at_once]

    notes: list[str] = []
    divided_by_hash(pieces, folder, split, 7, notes, "the data")
    lost = len(rows) - sum(map(len, rows_of(folder).values()))
    assert any(note.startswith(f"{lost} text") for note in notes) == (lost > 0)
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)  # and nothing that was for the way
    return {name: each.tolist() for name, each in rows_of(folder).items()}


def hashed(key: int) -> int:
    return int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:8], "big")


def expected(rows: list[tuple[int, int]], shares: tuple[float, float] | None) -> dict[str, list[int]]:
    """The same by sets and plain numbers."""
    salt = int.from_bytes(hashlib.sha256(b"split 7").digest()[:8], "big")
    named = {part for _, part in rows if part >= 0}
    found: dict[str, list[int]] = {name: [] for name in NAMES}
    for place, (key, said) in enumerate(rows):
        drawn = ((((hashed(key) ^ salt) * 0x9E3779B97F4A7C15) % 2**64) >> 11) / 2**53
        part = max(said, 0)
        if not named:
            assert shares is not None
            part = 2 if drawn < shares[1] else 1 if drawn < sum(shares) else 0
        elif any(other == key and later > part for other, later in rows):
            continue
        elif part == 0:
            at = 0.0
            for number in range(3):
                if number not in named:
                    part = number if at <= drawn < at + 0.1 else part
                    at += 0.1
        found[NAMES[part]].append(place)
    return found


@given(ROWS, st.integers(1, 50))
def test_pieces_give_what_the_whole_gives(rows: list[tuple[int, int]], at_once: int) -> None:
    cases = [([(key, -1) for key, _ in rows], "60/15/25", (0.15, 0.25))]
    if any(part >= 0 for _, part in rows):
        cases.append((rows, None, None))
    for held, split, shares in cases:
        wanted = expected(held, shares)
        with tempfile.TemporaryDirectory() as place:
            if all(wanted.values()):
                assert divided(held, Path(place), at_once, split) == wanted
            else:
                with pytest.raises(UserError, match="too few texts"):
                    divided(held, Path(place), at_once, split)


def test_a_split_that_is_given_is_not_divided(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"its own splits \(train, test\)"):
        divided([(1, 0), (2, 2)], tmp_path, 1, "80/10/10")
