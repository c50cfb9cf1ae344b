"""DistilBERT (Sanh et al. 2019): BERT of half the depth, without types and pooler, taught by BERT."""

from __future__ import annotations

from typing import Literal

from torch import nn

from dougong.architectures.arguments import Count, Depth, Share
from dougong.architectures.registry import architecture
from dougong.frames.branch import Block, Branch
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.classify import Classify, Pooler
from dougong.heads.language import MaskedLanguage
from dougong.heads.tag import Tag
from dougong.parts import initial
from dougong.parts.attention import multi_head_attention
from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.feedforward import feed_forward
from dougong.parts.norms import LayerNorm
from dougong.parts.output import Feature
from dougong.parts.positions import Learned


@architecture
def distilbert(
    *,
    vocab_size: Count = 30522,
    max_length: Count = 512,
    d_model: Count = 768,
    n_layers: Depth = 6,
    n_heads: Count = 12,
    d_ff: Count = 3072,
    activation: str = "gelu",
    dropout: Share = 0.1,
    attention_dropout: Share = 0.1,
    head_dropout: Share = 0.2,
    head: Literal["masked-language", "sequence", "tokens", "questions"] | None = "masked-language",
    n_classes: Count = 2,
) -> Model:
    """DistilBERT: post-norm blocks that look both ways; tokens and learned positions are added (section 2).

    Args:
        vocab_size: V.
        max_length: positions there are.
        d_model: D.
        n_layers: blocks.
        n_heads: H.
        d_ff: F.
        activation: of the feed-forward networks.
        dropout: of the embeddings and of each branch.
        attention_dropout: of the weights of attention.
        head_dropout: before the last layer of the head.
        head: what is answered: masked words, a class of the sequence, a class of each token,
            or the start and end of an answer; None for the hidden states alone.
        n_classes: C, for "sequence" and "tokens".
    """
    embedding = TokenEmbedding(vocab_size, d_model)

    def block() -> Block:
        return Block(
            attention=Branch(
                multi_head_attention(d_model, n_heads, dropout=attention_dropout),
                dropout=dropout,
                after=LayerNorm(d_model, eps=1e-12),
            ),
            feed_forward=Branch(
                feed_forward(d_model, d_ff, activation), dropout=dropout, after=LayerNorm(d_model, eps=1e-12)
            ),
        )

    body = Stack(
        [block() for _ in range(n_layers)],
        positions=Learned(max_length, d_model),
        before=nn.Sequential(LayerNorm(d_model, eps=1e-12), nn.Dropout(dropout)),
    )
    heads = {
        "masked-language": lambda: MaskedLanguage(embedding, d_model, activation, LayerNorm(d_model, eps=1e-12)),
        "sequence": lambda: Classify(Pooler(d_model, "relu"), d_model, n_classes, head_dropout),
        "tokens": lambda: Tag(d_model, n_classes, dropout),
        "questions": lambda: Tag(d_model, 2, dropout),
    }
    model = Model(embedding, body, heads[head]() if head else None, [Feature("hidden", d_model)])
    initial.normal(model)
    return model
