"""Marian (Junczys-Dowmunt et al. 2018): the original encoder-decoder, as translation models are trained with it."""

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
from dougong.parts.positions import Sinusoidal


@architecture
def marian(
    *,
    vocab_size: Count = 58101,
    max_length: Count = 512,
    d_model: Count = 512,
    n_layers: Depth = 6,
    n_decoder_layers: Depth | None = None,
    n_heads: Count = 8,
    d_ff: Count = 2048,
    activation: str = "silu",
    dropout: Share = 0.1,
    attention_dropout: Share = 0.0,
    activation_dropout: Share = 0.0,
    scale_embedding: bool = True,
) -> EncoderDecoder:
    """Marian: post-norm blocks, sinusoidal positions with all sines first, one shared table, a bias a token.

    Args:
        vocab_size: V.
        max_length: tokens of the longest text in training.
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
            positions=Sinusoidal(d_model, interleaved=False),
            before=nn.Dropout(dropout),
        )

    model = EncoderDecoder(
        embedding, stack(n_layers, False), embedding, stack(n_decoder_layers or n_layers, True),
        Tied(embedding, bias=True), [Feature("hidden", d_model)],
    )  # fmt: skip
    initial.normal(model)
    return model
