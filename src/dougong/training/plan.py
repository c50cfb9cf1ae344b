"""Which samples each step of a training learns from: a pure function of configuration, lengths and step."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dougong.data.batching import PaddingLedger, batches, like_batches, token_batches
from dougong.tasks.task import Task


class Plan:
    """The batches of a training, epoch by epoch.

    Samples that have no lengths share a batch by chance. Those with lengths share it with others of like length, so
    that little is padded; the batches come in random order.

    Args:
        samples: n.
        size: of a batch; the mean where ``tokens`` says how much it holds.
        seed: of the order.
        lengths: tokens of each sample, (n,); None for samples without.
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
        self.samples, self.size, self.seed, self.tokens = samples, min(size, samples), seed, tokens
        self.lengths = None if lengths is None else torch.as_tensor(lengths, dtype=torch.long)
        self._made: dict[int, list[Tensor]] = {}
        self._starts = [0]  # the first step of each epoch, as far as it was asked for
        self.per_epoch = len(self.batches(0)) if tokens else max(1, samples // self.size)
        """Steps of an epoch; of the first one, where batches hold as many samples as their tokens allow."""

    def batches(self, epoch: int) -> list[Tensor]:
        """The batches of an epoch, indices (b,) each."""
        if epoch not in self._made:
            while len(self._made) > 1:  # the loop reads at most one batch ahead
                del self._made[min(self._made)]
            self._made[epoch] = self._batches(epoch)
        return self._made[epoch]

    def _batches(self, epoch: int) -> list[Tensor]:
        if self.lengths is None:
            return batches(self.samples, self.size, self.seed, epoch)[: self.per_epoch]
        if self.tokens:
            return token_batches(self.lengths, self.tokens, self.seed, epoch)
        return like_batches(self.lengths, self.size, self.seed, epoch)

    def place(self, step: int) -> tuple[int, int]:
        """The epoch of a step, and the step's number in it; both from 0."""
        if not self.tokens:
            return divmod(step, self.per_epoch)
        while self._starts[-1] <= step:
            self._starts.append(self._starts[-1] + len(self._batches(len(self._starts) - 1)))
        epoch = bisect.bisect_right(self._starts, step) - 1
        return epoch, step - self._starts[epoch]

    def batch(self, step: int) -> tuple[int, Tensor]:
        """The epoch of a step, and the samples it learns from, (b,)."""
        epoch, place = self.place(step)
        return epoch, self.batches(epoch)[place]

    def steps(self, epochs: float) -> int:
        """Steps of so many epochs, at least 1."""
        if not self.tokens:
            return max(1, round(epochs * self.per_epoch))
        whole, last = int(epochs), math.ceil(epochs)
        while len(self._starts) <= last:
            self._starts.append(self._starts[-1] + len(self._batches(len(self._starts) - 1)))
        first = self._starts[whole]
        return max(1, first + round((epochs - whole) * (self._starts[last] - first)))

    def epochs(self, step: int) -> float:
        """Epochs that so many steps are."""
        if not self.tokens:
            return step / self.per_epoch
        epoch, place = self.place(step)
        return epoch + place / (self._starts[epoch + 1] - self._starts[epoch])

    def ledger(self) -> PaddingLedger | None:
        """What padding takes of the tokens of the first epoch; None for samples that have no lengths."""
        return None if self.lengths is None else PaddingLedger.of(self.lengths, self.batches(0), self.seed, 0)


def lengths_of(task: Task) -> Sequence[int] | np.ndarray | None:
    """Tokens of each training sample; None for samples that have no length, or all the same."""
    given = getattr(task, "lengths", None)
    lengths = None if given is None else given("train")
    if lengths is None or not len(lengths):
        return None
    sizes = torch.as_tensor(lengths)
    return lengths if int(sizes.min()) < int(sizes.max()) else None
