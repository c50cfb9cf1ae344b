"""Train, val and test of very many rows: each goes where the hash of its text says, with few of them in memory."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dougong.data.splitting import DEFAULT, parse_split
from dougong.data.texts.caching import mapped
from dougong.data.texts.dividing import HELD_OUT, SPLITS, left_out
from dougong.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    Pieces = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]


def divided_by_hash(pieces: Pieces, folder: Path, split: str | None, seed: int, notes: list[str], source: str) -> str:
    """`dougong.data.texts.dividing.divided` for very many rows, whatever their classes.

    A text is in one split however often it occurs. The numbers of the rows of each split, ascending, are written to a
    file of its name as int64, see `rows_of`.

    Args:
        pieces: gives some rows at a time, in their order, each time that it is asked: the first 8 bytes of each row's
            key, (n,) uint64, and the split that the source names, (n,) int8: 0 train, 1 val, 2 test, -1 none.
        folder: where the files go.
        split, seed, notes, source: as for `divided`.

    Returns:
        How they were made, in words.

    Raises:
        UserError: as `divided`.
    """
    import numpy as np

    held = {number for _, given in pieces() for number in np.unique(given).tolist()}
    named = [name for number, name in enumerate(SPLITS) if number in held]
    if named and split is not None:
        raise UserError(f"--split {split}", f"the data has its own splits ({', '.join(named)})", "leave --split out")
    how, parts, notes_of_parts = _shares(named, split, seed)
    salt = np.uint64(int.from_bytes(hashlib.sha256(f"split {seed}".encode()).digest()[:8], "big"))
    later = [_later(pieces, folder, number) for number in (0, 1) if named]
    lost, at = 0, 0
    with contextlib.ExitStack() as opened:
        files = [opened.enter_context((folder / name).open("wb")) for name in SPLITS]
        for keys, given in pieces():
            drawn = ((keys ^ salt) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(11)).astype(np.float64) / 2**53
            part = np.maximum(given, 0)
            for number, known in enumerate(later):  # what a later split holds too is left out
                again = (part == number) & _among(keys, known)
                part[again] = -1
                lost += int(again.sum())
            train = part == 0
            for number, low, high in parts:
                part[train & (drawn >= low) & (drawn < high)] = number
            for number, file in enumerate(files):
                file.write((np.flatnonzero(part == number) + at).astype(np.int64).tobytes())
            at += len(keys)
    notes += [left_out(lost, "text")] * (lost > 0) + notes_of_parts
    for name in SPLITS:
        if not (folder / name).stat().st_size:
            raise UserError(source, f"has too few texts to fill {name}", "give more, or other shares with --split")
    return how


def rows_of(folder: Path) -> dict[str, np.ndarray]:
    """What `divided_by_hash` wrote: the rows of each split, (n,) int64, mapped."""
    import numpy as np

    return {name: mapped(folder / name, np.int64) for name in SPLITS}


def _shares(named: list[str], split: str | None, seed: int) -> tuple[str, list[tuple[int, float, float]], list[str]]:
    """How splits are made, in words; which takes what of train, from where to where in [0, 1); what is to be said."""
    if not named:
        shares = parse_split(split or DEFAULT)
        how = f"{split or DEFAULT} per cent train/val/test by the hash of each text, seed {seed}"
        parts = [(2, 0.0, shares[2]), (1, shares[2], shares[1] + shares[2])]
        return how, parts, [f"The data has no splits: divided {how}."]
    how, parts, notes = f"as given ({', '.join(named)})", [], []
    for number, name in enumerate(SPLITS):
        if name not in named:
            below = HELD_OUT * len(parts)
            parts.append((number, below, below + HELD_OUT))
            said = f"{name} is {HELD_OUT:.0%} of train, by the hash of each text, seed {seed}"
            notes.append(f"The data has no {name}: {said}.")
            how += f"; {said}"
    return how, parts, notes


def _later(pieces: Pieces, folder: Path, number: int) -> np.ndarray:
    """The keys of the splits after one, sorted; in a file without a name that is mapped."""
    import numpy as np

    with tempfile.TemporaryFile(dir=folder) as file:
        for keys, given in pieces():
            file.write(keys[given > number].tobytes())
        file.flush()
        known = np.memmap(file, np.uint64, "r+") if file.tell() else np.empty(0, np.uint64)
    known.sort()
    return known


def _among(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether each key is one of those known, which are sorted; (n,) bool."""
    import numpy as np

    if not len(known):
        return np.zeros(len(keys), bool)
    return known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
