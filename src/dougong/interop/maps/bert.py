"""BERT: ``bert`` in the Hugging Face layout."""

from __future__ import annotations

from typing import Any

from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.names import activation, foreign_activation, head_of, n_classes

HEADS: dict[str, str | None] = {
    "BertForMaskedLM": "masked-language",
    "BertModel": "pooler",
    "BertForSequenceClassification": "sequence",
    "BertForTokenClassification": "tokens",
    "BertForQuestionAnswering": "questions",
    "BertForPreTraining": "masked-language",
}


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours."""
    return shared(theirs, head_of(theirs, HEADS, "pooler"))


def shared(theirs: Foreign, head: str | None) -> dict[str, Any]:
    """What BERT and RoBERTa say alike."""
    theirs.only("position_embedding_type", "absolute")
    theirs.only("tie_word_embeddings", True)
    for key in ("is_decoder", "add_cross_attention"):
        theirs.only(key, False)
    dropout = theirs.take("hidden_dropout_prob", 0.1)
    theirs.only("classifier_dropout", None, dropout)
    return {
        "vocab_size": theirs.count("vocab_size", 30522),
        "max_length": theirs.count("max_position_embeddings", 512),
        "n_types": theirs.count("type_vocab_size", 2),
        "d_model": theirs.count("hidden_size", 768),
        "n_layers": theirs.count("num_hidden_layers", 12, most=10_000),
        "n_heads": theirs.count("num_attention_heads", 12),
        "d_ff": theirs.count("intermediate_size", 3072),
        "activation": activation(theirs, "hidden_act"),
        "dropout": dropout,
        "attention_dropout": theirs.take("attention_probs_dropout_prob", 0.1),
        "eps": theirs.take("layer_norm_eps", 1e-12),
        "head": head,
        "n_classes": n_classes(theirs),
    }


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    kinds = {head: kind for kind, head in reversed(HEADS.items())} | {None: "BertModel"}
    return {
        "model_type": "bert",
        "architectures": [kinds[ours["head"]]],
        "vocab_size": ours["vocab_size"],
        "max_position_embeddings": ours["max_length"],
        "type_vocab_size": ours["n_types"],
        "hidden_size": ours["d_model"],
        "num_hidden_layers": ours["n_layers"],
        "num_attention_heads": ours["n_heads"],
        "intermediate_size": ours["d_ff"],
        "hidden_act": foreign_activation(ours["activation"]),
        "hidden_dropout_prob": ours["dropout"],
        "attention_probs_dropout_prob": ours["attention_dropout"],
        "layer_norm_eps": ours["eps"],
        "num_labels": ours["n_classes"],
        "tie_word_embeddings": True,
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    block = "body.blocks.{i}"
    layer = "bert.encoder.layer.{i}"
    last = [Key("qa_outputs.*" if ours["head"] == "questions" else "classifier.*", "head.linear.*")]
    heads = {
        None: [],
        "masked-language": [
            Key("cls.predictions.transform.dense.*", "head.linear.*"),
            Key("cls.predictions.transform.LayerNorm.*", "head.norm.*"),
            Key("cls.predictions.bias", "head.bias"),
        ],
        "pooler": [Key("bert.pooler.dense.*", "head.linear.*")],
        "sequence": [Key("bert.pooler.dense.*", "head.pool.linear.*"), *last],
        "tokens": last,
        "questions": last,
    }
    return [
        Key("bert.embeddings.word_embeddings.weight", "embedding.weight"),
        Key("bert.embeddings.token_type_embeddings.weight", "embedding.types"),
        Key("bert.embeddings.position_embeddings.weight", "body.positions.all.weight"),
        Key("bert.embeddings.LayerNorm.*", "body.before.0.*"),
        Key(f"{layer}.attention.self.query.*", f"{block}.attention.body.query.*"),
        Key(f"{layer}.attention.self.key.*", f"{block}.attention.body.key.*"),
        Key(f"{layer}.attention.self.value.*", f"{block}.attention.body.value.*"),
        Key(f"{layer}.attention.output.dense.*", f"{block}.attention.body.output.*"),
        Key(f"{layer}.attention.output.LayerNorm.*", f"{block}.attention.after.*"),
        Key(f"{layer}.intermediate.dense.*", f"{block}.feed_forward.body.up.*"),
        Key(f"{layer}.output.dense.*", f"{block}.feed_forward.body.down.*"),
        Key(f"{layer}.output.LayerNorm.*", f"{block}.feed_forward.after.*"),
        *heads[ours["head"]],
    ]


MAP = Map(
    "bert",
    ("bert",),
    ours,
    theirs,
    keys,
    prefix="bert.",
    headless=("BertModel",),
    repeats=(
        ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
        ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    ),
    # the next-sentence head and the pooler come with checkpoints whose classes do not use them
    ignored=(r"bert\.embeddings\.(position|token_type)_ids", r"bert\.pooler\.dense\..*", r"cls\.seq_relationship\..*"),
    silent=("pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head",
            "pooler_type", "directionality"),
)  # fmt: skip
