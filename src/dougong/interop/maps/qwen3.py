"""Qwen3: ``qwen3`` in the Hugging Face layout; Qwen2's names, and norms of queries and keys."""

from __future__ import annotations

from typing import Any

from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.maps.llama import IGNORED, REPEATS, foreign, shared
from dougong.interop.maps.llama import keys as llama_keys
from dougong.interop.maps.qwen2 import DEFAULTS, foreign_windows, windows


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours."""
    found = shared(theirs, "Qwen3", num_key_value_heads=32, head_dim=128, **DEFAULTS)
    found["d_head"] = found["d_head"] or found["d_model"] // found["n_heads"]
    found["attention_bias"] = theirs.take("attention_bias", False)
    return {**found, **windows(theirs, found["n_layers"])}


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    return {**foreign(ours, "Qwen3"), "attention_bias": ours["attention_bias"], **foreign_windows(ours)}


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    return [
        *llama_keys(ours),
        *(
            Key(
                f"model.layers.{{i}}.self_attn.{their}_norm.weight",
                f"body.blocks.{{i}}.attention.body.heads.{side}.weight",
            )
            for their, side in (("q", "query"), ("k", "key"))
        ),
    ]


MAP = Map(
    "qwen3", ("qwen3",), ours, theirs, keys, prefix="model.", headless=("Qwen3Model",), repeats=REPEATS,
    ignored=IGNORED,
)  # fmt: skip
