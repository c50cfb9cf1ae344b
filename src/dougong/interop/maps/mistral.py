"""Mistral: ``mistral`` in the Hugging Face layout; Llama's names, and a window."""

from __future__ import annotations

from typing import Any

from dougong.interop.mapping import Foreign, Map
from dougong.interop.maps.llama import IGNORED, REPEATS, foreign, keys, shared


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours; "sliding_window": null means that there is none."""
    window = 4096 if "sliding_window" not in theirs.values else theirs.take("sliding_window", None, kind=int)
    defaults = {"num_key_value_heads": 8, "intermediate_size": 14336, "max_position_embeddings": 131072}
    return {**shared(theirs, "Mistral", **defaults), "window": window}


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    return {**foreign(ours, "Mistral"), "sliding_window": ours["window"]}


MAP = Map(
    "mistral", ("mistral",), ours, theirs, keys, prefix="model.", headless=("MistralModel",), repeats=REPEATS,
    ignored=IGNORED,
)  # fmt: skip
