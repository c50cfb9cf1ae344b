"""ModernBERT: ``modernbert`` in the Hugging Face layout, whose projections are fused."""

from __future__ import annotations

from typing import Any

from dougong.errors import UserError
from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.names import activation, foreign_activation, head_of, n_classes
from dougong.interop.transforms import Split

HEADS: dict[str, str | None] = {
    "ModernBertForMaskedLM": "masked-language",
    "ModernBertModel": None,
    "ModernBertForSequenceClassification": "sequence",
    "ModernBertForTokenClassification": "tokens",
    "ModernBertForQuestionAnswering": "questions",
}
POOLS = {"cls": "first", "mean": "mean"}
BASES = {"global_base": ("full_attention", "global_rope_theta", 160000.0),
         "local_base": ("sliding_attention", "local_rope_theta", 10000.0)}  # fmt: skip


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours.

    Raises:
        UserError: local and global blocks in another order than every so many.
    """
    for key in ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"):
        theirs.only(key, False)
    for key in ("decoder_bias", "tie_word_embeddings"):
        theirs.only(key, True)
    found_activation = activation(theirs, "hidden_activation")
    if activation(theirs, "classifier_activation") != found_activation:
        raise UserError(theirs.where, "classifier_activation is another than hidden_activation", "use another model")
    dropout = theirs.take("attention_dropout", 0.0)
    for key in ("embedding_dropout", "mlp_dropout", "classifier_dropout"):
        theirs.only(key, dropout, default=0.0)
    theirs.ignore("initializer_cutoff_factor", "deterministic_flash_attn", "sparse_prediction", "reference_compile",
                  "sparse_pred_ignore_index", "repad_logits_with_grad")  # fmt: skip
    n_layers = theirs.count("num_hidden_layers", 22, most=10_000)
    every = theirs.take("global_attn_every_n_layers", 3)
    kinds = theirs.take("layer_types", None, kind=list) or pattern(n_layers, every)
    every = kinds.index("full_attention", 1) if "full_attention" in kinds[1:] else n_layers
    if kinds != pattern(n_layers, every):
        raise UserError(theirs.where, f"layer_types={kinds} is not supported", "global blocks must come every so many")
    return {
        "vocab_size": theirs.count("vocab_size", 50368),
        "max_length": theirs.count("max_position_embeddings", 8192),
        "d_model": theirs.count("hidden_size", 768),
        "n_layers": n_layers,
        "n_heads": theirs.count("num_attention_heads", 12),
        "d_ff": theirs.count("intermediate_size", 1152),
        "window": theirs.count("local_attention", 128),
        "global_every": every,
        **bases(theirs),
        "activation": found_activation,
        "dropout": dropout,
        "eps": theirs.take("norm_eps", 1e-5),
        "pool": POOLS[theirs.only("classifier_pooling", *POOLS)],
        "head": head_of(theirs, HEADS),
        "n_classes": n_classes(theirs),
    }


def bases(theirs: Foreign) -> dict[str, float]:
    """The bases of both kinds of block, as Transformers 5 or 4 write them."""
    theirs.ignore("rope_parameters")
    both = theirs.inside("rope_parameters")
    found = {}
    for name, (kind, old, default) in BASES.items():
        one = both.inside(kind)
        one.only("rope_type", "default")
        found[name] = float(one.take("rope_theta", theirs.take(old, default)))
        one.finish()
    both.finish()
    return found


def pattern(n_layers: int, every: int) -> list[str]:
    """Their name of each block's kind."""
    return ["sliding_attention" if index % every else "full_attention" for index in range(n_layers)]


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    kinds = {head: kind for kind, head in HEADS.items()}
    bases = {name: ours[name] for name in BASES}
    return {
        "model_type": "modernbert",
        "architectures": [kinds[ours["head"]]],
        "vocab_size": ours["vocab_size"],
        "max_position_embeddings": ours["max_length"],
        "hidden_size": ours["d_model"],
        "num_hidden_layers": ours["n_layers"],
        "num_attention_heads": ours["n_heads"],
        "intermediate_size": ours["d_ff"],
        "local_attention": ours["window"],
        "layer_types": pattern(ours["n_layers"], ours["global_every"]),
        "global_attn_every_n_layers": ours["global_every"],
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": bases[name]} for name, (kind, _, _) in BASES.items()
        },
        **{old: bases[name] for name, (_, old, _) in BASES.items()},
        "hidden_activation": foreign_activation(ours["activation"]),
        "classifier_activation": foreign_activation(ours["activation"]),
        **{f"{where}_dropout": ours["dropout"] for where in ("attention", "embedding", "mlp", "classifier")},
        "norm_eps": ours["eps"],
        "classifier_pooling": next(their for their, mine in POOLS.items() if mine == ours["pool"]),
        "num_labels": ours["n_classes"],
        "tie_word_embeddings": True,
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    layer, block = "model.layers.{i}", "body.blocks.{i}"
    sides = tuple(f"{block}.attention.body.{side}.weight" for side in ("query", "key", "value"))
    gates = (f"{block}.feed_forward.body.gate.weight", f"{block}.feed_forward.body.up.weight")
    last = [
        Key("head.dense.weight", "head.before.0.weight"),
        Key("head.norm.weight", "head.before.2.weight"),
        Key("classifier.*", "head.linear.*"),
    ]
    masked = [
        Key("head.dense.weight", "head.linear.weight"),
        Key("head.norm.weight", "head.norm.weight"),
        Key("decoder.bias", "head.bias"),
    ]
    return [
        Key("model.embeddings.tok_embeddings.weight", "embedding.weight"),
        Key("model.embeddings.norm.weight", "body.before.0.weight"),
        Key(f"{layer}.attn_norm.weight", f"{block}.attention.before.weight"),
        Key(f"{layer}.attn.Wqkv.weight", sides, Split()),
        Key(f"{layer}.attn.Wo.weight", f"{block}.attention.body.output.weight"),
        Key(f"{layer}.mlp_norm.weight", f"{block}.feed_forward.before.weight"),
        Key(f"{layer}.mlp.Wi.weight", gates, Split()),
        Key(f"{layer}.mlp.Wo.weight", f"{block}.feed_forward.body.down.weight"),
        Key("model.final_norm.weight", "body.after.weight"),
        *({None: [], "masked-language": masked}.get(ours["head"], last)),
    ]


MAP = Map(
    "modernbert",
    ("modernbert",),
    ours,
    theirs,
    keys,
    prefix="model.",
    headless=("ModernBertModel",),
    repeats=(("decoder.weight", "model.embeddings.tok_embeddings.weight"),),
)
