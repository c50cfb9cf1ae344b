"""Recurrent networks over a sequence: Elman (1990), GRU (Cho et al. 2014), LSTM (Hochreiter and Schmidhuber 1997)."""

from __future__ import annotations

from typing import Literal

from torch import nn

from dougong.architectures.arguments import Count, Depth, Share, Side
from dougong.architectures.inputs import hidden_feature, sequence_embedding
from dougong.architectures.registry import register
from dougong.frames.branch import Block, Branch, Replace
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.classify import Classify, Ends, Last
from dougong.heads.language import Project
from dougong.heads.tag import Tag
from dougong.parts.recurrence import Recurrence


def recurrent(
    *,
    cell: str,
    vocab_size: Count | None = None,
    d_input: Count | None = None,
    image_size: Side | None = None,
    patch_size: Side | None = None,
    d_model: Count = 256,
    n_layers: Depth = 1,
    bidirectional: bool = False,
    n_classes: Count | None = 2,
    head: Literal["sequence", "tokens", "causal-language"] = "sequence",
    dropout: Share = 0.0,
) -> Model:
    """Recurrent network over tokens, vectors, or the rows of a picture; its final state, or each one, is classified.

    Args:
        cell: "rnn", "gru" or "lstm"; the family's name says which.
        vocab_size: V, when it reads tokens.
        d_input: their width, when it reads vectors.
        image_size: in pixels, when it reads pictures.
        patch_size: in pixels; a picture is a sequence of its rows when left out.
        d_model: D, width of the embeddings and of the state of one direction.
        n_layers: recurrent layers.
        bidirectional: each layer also reads from the end.
        n_classes: C; None for the bare backbone.
        head: what is answered: a class of the sequence, a class of each token, or the next token.
        dropout: of each layer's answer.
    """
    embedding = sequence_embedding(d_model, vocab_size, d_input, image_size, patch_size)
    width = 2 * d_model if bidirectional else d_model
    blocks = [
        Block(
            recurrence=Branch(
                Recurrence(cell, width if index else d_model, d_model, bidirectional),
                dropout=dropout,
                residual=Replace(),
            )
        )
        for index in range(n_layers)
    ]
    if head == "causal-language":
        if vocab_size is None or bidirectional:
            raise ValueError("head=causal-language needs vocab_size, and layers that read in one direction")
        answer: nn.Module | None = Project(width, vocab_size)
    elif n_classes is None:
        answer = None
    elif head == "tokens":
        answer = Tag(width, n_classes, dropout)
    else:
        answer = Classify(Ends() if bidirectional else Last(), width, n_classes)
    return Model(embedding, Stack(blocks), answer, hidden_feature(embedding, width))


for name in ("rnn", "gru", "lstm"):
    register(name, recurrent, cell=name)
