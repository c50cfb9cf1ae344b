"""BERT (Devlin et al. 2019): an encoder that reads in both directions, pre-trained to fill in masked words."""

from __future__ import annotations

from typing import Literal

from torch import nn

from dougong.architectures.arguments import Count, Depth, Positive, Share
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
def bert(
    *,
    vocab_size: Count = 30522,
    max_length: Count = 512,
    n_types: Count = 2,
    d_model: Count = 768,
    n_layers: Depth = 12,
    n_heads: Count = 12,
    d_ff: Count = 3072,
    activation: str = "gelu",
    dropout: Share = 0.1,
    attention_dropout: Share = 0.1,
    eps: Positive = 1e-12,
    head: Literal["masked-language", "pooler", "sequence", "tokens", "questions"] | None = "masked-language",
    n_classes: Count = 2,
) -> Model:
    """BERT: post-norm blocks that look both ways; tokens, learned positions and sentence types are added (section 3).

    Args:
        vocab_size: V.
        max_length: positions there are.
        n_types: kinds of token: first and second sentence.
        d_model: D.
        n_layers: blocks.
        n_heads: H.
        d_ff: F.
        activation: of the feed-forward networks.
        dropout: of the embeddings and of each branch.
        attention_dropout: of the weights of attention.
        eps: of the norms.
        head: what is answered: masked words, the pooled first token, a class of the sequence, a class of each token,
            or the start and end of an answer; None for the hidden states alone.
        n_classes: C, for "sequence" and "tokens".
    """
    embedding = TokenEmbedding(vocab_size, d_model, n_types=n_types)

    def block() -> Block:
        return Block(
            attention=Branch(
                multi_head_attention(d_model, n_heads, dropout=attention_dropout),
                dropout=dropout,
                after=LayerNorm(d_model, eps=eps),
            ),
            feed_forward=Branch(
                feed_forward(d_model, d_ff, activation), dropout=dropout, after=LayerNorm(d_model, eps=eps)
            ),
        )

    body = Stack(
        [block() for _ in range(n_layers)],
        positions=Learned(max_length, d_model),
        before=nn.Sequential(LayerNorm(d_model, eps=eps), nn.Dropout(dropout)),
    )
    heads = {
        "masked-language": lambda: MaskedLanguage(embedding, d_model, activation, LayerNorm(d_model, eps=eps)),
        "pooler": lambda: Pooler(d_model),
        "sequence": lambda: Classify(Pooler(d_model), d_model, n_classes, dropout),
        "tokens": lambda: Tag(d_model, n_classes, dropout),
        "questions": lambda: Tag(d_model, 2),
    }
    model = Model(embedding, body, heads[head]() if head else None, [Feature("hidden", d_model)])
    initial.normal(model)
    return model
