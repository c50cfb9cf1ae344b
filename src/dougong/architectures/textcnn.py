"""Convolutional network for sentences (Kim 2014)."""

from __future__ import annotations

from typing import Literal

from torch import nn

from dougong.architectures.arguments import Count, Counts, Share, Side
from dougong.architectures.inputs import hidden_feature, sequence_embedding
from dougong.architectures.registry import architecture
from dougong.frames.branch import Block, Branch, Replace
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.classify import Classify, Max
from dougong.heads.tag import Tag
from dougong.parts.convolution import Convolution, Parallel
from dougong.parts.feedforward import Activation


@architecture
def textcnn(
    *,
    vocab_size: Count | None = None,
    d_input: Count | None = None,
    image_size: Side | None = None,
    patch_size: Side | None = None,
    d_model: Count = 300,
    n_filters: Count = 100,
    widths: Counts = [3, 4, 5],  # noqa: B006 - copied when it is checked
    n_classes: Count | None = 2,
    head: Literal["sequence", "tokens"] = "sequence",
    dropout: Share = 0.5,
) -> Model:
    """Convolutional network for sentences: filters of several widths, max over time (section 2).

    Args:
        vocab_size: V, when it reads tokens.
        d_input: their width, when it reads vectors.
        image_size: in pixels, when it reads pictures.
        patch_size: in pixels; a picture is a sequence of its rows when left out.
        d_model: D, width of the embeddings.
        n_filters: filters of each width.
        widths: how many tokens the filters see.
        n_classes: C; None for the bare backbone.
        head: what is answered: a class of the sequence, or a class of each token.
        dropout: before the linear layer.
    """
    embedding = sequence_embedding(d_model, vocab_size, d_input, image_size, patch_size)
    filters = Parallel([Convolution(d_model, n_filters, width) for width in widths])
    body = Stack([Block(convolution=Branch(filters, inside=Activation("relu"), residual=Replace()))])
    channels = n_filters * len(widths)
    answer: nn.Module | None = None
    if n_classes:
        tags = head == "tokens"
        answer = Tag(channels, n_classes, dropout) if tags else Classify(Max(), channels, n_classes, dropout)
    return Model(embedding, body, answer, hidden_feature(embedding, channels))
