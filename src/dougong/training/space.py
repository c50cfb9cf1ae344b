"""The space of a search: which settings are tried, and from which values.

A user writes a range ``low..high`` or a list of choices. A range of positive numbers over at least a factor of ten is
searched by its logarithm, any other one evenly; "1e-3..0.3 linear" and "0.1..0.5 log" say which. It holds whole numbers
where the setting does.
"""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dougong.errors import UserError, unknown
from dougong.training.budget import Budget
from dougong.training.config import TrainingConfig

NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"\s*({NUMBER})\s*\.\.\s*({NUMBER})\s*(log|linear)?\s*")
REMEDY = "write a range as 1e-5..1e-3, or choices as [16, 32]"

KEPT = frozenset(
    ("model", "name", "init", "tune", "data", "split", "split_seed", "task", "budget", "seed", "text", "label",
     "device", "tensorboard", "keep", "evaluate_every", "checkpoint_every")
)  # fmt: skip
"""Settings that are the same in every trial: they say what is compared, on what terms, or how it is written down."""

COUNTED = frozenset(("tokenizer", "vocab_size", "max_length", "text", "label"))
"""Settings that change what a loss a token is counted over."""

SMOOTHED = ("accuracy", "micro_f1", "f1", "bleu")
"""Primary metrics of answers that are classes or tokens, whose truth can be smoothed; a loss would not gain by it."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included. Args: log: by their logarithm; whole: whole ones only."""

    low: float
    high: float
    log: bool
    whole: bool

    def __str__(self) -> str:
        kind = "" if self.log == _wide(self.low, self.high) else " log" if self.log else " linear"
        return f"{self.low!r}..{self.high!r}{kind}"

    def tidy(self, value: float) -> float:
        """A drawn value with four significant digits, as a person would write it."""
        return int(value) if self.whole else min(max(float(f"{value:.4g}"), self.low), self.high)


@dataclass(frozen=True)
class Choices:
    """Some values, of any type that a setting has."""

    values: tuple[Any, ...]

    def names(self) -> list[Any]:
        """The values as Optuna keeps them: what is no plain value, as its JSON."""
        return [value if _is_plain(value) else json.dumps(value) for value in self.values]

    def named(self, name: Any) -> Any:
        """The value of a name."""
        return self.values[self.names().index(name)]


Space = dict[str, Range | Choices]


def is_range(value: Any) -> bool:
    """Whether a value is written as a range."""
    return isinstance(value, str) and RANGE.fullmatch(value) is not None


def parse_range(written: str) -> tuple[float, float, bool]:
    """The ends of a range, and whether it is searched by its logarithm."""
    match = RANGE.fullmatch(written)
    assert match is not None
    low, high = float(match[1]), float(match[2])
    return low, high, match[3] == "log" if match[3] else _wide(low, high)


def is_space(key: str, value: Any, model: Mapping[str, Any]) -> bool:
    """Whether what a user gave to a setting is a space rather than a value.

    Args:
        key: the setting; "model.dropout" for an argument of the model.
        value: a range, or a list; where the setting's own value is a list, a list of lists.
        model: its whole configuration.
    """
    if not isinstance(value, list):
        return is_range(value)
    return not _holds_lists(key, model) or any(isinstance(each, list) for each in value)


def parse_space(given: Mapping[str, Any], model: Mapping[str, Any], primary: str) -> Space:
    """A checked space.

    Args:
        given: by setting, a range or choices as a user writes them.
        model: its whole configuration; what is not known of a setting's type is read off it.
        primary: the metric by which trials are judged.

    Raises:
        UserError: an unknown setting or one that is no matter of search, or a range or choices that will not do.
    """
    space: Space = {}
    for key, value in given.items():
        known = {key for key in TrainingConfig.model_fields if key not in KEPT} | {f"model.{name}" for name in model}
        if key in KEPT or key == "model.architecture":
            raise UserError(f"search: {key}", "is the same in every trial", "give one value")
        if key not in known:
            raise unknown("search", "setting", key, known - {"model.architecture"})
        if primary == "loss" and key in COUNTED:
            raise UserError(f"search: {key}", "changes what the loss is counted over", "give one value")
        space[key] = found = _parsed(key, value, model)
        for tried in found.values if isinstance(found, Choices) else (found.low, found.high):
            _check(key, tried, model)
    return space


