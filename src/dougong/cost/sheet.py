"""The cost sheet: what a model takes, in total and by part, and what that rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from dougong.figures import count, duration, size


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
    """

    name: str
    count: int
    parameters: int
    forward_flops: int
    training_flops: int
    saved: int
    seconds: float


@dataclass(frozen=True)
class Uncounted:
    """An operation without a formula: no FLOPs are counted for it, its bytes and time are.

    Args:
        name: of the operation.
        calls: in one training step.
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
        length: tokens of each, where the model reads tokens and was given a length.
        train: whether `memory` and `seconds` are those of training.
        precision: of the arithmetic.
        parameters: distinct ones; tied weights count once.
        flops: of the whole batch.
        inference: memory of a forward pass, on one device.
        training: memory of a training step, on one device.
        bytes_moved: to and from memory, in one forward pass and in one training step, on all devices.
        forward_seconds, training_seconds: estimated.
        parts: by part.
        uncounted: operations without a formula.
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

    def sections(self) -> list[tuple[str, list[str], list[list[Any]]]]:
        """The sheet as tables: (title, columns, rows of cells)."""
        passes = [
            ["FLOPs", count(self.flops.forward), count(self.flops.training)],
            ["MACs", count(self.flops.forward // 2), count(self.flops.training // 2)],
            ["bytes moved", size(self.bytes_moved["forward"]), size(self.bytes_moved["training"])],
            ["time, estimated", duration(self.forward_seconds.estimate), duration(self.training_seconds.estimate)],
            [
                "  between",
                *[f"{duration(s.low)} and {duration(s.high)}" for s in (self.forward_seconds, self.training_seconds)],
            ],
        ]
        kinds = ("weights", "gradients", "optimizer", "activations", "saved", "cache", "peak")
        labels = {"saved": "  of which kept for backward", "peak": "peak"}
        memory = [
            [labels.get(kind, kind), *[size(getattr(side, kind)) for side in (self.inference, self.training)]]
            for kind in kinds
        ]
        parts = [
            [
                part.name + (f"  x{part.count}" if part.count > 1 else ""), count(part.parameters),
                count(part.forward_flops), count(part.training_flops), size(part.saved), duration(part.seconds),
            ]
            for part in self.parts
        ]  # fmt: skip
        asked = f"batch {self.batch}" + (f", length {self.length}" if self.length else "")
        where = f"{self.devices} x {self.device}" if self.devices > 1 else self.device
        title = f"{self.model}: {self.parameters:,} parameters; {asked}, {self.precision}, {where}"
        each = " on each device" if self.devices > 1 else ""
        found: list[tuple[str, list[str], list[list[Any]]]] = [
            (title, ["", "forward", "training step"], passes),
            (f"memory{each}", ["", "inference", "training"], memory),
            (
                "by part",
                ["part", "parameters", "forward FLOPs", "training FLOPs", "kept for backward", "forward time"],
                parts,
            ),
        ]
        if self.uncounted:
            rows = [[item.name, item.calls, count(item.elements)] for item in self.uncounted]
            found.append(("not in the FLOPs: no formula", ["operation", "calls", "elements"], rows))
        return found

    def table(self) -> str:
        """The whole sheet as text."""
        lines: list[str] = []
        for title, columns, rows in self.sections():
            cells = [columns, *[[str(cell) for cell in row] for row in rows]]
            widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
            lines.append(title)
            for line in cells:
                first, *rest = (
                    cell.ljust(w) if not i else cell.rjust(w)
                    for i, (cell, w) in enumerate(zip(line, widths, strict=True))
                )
                lines.append("  ".join([first, *rest]).rstrip())
            lines.append("")
        if self.cache_per_token:
            lines.append(f"cache: {size(self.cache_per_token)} a token of one sequence")
        lines += [f"- {line}" for line in self.assumptions]
        return "\n".join(lines)
