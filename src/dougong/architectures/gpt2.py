"""GPT-2 and GPT-3 (Radford et al. 2019; Brown et al. 2020): a decoder alone, which writes what comes next."""

from __future__ import annotations

import math

from torch import nn

from dougong.architectures.arguments import Count, Depth, Share
from dougong.architectures.registry import architecture
from dougong.frames.branch import Block, Branch
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.decoder import Answer, answering
from dougong.parts import initial
from dougong.parts.attention import multi_head_attention
from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.feedforward import feed_forward
from dougong.parts.masks import Causal
from dougong.parts.norms import LayerNorm
from dougong.parts.output import Feature
from dougong.parts.positions import Learned


@architecture
def gpt2(
    *,
    vocab_size: Count = 50257,
    max_length: Count = 1024,
    d_model: Count = 768,
    n_layers: Depth = 12,
    n_heads: Count = 12,
    d_ff: Count | None = None,
    dropout: Share = 0.1,
    head: Answer | None = "causal-language",
    n_classes: Count = 2,
) -> Model:
    """GPT-2: pre-norm blocks that look back only, learned positions, one table for reading and writing (section 2.3).

    Args:
        vocab_size: V.
        max_length: positions there are.
        d_model: D.
        n_layers: blocks.
        n_heads: H.
        d_ff: F; 4 D by default.
        dropout: of the embeddings, the weights of attention and each branch.
        head: what is answered: the next token, a class of the text, or a class of each token; None for the hidden
            states alone.
        n_classes: C, for "sequence" and "tokens".
    """
    embedding = TokenEmbedding(vocab_size, d_model)

    def block() -> Block:
        return Block(
            attention=Branch(
                multi_head_attention(d_model, n_heads, mask=Causal(), dropout=dropout),
                before=LayerNorm(d_model),
                dropout=dropout,
            ),
            feed_forward=Branch(
                feed_forward(d_model, d_ff or 4 * d_model, "gelu_tanh"), before=LayerNorm(d_model), dropout=dropout
            ),
        )

    body = Stack(
        [block() for _ in range(n_layers)],
        positions=Learned(max_length, d_model),
        before=nn.Dropout(dropout),
        after=LayerNorm(d_model),
    )
    answer = answering(head, embedding, d_model, True, n_classes)
    model = Model(embedding, body, answer, [Feature("hidden", d_model)])
    initial.normal(model)
    for each in body.blocks:  # what adds to the residual stream starts smaller the deeper the stack (section 2.3)
        for last in (each.attention.body.output, each.feed_forward.body.down):  # type: ignore[union-attr]
            initial.normal(last, std=0.02 / math.sqrt(2 * n_layers))  # type: ignore[arg-type]
    return model
