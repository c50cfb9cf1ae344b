"""The families by name: each is one keyword-only function, and its arguments are the saved configuration."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import pkgutil
import tomllib
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dougong.errors import UserError, unknown

Builder = Callable[..., nn.Module]

ENTRY_POINTS = "dougong.families"
"""Entry points of packages that bring families of their own: modules that register them when they are imported."""


@dataclass(frozen=True)
class Family:
    """One architecture.

    Args:
        name: as in a configuration's "architecture".
        function: keyword-only; builds the model with random weights.
        fixed: arguments that the name itself settles and that no configuration holds.
    """

    name: str
    function: Builder
    fixed: dict[str, Any]

    @property
    def doc(self) -> str:
        """The function's whole docstring."""
        return inspect.getdoc(self.function) or ""

    @property
    def summary(self) -> str:
        """The docstring's first line."""
        return self.doc.split("\n")[0]

    @functools.cached_property
    def arguments(self) -> dict[str, inspect.Parameter]:
        """The function's arguments, those that are fixed left out."""
        parameters = inspect.signature(self.function).parameters
        return {name: argument for name, argument in parameters.items() if name not in self.fixed}

    @functools.cached_property
    def checker(self) -> Any:
        """A pydantic model of the arguments, which refuses what is unknown or of the wrong type."""
        import pydantic

        hints = typing.get_type_hints(self.function, include_extras=True)
        fields: dict[str, Any] = {
            name: (hints[name], ... if argument.default is inspect.Parameter.empty else argument.default)
            for name, argument in self.arguments.items()
        }
        return pydantic.create_model(self.name, __config__=pydantic.ConfigDict(extra="forbid", strict=True), **fields)


@dataclass(frozen=True)
class Size:
    """A named configuration.

    Args:
        name: as a user gives it.
        config: "architecture" and its arguments; those left out have their defaults.
        parameters: how many its source states, as the source writes it ("86M"); None for sizes of our own.
        source: where that is stated.
        note: what else should be known.
    """

    name: str
    config: dict[str, Any]
    parameters: str | None = None
    source: str | None = None
    note: str | None = None


_FAMILIES: dict[str, Family] = {}


def architecture(function: Builder) -> Builder:
    """Register a function as the family of its name."""
    register(function.__name__, function)
    return function


def register(name: str, function: Builder, **fixed: Any) -> None:
    """Register a function as the family ``name``, with some arguments settled by that name.

    A family from outside this package may be registered again (a cell that is run twice).

    Raises:
        UserError: the name is that of a family of this package, and the function comes from elsewhere.
    """
    if not _is_ours(function):
        _find_ours()
        if name in _FAMILIES and _is_ours(_FAMILIES[name].function):
            raise UserError(name, "is a family of dougong already", "give your function another name")
    _FAMILIES[name] = Family(name, function, fixed)


def _is_ours(function: Builder) -> bool:
    return function.__module__.startswith("dougong.")


@functools.cache
def _find_ours() -> None:
    """Import every file of this folder."""
    package = importlib.import_module("dougong.architectures")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"dougong.architectures.{module.name}")


@functools.cache
def _find_installed() -> None:
    """Import the modules that installed packages name as entry points of the group ``dougong.families``.

    Raises:
        UserError: one cannot be imported.
    """
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except UserError:
            raise
        except Exception as error:  # what a stranger's module raises when it is imported has no common kind
            said = f"{type(error).__name__}: {error}"
            raise UserError(
                f"{entry.value}, an entry point of {ENTRY_POINTS}",
                f"cannot be imported ({said})",
                "repair or uninstall the package that names it",
            ) from error


def families() -> dict[str, Family]:
    """Every family by name: those of this folder, where a file is found by itself, and those registered from outside.

    Raises:
        UserError: an installed package names families that cannot be imported.
    """
    _find_ours()
    _find_installed()
    return dict(sorted(_FAMILIES.items()))


@functools.cache
def sizes() -> dict[str, Size]:
    """Every named size, as sizes.toml lists them."""
    rows = tomllib.loads((Path(__file__).parent / "sizes.toml").read_text(encoding="utf-8"))
    found = {}
    for name, row in rows.items():
        stated = {key: row.pop(key, None) for key in ("parameters", "source", "note")}
        found[name] = Size(name, row, **stated)
    return found


def resolve(model: str | dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The whole configuration of a size, a family or a configuration, every argument with its value.

    Args:
        model: the name of a size or family, or ``{"architecture": ..., ...}``.
        changes: arguments to set.

    Raises:
        UserError: an unknown name or argument, an argument that is missing, or of the wrong type.
    """
    if not isinstance(model, str):
        return check({**model, **changes}, "model")
    if model in sizes():
        config = sizes()[model].config
    elif model in families():
        config = {"architecture": model}
    else:
        raise unknown(model, "model", model, [*sizes(), *families()])
    return check({**config, **changes}, model)


def check(config: dict[str, Any], where: str) -> dict[str, Any]:
    """A configuration with every argument's value.

    Args:
        config: ``{"architecture": ..., ...}``.
        where: it came from; errors name it.

    Raises:
        UserError: as `resolve`.
    """
    arguments = {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
    name = arguments.pop("architecture", None)
    if name is None:
        raise UserError(
            where, "the configuration names no architecture", 'add "architecture", one of ' + ", ".join(families())
        )
    if not isinstance(name, str) or name not in families():
        raise unknown(where, "architecture", str(name), families())
    return {"architecture": name, **_checked(families()[name], arguments, where)}


def _checked(family: Family, config: dict[str, Any], where: str) -> dict[str, Any]:
    """The arguments with their defaults filled in."""
    import pydantic

    for key in config:
        if key not in family.arguments:
            raise unknown(where, f"argument of {family.name}", str(key), family.arguments)
    try:
        return family.checker(**config).model_dump()
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        key = str(fault["loc"][0])
        if fault["type"] == "missing":
            raise UserError(where, f"{family.name} needs {key}", f"set {key}=...") from None
        said = fault["msg"][0].lower() + fault["msg"][1:]
        raise UserError(where, f"{key}={config.get(key)!r} will not do: {said}", f"set another {key}") from None
