"""RoBERTa: ``roberta``, ``xlm-roberta`` and ``camembert`` in the Hugging Face layout; BERT's names, other heads."""

from __future__ import annotations

from typing import Any

from dougong.errors import UserError
from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.maps import bert
from dougong.interop.names import head_of

KINDS = {"ForMaskedLM": "masked-language", "Model": "pooler", "ForSequenceClassification": "sequence",
         "ForTokenClassification": "tokens", "ForQuestionAnswering": "questions"}  # fmt: skip
HEADS: dict[str, str | None] = {
    f"{name}{kind}": head for name in ("Roberta", "XLMRoberta", "Camembert") for kind, head in KINDS.items()
}


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours: positions begin a row after the one of padding.

    Raises:
        UserError: there is no position left.
    """
    offset = theirs.take("pad_token_id", 1) + 1
    rows = theirs.count("max_position_embeddings", 512)
    if rows <= offset:
        raise UserError(theirs.where, f"max_position_embeddings={rows} leaves no position", "give at least one more")
    found = bert.shared(theirs, head_of(theirs, HEADS, "pooler"))
    return {**found, "offset": offset, "max_length": rows - offset}


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    kinds = {head: f"Roberta{kind}" for kind, head in KINDS.items()} | {None: "RobertaModel"}
    return {
        **bert.theirs(ours),
        "model_type": "roberta",
        "architectures": [kinds[ours["head"]]],
        "max_position_embeddings": ours["max_length"] + ours["offset"],
        "pad_token_id": ours["offset"] - 1,
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    body = [
        Key(key.theirs.replace("bert.", "roberta.", 1), key.ours)
        for key in bert.keys({**ours, "head": None})
        if isinstance(key.theirs, str)
    ]
    heads = {
        "masked-language": [
            Key("lm_head.dense.*", "head.linear.*"),
            Key("lm_head.layer_norm.*", "head.norm.*"),
            Key("lm_head.bias", "head.bias"),
        ],
        "pooler": [Key("roberta.pooler.dense.*", "head.linear.*")],
        "sequence": [
            Key("classifier.dense.*", "head.pool.linear.*"),
            Key("classifier.out_proj.*", "head.linear.*"),
        ],
        "tokens": [Key("classifier.*", "head.linear.*")],
        "questions": [Key("qa_outputs.*", "head.linear.*")],
    }
    return body + heads.get(ours["head"], [])


MAP = Map(
    "roberta",
    ("roberta", "xlm-roberta", "camembert"),
    ours,
    theirs,
    keys,
    prefix="roberta.",
    headless=("RobertaModel",),
    repeats=(
        ("lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight"),
        ("lm_head.decoder.bias", "lm_head.bias"),
    ),
    ignored=(r"roberta\.embeddings\.(position|token_type)_ids", r"roberta\.pooler\.dense\..*"),
)
