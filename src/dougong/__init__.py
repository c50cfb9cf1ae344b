"""dougong: one small set of interlocking parts from which large-model architectures are assembled.

Importing this package is light: every name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# name -> module that holds it
_HOME = {
    "UserError": "errors",
    "build": "architectures",
    "resolve": "architectures",
    "families": "architectures",
    "sizes": "architectures",
    "load": "interop",
    "save": "interop",
    "Transformer": "architectures.vectors",
    "cost": "cost",
    "bench": "bench",
    "train": "training",
    "resume": "training",
    "evaluate": "training",
    "predict": "training",
    "compare": "training",
    "search": "training",
    "Run": "training",
    "explain": "explain",
    "check": "data",
    "generate": "runtime",
    "prefix": "runtime",
    "prepare": "runtime",
    "stream": "runtime",
}

__all__ = ["__version__", *sorted(_HOME)]

if TYPE_CHECKING:
    from dougong.architectures import build, families, resolve, sizes
    from dougong.architectures.vectors import Transformer
    from dougong.errors import UserError
    from dougong.interop import load, save
    from dougong.runtime import generate, prefix, prepare, stream


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dougong' has no attribute {name!r}")
    module = importlib.import_module(f"dougong.{_HOME[name]}")
    return module if _HOME[name] == name else getattr(module, name)  # a room that is a verb is called itself


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
