"""Rooms that are also verbs: ``dougong.cost`` is a package, and ``dougong.cost(model)`` does its main job."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from typing import Any


def make_callable(package: str, function: Callable[..., Any]) -> None:
    """Let the package itself be called, as ``function``.

    A sub-package and a function of one name cannot both be attributes of ``dougong``: importing the
    package anywhere would replace the function. So the package is the function.
    """

    class Room(types.ModuleType):
        @functools.wraps(function)
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    sys.modules[package].__class__ = Room
