"""Of identical blocks three are traced and the others repeated: a stack of 96 costs as much to trace as one of 4.

The first of a run of identical blocks may do work that the others share (a mask's table), and the last meets what comes
after, whose gradient may be laid out in another way; so both are traced, and so is the second, which stands for all
between. Any of these that is called with other shapes, or with other
surroundings, is traced itself. tests/cost holds folded against unfolded, to the last byte.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from dougong.cost.ledger import Ledger
from dougong.cost.likeness import Run, describe, runs
from dougong.cost.tracing import Tracer, tensors


class Unfoldable(Exception):
    """A block was used in a way that its record does not cover: trace again without folding."""


class Repeat(torch.autograd.Function):
    """Stands for a block in the graph: gives tensors like the second block's, and gradients like its inputs."""

    @staticmethod
    def forward(ctx: Any, run: Run, tracer: Tracer, path: str, first: Tensor | None, *inputs: Tensor) -> Any:
        ctx.run, ctx.tracer, ctx.path = run, tracer, path
        ctx.like = [
            (tensor.shape, tensor.stride(), tensor.dtype) if tensor.requires_grad else None for tensor in inputs
        ]
        ctx.kept = first if run.keep else None
        ctx.stream = next((index for index, tensor in enumerate(inputs) if tensor is first), None)
        ctx.set_materialize_grads(False)
        made = tuple(blank(shape, stride, dtype) for shape, stride, dtype, _ in run.answer)
        return made if run.as_tuple else made[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        tracer, run = ctx.tracer, ctx.run
        run.began.append((tracer.ledger.live, tracer.ledger.gradients))
        ctx.kept = None
        tracer.release(run, ctx.path)
        made = [None if like is None else blank(*like) for like in ctx.like]
        stream = None if ctx.stream is None else made[ctx.stream]
        if stream is not None and run.gradient is not None and run.gradient[0] == stream.shape:
            shape, stride = run.gradient
            made[ctx.stream] = blank(shape, stride, stream.dtype)
        for tensor in made:
            if tensor is not None:
                tracer.ledger.see(tensor, ctx.path)
        return (None, None, None, None, *made)


def blank(shape: Any, stride: Any, dtype: torch.dtype) -> Tensor:
    """An empty tensor."""
    return torch.empty_strided(shape, stride, dtype=dtype, device="meta")


class FoldingTracer(Tracer):
    """A tracer that repeats what it knows of a block instead of running all that are identical.

    Args:
        model: whose blocks are looked at.
        ledger: of what is alive.
    """

    def __init__(self, model: nn.Module, ledger: Ledger) -> None:
        super().__init__(model, ledger)
        self.runs = list(runs(model))
        names: dict[int, int] = {}
        for module in model.modules():
            for parameter in module._parameters.values():
                if parameter is not None:
                    names[id(parameter)] = names.get(id(parameter), 0) + 1
        # a parameter that blocks share has one gradient, not one a block
        self.runs = [run for run in self.runs if all(names[id(p)] == 1 for b in run.blocks for p in b.parameters())]
        self.repeated: set[str] = set()
        self.parameter_bytes = {
            id(run): sum(p.numel() * p.element_size() for p in run.blocks[1].parameters() if p.requires_grad)
            for run in self.runs
        }

    @contextmanager
    def folding(self) -> Iterator[FoldingTracer]:
        """Put the records in the place of the blocks while this lasts."""
        replaced = []
        try:
            for run in self.runs:
                for index, block in enumerate(run.blocks[1:-1], 1):
                    block.__dict__["forward"] = self._replacement(run, index, block.forward)
                    replaced.append(block)
                run.blocks[-1].__dict__["forward"] = self._last(run, run.blocks[-1].forward)
                replaced.append(run.blocks[-1])
            yield self
        finally:
            for block in replaced:
                del block.__dict__["forward"]

    def _replacement(self, run: Run, index: int, forward: Any) -> Any:
        def record(*args: Any, **kwargs: Any) -> Any:
            return self._record(run, forward, args, kwargs)

        def repeat(*args: Any, **kwargs: Any) -> Any:
            if not run.answer or self._asked(args, kwargs) != run.signature:
                return forward(*args, **kwargs)
            return self._repeat(run, run.paths[index], args, kwargs)

        return record if index == 1 else repeat

    @staticmethod
    def _last(run: Run, forward: Any) -> Any:
        """The last block, whose backward pass comes first and shows how gradients are laid out."""

        def see(gradient: Tensor) -> None:
            run.gradient = (gradient.shape, gradient.stride())

        def call(*args: Any, **kwargs: Any) -> Any:
            first = first_tensor(args)
            if first is not None and first.requires_grad and torch.is_grad_enabled():
                first.register_hook(see)
            return forward(*args, **kwargs)

        return call

    @staticmethod
    def _asked(args: Any, kwargs: Any) -> Any:
        return describe(args), describe(kwargs), torch.is_grad_enabled()

    def _record(self, run: Run, forward: Any, args: Any, kwargs: Any) -> Any:
        asked = self._asked(args, kwargs)
        if run.traced and asked != run.signature:
            raise Unfoldable(run.paths[1])
        run.traced += 1
        run.signature = asked
        ledger, first = self.ledger, first_tensor(args)
        before, by_path = ledger.live, ledger.by_path()
        opened = ledger.open_window()
        out = forward(*args, **kwargs)
        run.above = ledger.close_window(opened)
        made = [out] if isinstance(out, Tensor) else list(out) if isinstance(out, tuple) else []
        storages = {tensor.untyped_storage()._cdata for tensor in tensors(list(args))}
        usual = made and all(isinstance(t, Tensor) and t.untyped_storage()._cdata not in storages for t in made)
        if not usual:
            run.answer = []  # something else than fresh tensors: run each block
            return out
        run.as_tuple = isinstance(out, tuple)
        run.answer = [(t.shape, t.stride(), t.dtype, t.requires_grad) for t in made]
        own = sum(t.untyped_storage().nbytes() for t in made)
        run.retained = ledger.live - before - own
        after = ledger.by_path()
        for tensor in made:
            after[ledger.kept[tensor.untyped_storage()._cdata][1]] -= tensor.untyped_storage().nbytes()
        run.retained_by_path = {
            path: n - by_path.get(path, 0) for path, n in after.items() if n != by_path.get(path, 0)
        }
        run.input_lived = None if first is None else first.untyped_storage()._cdata
        if torch.is_grad_enabled() and first is not None and first.requires_grad and made[0].requires_grad:
            self._watch_backward(run, first, made[0])
            run.reached = reached(made, wanting((args, kwargs)))
        return out

    def _watch_backward(self, run: Run, first: Tensor, last: Tensor) -> None:
        """Measure the peak of the second block's backward pass, between the gradients of its output and its input."""
        ledger = self.ledger
        began: list[tuple[int, int, int, int]] = []

        def begin(gradient: Tensor) -> None:
            began.append(ledger.open_window())

        def end(gradient: Tensor) -> None:
            if began:
                run.backward_above = ledger.close_window(began.pop())

        last.register_hook(begin)
        first.register_hook(end)

    def _repeat(self, run: Run, path: str, args: Any, kwargs: Any) -> Any:
        ledger, first = self.ledger, first_tensor(args)
        if not run.repeated:
            run.keep = run.input_lived in ledger.kept
        run.repeated += 1
        self.repeated.add(path)
        ledger.bump(*run.above)
        needed = wanting((args, kwargs))
        if len(needed) == len(run.reached):
            needed = list(itertools.compress(needed, run.reached))
        self.silent = True
        try:
            if torch.is_grad_enabled() and any(wanted for *_, wanted in run.answer):
                if not needed:  # its own parameters want gradients
                    needed = [torch.empty(0, device="meta", requires_grad=True)]
                out = Repeat.apply(run, self, path, first, *needed)
                ledger.live += run.retained
            else:
                made = tuple(blank(shape, stride, dtype) for shape, stride, dtype, _ in run.answer)
                out = made if run.as_tuple else made[0]
        finally:
            self.silent = False
        for tensor in tensors(out):
            ledger.see(tensor, path)
        ledger.bump()
        return out

    def release(self, run: Run, path: str) -> None:
        """A repeated block's backward pass is over: what it kept is freed, its gradients are there."""
        self.ledger.live -= run.retained
        self.ledger.gradients += self.parameter_bytes[id(run)]
        self.ledger.bump()

    def settle(self) -> None:
        """Note the peaks of the repeated backward passes; the pass that they repeat comes after them."""
        for run in self.runs:
            for live, gradients in run.began:
                self.ledger.was(live, gradients, *run.backward_above)

    def counts(self, path: str) -> bool:
        """Operations of repeated blocks are in the second block's, times the factor."""
        return path not in self.repeated

    def factor(self, path: str) -> float:
        """How many blocks an operation of this module stands for."""
        product = 1.0
        for run in self.runs:
            if path == run.paths[1] or path.startswith(run.paths[1] + "."):
                product *= run.factor
        return product


def first_tensor(args: Any) -> Tensor | None:
    """The first tensor among a block's arguments: the stream."""
    return next((item for item in args if isinstance(item, Tensor)), None)


def all_tensors(value: Any, depth: int = 0) -> list[Tensor]:
    """Every tensor in arguments, inside sequences, dictionaries and dataclasses too."""
    if isinstance(value, Tensor):
        return [value]
    if depth > 4:
        return []
    items: Any = ()
    if isinstance(value, list | tuple):
        items = value
    elif isinstance(value, dict):
        items = value.values()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [getattr(value, field.name) for field in dataclasses.fields(value)]
    found: list[Tensor] = []
    for item in items:
        found += [tensor for tensor in all_tensors(item, depth + 1) if not any(tensor is other for other in found)]
    return found


def wanting(value: Any) -> list[Tensor]:
    """The tensors in arguments that want a gradient."""
    return [tensor for tensor in all_tensors(value) if tensor.requires_grad]


def reached(outputs: list[Tensor], inputs: list[Tensor]) -> list[bool]:
    """Which inputs a block's backward pass gives a gradient: those that the graph leads to without another between."""
    ends = {(edge.node, edge.output_nr): index for index, edge in enumerate(map(get_gradient_edge, inputs))}
    found = [False] * len(inputs)
    rest, seen = [tensor.grad_fn for tensor in outputs], set()
    while rest:
        node = rest.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for edge in node.next_functions:
            if edge in ends:
                found[ends[edge]] = True
            else:
                rest.append(edge[0])
    return found
