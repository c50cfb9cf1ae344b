"""BART (Lewis et al. 2020): an encoder-decoder that was trained to mend broken text."""

from __future__ import annotations

import math

from torch import nn

from dougong.architectures.arguments import Count, Depth, Share
from dougong.architectures.registry import architecture
from dougong.frames.branch import Block, Branch
from dougong.frames.encoder_decoder import EncoderDecoder
from dougong.frames.stack import Stack
from dougong.heads.language import Tied
from dougong.parts import initial
from dougong.parts.attention import Memory, multi_head_attention
from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.feedforward import feed_forward
from dougong.parts.masks import OPEN, Causal
from dougong.parts.norms import LayerNorm
from dougong.parts.output import Feature
from dougong.parts.positions import Learned


@architecture
def bart(
    *,
    vocab_size: Count = 50265,
    max_length: Count = 1024,
    d_model: Count = 1024,
    n_layers: Depth = 12,
    n_decoder_layers: Depth | None = None,
    n_heads: Count = 16,
    d_ff: Count = 4096,
    activation: str = "gelu",
    dropout: Share = 0.1,
    attention_dropout: Share = 0.0,
    activation_dropout: Share = 0.0,
    scale_embedding: bool = False,
) -> EncoderDecoder:
    """BART: the original encoder-decoder with learned positions and normed embeddings (section 2.1).

    Args:
        vocab_size: V.
        max_length: positions there are.
        d_model: D.
        n_layers: blocks of the encoder.
        n_decoder_layers: those of the decoder; as many by default.
        n_heads: H.
        d_ff: F.
        activation: of the feed-forward networks.
        dropout: of the embeddings and of each branch.
        attention_dropout: of the weights of attention.
        activation_dropout: after the activation.
        scale_embedding: embeddings are multiplied by sqrt(D).
    """
    embedding = TokenEmbedding(vocab_size, d_model, scale=math.sqrt(d_model) if scale_embedding else 1.0)

    def branch(body: nn.Module) -> Branch:
        return Branch(body, after=LayerNorm(d_model), dropout=dropout)

    def block(decoder: bool) -> Block:
        own = multi_head_attention(d_model, n_heads, mask=Causal() if decoder else OPEN, dropout=attention_dropout)
        cross = multi_head_attention(d_model, n_heads, source=Memory(), dropout=attention_dropout) if decoder else None
        network = feed_forward(d_model, d_ff, activation, dropout=activation_dropout)
        between = {"cross_attention": branch(cross)} if cross is not None else {}
        return Block(attention=branch(own), **between, feed_forward=branch(network))

    def stack(count: int, decoder: bool) -> Stack:
        return Stack(
            [block(decoder) for _ in range(count)],
            positions=Learned(max_length, d_model, offset=2),
            before=nn.Sequential(LayerNorm(d_model), nn.Dropout(dropout)),
        )

    model = EncoderDecoder(
        embedding, stack(n_layers, False), embedding, stack(n_decoder_layers or n_layers, True),
        Tied(embedding, bias=True), [Feature("hidden", d_model)],
    )  # fmt: skip
    initial.normal(model)
    return model
