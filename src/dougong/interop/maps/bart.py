"""BART: ``bart`` in the Hugging Face layout. Marian has the same names."""

from __future__ import annotations

from typing import Any

from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.names import activation, foreign_activation, head_of
from dougong.interop.transforms import Lead

SILENT = (
    "classif_dropout", "classifier_dropout", "init_std", "encoder_layerdrop", "decoder_layerdrop", "num_hidden_layers",
    "normalize_embedding_", "gradient_checkpointing", "classifier_drop",
)  # fmt: skip


def shared(theirs: Foreign, positions: int, **defaults: Any) -> dict[str, Any]:
    """What BART and Marian say alike. Args: positions: their default of max_position_embeddings."""
    theirs.only("tie_word_embeddings", True)
    theirs.only("normalize_before", False)
    theirs.only("add_final_layer_norm", False)
    theirs.only("static_position_embeddings", False, default=False)
    n_layers = theirs.count("encoder_layers", 12, most=10_000)
    n_decoder_layers = theirs.count("decoder_layers", 12, most=10_000)
    n_heads = theirs.count("encoder_attention_heads", 16)
    d_ff = theirs.count("encoder_ffn_dim", 4096)
    theirs.only("decoder_attention_heads", n_heads, default=16)
    theirs.only("decoder_ffn_dim", d_ff, default=4096)
    return {
        "vocab_size": theirs.count("vocab_size", defaults["vocab_size"]),
        "max_length": theirs.count("max_position_embeddings", positions),
        "d_model": theirs.count("d_model", 1024),
        "n_layers": n_layers,
        "n_decoder_layers": None if n_decoder_layers == n_layers else n_decoder_layers,
        "n_heads": n_heads,
        "d_ff": d_ff,
        "activation": activation(theirs, "activation_function"),
        "dropout": theirs.take("dropout", 0.1),
        "attention_dropout": float(theirs.take("attention_dropout", 0.0)),
        "activation_dropout": float(theirs.take("activation_dropout", 0.0)),
        "scale_embedding": theirs.take("scale_embedding", False),
    }


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours."""
    head_of(theirs, {"BartForConditionalGeneration": None})
    theirs.only("normalize_embedding", True)
    theirs.only("add_bias_logits", False)
    return shared(theirs, 1024, vocab_size=50265)


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    sides = {
        f"{side}_{name}": ours[mine]
        for side in ("encoder", "decoder")
        for name, mine in (("attention_heads", "n_heads"), ("ffn_dim", "d_ff"))
    }
    return {
        "model_type": "bart",
        "architectures": ["BartForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": ours["vocab_size"],
        "max_position_embeddings": ours["max_length"],
        "d_model": ours["d_model"],
        "encoder_layers": ours["n_layers"],
        "num_hidden_layers": ours["n_layers"],
        "decoder_layers": ours["n_decoder_layers"] or ours["n_layers"],
        **sides,
        "activation_function": foreign_activation(ours["activation"]),
        "dropout": ours["dropout"],
        "attention_dropout": ours["attention_dropout"],
        "activation_dropout": ours["activation_dropout"],
        "scale_embedding": ours["scale_embedding"],
        "tie_word_embeddings": True,
    }


def body(ours: dict[str, Any]) -> list[Key]:
    """What BART and Marian have alike."""
    found = [Key("model.shared.weight", "source_embedding.weight"), Key("final_logits_bias", "head.bias", Lead())]
    sides = (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "output"))
    for side in ("encoder", "decoder"):
        layer, block = f"model.{side}.layers.{{i}}", f"{side}.blocks.{{i}}"
        attentions = [("self_attn", "attention")] + [("encoder_attn", "cross_attention")] * (side == "decoder")
        for name, branch in attentions:
            found += [Key(f"{layer}.{name}.{their}.*", f"{block}.{branch}.body.{mine}.*") for their, mine in sides]
            found.append(Key(f"{layer}.{name}_layer_norm.*", f"{block}.{branch}.after.*"))
        found += [
            Key(f"{layer}.fc1.*", f"{block}.feed_forward.body.up.*"),
            Key(f"{layer}.fc2.*", f"{block}.feed_forward.body.down.*"),
            Key(f"{layer}.final_layer_norm.*", f"{block}.feed_forward.after.*"),
        ]
    return found


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    return body(ours) + [
        key
        for side in ("encoder", "decoder")
        for key in (
            Key(f"model.{side}.embed_positions.weight", f"{side}.positions.all.weight"),
            Key(f"model.{side}.layernorm_embedding.*", f"{side}.before.0.*"),
        )
    ]


REPEATS = tuple(
    (f"{name}.weight", "model.shared.weight")
    for name in ("model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head")
)
MAP = Map("bart", ("bart",), ours, theirs, keys, repeats=REPEATS, silent=SILENT)
