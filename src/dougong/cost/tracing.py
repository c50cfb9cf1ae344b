"""Running a model on the meta device, where nothing is computed, and writing down every operation."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from dougong.cost.formulas import flops_of
from dougong.cost.ledger import Ledger
from dougong.cost.shapes import RULES
from dougong.cost.traffic import is_view, traffic

LOSS = "(loss)"  # the part that belongs to no module


class Call(NamedTuple):
    """One kind of operation in one place; calls that are alike are counted, not listed.

    Args:
        path: of the module that it belongs to.
        backward: whether it is of the backward pass.
        name: of the operation, as "aten.mm".
        flops: None where there is no formula.
        bytes_read: by the operation.
        bytes_written: by it.
        elements: the most that one of its tensors has.
        dtype: of the arithmetic.
    """

    path: str
    backward: bool
    name: str
    flops: int | None
    bytes_read: int
    bytes_written: int
    elements: int
    dtype: torch.dtype


class Tracer(TorchDispatchMode):
    """Writes down each operation below it: what it computes, moves and leaves behind.

    Args:
        model: its modules are the places that operations belong to.
        ledger: of what is alive.
    """

    def __init__(self, model: nn.Module, ledger: Ledger) -> None:
        super().__init__()
        self.calls: Counter[Call] = Counter()
        self.ledger = ledger
        self.paths = {id(module): name for name, module in model.named_modules()}
        self.stack = [LOSS]
        self.silent = False
        # A node of the graph carries the number at which it was made, so a backward operation finds its module.
        self._numbers: list[int] = [0]
        self._places: list[str] = [LOSS]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled, and saying so would import the compiler, a second's work

    @contextmanager
    def watching(self) -> Iterator[Tracer]:
        """Trace what runs inside."""
        hooks = [
            register_module_forward_pre_hook(lambda module, args: self._enter(module)),
            register_module_forward_hook(lambda module, args, output: self._leave(module)),
        ]
        try:
            with self:
                yield self
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, module: nn.Module) -> None:
        path = self.paths.get(id(module))
        self.stack.append(self.stack[-1] if path is None else path)
        self._mark()

    def _leave(self, module: nn.Module) -> None:
        self.stack.pop()
        self._mark()

    def _mark(self) -> None:
        self._numbers.append(torch.autograd._get_sequence_nr())
        self._places.append(self.stack[-1])

    def _place(self) -> tuple[str, bool]:
        """The module at work, and whether this is the backward pass."""
        node = torch._C._current_autograd_node()
        if node is None:
            return self.stack[-1], False
        number = node._sequence_nr()  # type: ignore[attr-defined]
        if number > self._numbers[-1]:  # adding up gradients where no module is at work
            return LOSS, True
        return self._places[bisect_right(self._numbers, number) - 1], True

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = self._run(function, args, kwargs)
        if self.silent or is_view(function):
            return out
        path, backward = self._place()
        for tensor in tensors(out):
            self.ledger.see(tensor, path)
        moved = traffic(function, args, kwargs, out)
        if moved is not None and self.counts(path):
            packet = function._overloadpacket
            flops = flops_of(packet, args, kwargs, out)
            self.calls[Call(path, backward, name_of(packet), flops, *moved)] += 1
        return out

    def counts(self, path: str) -> bool:
        """Whether operations of this module are to be written down."""
        return True

    @staticmethod
    def _run(function: Any, args: Any, kwargs: Any) -> Any:
        known = RULES.get(function)
        out = None if known is None else known(*args, **kwargs)
        return function(*args, **kwargs) if out is None else out


@functools.cache
def name_of(packet: Any) -> str:
    """An operation's name: "aten.mm"."""
    return str(packet._qualified_op_name).replace("::", ".")


def tensors(value: Any) -> list[Tensor]:
    """The tensors in an operation's answer."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors(item)]
    return []