def default_space(config: TrainingConfig, given: Mapping[str, Any], samples: int, primary: str) -> Space:
    """What is searched when nothing else is said: how fast is learnt, and how much is held back.

    Args:
        config: with every choice made; the ranges lie around it.
        given: the settings that the user fixed; none of them is searched.
        samples: of the training split.
        primary: the metric by which trials are judged.
    """
    rate, size = float(config.learning_rate or 1e-3), int(config.batch_size or 1)
    sizes = {min(max(size * factor // 2, config.accumulate), samples) for factor in (1, 2, 4)}
    space: Space = {"learning_rate": Range(_tidy(rate / 10), _tidy(rate * 10), log=True, whole=False)}
    if config.batch_tokens is None and Budget.parse(config.budget).kind != "steps":  # there, more would be more work
        space["batch_size"] = Choices(tuple(sorted(sizes)))
    space["weight_decay"] = Range(0.001, 0.3, log=True, whole=False)
    space["warmup"] = Range(0.0, 0.2, log=False, whole=False)
    if primary in SMOOTHED:
        space["label_smoothing"] = Range(0.0, 0.2, log=False, whole=False)
    if config.init is not None and config.tune == "full":
        space["layer_decay"] = Range(0.6, 1.0, log=False, whole=False)
    if config.tune == "lora":
        space["lora_rank"] = Choices((4, 8, 16, 32))
    return {key: found for key, found in space.items() if given.get(key) is None}


def written(space: Space) -> dict[str, Any]:
    """A space as a user would write it; `parse_space` reads it back."""
    return {key: str(found) if isinstance(found, Range) else list(found.values) for key, found in space.items()}


def distributions(space: Space) -> dict[str, Any]:
    """A space as Optuna knows it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for key, one in space.items():
        if isinstance(one, Choices):
            found[key] = CategoricalDistribution(one.names())
        elif one.whole:
            found[key] = IntDistribution(int(one.low), int(one.high), log=one.log)
        else:
            found[key] = FloatDistribution(one.low, one.high, log=one.log)
    return found


def usual(space: Space, config: TrainingConfig) -> dict[str, Any]:
    """What a training without a search would use, by Optuna's names, as far as it lies in the space."""
    found: dict[str, Any] = {}
    for key, one in space.items():
        inner = key.removeprefix("model.")
        value = config.model.get(inner) if inner != key else getattr(config, key)
        value = list(value) if isinstance(value, tuple) else value
        if isinstance(one, Choices):
            if value in one.values:
                found[key] = one.names()[one.values.index(value)]
        elif isinstance(value, int | float) and one.low <= value <= one.high:
            found[key] = value
    return found


def settings_of(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a trial by what Optuna drew."""
    return {
        key: one.named(params[key]) if isinstance(one, Choices) else one.tidy(params[key])
        for key, one in space.items()
    }  # fmt: skip


def _parsed(key: str, value: Any, model: Mapping[str, Any]) -> Range | Choices:
    where = f"search: {key}"
    if isinstance(value, list | tuple) and value:
        choices = tuple(value)
        if len({json.dumps(each) for each in choices}) < len(choices):
            raise UserError(where, f"{list(choices)} names a choice twice", "name each once")
        return Choices(choices)
    if not is_range(value):
        raise UserError(where, f"{value!r} is nothing to choose from", REMEDY)
    whole, real = _numbers(key, model)
    if not whole and not real:
        raise UserError(where, "is no number", "write its choices as [a, b]")
    low, high, log = parse_range(value)
    if not math.isfinite(low) or not math.isfinite(high):
        raise UserError(where, f"{value!r} has no finite ends", REMEDY)
    if low >= high:
        raise UserError(where, f"{value!r} does not go up", REMEDY)
    if log and low <= 0:
        raise UserError(where, f"{value!r} has no logarithm", "begin above 0, or leave out the word log")
    if not real:
        if low != int(low) or high != int(high):
            raise UserError(where, f"{value!r} has ends that are no whole numbers", "write it as 2..6")
        low, high = int(low), int(high)
    return Range(low, high, log=log, whole=not real)


def _check(key: str, value: Any, model: Mapping[str, Any]) -> None:
    """Refuse a value that no trial could use."""
    from dougong.architectures import resolve

    inner = key.removeprefix("model.")
    if inner != key:
        resolve({**model, inner: value})
    else:
        TrainingConfig.parse("search", model=dict(model), name="search", data="digits", **{key: value})


def _numbers(key: str, model: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether a setting is a whole number, and whether it is any number."""
    inner = key.removeprefix("model.")
    if inner != key:
        value = model.get(inner)
        return isinstance(value, int) and not isinstance(value, bool), isinstance(value, float)
    kinds = _kinds(TrainingConfig.model_fields[key].annotation)
    return int in kinds, float in kinds


def _holds_lists(key: str, model: Mapping[str, Any]) -> bool:
    """Whether the value of a setting may itself be a list."""
    inner = key.removeprefix("model.")
    if inner != key:
        return isinstance(model.get(inner), list | tuple)
    if key not in TrainingConfig.model_fields:
        return False
    return any(typing.get_origin(kind) in (list, tuple) for kind in _kinds(TrainingConfig.model_fields[key].annotation))


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The types that an annotation allows."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def _wide(low: float, high: float) -> bool:
    return low > 0 and high >= 10 * low


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _tidy(value: float) -> float:
    return float(f"{value:.2g}")
