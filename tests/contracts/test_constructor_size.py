"""A constructor that nobody can hold in the head is a sign of flags where slots belong: at most 12 parameters.

Architectures are exempt: their arguments are the configuration.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

MOST = 12
ROOMS = ("parts", "frames", "heads")

# Name and why it may take more.
EXEMPT = {
    "dougong.parts.context.Context": "what travels beside x, filled in by the frames; every field has a default",
}


def constructors(module: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The classes and public functions that a module defines, by their full names."""
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value) or (inspect.isfunction(value) and not name.startswith("_")):
            yield f"{module.__name__}.{name}", value


def parameters(made: Callable[..., Any]) -> list[str]:
    """The names of what must or may be given, without self."""
    try:
        return list(inspect.signature(made).parameters)
    except ValueError:  # a class of Python's own C code stands above it, and it adds no constructor
        return []


def everything() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for room in ROOMS:
        package = importlib.import_module(f"dougong.{room}")
        for entry in pkgutil.walk_packages(package.__path__, f"dougong.{room}."):
            found.update(constructors(importlib.import_module(entry.name)))
    return found


def test_no_constructor_takes_more_than_twelve() -> None:
    found = everything()
    assert len(found) > 30  # the sweep sees something
    large = {name: len(parameters(made)) for name, made in found.items() if len(parameters(made)) > MOST}
    assert set(large) == set(EXEMPT)  # an exemption that is no longer needed must go


def test_a_large_one_would_be_found() -> None:
    class Large:
        def __init__(self, a, b, c, d, e, f, g, h, i, j, k, l, m) -> None: ...  # type: ignore[no-untyped-def]  # noqa: E741

    assert len(parameters(Large)) == 13


@pytest.mark.parametrize("name", ["dougong.parts.attention.Attention", "dougong.frames.stack.Stack"])
def test_the_sweep_covers_the_main_ones(name: str) -> None:
    assert name in everything()
