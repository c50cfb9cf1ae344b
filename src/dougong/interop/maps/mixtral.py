"""Mixtral: ``mixtral`` in the Hugging Face layout; Llama's names, and experts one by one."""

from __future__ import annotations

from typing import Any

from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.maps.llama import IGNORED, REPEATS, foreign, shared
from dougong.interop.maps.llama import keys as llama_keys
from dougong.interop.transforms import Pile


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours."""
    theirs.only("router_jitter_noise", 0.0)
    theirs.ignore("output_router_logits", "router_aux_loss_coef")  # of training
    defaults = {"num_key_value_heads": 8, "intermediate_size": 14336, "max_position_embeddings": 131072}
    return {
        **shared(theirs, "Mixtral", rms_norm_eps=1e-5, rope_theta=1000000.0, **defaults),
        "n_experts": theirs.count("num_local_experts", 8, most=10_000),
        "n_chosen": theirs.count("num_experts_per_tok", 2, most=10_000),
        "window": theirs.take("sliding_window", None, kind=int),
    }


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    return {
        **foreign(ours, "Mixtral"),
        "num_local_experts": ours["n_experts"],
        "num_experts_per_tok": ours["n_chosen"],
        "sliding_window": ours["window"],
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    experts, body = "model.layers.{i}.block_sparse_moe", "body.blocks.{i}.feed_forward.body"
    sides = (("w1", "gate"), ("w3", "up"), ("w2", "down"))
    return [
        *(key for key in llama_keys(ours) if ".mlp." not in str(key.theirs)),
        Key(f"{experts}.gate.weight", f"{body}.router.weight"),
        *(Key(f"{experts}.experts.{{e}}.{their}.weight", f"{body}.{side}", Pile()) for their, side in sides),
    ]


MAP = Map(
    "mixtral", ("mixtral",), ours, theirs, keys, prefix="model.", headless=("MixtralModel",), repeats=REPEATS,
    ignored=IGNORED,
)  # fmt: skip
