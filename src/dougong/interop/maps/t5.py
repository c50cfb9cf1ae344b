"""T5: ``t5`` in the Hugging Face layout; the first block of each side holds the bias of all."""

from __future__ import annotations

from typing import Any

from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.names import ACTIVATIONS, foreign_activation, head_of


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours: a table of its own means version 1.1, which does not scale."""
    head_of(theirs, {"T5ForConditionalGeneration": None})
    theirs.ignore("dense_act_fn", "is_gated_act", "classifier_dropout", "n_positions", "output_past")
    kinds = {f"{gate}{name}": name for gate in ("", "gated-") for name in ACTIVATIONS}
    kind = theirs.only("feed_forward_proj", "relu", *kinds)
    gated = kind.startswith("gated-")
    name = kinds[kind]
    tied = theirs.take("tie_word_embeddings", True)
    n_layers = theirs.count("num_layers", 6, most=10_000)
    n_decoder_layers = theirs.take("num_decoder_layers", n_layers)
    return {
        "vocab_size": theirs.count("vocab_size", 32128),
        "d_model": theirs.count("d_model", 512),
        "n_layers": n_layers,
        "n_decoder_layers": None if n_decoder_layers == n_layers else n_decoder_layers,
        "n_heads": theirs.count("num_heads", 8),
        "d_head": theirs.count("d_kv", 64),
        "d_ff": theirs.count("d_ff", 2048),
        "n_buckets": theirs.count("relative_attention_num_buckets", 32),
        "max_distance": theirs.count("relative_attention_max_distance", 128),
        # their "gated-gelu" means the approximation
        "activation": "gelu_tanh" if kind == "gated-gelu" else ACTIVATIONS[name],
        "gated": gated,
        "dropout": theirs.take("dropout_rate", 0.1),
        "eps": theirs.take("layer_norm_epsilon", 1e-6),
        "tied": tied,
        "scaled": theirs.take("scale_decoder_outputs", tied),
    }


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    name = foreign_activation(ours["activation"])
    name = "gelu" if ours["gated"] and name == "gelu_new" else name
    return {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": ours["vocab_size"],
        "d_model": ours["d_model"],
        "num_layers": ours["n_layers"],
        "num_decoder_layers": ours["n_decoder_layers"] or ours["n_layers"],
        "num_heads": ours["n_heads"],
        "d_kv": ours["d_head"],
        "d_ff": ours["d_ff"],
        "relative_attention_num_buckets": ours["n_buckets"],
        "relative_attention_max_distance": ours["max_distance"],
        "feed_forward_proj": f"gated-{name}" if ours["gated"] else name,
        "dropout_rate": ours["dropout"],
        "layer_norm_epsilon": ours["eps"],
        "tie_word_embeddings": ours["tied"],
        "scale_decoder_outputs": ours["scaled"],
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    found = [Key("shared.weight", "source_embedding.weight")]
    for side, last in (("encoder", 1), ("decoder", 2)):
        layer, block = f"{side}.block.{{i}}.layer", f"{side}.blocks.{{i}}"
        attentions = [("0.SelfAttention", 0, "attention")]
        attentions += [("1.EncDecAttention", 1, "cross_attention")] if side == "decoder" else []
        bias = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        found.append(Key(bias, f"{side}.positions.all.weight"))
        for name, number, branch in attentions:
            sides = (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output"))
            found += [
                Key(f"{layer}.{name}.{their}.weight", f"{block}.{branch}.body.{mine}.weight") for their, mine in sides
            ]
            found.append(Key(f"{layer}.{number}.layer_norm.weight", f"{block}.{branch}.before.weight"))
        ups = (("wi_0", "gate"), ("wi_1", "up")) if ours["gated"] else (("wi", "up"),)
        found += [
            Key(f"{layer}.{last}.DenseReluDense.{their}.weight", f"{block}.feed_forward.body.{mine}.weight")
            for their, mine in (*ups, ("wo", "down"))
        ]
        found.append(Key(f"{layer}.{last}.layer_norm.weight", f"{block}.feed_forward.before.weight"))
        found.append(Key(f"{side}.final_layer_norm.weight", f"{side}.after.0.weight"))
    return found + ([] if ours["tied"] else [Key("lm_head.weight", "head.linear.weight")])


MAP = Map(
    "t5",
    ("t5",),
    ours,
    theirs,
    keys,
    repeats=tuple(
        (f"{name}.weight", "shared.weight") for name in ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
    ),
    # a bias of cross-attention that old checkpoints hold and no version of the library has used
    ignored=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
)
