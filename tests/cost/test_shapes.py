"""The rules of shapes against the operations themselves, run for real on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.costed import real
from support.small import VARIANTS
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from dougong.cost.passes import loss_of
from dougong.cost.shapes import RULES


def blank(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    return torch.device("meta") if isinstance(value, torch.device) else value


def looks(value: Any) -> list[Any]:
    """Shapes, strides and types; the stride of an axis of length one says nothing. An LSTM layer's empty workspace in
    evaluation mode is left out: the CPU gives none."""
    several = value if isinstance(value, list | tuple) else [value]
    return [
        (tuple(t.shape), strides(t), t.dtype)
        for t in several
        if isinstance(t, Tensor) and (t.numel() or t.dtype != torch.uint8)
    ]


def strides(tensor: Tensor) -> tuple[int, ...] | None:
    """Of each axis that is longer than one; None where nothing is held."""
    if not tensor.numel():
        return None
    return tuple(step for step, length in zip(tensor.stride(), tensor.shape, strict=True) if length > 1)


class Held(TorchDispatchMode):
    """Runs every operation and asks the rule for it as well."""

    def __init__(self, rules: dict[Any, Any]) -> None:
        super().__init__()
        self.rules, self.tried, self.wrong = rules, 0, []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule, kwargs = self.rules.get(function), kwargs or {}
        said = None if rule is None else rule(*tree_map(blank, args), **tree_map(blank, kwargs))
        out = function(*args, **kwargs)
        if said is not None:
            self.tried += 1
            if looks(said) != looks(out):
                self.wrong.append((str(function), looks(said), looks(out)))
        return out


def held(name: str, train: bool, rules: dict[Any, Any]) -> Held:
    model, inputs = real(VARIANTS[name])
    model.train(train)
    with torch.set_grad_enabled(train), Held(rules) as found:
        output = model(*inputs)
        if train:
            loss_of(output).backward()
    return found


@pytest.mark.parametrize("train", [False, True], ids=["forward", "training"])
@pytest.mark.parametrize("name", VARIANTS)
def test_rules_give_what_the_operations_give(name: str, train: bool) -> None:
    found = held(name, train, RULES)
    assert found.tried > 5 and found.wrong == []


def test_a_wrong_rule_is_found() -> None:
    rules = {**RULES, torch.ops.aten.mm.default: lambda a, b: blank(a)}
    assert held("gpt2", True, rules).wrong


@pytest.mark.parametrize(
    "call",
    [
        lambda: (torch.ops.aten.convolution.default, torch.zeros(2, 4, 9, 8), torch.zeros(6, 2, 3, 3), None, [2, 1],
                 [1, 0], [1, 2], False, [0, 0], 2),
        lambda: (torch.ops.aten.max_pool2d_with_indices.default, torch.zeros(2, 3, 9, 7), [3, 2], [2, 2], [1, 0]),
        lambda: (torch.ops.aten.add.Tensor, torch.zeros(2, 1, 3), torch.zeros(4, 1, dtype=torch.float64)),
        lambda: (torch.ops.aten.mul.Tensor, torch.zeros(3, 2).t(), torch.zeros(2, 3)),
        lambda: (torch.ops.aten.mean.dim, torch.zeros(2, 3, 4), [-1, 0], True),
        lambda: (torch.ops.aten.stack.default, [torch.zeros(2, 3)] * 4, -1),
        lambda: (torch.ops.aten.cat.default, [torch.zeros(2, 3), torch.zeros(2, 5)], -1),
        lambda: (torch.ops.aten.gelu.default, torch.zeros(1, 4, 1).expand(3, 4, 2)),
        lambda: (torch.ops.aten.constant_pad_nd.default, torch.zeros(2, 3, 4), [1, 2, 0, 3], 0.0),
        lambda: (torch.ops.aten.arange.start_step, 1, 8, 3),
    ],
    ids=lambda call: str(call()[0]),
)  # fmt: skip
def test_rules_of_uncommon_shapes(call: Any) -> None:
    function, *args = call()
    said = RULES[function](*tree_map(blank, args))
    assert said is None or looks(said) == looks(function(*args))
