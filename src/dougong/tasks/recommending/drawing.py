"""Random numbers that depend on where they stand and on nothing else, a whole batch at a time.

The k-th negative of a place is the same whoever shares the batch and whatever was drawn before, so a resumed training
draws what an uninterrupted one does. Numbers come from mixing the place's coordinates (SplitMix64, Steele et al. 2014).
"""

from __future__ import annotations

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
TRIES = 64
"""Draws of a place at most: only of a user who has met nearly all items an item may be one that he has met."""


def draws(seed: int, *places: np.ndarray | int) -> np.ndarray:
    """Uniform numbers in [0, 1), float64, of the shape to which the places broadcast.

    Args:
        seed: of them all.
        places: coordinates, whole numbers.
    """
    state = np.asarray(seed & (2**64 - 1), np.uint64)
    with np.errstate(over="ignore"):
        for place in places:
            state = _mixed((state ^ np.asarray(place).astype(np.uint64)) + GOLDEN)
    return (state >> np.uint64(11)) * 2.0**-53


def _mixed(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Negatives:
    """Draws items that a user has not met.

    Args:
        owner: (n,) users, sorted.
        item: (n,) what each has met.
        items: how many there are.
    """

    def __init__(self, owner: np.ndarray, item: np.ndarray, items: int) -> None:
        self.items = items
        self.keys = np.sort(owner.astype(np.int64) * items + item)

    def met(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Whether users have met items, bool of the shape to which both broadcast."""
        asked = user.astype(np.int64) * self.items + item
        place = np.searchsorted(self.keys, asked)
        return (
            (self.keys[np.minimum(place, len(self.keys) - 1)] == asked)
            if len(self.keys)
            else np.zeros(asked.shape, bool)
        )

    def draw(self, seed: int, user: np.ndarray, *places: np.ndarray) -> np.ndarray:
        """Items, each with the same probability among those that its user has not met; int64.

        Args:
            seed: of the draw.
            user: of each place, of a shape that broadcasts with the places.
            places: coordinates, see `draws`.
        """
        found = (draws(seed, 0, *places) * self.items).astype(np.int64)
        user = np.broadcast_to(user, found.shape)
        wide = [np.broadcast_to(place, found.shape) for place in places]
        for turn in range(1, TRIES):
            bad = self.met(user, found)
            if not bad.any():
                break
            found[bad] = (draws(seed, turn, *(place[bad] for place in wide)) * self.items).astype(np.int64)
        return found
