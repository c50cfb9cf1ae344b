"""The order of samples and who shares a batch, as pure functions of seed and epoch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def mix(*numbers: int | str) -> int:
    """Several numbers or words as one random-looking seed of 63 bits; their order counts."""
    text = ",".join(map(str, numbers))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


STRETCH = 2**18
"""Samples of an epoch that are put into batches together. Memory grows with the samples up to here, and not beyond."""
ROUNDS = 8


def stretches(n: int) -> int:
    """In how many stretches an epoch of n samples goes."""
    return -(-n // STRETCH)


def epoch_order(n: int, seed: int, epoch: int, stretch: int | None = None) -> Tensor:
    """The order in which an epoch visits n samples, a permutation, (n,) int64; or one stretch of it.

    The same arguments always give the same order; nothing else is read or changed, the global random state included.
    Each stretch draws from all samples: a file that is sorted is mixed as a whole.
    """
    if n <= STRETCH:
        return torch.randperm(n, generator=torch.Generator().manual_seed(mix("order", seed, epoch)))
    start, stop = (0, n) if stretch is None else (stretch * STRETCH, min((stretch + 1) * STRETCH, n))
    return _scattered(torch.arange(start, stop), n, seed, epoch)


def _scattered(places: Tensor, n: int, seed: int, epoch: int) -> Tensor:
    """Where a random permutation of range(n) takes some places, each by itself, so that no table of n is held.

    A place is a cell of a grid of at least n. By turns it moves along its row by a random number that the row has, and
    along its column by one of the column: a Feistel network of two unequal sides. From a cell beyond n it goes on until
    it comes to one below. Black and Rogaway (2002), "Ciphers with Arbitrary Finite Domains", sections 4 and 5.
    """
    width = math.isqrt(n - 1) + 1
    height = -(-n // width)
    generator = torch.Generator().manual_seed(mix("order", seed, epoch))
    along = torch.randint(width, (ROUNDS, height), generator=generator)
    down = torch.randint(height, (ROUNDS, width), generator=generator)
    found, moving = places.clone(), torch.arange(len(places))
    while len(moving):
        row, column = found[moving] // width, found[moving] % width
        for right, below in zip(along, down, strict=True):
            column = (column + right[row]) % width
            row = (row + below[column]) % height
        found[moving] = row * width + column
        moving = moving[found[moving] >= n]
    return found


def batches(n: int, size: int, seed: int, epoch: int, stretch: int | None = None) -> list[Tensor]:
    """An epoch, or one stretch of it, as batches of indices, each (size,) int64; the last of a stretch may be shorter.

    Raises:
        ValueError: a size below 1.
    """
    if size < 1:
        raise ValueError(f"a batch of {size} samples")
    return [part for each in _asked(n, stretch) for part in epoch_order(n, seed, epoch, each).split(size)]


def _asked(n: int, stretch: int | None) -> Sequence[int]:
    return range(stretches(n)) if stretch is None else (stretch,)


def in_order(n: int, size: int) -> Iterator[Tensor]:
    """All indices in their own order, (size,) at a time; for evaluation."""
    for start in range(0, n, size):
        yield torch.arange(start, min(start + size, n))


POOL = 100
"""Batches whose samples are sorted by length together; more means less padding, and less chance in who meets."""
POOLS = 4
"""Pools of an epoch at least, so that in a small data set, too, chance has a say in who meets."""


def token_batches(
    lengths: Sequence[int] | np.ndarray | Tensor, budget: int, seed: int, epoch: int, stretch: int | None = None
) -> list[Tensor]:
    """An epoch as batches of samples of like length, none of which holds more tokens than the budget, padding counted.

    Samples are drawn in the order of `epoch_order`, sorted within pools of some hundred batches, and cut into batches;
    the batches of a stretch are then shuffled, so that short and long ones take turns.

    Args:
        lengths: tokens of each sample, (n,).
        budget: most of samples times the longest of them. A sample that is longer than that is a batch by itself.
        seed, epoch: of the order; nothing else is read.
        stretch: of the epoch, from 0; all of them when None.

    Returns:
        Indices, each batch (b,) int64; each sample once.

    Raises:
        ValueError: a budget or a length below 1.
    """
    if budget < 1:
        raise ValueError(f"a budget of {budget} tokens")
    sizes = torch.as_tensor(lengths)  # a mapped file stays one
    found: list[Tensor] = []
    for each in _asked(len(sizes), stretch):
        order = epoch_order(len(sizes), seed, epoch, each)
        total, least = sizes[order].sum(), int(sizes[order].min())
        if least < 1:
            raise ValueError(f"a budget of {budget} tokens, lengths from {least}")
        pools = max(math.ceil(float(total) / (POOL * budget)), min(POOLS, len(order)))
        cut: list[Tensor] = []
        for drawn in order.tensor_split(pools):
            drawn = drawn[sizes[drawn].argsort(stable=True)]
            start = 0
            for place, size in enumerate(sizes[drawn].tolist()):
                if place > start and (place + 1 - start) * size > budget:  # sorted: this one is the longest so far
                    cut.append(drawn[start:place])
                    start = place
            cut.append(drawn[start:])
        found += _shuffled(cut, seed, epoch, each)
    return found


def like_batches(
    lengths: Sequence[int] | np.ndarray | Tensor, size: int, seed: int, epoch: int, stretch: int | None = None
) -> list[Tensor]:
    """An epoch as full batches of samples of like length, (size,) each, made and shuffled as by `token_batches`.

    As in a plain epoch of full batches, what is left at the end of each stretch, in the order of `epoch_order`, is left
    to other epochs: fewer than ``size`` samples.

    Args:
        lengths: tokens of each sample, (n,).
        size: samples of a batch.
        seed, epoch: of the order; nothing else is read.
        stretch: of the epoch, from 0; all of them when None.

    Raises:
        ValueError: a size below 1.
    """
    if size < 1:
        raise ValueError(f"a batch of {size} samples")
    sizes = torch.as_tensor(lengths)
    found: list[Tensor] = []
    for each in _asked(len(sizes), stretch):
        order = epoch_order(len(sizes), seed, epoch, each)
        count = len(order) // size
        pool = min(POOL, max(1, count // POOLS))
        cut: list[Tensor] = []
        for drawn in order[: count * size].split(pool * size) if count else ():
            cut += drawn[sizes[drawn].argsort(stable=True)].split(size)
        found += _shuffled(cut, seed, epoch, each)
    return found


def _shuffled(found: list[Tensor], seed: int, epoch: int, stretch: int) -> list[Tensor]:
    key = mix("batches", seed, epoch, stretch) if stretch else mix("batches", seed, epoch)
    generator = torch.Generator().manual_seed(key)
    return [found[index] for index in torch.randperm(len(found), generator=generator).tolist()]


@dataclass(frozen=True)
class PaddingLedger:
    """What share of the tokens of a training would be padding, and is. Ledgers of stretches and of epochs add up.

    Args:
        real: tokens of the samples.
        padded: tokens of the batches as they are, each sample as long as the longest of its batch.
        plain: tokens of as many batches of equally many samples, drawn at random.
    """

    real: int
    padded: int
    plain: int

    @staticmethod
    def of(
        lengths: Sequence[int] | np.ndarray | Tensor, parts: Sequence[Tensor], seed: int, epoch: int
    ) -> PaddingLedger:
        """The ledger of one epoch, or of a stretch.

        Args:
            lengths: tokens of each sample, (n,).
            parts: its batches.
            seed, epoch: of the plain batches that it is compared with.
        """
        sizes = torch.as_tensor(lengths)
        count = sum(len(part) for part in parts)
        if not count:
            return PaddingLedger(0, 0, 0)
        every = torch.cat(list(parts))
        plain = [every[order] for order in batches(count, -(-count // len(parts)), seed, epoch)]
        return PaddingLedger(
            sum(int(sizes[part].sum()) for part in parts), _padded(sizes, parts), _padded(sizes, plain)
        )

    @property
    def takes(self) -> float:
        """Padding's share of the tokens of these batches, 0 to 1."""
        return 1 - self.real / self.padded if self.padded else 0.0

    @property
    def would_take(self) -> float:
        """Padding's share in plain batches."""
        return 1 - self.real / self.plain if self.plain else 0.0

    def describe(self) -> dict[str, int | float]:
        """The same as plain data."""
        counts = {"real": self.real, "padded": self.padded, "plain": self.plain}
        return {**counts, "takes": self.takes, "would_take": self.would_take}

    def __add__(self, other: PaddingLedger) -> PaddingLedger:
        return PaddingLedger(self.real + other.real, self.padded + other.padded, self.plain + other.plain)

    def __str__(self) -> str:
        random, here = (f"{100 * share:.0f} %" for share in (self.would_take, self.takes))
        return f"padding: {random} of the tokens in batches drawn at random, {here} in batches of like length"


def _padded(sizes: Tensor, parts: Sequence[Tensor]) -> int:
    """Tokens of batches, padding among them."""
    return sum(len(part) * int(sizes[part].max()) for part in parts if len(part))
