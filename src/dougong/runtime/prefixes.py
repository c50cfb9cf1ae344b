"""The beginning that prompts share is read once: its keys and values are copied to each of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from dougong.errors import UserError
from dougong.parts.cache import Cache

LEAST = 16
"""Tokens below which nothing is shared: a pass of its own costs more."""


class Prefix:
    """The beginning of prompts, read already; `dougong.prefix` makes one.

    It changes no answer: a prompt that begins with the same tokens, all of them or the first ones, goes on from here,
    and any other is read whole. It belongs to the model and its weights as they were: make it anew after training.

    Args:
        model: that read it.
        tokens: of it.
        cache: what the model remembers of them, one row.
    """

    def __init__(self, model: nn.Module, tokens: tuple[int, ...], cache: Cache) -> None:
        self.model, self.tokens, self.cache = model, tokens, cache

    def __len__(self) -> int:
        """Its tokens."""
        return len(self.tokens)

    def check(self, model: nn.Module) -> None:
        """Make sure that it is of this model.

        Raises:
            UserError: it is another's.
        """
        if self.model is not model:
            raise UserError("prefix", "was read by another model", "make it with dougong.prefix and this model")

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return self.cache.n_bytes

    def shared(self, prompt: Sequence[int]) -> int:
        """How many tokens of a prompt need no reading; its last one always does, as the next one's scores come of it.

        Where a layer keeps a state, it is all of the prefix or nothing.
        """
        most = min(len(prompt) - 1, len(self.tokens))
        count = common(prompt[:most], self.tokens)
        if count < LEAST or (self.cache.recurs and count < len(self.tokens)):
            return 0
        return count

    def groups(self, prompts: Sequence[Sequence[int]]) -> list[tuple[list[int], int | None]]:
        """Rows that are read together, and the last tokens that are read of each: (rows, tokens); None for all.

        Rows of a group read equally many tokens, so a few that are known already are read again in the place of
        padding; a group ends where that would be more than half.
        """
        shared = [self.shared(prompt) for prompt in prompts]
        fresh = [row for row, count in enumerate(shared) if not count]
        found: list[tuple[list[int], int | None]] = [(fresh, None)] if fresh else []
        rest = [len(prompt) - count for prompt, count in zip(prompts, shared, strict=True)]
        rows: list[int] = []
        for row in sorted((row for row, count in enumerate(shared) if count), key=lambda row: rest[row]):
            fits = rows and (
                rest[row] == rest[rows[0]]
                if self.cache.recurs
                else rest[row] <= min(2 * rest[rows[0]] + LEAST, *(len(prompts[other]) for other in rows))
            )
            if rows and not fits:
                found.append((rows, rest[rows[-1]]))
                rows = []
            rows = [*rows, row]
        return [*found, (rows, rest[rows[-1]])] if rows else found


def common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    size = min(len(first), len(second))
    return next((place for place in range(size) if first[place] != second[place]), size)


def worth_reading_once(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The beginning that saves most tokens when it is read once for all prompts that have it; [] when none saves any.

    In order, prompts that share a beginning stand side by side; so it is the largest rectangle below the lengths that
    neighbours share: its width is the prompts but one, its height the tokens.
    """
    ordered = sorted(map(list, prompts))
    heights = [common(one[:-1], two[:-1]) for one, two in pairwise(ordered)]
    best = 0
    found: list[int] = []
    begun: list[tuple[int, int]] = []  # (first neighbour, height) of rectangles that still go on, lower ones first
    for place, height in enumerate([*heights, 0]):
        first = place
        while begun and begun[-1][1] >= height:
            first, tall = begun.pop()
            if tall >= LEAST and (place - first) * tall > best:
                best, found = (place - first) * tall, ordered[first][:tall]
        begun.append((first, height))
    return found
