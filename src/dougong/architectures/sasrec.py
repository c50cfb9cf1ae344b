"""SASRec (Kang and McAuley 2018): the next item of a user from those before it, by attention that looks back only."""

from __future__ import annotations

from math import sqrt
from typing import Literal

from torch import nn

from dougong.architectures.arguments import Count, Depth, Positive, Share
from dougong.architectures.registry import architecture
from dougong.frames.branch import Add, Block, Branch
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.language import Tied
from dougong.parts import initial
from dougong.parts.attention import Attention
from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.feedforward import feed_forward
from dougong.parts.masks import Causal
from dougong.parts.norms import LayerNorm
from dougong.parts.output import Feature
from dougong.parts.positions import Learned


@architecture
def sasrec(
    *,
    vocab_size: Count = 3416,
    max_length: Count = 50,
    d_model: Count = 50,
    n_layers: Depth = 2,
    n_heads: Count = 1,
    d_ff: Count | None = None,
    activation: str = "relu",
    dropout: Share = 0.5,
    eps: Positive = 1e-8,
    head: Literal["next-item"] | None = "next-item",
) -> Model:
    """SASRec: causal self-attention over a user's items, scored by the items' own vectors (section 3).

    Only the queries are normed on their way into attention, and the normed queries are what its answer is added to;
    its heads are put side by side without a projection, as in the authors' code. Positions count from the first item.

    Args:
        vocab_size: V, items there are.
        max_length: items that are read at once.
        d_model: D.
        n_layers: blocks.
        n_heads: H.
        d_ff: F; D by default.
        activation: of the feed-forward networks.
        dropout: of the embeddings, the weights of attention and the feed-forward networks.
        eps: of the norms.
        head: what is answered: a score of every item as the next one; None for the hidden states alone.
    """
    embedding = TokenEmbedding(vocab_size, d_model, scale=sqrt(d_model))

    def block() -> Block:
        query = LayerNorm(d_model, eps=eps)
        attention = Attention(
            nn.Sequential(query, nn.Linear(d_model, d_model)),
            nn.Linear(d_model, d_model),
            nn.Linear(d_model, d_model),
            nn.Identity(),
            n_heads,
            mask=Causal(),
            dropout=dropout,
        )
        network = feed_forward(d_model, d_ff or d_model, activation, dropout=dropout)
        return Block(
            attention=Branch(attention, residual=Add(shortcut=query), after=LayerNorm(d_model, eps=eps)),
            feed_forward=Branch(network, dropout=dropout),
        )

    body = Stack(
        [block() for _ in range(n_layers)],
        positions=Learned(max_length, d_model),
        before=nn.Dropout(dropout),
        after=LayerNorm(d_model, eps=eps),
    )
    model = Model(embedding, body, Tied(embedding) if head else None, [Feature("hidden", d_model)])
    initial.xavier(model)
    initial.normal(embedding)
    return model
