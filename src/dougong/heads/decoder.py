"""What a decoder answers with: the next token, a class of the whole text, or one of each token."""

from __future__ import annotations

from typing import Literal

from torch import nn

from dougong.heads.classify import Classify, Last
from dougong.heads.language import written
from dougong.heads.tag import Tag
from dougong.parts.embeddings import TokenEmbedding

Answer = Literal["causal-language", "sequence", "tokens"]
TAG_DROPOUT = 0.1
"""Before the layer that tags; what the reference library has where nothing is said."""


def answering(
    head: Answer | None, embedding: TokenEmbedding, d_model: int, tied: bool, n_classes: int
) -> nn.Module | None:
    """The head of a decoder.

    Args:
        head: "causal-language" scores what comes next; "sequence" classifies at the last real token, which has seen
            all others (Radford et al. 2018, section 3.2); "tokens" each token; None is the hidden states alone.
        embedding: whose table is shared when it is tied.
        d_model: D.
        tied: reading and writing share one table.
        n_classes: C.
    """
    if head == "causal-language":
        return written(embedding, d_model, tied)
    if head == "sequence":
        return Classify(Last(), d_model, n_classes, bias=False)
    return Tag(d_model, n_classes, TAG_DROPOUT) if head == "tokens" else None
