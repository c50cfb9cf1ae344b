"""Which blocks of a model are identical, and where they stand in a row."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

PLAIN = (int, float, bool, str, bytes, complex, type(None), torch.dtype, torch.Size, type, torch.device)


@dataclasses.dataclass
class Run:
    """Consecutive identical blocks of one container.

    Args:
        paths: of all of them, in order.
        blocks: the same as modules.
    """

    paths: list[str]
    blocks: list[nn.Module]
    traced: int = 0  # calls of the second block
    repeated: int = 0  # calls answered from its record
    signature: Any = None
    answer: list[tuple[torch.Size, tuple[int, ...], torch.dtype, bool]] = dataclasses.field(default_factory=list)
    as_tuple: bool = False
    gradient: tuple[Any, Any] | None = None  # shape and strides of the gradient that the last block gives its input
    reached: list[bool] = dataclasses.field(default_factory=list)  # which of its tensors the second block gives one
    input_lived: int | None = None  # the second block's input, if the graph may have kept it
    keep: bool = False
    retained: int = 0
    above: tuple[int, int] = (0, 0)  # the peaks of the second block, over what was alive when it began
    backward_above: tuple[int, int] = (0, 0)
    began: list[tuple[int, int]] = dataclasses.field(default_factory=list)  # alive when a repeated backward pass began
    retained_by_path: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def factor(self) -> float:
        """What the second block's operations are to be multiplied by."""
        return 1 + self.repeated / self.traced if self.traced else 1


def describe(value: Any, depth: int = 0) -> Any:
    """A value as something that is equal only if the values are."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        return (tuple(value.shape), value.stride(), value.dtype, value.requires_grad)
    if isinstance(value, weakref.ref):  # recurrent layers refer to their weights so; tensors do not compare to a bool
        return (weakref.ref, describe(value(), depth + 1))
    if isinstance(value, list | tuple | set | frozenset) and depth < 3:
        return (type(value), *[describe(item, depth + 1) for item in value])
    if isinstance(value, dict) and depth < 3:
        return (dict, *[(key, describe(item, depth + 1)) for key, item in value.items()])
    try:
        if type(value).__eq__ is not object.__eq__:
            hash(value)
            return value  # a frozen value compares itself
    except TypeError:
        pass
    return id(value)


def signature(module: nn.Module, known: dict[int, Any]) -> Any:
    """What makes two blocks identical: classes, attributes, and shapes of parameters and buffers, at any depth."""
    if id(module) in known:
        return known[id(module)]
    own = [(key, describe(value)) for key, value in module.__dict__.items() if key not in INTERNAL]
    hooked = bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
    held = [(key, describe(value)) for named in (module._parameters, module._buffers) for key, value in named.items()]
    below = [(key, None if child is None else signature(child, known)) for key, child in module._modules.items()]
    known[id(module)] = (type(module), tuple(own), hooked, module.training, tuple(held), tuple(below))
    return known[id(module)]


INTERNAL = frozenset(nn.Module().__dict__)


def runs(model: nn.Module, path: str = "", known: dict[int, Any] | None = None) -> Iterator[Run]:
    """The longest runs of at least 4 identical neighbours, at any depth outside the repeated ones."""
    known = {} if known is None else known
    children = [(name, child) for name, child in model._modules.items() if child is not None]
    signatures = [signature(child, known) if len(children) > 2 else index for index, (_, child) in enumerate(children)]
    index = 0
    while index < len(children):
        end = index + 1
        while end < len(children) and signatures[end] == signatures[index]:
            end += 1
        members = children[index:end]
        blocks = [block for _, block in members]
        distinct = len({id(block) for block in blocks}) == len(blocks)
        # a layer alone is quick to trace; three side by side on one input would also add up their gradients outside
        if len(members) >= 4 and distinct and blocks[0]._modules and any(True for _ in blocks[0].parameters()):
            yield Run([f"{path}{name}" for name, _ in members], blocks)
            members = [*members[:2], members[-1]]
        for name, child in members:
            yield from runs(child, f"{path}{name}.", known)
        index = end
