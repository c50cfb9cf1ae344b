"""Interactions as one sequence a user, divided into train, val and test so that nothing is learnt from the future."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dougong.data.interactions.reading import SPLITS

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Context:
    """What may be looked at where a split is asked about: its own interactions and those of the splits before it.

    Args:
        item: (m,) item numbers, user by user, each user's in their order.
        starts: (users + 1,) where each user's begin.
        places: (k,) of the split's own interactions in ``item``, those with nothing before them left out.
        owner: (k,) the user of each.
        number: (k,) of each in the data.
        lone: how many were left out.
    """

    item: np.ndarray
    starts: np.ndarray
    places: np.ndarray
    owner: np.ndarray
    number: np.ndarray
    lone: int

    def before(self, index: int) -> np.ndarray:
        """All items of the user before one of the places, oldest first."""
        return self.item[self.starts[self.owner[index]] : self.places[index]]

    def of_user(self, user: int) -> np.ndarray:
        """All items of a user, oldest first."""
        return self.item[self.starts[user] : self.starts[user + 1]]


@dataclass(eq=False)
class InteractionData:
    """A data set of interactions, sorted by user and time; of equal times by the row in the file.

    Args:
        name: short, for titles.
        source: as the user gave it.
        users, items: names, by number.
        user, item: (n,) int32.
        time: (n,), or None.
        code: (n,) int8, of each interaction the number of its split in "train", "val", "test".
        files: names of the files.
        file: (n,) int16, and line: (n,) int64: where each interaction stands.
        columns: what was taken as what, as {"user": "user_id", "item": "asin"}.
        how: how the splits were made, in words.
        repeats: interactions of a user with an item met before.
        seed: unused, as nothing is drawn; data of other kinds have one.
        notes: what was decided for the user, to be said aloud.
    """

    name: str
    source: str
    users: pa.Array
    items: pa.Array
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray | None
    code: np.ndarray
    files: list[str]
    file: np.ndarray
    line: np.ndarray
    columns: dict[str, str]
    how: str
    repeats: int = 0
    seed: int = 0
    notes: list[str] = field(default_factory=list)
    kind: str = "interactions"
    classes: tuple[str, ...] = ()
    cache: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)
    """What was made of the data once and for all."""

    def __len__(self) -> int:
        return len(self.user)

    @property
    def splits(self) -> tuple[str, ...]:
        """Their names."""
        return SPLITS

    @functools.cached_property
    def names(self) -> list[str]:
        """Of the items, by number."""
        return self.items.to_pylist()

    def context(self, split: str) -> Context:
        """What may be looked at where a split is asked about; made once."""
        if split not in self.cache:
            self.cache[split] = self._context(split)
        return self.cache[split]

    def _context(self, split: str) -> Context:
        level = SPLITS.index(split)
        kept = np.flatnonzero(self.code <= level)
        item, user = self.item[kept], self.user[kept]
        starts = starts_of(user, len(self.users))
        places = np.flatnonzero(self.code[kept] == level)
        known = places > starts[user[places]]
        some = places[known]
        return Context(item, starts, some, user[some], kept[some], int(len(places) - len(some)))

    @functools.cached_property
    def popularity(self) -> np.ndarray:
        """(items,) how often each item occurs in train."""
        return np.bincount(self.item[self.code == 0], minlength=len(self.items))

    def where(self, number: int) -> str:
        """The file and row of an interaction."""
        return f"{self.files[self.file[number]]}:{self.line[number]}"

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 over the names, and over every interaction's user, item, split and order."""
        digest = hashlib.sha256(self.kind.encode())
        for names in (self.users, self.items):
            for part in names.buffers()[1:]:
                digest.update(memoryview(part) if part is not None else b"")
        for values in (self.user, self.item, self.code):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """Interactions, users and items of each split."""
        found = {}
        for number, name in enumerate(SPLITS):
            own = self.code == number
            found[name] = {
                "interactions": int(own.sum()), "users": int((np.bincount(self.user[own]) > 0).sum()),
                "items": int((np.bincount(self.item[own]) > 0).sum()),
            }  # fmt: skip
        return found

    def describe(self) -> dict[str, Any]:
        """Everything that data.json holds."""
        lengths = np.bincount(self.user, minlength=len(self.users))
        return {
            "name": self.name, "source": self.source, "kind": self.kind, "users": len(self.users),
            "items": len(self.items), "interactions": len(self), "columns": dict(self.columns),
            "fingerprint": self.fingerprint, "split": self.how, "counts": self.counts(),
            "history": {
                "median": float(np.median(lengths)), "mean": round(float(lengths.mean()), 2),
                "longest": int(lengths.max()),
            },
            "density": float(f"{len(self) / (len(self.users) * len(self.items)):.3g}"), "repeats": self.repeats,
            "notes": list(self.notes),
        }  # fmt: skip


def starts_of(user: np.ndarray, users: int) -> np.ndarray:
    """(users + 1,) where each user's interactions begin, of interactions sorted by user."""
    return np.concatenate(([0], np.cumsum(np.bincount(user, minlength=users))))


def core(user: np.ndarray, item: np.ndarray, least: int) -> np.ndarray:
    """Which interactions are left when users and items with fewer than ``least`` are taken out, again and again.

    Args:
        user, item: (n,) numbers.
        least: k of the k-core (Seidman 1983), here of a graph of users and items.

    Returns:
        bool (n,).
    """
    kept = np.ones(len(user), bool)
    while True:
        few = np.zeros(len(user), bool)
        for side in (user, item):
            counts = np.bincount(side[kept], minlength=int(side.max(initial=-1)) + 1)
            few |= kept & (counts[side] < least)
        if not few.any():
            return kept
        kept &= ~few


def leave_one_out(user: np.ndarray, users: int) -> np.ndarray:
    """Of each user the last interaction is test, the one before it val; of users with fewer than three all is train.

    Args:
        user: (n,) sorted.
        users: how many there are.

    Returns:
        int8 (n,), numbers of "train", "val", "test".
    """
    starts = starts_of(user, users)
    sizes = np.diff(starts)
    from_end = starts[user + 1] - 1 - np.arange(len(user))
    enough = sizes[user] >= 3
    return np.where(enough & (from_end == 0), 2, np.where(enough & (from_end == 1), 1, 0)).astype(np.int8)


def by_time(time: np.ndarray, shares: tuple[float, float, float]) -> tuple[np.ndarray, list[Any]]:
    """All before a moment is train, all from another on is test, what lies between is val; equal times stay together.

    Args:
        time: (n,) in any order.
        shares: of train, val and test.

    Returns:
        int8 (n,), numbers of "train", "val", "test"; and the two moments.
    """
    ordered = np.sort(time)
    at = [min(len(ordered) - 1, round(len(ordered) * share)) for share in (shares[0], shares[0] + shares[1])]
    moments = ordered[at]
    return (time >= moments[0]).astype(np.int8) + (time >= moments[1]).astype(np.int8), moments.tolist()
