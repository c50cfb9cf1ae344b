"""Qwen2: ``qwen2`` in the Hugging Face layout; Llama's names, and which blocks look back over a window."""

from __future__ import annotations

from typing import Any

from dougong.errors import UserError
from dougong.interop.mapping import Foreign, Map
from dougong.interop.maps.llama import IGNORED, REPEATS, foreign, keys, shared

DEFAULTS = {"vocab_size": 151936, "intermediate_size": 22016, "max_position_embeddings": 32768}


def windows(theirs: Foreign, n_layers: int) -> dict[str, Any]:
    """Our ``window`` and ``local_from``: the blocks from one on are local, or none is.

    Raises:
        UserError: local and global blocks in another order.
    """
    used = theirs.take("use_sliding_window", False)
    window = theirs.take("sliding_window", None, kind=int)
    start = theirs.take("max_window_layers", 28)
    kinds = theirs.take("layer_types", None, kind=list)
    if not used or window is None:
        start, window = n_layers, None
    if kinds is not None:
        start = kinds.index("sliding_attention") if "sliding_attention" in kinds else n_layers
        if kinds != ["full_attention"] * start + ["sliding_attention"] * (n_layers - start):
            raise UserError(
                theirs.where, f"layer_types={kinds} is not supported", "local blocks must follow global ones"
            )
        window = window if start < n_layers else None
    return {"window": window, "local_from": min(start, n_layers) if window else 0}


def foreign_windows(ours: dict[str, Any]) -> dict[str, Any]:
    """The same, back."""
    start = ours["local_from"] if ours["window"] else ours["n_layers"]
    kinds = ["full_attention"] * start + ["sliding_attention"] * (ours["n_layers"] - start)
    return {
        "use_sliding_window": ours["window"] is not None,
        "sliding_window": ours["window"],
        "max_window_layers": start,
        "layer_types": kinds,
    }


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours."""
    found = shared(theirs, "Qwen2", num_key_value_heads=32, **DEFAULTS)
    return {**found, **windows(theirs, found["n_layers"])}


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    return {**foreign(ours, "Qwen2"), **foreign_windows(ours)}


MAP = Map(
    "qwen2", ("qwen2",), ours, theirs, keys, prefix="model.", headless=("Qwen2Model",), repeats=REPEATS,
    ignored=IGNORED,
)  # fmt: skip
