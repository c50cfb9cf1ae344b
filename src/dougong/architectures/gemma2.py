"""Gemma 2 (Riviere et al. 2024): a decoder with norms on both sides of each branch and capped scores."""

from __future__ import annotations

from typing import Any

from dougong.architectures.arguments import Count, Depth, Positive, Share
from dougong.architectures.registry import architecture
from dougong.frames.branch import Block, Branch
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.decoder import Answer, answering
from dougong.heads.language import Capped
from dougong.parts import initial
from dougong.parts.attention import SoftCap, multi_head_attention
from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.feedforward import feed_forward
from dougong.parts.masks import Causal, Window
from dougong.parts.norms import RMSNorm
from dougong.parts.output import Feature
from dougong.parts.positions import Rotary
from dougong.parts.rope_scaling import scaling


@architecture
def gemma2(
    *,
    vocab_size: Count = 256000,
    max_length: Count = 8192,
    d_model: Count = 2304,
    n_layers: Depth = 26,
    n_heads: Count = 8,
    n_kv_heads: Count = 4,
    d_head: Count = 256,
    d_ff: Count = 9216,
    window: Count = 4096,
    global_every: Count = 2,
    query_scale: Count = 256,
    score_cap: Positive | None = 50.0,
    logit_cap: Positive | None = 30.0,
    activation: str = "gelu_tanh",
    attention_dropout: Share = 0.0,
    eps: Positive = 1e-6,
    rope_base: Positive = 10000.0,
    rope_scaling: dict[str, Any] | None = None,
    attention_bias: bool = False,
    tied: bool = True,
    head: Answer | None = "causal-language",
    n_classes: Count = 2,
) -> Model:
    """Gemma 2: sandwich norms, soft-capped scores and logits, local and global blocks in turn (section 2).

    Args:
        vocab_size: V.
        max_length: tokens of the longest text in training.
        d_model: D.
        n_layers: blocks.
        n_heads: H.
        n_kv_heads: G.
        d_head: K.
        d_ff: F.
        window: tokens that a query of a local block sees, itself included.
        global_every: each block of this number sees everything before it, the others are local.
        query_scale: scores are divided by its square root.
        score_cap: scores of attention stay within ± this; None for no cap.
        logit_cap: those of the vocabulary.
        activation: of the gate.
        attention_dropout: of the weights of attention.
        eps: of the norms.
        rope_base: of the wavelengths of rotary positions.
        rope_scaling: {"kind": "linear" | "llama3" | "yarn", ...}, see `dougong.parts.rope_scaling`.
        attention_bias: the projections of attention have biases.
        tied: reading and writing share one table.
        head: what is answered: the next token, a class of the text, or a class of each token; None for the hidden
            states alone.
        n_classes: C, for "sequence" and "tokens".
    """
    embedding = TokenEmbedding(vocab_size, d_model, scale=d_model**0.5)

    def norm() -> RMSNorm:
        return RMSNorm(d_model, eps, offset=1.0)

    def block(index: int) -> Block:
        attention = multi_head_attention(
            d_model,
            n_heads,
            n_kv_heads,
            d_head=d_head,
            bias=attention_bias,
            mask=Causal() if (index + 1) % global_every == 0 else Causal() & Window(window - 1, 0),
            dropout=attention_dropout,
            scale=query_scale**-0.5,
            scores=SoftCap(score_cap) if score_cap else None,
        )
        network = feed_forward(d_model, d_ff, activation, gated=True, bias=False)
        return Block(
            attention=Branch(attention, before=norm(), inside=norm()),
            feed_forward=Branch(network, before=norm(), inside=norm()),
        )

    positions = Rotary(d_head, rope_base, scaling=scaling(rope_scaling))
    body = Stack([block(index) for index in range(n_layers)], positions=positions, after=norm())
    answer = answering(head, embedding, d_model, tied, n_classes)
    if answer is not None and logit_cap and head == "causal-language":
        answer = Capped(answer, SoftCap(logit_cap))
    model = Model(embedding, body, answer, [Feature("hidden", d_model)])
    initial.normal(model)
    return model
