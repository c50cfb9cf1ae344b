"""Families and maps that a test registers, forgotten after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dougong.architectures import registry
from dougong.interop import mapping


@contextmanager
def forgotten() -> Iterator[None]:
    """What is registered inside is forgotten at the end."""
    registry.families()
    kept = dict(registry._FAMILIES), dict(mapping._REGISTERED)
    try:
        yield
    finally:
        for held, before in zip((registry._FAMILIES, mapping._REGISTERED), kept, strict=True):
            held.clear()
            held.update(before)
