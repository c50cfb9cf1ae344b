"""The order of samples, as pure functions of seed and epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

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
