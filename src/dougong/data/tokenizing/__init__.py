"""Tokenizing: published tokenizers in every layout, encoded, decoded, streamed, saved; chat templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dougong.data.tokenizing.encoding import Encoding
    from dougong.data.tokenizing.streaming import Stream
    from dougong.data.tokenizing.tokenizer import Tokenizer

__all__ = ["Encoding", "Stream", "Tokenizer"]

_HOMES = {"Encoding": "encoding", "Stream": "streaming", "Tokenizer": "tokenizer"}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
