"""Qwen3 (Yang et al. 2025): Llama's block, with queries and keys normalised head by head."""

from __future__ import annotations

from typing import Any

from dougong.architectures.arguments import Count, Depth, Positive, Share
from dougong.architectures.registry import architecture
from dougong.frames.branch import Block, Branch
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.decoder import Answer, answering
from dougong.parts import initial
from dougong.parts.attention import NormalisedHeads, multi_head_attention
from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.feedforward import feed_forward
from dougong.parts.masks import Causal, Window
from dougong.parts.norms import RMSNorm
from dougong.parts.output import Feature
from dougong.parts.positions import Rotary
from dougong.parts.rope_scaling import scaling


@architecture
def qwen3(
    *,
    vocab_size: Count = 151936,
    max_length: Count = 32768,
    d_model: Count = 4096,
    n_layers: Depth = 32,
    n_heads: Count = 32,
    n_kv_heads: Count | None = None,
    d_head: Count = 128,
    d_ff: Count = 22016,
    window: Count | None = None,
    local_from: int = 0,
    activation: str = "silu",
    attention_dropout: Share = 0.0,
    eps: Positive = 1e-6,
    rope_base: Positive = 10000.0,
    rope_scaling: dict[str, Any] | None = None,
    attention_bias: bool = False,
    tied: bool = False,
    head: Answer | None = "causal-language",
    n_classes: Count = 2,
) -> Model:
    """Qwen3: RMSNorm before each branch, rotary positions, grouped heads, normalised queries and keys (section 2).

    Args:
        vocab_size: V.
        max_length: tokens of the longest text in training.
        d_model: D.
        n_layers: blocks.
        n_heads: H.
        n_kv_heads: G; H by default.
        d_head: K.
        d_ff: F.
        window: tokens that a query of a local block sees, itself included; None where all blocks see everything.
        local_from: the first local block; those before it see everything.
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
    embedding = TokenEmbedding(vocab_size, d_model)
    width = d_head

    def block(index: int) -> Block:
        local = window is not None and index >= local_from
        mask = Causal() & Window(window - 1, 0) if local and window else Causal()
        attention = multi_head_attention(
            d_model,
            n_heads,
            n_kv_heads,
            d_head=width,
            bias=attention_bias,
            mask=mask,
            dropout=attention_dropout,
            heads=NormalisedHeads(RMSNorm(width, eps), RMSNorm(width, eps)),
        )
        network = feed_forward(d_model, d_ff, activation, gated=True, bias=False)
        return Block(
            attention=Branch(attention, before=RMSNorm(d_model, eps)),
            feed_forward=Branch(network, before=RMSNorm(d_model, eps)),
        )

    positions = Rotary(width, rope_base, scaling=scaling(rope_scaling))
    body = Stack([block(index) for index in range(n_layers)], positions=positions, after=RMSNorm(d_model, eps))
    answer = answering(head, embedding, d_model, tied, n_classes)
    model = Model(embedding, body, answer, [Feature("hidden", d_model)])
    initial.normal(model)
    return model
