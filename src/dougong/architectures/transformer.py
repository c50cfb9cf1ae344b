"""The Transformer (Vaswani et al. 2017): an encoder, and a decoder that reads it."""

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
def transformer(
    *,
    vocab_size: Count = 37000,
    d_model: Count = 512,
    n_layers: Depth = 6,
    n_heads: Count = 8,
    d_ff: Count = 2048,
    dropout: Share = 0.1,
) -> EncoderDecoder:
    """Transformer: the original encoder and decoder, post-norm, sinusoidal positions, one shared table of tokens.

    Args:
        vocab_size: V, of source and target together (section 5.1).
        d_model: D.
        n_layers: blocks of the encoder, and as many of the decoder.
        n_heads: H.
        d_ff: F.
        dropout: of the embeddings and of each branch (section 5.4).
    """
    embedding = TokenEmbedding(vocab_size, d_model, scale=math.sqrt(d_model))

    def stack(decoder: bool) -> Stack:
        blocks = [post_norm_block(d_model, n_heads, d_ff, dropout, decoder=decoder) for _ in range(n_layers)]
        return Stack(blocks, positions=Sinusoidal(d_model), before=nn.Dropout(dropout))

    features = [Feature("hidden", d_model)]
    model = EncoderDecoder(embedding, stack(False), embedding, stack(True), Tied(embedding), features)
    initial.xavier(model)
    return model


def post_norm_block(d_model: int, n_heads: int, d_ff: int, dropout: float, *, decoder: bool) -> Block:
    """LayerNorm(x + Sublayer(x)) for each sub-layer; a decoder looks back only, and reads the memory (section 3.1)."""

    def branch(body: nn.Module) -> Branch:
        return Branch(body, after=LayerNorm(d_model), dropout=dropout)

    branches = {"attention": branch(multi_head_attention(d_model, n_heads, mask=Causal() if decoder else OPEN))}
    if decoder:
        branches["cross_attention"] = branch(multi_head_attention(d_model, n_heads, source=Memory()))
    return Block(**branches, feed_forward=branch(feed_forward(d_model, d_ff, "relu", dropout=0.0)))
