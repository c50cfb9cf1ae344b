"""T5 and Flan-T5 (Raffel et al. 2020; Shazeer 2020): an encoder-decoder whose positions are a bias of the scores."""

from __future__ import annotations

from torch import nn

from dougong.architectures.arguments import Count, Depth, Positive, Share
from dougong.architectures.registry import architecture
from dougong.frames.branch import Block, Branch
from dougong.frames.encoder_decoder import EncoderDecoder
from dougong.frames.stack import Stack
from dougong.heads.language import Project, Tied
from dougong.parts import initial
from dougong.parts.attention import Memory, multi_head_attention
from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.feedforward import feed_forward
from dougong.parts.masks import OPEN, Causal
from dougong.parts.norms import RMSNorm
from dougong.parts.output import Feature
from dougong.parts.positions import RelativeBuckets


@architecture
def t5(
    *,
    vocab_size: Count = 32128,
    d_model: Count = 512,
    n_layers: Depth = 6,
    n_decoder_layers: Depth | None = None,
    n_heads: Count = 8,
    d_head: Count = 64,
    d_ff: Count = 2048,
    n_buckets: Count = 32,
    max_distance: Count = 128,
    activation: str = "relu",
    gated: bool = False,
    dropout: Share = 0.1,
    eps: Positive = 1e-6,
    tied: bool = True,
    scaled: bool = True,
) -> EncoderDecoder:
    """T5: pre-norm blocks without biases, unscaled scores, and one learned bias a head and distance (section 2.1).

    Args:
        vocab_size: V.
        d_model: D.
        n_layers: blocks of the encoder.
        n_decoder_layers: those of the decoder; as many by default.
        n_heads: H.
        d_head: K.
        d_ff: F.
        n_buckets: of distances.
        max_distance: from here on all distances share a bucket.
        activation: of the feed-forward network.
        gated: it is gated (version 1.1).
        dropout: of the embeddings, the weights of attention, each branch and the final norm.
        eps: of the norms.
        tied: reading and writing share one table.
        scaled: the last hidden states are divided by sqrt(D) before they are scored (version 1.0).
    """
    embedding = TokenEmbedding(vocab_size, d_model)

    def branch(body: nn.Module) -> Branch:
        return Branch(body, before=RMSNorm(d_model, eps), dropout=dropout)

    def attention(cross: bool = False, causal: bool = False) -> Branch:
        return branch(
            multi_head_attention(
                d_model, n_heads, d_head=d_head, bias=False, mask=Causal() if causal else OPEN, scale=1.0,
                source=Memory() if cross else None, dropout=dropout,
            )
        )  # fmt: skip

    def block(decoder: bool) -> Block:
        cross = {"cross_attention": attention(cross=True)} if decoder else {}
        network = feed_forward(d_model, d_ff, activation, gated=gated, bias=False, dropout=dropout)
        return Block(attention=attention(causal=decoder), **cross, feed_forward=branch(network))

    def stack(count: int, decoder: bool) -> Stack:
        return Stack(
            [block(decoder) for _ in range(count)],
            positions=RelativeBuckets(n_heads, n_buckets, max_distance, bidirectional=not decoder),
            before=nn.Dropout(dropout),
            after=nn.Sequential(RMSNorm(d_model, eps), nn.Dropout(dropout)),
        )

    scale = d_model**-0.5 if scaled else 1.0
    head = Tied(embedding, scale) if tied else Project(d_model, vocab_size, bias=False)
    model = EncoderDecoder(
        embedding, stack(n_layers, False), embedding, stack(n_decoder_layers or n_layers, True), head,
        [Feature("hidden", d_model)],
    )  # fmt: skip
    if scaled and not tied:
        raise ValueError("scaled needs tied: a table of its own learns its scale")
    initial.normal(model)
    return model
