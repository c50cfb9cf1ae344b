"""Marian: ``marian`` in the Hugging Face layout; BART's names, and positions that are computed."""

from __future__ import annotations

from typing import Any

from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.maps import bart
from dougong.interop.names import head_of


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours."""
    head_of(theirs, {"MarianMTModel": None})
    theirs.only("normalize_embedding", False)
    theirs.only("share_encoder_decoder_embeddings", True)
    theirs.only("static_position_embeddings", True)
    theirs.values.pop("static_position_embeddings", None)
    theirs.ignore("add_bias_logits")
    found = bart.shared(theirs, 1024, vocab_size=58101)
    theirs.only("decoder_vocab_size", None, found["vocab_size"])
    return found


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    return {
        **bart.theirs(ours),
        "model_type": "marian",
        "architectures": ["MarianMTModel"],
        "decoder_vocab_size": ours["vocab_size"],
        "share_encoder_decoder_embeddings": True,
        "static_position_embeddings": True,
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    return bart.body(ours)


MAP = Map(
    "marian",
    ("marian",),
    ours,
    theirs,
    keys,
    repeats=bart.REPEATS,
    ignored=(r"model\.(encoder|decoder)\.embed_positions\.weight",),
    silent=bart.SILENT,
)
