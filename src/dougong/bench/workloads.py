"""Pieces of work whose speed is measured, each with the least time that the machine's limits allow for it."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from dougong.architectures import build
from dougong.bench.fitting import fitting, writes
from dougong.cost import CostSheet, forward_flops
from dougong.cost.costing import cache_per_token
from dougong.cost.limits import Limits
from dougong.cost.passes import loss_of
from dougong.runtime import generate, prepare
from dougong.runtime.preparing import described

PRECISIONS = ("float32", "bf16", "int8", "int4")
BYTES = {"float32": 4.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5}  # of a weight; scales and offsets come on top
PROMPT, NEW = 32, 24  # tokens that are read and written where writing is measured
SECONDS, ROUNDS = 2.0, 3  # a piece of work is repeated for so long, and so many times at least


@dataclass(frozen=True)
class Row:
    """One workload in one precision.

    Args:
        workload: what was done, as "writing, 1 text".
        model: that did it.
        precision: of its weights; of the arithmetic where it was trained.
        unit: what is counted: "tokens", "pictures" or "samples".
        rate: of these a second; the median of the rounds, or of the tokens where texts are written.
        low, high: the slowest and the fastest of them.
        bound: the limit that it is held against, "memory" or "matrix".
        limit: of these a second if nothing but that limit counted; None where the limit is not known.
        share: rate over limit.
        flops: for one of these.
        moved: bytes for one of these: at least, where texts are written; by the cost sheet elsewhere, caches not
            considered.
        rounds: how many of them.
        how: what `dougong.prepare` did to the model.
    """

    workload: str
    model: str
    precision: str
    unit: str
    rate: float
    low: float
    high: float
    bound: str
    limit: float | None
    share: float | None
    flops: float
    moved: float
    rounds: int
    how: str


@dataclass(frozen=True)
class Workload:
    """One thing to measure.

    Args:
        kind: "write", "read" or "train".
        model: its name, for people.
        config: of the model.
        batch: samples at once.
        length: tokens of each; None for pictures, and for the example that the model gives.
    """

    kind: str
    model: str
    config: dict[str, Any]
    batch: int
    length: int | None = None

    @property
    def label(self) -> str:
        """What is done, for people."""
        size = f"{self.batch} x {self.length} tokens" if self.length else f"{self.batch} at once"
        if self.kind == "write":
            return f"writing, {self.batch} text{'s' if self.batch > 1 else ''}"
        return f"{'reading' if self.kind == 'read' else 'training'}, {size}"

    def takes(self, precision: str) -> bool:
        """Whether it is measured in a precision: weights of few bits pay where they are read again and again."""
        return self.kind == "write" or precision in ("float32", "bf16")

    def check(self, precision: str, device: str) -> CostSheet:
        """Its cost sheet; it fits into memory.

        Raises:
            UserError: it does not.
        """
        return fitting(self.config, self.batch, self.length, self.kind == "train", precision, device, self.model)

    def measure(self, precision: str, limits: Limits) -> Row:
        """Build the model with random weights, run it some times, and compare.

        Raises:
            UserError: it does not fit into memory, or there are no weights of this precision.
        """
        sheet = self.check(precision, limits.device)
        measures = {"write": self._write, "read": self._read, "train": self._train}
        seconds, how = measures[self.kind](precision, limits.device)
        amount, unit = self._amount()
        if self.kind == "write":
            flops = float(forward_flops(self.config, 1, 1))
            moved = self._moved(precision, flops) / amount
            bound, limit = "memory", limits.bandwidth / moved
        else:
            train = self.kind == "train"
            flops = (sheet.flops.training if train else sheet.flops.forward) / amount
            moved = sheet.bytes_moved["training" if train else "forward"] / amount
            bound, limit = "matrix", limits.matrix(precision) / flops
        rates = sorted(amount / each for each in seconds)
        rate = statistics.median(rates)
        share = rate / limit if limit else None
        return Row(
            self.label, self.model, precision, unit, rate, rates[0], rates[-1], bound, limit or None, share, flops,
            moved, len(rates), how,
        )  # fmt: skip

    def _built(self, device: str) -> nn.Module:
        return build(self.config, seed=0, device=device)

    def _amount(self) -> tuple[float, str]:
        """What is counted in one round."""
        kind = getattr(build(self.config, device="meta"), "input_kind", "")
        if self.kind == "write" or self.length is None:
            return float(self.batch), {"image": "pictures", "tokens": "tokens"}.get(str(kind), "samples")
        return float(self.batch * self.length), "tokens"

    def _moved(self, precision: str, flops: float) -> float:
        """Bytes that a step of writing reads at least: the weights once, and keys and values of what is there."""
        width = BYTES[precision]
        keys = cache_per_token(build(self.config, device="meta"), int(max(2.0, width)))
        return flops / 2 * width + self.batch * keys * (PROMPT + NEW / 2)

    def _write(self, precision: str, device: str) -> tuple[list[float], str]:
        """Seconds of each token, from the first on: reading the prompt is no part of it."""
        model = prepare(self._built(device), precision)  # type: ignore[arg-type]
        numbers = torch.Generator().manual_seed(0)
        prompts = torch.randint(0, self.config["vocab_size"], (self.batch, PROMPT), generator=numbers).tolist()
        moments: list[float] = []
        for count in (2, NEW + 1):  # the first warms up
            moments.clear()
            generate(model, prompts, max_new_tokens=count, end=(), show=lambda _: moments.append(time.perf_counter()))
        return [b - a for a, b in pairwise(moments)], described(model)

    def _read(self, precision: str, device: str) -> tuple[list[float], str]:
        """Seconds of forward passes over samples of one length."""
        model = prepare(self._built(device), precision)  # type: ignore[arg-type]
        inputs = _inputs(model, self.batch, self.length, device)
        with torch.inference_mode():
            return [timed(lambda: model(*inputs), device) for _ in _turns()][1:], described(model)

    def _train(self, precision: str, device: str) -> tuple[list[float], str]:
        """Seconds of steps of AdamW, bf16 by autocast with weights of float32, as everywhere in dougong."""
        model = self._built(device).train()
        inputs = _inputs(model, self.batch, self.length, device)
        loss = _loss(model, inputs, writes(self.config))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

        def step() -> None:
            optimizer.zero_grad()
            half = precision == "bf16"
            with torch.autocast(device, torch.bfloat16) if half else contextlib.nullcontext():
                found = loss()
            found.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        return [timed(step, device) for _ in _turns()][1:], described(model)


def _loss(model: nn.Module, inputs: tuple[Any, ...], language: bool) -> Callable[[], torch.Tensor]:
    """The loss of a step; a language model's scores of all tokens are never there at once."""
    if not language:
        return lambda: loss_of(model(*inputs))
    from dougong.heads.losses import cross_entropy
    from dougong.parts.output import deferring

    def found() -> torch.Tensor:
        with deferring():
            output = model(*inputs)
        return cross_entropy(output, inputs[0])

    return found


def _inputs(model: nn.Module, batch: int, length: int | None, device: str) -> tuple[Any, ...]:
    """The model's own example."""
    return model.example_inputs(batch, length, device=device)  # type: ignore[operator]


def _turns() -> Iterator[int]:
    """0, which does not count, then 1, 2, ... for as long and as often as a piece of work is repeated."""
    yield 0
    end, turn = time.perf_counter() + SECONDS, 0
    while turn < ROUNDS or time.perf_counter() < end:
        turn += 1
        yield turn


def timed(run: Callable[[], Any], device: str) -> float:
    """Seconds of one run."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
