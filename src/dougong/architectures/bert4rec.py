"""BERT4Rec (Sun et al. 2019): hidden items of a user from all others, by the encoder of BERT."""

from __future__ import annotations

from typing import Literal

from torch import nn

from dougong.architectures.arguments import Count, Depth, Positive, Share
from dougong.architectures.registry import architecture
from dougong.frames.branch import Block, Branch
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.language import MaskedLanguage
from dougong.parts import initial
from dougong.parts.attention import multi_head_attention
from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.feedforward import feed_forward
from dougong.parts.norms import LayerNorm
from dougong.parts.output import Feature
from dougong.parts.positions import Learned


@architecture
def bert4rec(
    *,
    vocab_size: Count = 3417,
    max_length: Count = 50,
    d_model: Count = 64,
    n_layers: Depth = 2,
    n_heads: Count = 2,
    d_ff: Count | None = None,
    activation: str = "gelu",
    dropout: Share = 0.1,
    attention_dropout: Share = 0.1,
    eps: Positive = 1e-12,
    head: Literal["masked-item"] | None = "masked-item",
) -> Model:
    """BERT4Rec: post-norm blocks that look both ways over items, some of which are masked (section 3).

    The next item is what stands at a mask after the last one.

    Args:
        vocab_size: V, items there are, and the mask, which is the last.
        max_length: items that are read at once, the mask included.
        d_model: D.
        n_layers: blocks.
        n_heads: H.
        d_ff: F; 4 D by default.
        activation: of the feed-forward networks.
        dropout: of the embeddings and of each branch.
        attention_dropout: of the weights of attention.
        eps: of the norms.
        head: what is answered: a score of every item at each place; None for the hidden states alone.
    """
    embedding = TokenEmbedding(vocab_size, d_model)

    def block() -> Block:
        return Block(
            attention=Branch(
                multi_head_attention(d_model, n_heads, dropout=attention_dropout),
                dropout=dropout,
                after=LayerNorm(d_model, eps=eps),
            ),
            feed_forward=Branch(
                feed_forward(d_model, d_ff or 4 * d_model, activation),
                dropout=dropout,
                after=LayerNorm(d_model, eps=eps),
            ),
        )

    body = Stack(
        [block() for _ in range(n_layers)],
        positions=Learned(max_length, d_model),
        before=nn.Sequential(LayerNorm(d_model, eps=eps), nn.Dropout(dropout)),
    )
    answer = MaskedLanguage(embedding, d_model, activation, LayerNorm(d_model, eps=eps)) if head else None
    model = Model(embedding, body, answer, [Feature("hidden", d_model)])
    initial.normal(model)
    return model
