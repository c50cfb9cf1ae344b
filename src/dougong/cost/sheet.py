"""The cost sheet: what a model takes, in total and by part, and what that rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from dougong.cost.tables import Section, notes, sections, text


@dataclass(frozen=True)
class Flops:
    """FLOPs of one pass; a multiply-add is 2 of them.

    Args:
        forward: of one forward pass.
        training: of one step: forward and backward.
    """

    forward: int
    training: int

    @property
    def forward_macs(self) -> float:
        """Multiply-adds of one forward pass, as papers give them."""
        return self.forward / 2


@dataclass(frozen=True)
class Memory:
    """Bytes on one device.

    Args:
        weights: parameters and buffers, and copies of them in another precision.
        gradients: of all parameters.
        optimizer: its state.
        activations: everything else that the passes make, at its peak.
        saved: the part of the activations that is kept for the backward pass, when that begins.
        cache: keys and values of a decoder, for the whole length.
        peak: most alive at once. Gradients arrive while activations go, so this may be less than the sum.
    """

    weights: int
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    saved: int = 0
    cache: int = 0
    peak: int = 0


@dataclass(frozen=True)
class Seconds:
    """An estimated time with its error band.

    Args:
        estimate: in seconds.
        low, high: in seconds; `basis` says where they come from.
        basis: the rates used and how wide the band is.
    """

    estimate: float
    low: float
    high: float
    basis: str


@dataclass(frozen=True)
class Part:
    """One part of the model; identical neighbours are one row.

    Args:
        name: path of the module, "body.blocks.0-11" for twelve.
        count: how many modules the row stands for.
        parameters: of all of them; a shared parameter counts where it is met first.
        forward_flops, training_flops: of all of them.
        saved: bytes that they keep for the backward pass.
        seconds: of the forward pass, estimated.
        training_seconds: of a training step, estimated; the optimizer's in a row of its own.
    """

    name: str
    count: int
    parameters: int
    forward_flops: int
    training_flops: int
    saved: int
    seconds: float
    training_seconds: float


@dataclass(frozen=True)
class Uncounted:
    """An operation without a formula: no FLOPs are counted for it, its bytes and time are.

    Args:
        name: of the operation.
        calls: in one forward pass, or in a training step where the sheet is of that.
        elements: that it touches in all of them.
    """

    name: str
    calls: int
    elements: int


@dataclass(frozen=True)
class CostSheet:
    """What `dougong.cost` gives.

    Args:
        model: its name.
        device: whose rates and kernels were taken.
        devices: how many.
        batch: samples in one pass, on all devices together.
        length: tokens or vectors of each; None for pictures.
        train: whether `memory` and `seconds` are those of training.
        precision: of the arithmetic.
        optimizer: of a training step.
        parameters: distinct ones; tied weights count once.
        flops: of the whole batch.
        inference: memory of a forward pass, on one device.
        training: memory of a training step, on one device.
        bytes_moved: to and from memory, in one forward pass and in one training step, on all devices.
        forward_seconds, training_seconds: estimated.
        parts: by part.
        uncounted: operations without a formula.
        device_memory: bytes of each device; 0 where they are not known.
        cache_per_token: bytes of keys and values for one token of one sequence; 0 where there is no cache.
        assumptions: what the figures rest on.
    """

    model: str
    device: str
    devices: int
    batch: int
    length: int | None
    train: bool
    precision: str
    optimizer: str
    parameters: int
    flops: Flops
    inference: Memory
    training: Memory
    bytes_moved: dict[str, int]
    forward_seconds: Seconds
    training_seconds: Seconds
    parts: list[Part] = field(repr=False)
    uncounted: list[Uncounted] = field(repr=False)
    cache_per_token: int
    device_memory: float
    assumptions: list[str] = field(repr=False)

    @property
    def memory(self) -> Memory:
        """Of the pass that was asked for."""
        return self.training if self.train else self.inference

    @property
    def seconds(self) -> Seconds:
        """Of the pass that was asked for."""
        return self.training_seconds if self.train else self.forward_seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings, for JSON."""
        return asdict(self)

    def sections(self) -> list[Section]:
        """The sheet as tables: (title, columns, rows of cells)."""
        return sections(self)

    def notes(self) -> list[str]:
        """What stands below the tables."""
        return notes(self)

    def table(self) -> str:
        """The whole sheet as text."""
        return text(self.sections(), self.notes())

    def __str__(self) -> str:
        return self.table()
