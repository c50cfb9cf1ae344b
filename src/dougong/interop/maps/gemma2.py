"""Gemma 2: ``gemma2`` in the Hugging Face layout; Llama's names, and two norms more a block."""

from __future__ import annotations

from typing import Any

from dougong.errors import UserError
from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.maps.llama import IGNORED, REPEATS, foreign, shared
from dougong.interop.maps.llama import keys as llama_keys
from dougong.interop.names import activation, foreign_activation

DEFAULTS: dict[str, Any] = {
    "vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}  # fmt: skip


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours.

    Raises:
        UserError: local and global blocks in another order than every so many.
    """
    for key, value in DEFAULTS.items():
        theirs.values.setdefault(key, value)
    theirs.only("use_bidirectional_attention", None, False)
    theirs.ignore("hidden_act", "cache_implementation")
    found = shared(theirs, "Gemma2")
    found["d_head"] = theirs.count("head_dim")
    n_layers = found["n_layers"]
    kinds = theirs.take("layer_types", None, kind=list) or pattern(n_layers, 2)
    every = kinds.index("full_attention") + 1 if "full_attention" in kinds else n_layers + 1
    if kinds != pattern(n_layers, every):
        raise UserError(theirs.where, f"layer_types={kinds} is not supported", "global blocks must come every so many")
    return {
        **found,
        "activation": activation(theirs, "hidden_activation", "gelu_pytorch_tanh"),
        "window": theirs.count("sliding_window", 4096),
        "global_every": every,
        "query_scale": theirs.count("query_pre_attn_scalar", 256),
        "score_cap": cap(theirs, "attn_logit_softcapping", 50.0),
        "logit_cap": cap(theirs, "final_logit_softcapping", 30.0),
        "attention_bias": theirs.take("attention_bias", False),
    }


def cap(theirs: Foreign, key: str, default: float) -> float | None:
    """A cap, which null takes away."""
    value = theirs.take(key, None, kind=(int, float)) if key in theirs.values else default
    return None if value is None else float(value)


def pattern(n_layers: int, every: int) -> list[str]:
    """Their name of each block's kind."""
    return ["sliding_attention" if (index + 1) % every else "full_attention" for index in range(n_layers)]


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    found = foreign(ours, "Gemma2")
    found.pop("hidden_act")
    return {
        **found,
        "hidden_activation": foreign_activation(ours["activation"], "gelu_pytorch_tanh"),
        "sliding_window": ours["window"],
        "layer_types": pattern(ours["n_layers"], ours["global_every"]),
        "query_pre_attn_scalar": ours["query_scale"],
        "attn_logit_softcapping": ours["score_cap"],
        "final_logit_softcapping": ours["logit_cap"],
        "attention_bias": ours["attention_bias"],
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    layer, block = "model.layers.{i}", "body.blocks.{i}"
    capped = ours["logit_cap"] and ours["head"] == "causal-language"
    head = "head.head.linear.weight" if capped else "head.linear.weight"
    names = {f"{layer}.post_attention_layernorm.weight": f"{block}.attention.inside.weight", "lm_head.weight": head}
    return [
        *(Key(key.theirs, names.get(str(key.theirs), key.ours), key.transform) for key in llama_keys(ours)),
        Key(f"{layer}.pre_feedforward_layernorm.weight", f"{block}.feed_forward.before.weight"),
        Key(f"{layer}.post_feedforward_layernorm.weight", f"{block}.feed_forward.inside.weight"),
    ]


MAP = Map(
    "gemma2", ("gemma2",), ours, theirs, keys, prefix="model.", headless=("Gemma2Model",), repeats=REPEATS,
    ignored=IGNORED,
)  # fmt: skip
