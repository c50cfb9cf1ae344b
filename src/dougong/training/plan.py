"""Which samples each step of a training learns from: a pure function of configuration, lengths and step."""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dougong.data import batching
from dougong.data.batching import PaddingLedger, batches, like_batches, stretches, token_batches
from dougong.tasks.task import Task


class Plan:
    """The batches of a training, stretch by stretch: an epoch of many samples goes in several, see `STRETCH`.

    Samples that have no lengths share a batch by chance. Those with lengths share it with others of like length, so
    that little is padded; the batches of a stretch come in random order. No more than two stretches are held.

    Args:
        samples: n.
        size: of a batch; the mean where ``tokens`` says how much it holds. A batch lies in one stretch.
        seed: of the order.
        lengths: tokens of each sample, (n,), which may be a mapped file; None for samples without.
        tokens: of a batch at most, padding counted, in place of a size; needs lengths.
    """

    def __init__(
        self,
        samples: int,
        size: int,
        seed: int,
        lengths: Sequence[int] | np.ndarray | None = None,
        tokens: int | None = None,
    ) -> None:
        self.stretches, self.full = stretches(samples), min(batching.STRETCH, samples)
        self.samples, self.size, self.seed, self.tokens = samples, min(size, self.full), seed, tokens
        self.lengths = None if lengths is None else torch.as_tensor(lengths)
        self._made: dict[int, list[Tensor]] = {}
        self._firsts = [0]  # the first step of each stretch, as far as it was asked for
        self._lock = threading.RLock()  # batches are made ahead by a thread of their own
        self._ledger: PaddingLedger | None = None
        last = samples - (self.stretches - 1) * self.full
        self.per_epoch = (
            self._first(self.stretches) if tokens
            else max(1, (self.stretches - 1) * (self.full // self.size) + last // self.size)
        )  # fmt: skip
        """Steps of an epoch; of the first one, where batches hold as many samples as their tokens allow."""

    def stretch(self, number: int) -> list[Tensor]:
        """The batches of a stretch, indices (b,) each. Args: number: of it, over all epochs."""
        with self._lock:
            if number not in self._made:
                while len(self._made) > 1:  # the loop reads at most one batch ahead
                    del self._made[min(self._made)]
                self._made[number] = self._batches(*divmod(number, self.stretches))
            return self._made[number]

    def _batches(self, epoch: int, stretch: int) -> list[Tensor]:
        if self.lengths is None:
            found = batches(self.samples, self.size, self.seed, epoch, stretch)
            return found if len(found[-1]) == self.size else found[:-1]
        if self.tokens:
            return token_batches(self.lengths, self.tokens, self.seed, epoch, stretch)
        return like_batches(self.lengths, self.size, self.seed, epoch, stretch)

    def _first(self, number: int) -> int:
        """The first step of a stretch."""
        if not self.tokens:
            epoch, stretch = divmod(number, self.stretches)
            return epoch * self.per_epoch + stretch * (self.full // self.size)
        with self._lock:
            while len(self._firsts) <= number:
                self._firsts.append(self._firsts[-1] + len(self.stretch(len(self._firsts) - 1)))
            return self._firsts[number]

    def _found(self, step: int) -> int:
        """The stretch of a step."""
        if not self.tokens:
            epoch, place = divmod(step, self.per_epoch)
            return epoch * self.stretches + min(place // (self.full // self.size), self.stretches - 1)
        while self._firsts[-1] <= step:
            self._first(len(self._firsts))
        return bisect.bisect_right(self._firsts, step) - 1

    def place(self, step: int) -> tuple[int, int]:
        """The epoch of a step, and the step's number in it; both from 0."""
        epoch = self._found(step) // self.stretches
        return epoch, step - self._first(epoch * self.stretches)

    def batch(self, step: int) -> tuple[int, Tensor]:
        """The epoch of a step, and the samples it learns from, (b,)."""
        number = self._found(step)
        return number // self.stretches, self.stretch(number)[step - self._first(number)]

    def steps(self, epochs: float) -> int:
        """Steps of so many epochs, at least 1."""
        if not self.tokens:
            return max(1, round(epochs * self.per_epoch))
        whole, last = int(epochs), math.ceil(epochs)
        first = self._first(whole * self.stretches)
        return max(1, first + round((epochs - whole) * (self._first(last * self.stretches) - first)))

    def epochs(self, step: int) -> float:
        """Epochs that so many steps are."""
        if not self.tokens:
            return step / self.per_epoch
        epoch, place = self.place(step)
        return epoch + place / (self._first((epoch + 1) * self.stretches) - self._first(epoch * self.stretches))

    def ledger(self) -> PaddingLedger | None:
        """What padding takes of the tokens of the first epoch; None for samples that have no lengths."""
        if self._ledger is None and self.lengths is not None:
            parts = (PaddingLedger.of(self.lengths, self.stretch(each), self.seed, 0) for each in range(self.stretches))
            self._ledger = sum(parts, PaddingLedger(0, 0, 0))
        return self._ledger


def lengths_of(task: Task) -> Sequence[int] | np.ndarray | None:
    """Tokens of each training sample; None for samples that have no length, or all the same."""
    given = getattr(task, "lengths", None)
    lengths = None if given is None else given("train")
    if lengths is None or not len(lengths):
        return None
    sizes = torch.as_tensor(lengths)
    return lengths if int(sizes.min()) < int(sizes.max()) else None
