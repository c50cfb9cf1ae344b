"""The order of samples and who shares a batch, as pure functions of seed and epoch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def mix(*numbers: int | str) -> int:
    """Several numbers or words as one random-looking seed of 63 bits; their order counts."""
    text = ",".join(map(str, numbers))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch visits n samples: a permutation, (n,) int64.

    The same arguments always give the same order; nothing else is read or changed, the global random state included.
    """
    return torch.randperm(n, generator=torch.Generator().manual_seed(mix("order", seed, epoch)))


def batches(n: int, size: int, seed: int, epoch: int) -> list[Tensor]:
    """An epoch as batches of indices, each (size,) int64; the last may be shorter.

    Raises:
        ValueError: a size below 1.
    """
    if size < 1:
        raise ValueError(f"a batch of {size} samples")
    return list(epoch_order(n, seed, epoch).split(size)) if n else []


def in_order(n: int, size: int) -> Iterator[Tensor]:
    """All indices in their own order, (size,) at a time; for evaluation."""
    yield from torch.arange(n).split(size) if n else ()


POOL = 100
"""Batches whose samples are sorted by length together; more means less padding, and less chance in who meets."""
POOLS = 4
"""Pools of an epoch at least, so that in a small data set, too, chance has a say in who meets."""


def token_batches(lengths: Sequence[int] | Tensor, budget: int, seed: int, epoch: int) -> list[Tensor]:
    """An epoch as batches of samples of like length, none of which holds more tokens than the budget, padding counted.

    Samples are drawn in the order of `epoch_order`, sorted within pools of some hundred batches, and cut into batches;
    the batches are then shuffled, so that short and long ones take turns.

    Args:
        lengths: tokens of each sample, (n,).
        budget: most of samples times the longest of them. A sample that is longer than that is a batch by itself.
        seed, epoch: of the order; nothing else is read.

    Returns:
        Indices, each batch (b,) int64; each sample once.

    Raises:
        ValueError: a budget or a length below 1.
    """
    sizes = torch.as_tensor(lengths, dtype=torch.long)
    if budget < 1 or (len(sizes) and int(sizes.min()) < 1):
        raise ValueError(f"a budget of {budget} tokens, lengths from {int(sizes.min()) if len(sizes) else 1}")
    if not len(sizes):
        return []
    pools = max(math.ceil(float(sizes.double().sum()) / (POOL * budget)), min(POOLS, len(sizes)))
    found: list[Tensor] = []
    for drawn in epoch_order(len(sizes), seed, epoch).tensor_split(pools):
        drawn = drawn[sizes[drawn].argsort(stable=True)]
        start = 0
        for place, size in enumerate(sizes[drawn].tolist()):
            if place > start and (place + 1 - start) * size > budget:  # sorted: this one is the longest so far
                found.append(drawn[start:place])
                start = place
        found.append(drawn[start:])
    return _shuffled(found, seed, epoch)


def like_batches(lengths: Sequence[int] | Tensor, size: int, seed: int, epoch: int) -> list[Tensor]:
    """An epoch as full batches of samples of like length, (size,) each, made and shuffled as by `token_batches`.

    As in a plain epoch of full batches, the n % size samples at the end of `epoch_order` are left to other epochs.

    Args:
        lengths: tokens of each sample, (n,).
        size: samples of a batch.
        seed, epoch: of the order; nothing else is read.

    Raises:
        ValueError: a size below 1.
    """
    sizes = torch.as_tensor(lengths, dtype=torch.long)
    if size < 1:
        raise ValueError(f"a batch of {size} samples")
    count = len(sizes) // size
    pool = min(POOL, max(1, count // POOLS))
    found: list[Tensor] = []
    for drawn in epoch_order(len(sizes), seed, epoch)[: count * size].split(pool * size) if count else ():
        found += drawn[sizes[drawn].argsort(stable=True)].split(size)
    return _shuffled(found, seed, epoch)


def _shuffled(found: list[Tensor], seed: int, epoch: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(mix("batches", seed, epoch))
    return [found[index] for index in torch.randperm(len(found), generator=generator).tolist()]


@dataclass(frozen=True)
class PaddingLedger:
    """What share of the tokens of a training would be padding, and is. Ledgers of several epochs add up.

    Args:
        real: tokens of the samples.
        padded: tokens of the batches as they are, each sample as long as the longest of its batch.
        plain: tokens of as many batches of equally many samples, drawn at random.
    """

    real: int
    padded: int
    plain: int

    @staticmethod
    def of(lengths: Sequence[int] | Tensor, parts: Sequence[Tensor], seed: int, epoch: int) -> PaddingLedger:
        """The ledger of one epoch.

        Args:
            lengths: tokens of each sample, (n,).
            parts: its batches.
            seed, epoch: of the plain batches that it is compared with.
        """
        sizes = torch.as_tensor(lengths, dtype=torch.long)
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
