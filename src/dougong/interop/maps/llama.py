"""Llama: ``llama`` in the Hugging Face layout. Its block's names are those of most decoders after it."""

from __future__ import annotations

from typing import Any

from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.names import activation, foreign_activation, foreign_rope, head_of, n_classes, rope


def heads(name: str) -> dict[str, str | None]:
    """Our head by their class. Args: name: that their classes begin with."""
    return {
        f"{name}ForCausalLM": "causal-language",
        f"{name}Model": None,
        f"{name}ForSequenceClassification": "sequence",
        f"{name}ForTokenClassification": "tokens",
    }


def shared(theirs: Foreign, name: str, **defaults: Any) -> dict[str, Any]:
    """What Llama and the decoders after it say alike. Args: name: of the classes; defaults: theirs, by key."""
    head = head_of(theirs, heads(name), "causal-language")
    theirs.only("classifier_dropout", None, 0.1)
    n_heads = theirs.count("num_attention_heads", 32)
    d_model = theirs.count("hidden_size", 4096)
    n_kv_heads = theirs.take("num_key_value_heads", defaults.get("num_key_value_heads", n_heads))
    d_head = theirs.take("head_dim", defaults.get("head_dim", d_model // n_heads))
    return {
        "vocab_size": theirs.count("vocab_size", defaults.get("vocab_size", 32000)),
        "max_length": theirs.count("max_position_embeddings", defaults.get("max_position_embeddings", 32768)),
        "d_model": d_model,
        "n_layers": theirs.count("num_hidden_layers", 32, most=10_000),
        "n_heads": n_heads,
        "n_kv_heads": n_kv_heads,
        "d_head": None if d_head * n_heads == d_model else d_head,
        "d_ff": theirs.count("intermediate_size", defaults.get("intermediate_size", 11008)),
        "activation": activation(theirs, "hidden_act", "silu"),
        "attention_dropout": float(theirs.take("attention_dropout", 0.0)),
        "eps": theirs.take("rms_norm_eps", defaults.get("rms_norm_eps", 1e-6)),
        "tied": theirs.take("tie_word_embeddings", False),
        "head": head,
        "n_classes": n_classes(theirs) if head in ("sequence", "tokens") else 2,
        **rope(theirs, defaults.get("rope_theta", 10000.0)),
    }


def foreign(ours: dict[str, Any], name: str) -> dict[str, Any]:
    """The same, back."""
    return {
        "model_type": name.lower(),
        "architectures": [next(kind for kind, head in heads(name).items() if head == ours["head"])],
        **({"num_labels": ours["n_classes"]} if ours["head"] in ("sequence", "tokens") else {}),
        "vocab_size": ours["vocab_size"],
        "max_position_embeddings": ours["max_length"],
        "hidden_size": ours["d_model"],
        "num_hidden_layers": ours["n_layers"],
        "num_attention_heads": ours["n_heads"],
        "num_key_value_heads": ours["n_kv_heads"] or ours["n_heads"],
        "head_dim": ours["d_head"] or ours["d_model"] // ours["n_heads"],
        "intermediate_size": ours["d_ff"],
        "hidden_act": foreign_activation(ours["activation"]),
        "attention_dropout": ours["attention_dropout"],
        "rms_norm_eps": ours["eps"],
        "tie_word_embeddings": ours["tied"],
        **foreign_rope(ours),
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    layer, block = "model.layers.{i}", "body.blocks.{i}"
    return [
        Key("model.embed_tokens.weight", "embedding.weight"),
        *(
            Key(f"{layer}.self_attn.{their}_proj.*", f"{block}.attention.body.{side}.*")
            for their, side in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output"))
        ),
        *(Key(f"{layer}.mlp.{side}_proj.*", f"{block}.feed_forward.body.{side}.*") for side in ("gate", "up", "down")),
        Key(f"{layer}.input_layernorm.weight", f"{block}.attention.before.weight"),
        Key(f"{layer}.post_attention_layernorm.weight", f"{block}.feed_forward.before.weight"),
        Key("model.norm.weight", "body.after.weight"),
        *answer(ours),
    ]


def answer(ours: dict[str, Any], tagger: str = "score") -> list[Key]:
    """The head's keys. Args: tagger: their name of the layer that tags tokens."""
    if ours["head"] == "causal-language":
        return [] if ours.get("tied", True) else [Key("lm_head.weight", "head.linear.weight")]
    names = {"sequence": Key("score.weight", "head.linear.weight"), "tokens": Key(f"{tagger}.*", "head.linear.*")}
    return [names[ours["head"]]] if ours["head"] else []


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours."""
    return {
        **shared(theirs, "Llama", max_position_embeddings=2048),
        "attention_bias": theirs.take("attention_bias", False),
        "feed_forward_bias": theirs.take("mlp_bias", False),
    }


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    return {
        **foreign(ours, "Llama"),
        "attention_bias": ours["attention_bias"],
        "mlp_bias": ours["feed_forward_bias"],
    }


REPEATS = (("lm_head.weight", "model.embed_tokens.weight"),)
IGNORED = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"model\.rotary_emb\.inv_freq")
MAP = Map(
    "llama", ("llama",), ours, theirs, keys, prefix="model.", headless=("LlamaModel",), repeats=REPEATS,
    ignored=IGNORED,
)  # fmt: skip
