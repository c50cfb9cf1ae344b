"""DistilBERT: ``distilbert`` in the Hugging Face layout."""

from __future__ import annotations

from typing import Any

from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.names import activation, foreign_activation, head_of, n_classes

HEADS: dict[str, str | None] = {
    "DistilBertForMaskedLM": "masked-language",
    "DistilBertModel": None,
    "DistilBertForSequenceClassification": "sequence",
    "DistilBertForTokenClassification": "tokens",
    "DistilBertForQuestionAnswering": "questions",
}


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours."""
    theirs.only("tie_word_embeddings", True)
    theirs.ignore(
        "sinusoidal_pos_embds", "qa_dropout", "tie_weights_"
    )  # only how the table starts; dropout of training
    return {
        "vocab_size": theirs.count("vocab_size", 30522),
        "max_length": theirs.count("max_position_embeddings", 512),
        "d_model": theirs.count("dim", 768),
        "n_layers": theirs.count("n_layers", 6, most=10_000),
        "n_heads": theirs.count("n_heads", 12),
        "d_ff": theirs.count("hidden_dim", 3072),
        "activation": activation(theirs, "activation"),
        "dropout": theirs.take("dropout", 0.1),
        "attention_dropout": theirs.take("attention_dropout", 0.1),
        "head_dropout": theirs.take("seq_classif_dropout", 0.2),
        "head": head_of(theirs, HEADS),
        "n_classes": n_classes(theirs),
    }


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    kinds = {head: kind for kind, head in HEADS.items()}
    return {
        "model_type": "distilbert",
        "architectures": [kinds[ours["head"]]],
        "vocab_size": ours["vocab_size"],
        "max_position_embeddings": ours["max_length"],
        "dim": ours["d_model"],
        "n_layers": ours["n_layers"],
        "n_heads": ours["n_heads"],
        "hidden_dim": ours["d_ff"],
        "activation": foreign_activation(ours["activation"]),
        "dropout": ours["dropout"],
        "attention_dropout": ours["attention_dropout"],
        "seq_classif_dropout": ours["head_dropout"],
        "num_labels": ours["n_classes"],
        "tie_word_embeddings": True,
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    layer, block = "distilbert.transformer.layer.{i}", "body.blocks.{i}"
    sides = (("q_lin", "query"), ("k_lin", "key"), ("v_lin", "value"), ("out_lin", "output"))
    heads = {
        None: [],
        "masked-language": [
            Key("vocab_transform.*", "head.linear.*"),
            Key("vocab_layer_norm.*", "head.norm.*"),
            Key("vocab_projector.bias", "head.bias"),
        ],
        "sequence": [Key("pre_classifier.*", "head.pool.linear.*"), Key("classifier.*", "head.linear.*")],
        "tokens": [Key("classifier.*", "head.linear.*")],
        "questions": [Key("qa_outputs.*", "head.linear.*")],
    }
    return [
        Key("distilbert.embeddings.word_embeddings.weight", "embedding.weight"),
        Key("distilbert.embeddings.position_embeddings.weight", "body.positions.all.weight"),
        Key("distilbert.embeddings.LayerNorm.*", "body.before.0.*"),
        *(Key(f"{layer}.attention.{their}.*", f"{block}.attention.body.{side}.*") for their, side in sides),
        Key(f"{layer}.sa_layer_norm.*", f"{block}.attention.after.*"),
        Key(f"{layer}.ffn.lin1.*", f"{block}.feed_forward.body.up.*"),
        Key(f"{layer}.ffn.lin2.*", f"{block}.feed_forward.body.down.*"),
        Key(f"{layer}.output_layer_norm.*", f"{block}.feed_forward.after.*"),
        *heads[ours["head"]],
    ]


MAP = Map(
    "distilbert",
    ("distilbert",),
    ours,
    theirs,
    keys,
    prefix="distilbert.",
    headless=("DistilBertModel",),
    repeats=(("vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight"),),
)
