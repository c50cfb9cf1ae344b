"""What a training step holds in memory, and how it is made to fit: in pieces, and with blocks computed twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dougong.cost.costing import OPTIMIZERS, PRECISIONS
from dougong.cost.devices import rates
from dougong.cost.passes import trace
from dougong.cost.preparing import nn_bytes, prepare
from dougong.cost.timing import seconds_of
from dougong.cost.tracing import Call
from dougong.frames.recomputing import recomputable

NARROW = 1.2
"""In a half precision norms, losses and sums stay in float32, which the trace, all in the half one, does not see: of
passes that were measured (tests/cost/test_fitting.py) at most this factor."""


@dataclass(frozen=True)
class Fit:
    """A way to make a training step.

    Args:
        pieces: into which its batch is cut.
        recomputed: blocks that are computed again in the backward pass.
        peak: bytes of weights, gradients, optimizer state and activations alive at most.
        seconds: of the step, estimated.
    """

    pieces: int
    recomputed: int
    peak: int
    seconds: float


class Steps:
    """Training steps of a model, by how they are made; what was traced once is remembered.

    Args:
        model: module or configuration.
        batch: samples of a step.
        length: tokens of the longest; None for pictures.
        precision: of the passes.
        optimizer: one of `dougong.cost.costing.OPTIMIZERS`.
        kind: of the device, "cpu" or "cuda".
        averaged: whether a moving average of the weights is kept.
    """

    def __init__(
        self, model: nn.Module | dict[str, Any], batch: int, length: int | None, *, precision: str = "float32",
        optimizer: str = "adamw", kind: str = "cpu", averaged: bool = False,
    ) -> None:  # fmt: skip
        self.model, self.batch, self.length, self.precision, self.kind = model, batch, length, precision, kind
        self.optimizer, self.averaged = optimizer, averaged
        _, blank, _ = prepare(model, 1, length, None)
        self.blocks = len(recomputable(blank))
        self._made: dict[tuple[int, int], Fit] = {}

    def fit(self, pieces: int = 1, recomputed: int = 0) -> Fit:
        """What a step takes that is made so. Args: pieces: of its batch; recomputed: blocks."""
        if (pieces, recomputed) not in self._made:
            self._made[pieces, recomputed] = self._traced(pieces, recomputed)
        return self._made[pieces, recomputed]

    def _traced(self, pieces: int, recomputed: int) -> Fit:
        _, model, inputs = prepare(self.model, -(-self.batch // pieces), self.length, None)
        stored, dtype = nn_bytes(model), getattr(torch, self.precision)
        learned = 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)
        mixed = PRECISIONS[self.precision] < 4
        if mixed:
            model = model.to(dtype)
            inputs = tuple(v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for v in inputs)
        passed = trace(model, inputs, train=True, kernels=self.kind, recomputed=recomputed, chunked=True)
        states, moved = OPTIMIZERS[self.optimizer]
        lasting = stored * (2 if self.averaged else 1) + (nn_bytes(model) if mixed else 0) + states * learned
        wide = passed.peak_gradients if mixed else 0  # gradients are traced in the narrow precision and kept in float32
        passing = round((passed.peak + wide) * (NARROW if mixed else 1))
        if pieces > 1:  # from the second piece on, all gradients are there from the beginning
            passing = max(passing, passed.peak_live + learned)
        speed = rates(self.kind, self.precision)
        step = Call("(optimizer)", True, "step", None, moved * learned, 0, learned // 4, torch.float32)
        return Fit(pieces, recomputed, lasting + passing, pieces * passed.seconds(speed) + seconds_of(step, speed))

    def fewest(self, pieces: int, room: float) -> Fit | None:
        """The step in so many pieces that recomputes the fewest blocks and fits; None where none does."""
        none, every = self.fit(pieces), self.fit(pieces, self.blocks)
        if none.peak <= room:
            return none
        if every.peak > room:
            return None
        low, high = 0, self.blocks  # low does not fit, high does
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.fit(pieces, middle).peak <= room else (middle, high)
        return self.fit(pieces, high)

    def choose(self, room: float, pieces: Iterable[int]) -> Fit | None:
        """The quickest step that fits.

        Args:
            room: bytes.
            pieces: that a batch may be cut into, from few to many.

        Returns:
            None where nothing fits.
        """
        found = []
        for count in pieces:
            one = self.fewest(count, room)
            if one is not None:
                found.append(one)
                if not one.recomputed:  # more pieces would only be smaller
                    break
        return min(found, key=lambda fit: fit.seconds) if found else None

    def least(self, pieces: Iterable[int]) -> Fit:
        """The step that takes the least memory. Args: pieces: that a batch may be cut into."""
        return min((self.fit(count, self.blocks) for count in pieces), key=lambda fit: fit.peak)
