"""ModernBERT (Warner et al. 2024): an encoder with rotary positions and attention that is local in most blocks."""

from __future__ import annotations

from typing import Literal

from torch import nn

from dougong.architectures.arguments import Count, Depth, Positive, Share
from dougong.architectures.registry import architecture
from dougong.frames.branch import Block, Branch
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.classify import Classify, First, Mean, Transform
from dougong.heads.language import MaskedLanguage
from dougong.heads.tag import Tag
from dougong.parts import initial
from dougong.parts.attention import multi_head_attention
from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.feedforward import feed_forward
from dougong.parts.masks import OPEN, Window
from dougong.parts.norms import LayerNorm
from dougong.parts.output import Feature
from dougong.parts.positions import Rotary


@architecture
def modernbert(
    *,
    vocab_size: Count = 50368,
    max_length: Count = 8192,
    d_model: Count = 768,
    n_layers: Depth = 22,
    n_heads: Count = 12,
    d_ff: Count = 1152,
    window: Count = 128,
    global_every: Count = 3,
    global_base: Positive = 160000.0,
    local_base: Positive = 10000.0,
    activation: str = "gelu",
    dropout: Share = 0.0,
    eps: Positive = 1e-5,
    pool: Literal["first", "mean"] = "first",
    head: Literal["masked-language", "sequence", "tokens", "questions"] | None = "masked-language",
    n_classes: Count = 2,
) -> Model:
    """ModernBERT: pre-norm blocks without biases, gated feed-forward, local and global attention in turn (section 2.1).

    Args:
        vocab_size: V.
        max_length: tokens of the longest text in training.
        d_model: D.
        n_layers: blocks.
        n_heads: H.
        d_ff: F.
        window: tokens that a local block sees, half of them on each side.
        global_every: the first block and every so many after it see everything.
        global_base: of the wavelengths of positions in global blocks.
        local_base: those in local blocks.
        activation: of the gates and of the head.
        dropout: of the embeddings, the weights of attention, the branches and before the classifier.
        eps: of the norms.
        pool: what is classified: the first token, or the mean of all.
        head: what is answered: masked words, a class of the sequence, a class of each token, or the start and end of an
            answer; None for the hidden states alone.
        n_classes: C, for "sequence" and "tokens".
    """
    embedding = TokenEmbedding(vocab_size, d_model)

    def norm() -> LayerNorm:
        return LayerNorm(d_model, eps=eps, bias=False)

    def block(index: int) -> Block:
        everything = index % global_every == 0
        mask = OPEN if everything else Window(window // 2, window // 2)
        attention = multi_head_attention(d_model, n_heads, bias=False, mask=mask, dropout=dropout)
        network = feed_forward(d_model, d_ff, activation, gated=True, bias=False, dropout=dropout)
        return Block(
            "global" if everything else "local",
            # the embeddings are normed already
            attention=Branch(attention, before=norm() if index else None, dropout=dropout),
            feed_forward=Branch(network, before=norm()),
        )

    width = d_model // n_heads
    body = Stack(
        [block(index) for index in range(n_layers)],
        positions={"global": Rotary(width, global_base), "local": Rotary(width, local_base)},
        before=nn.Sequential(norm(), nn.Dropout(dropout)),
        after=norm(),
    )

    def transform() -> Transform:
        return Transform(d_model, activation, norm(), bias=False)

    heads = {
        "masked-language": lambda: MaskedLanguage(embedding, d_model, activation, norm(), bias=False),
        "sequence": lambda: Classify(First() if pool == "first" else Mean(), d_model, n_classes, dropout, transform()),
        "tokens": lambda: Tag(d_model, n_classes, dropout, transform()),
        "questions": lambda: Tag(d_model, 2, dropout, transform()),
    }
    model = Model(embedding, body, heads[head]() if head else None, [Feature("hidden", d_model)])
    initial.normal(model)
    return model
