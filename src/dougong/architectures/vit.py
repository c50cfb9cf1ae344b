"""Vision Transformer (Dosovitskiy et al. 2021): a picture is a sequence of patches."""

from __future__ import annotations

from typing import Literal

from torch import nn

from dougong.architectures.arguments import Count, Depth, Positive, Share, Side
from dougong.architectures.inputs import hidden_feature
from dougong.architectures.registry import architecture
from dougong.frames.branch import Block, Branch
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.classify import Classify, First, Mean, Pooler
from dougong.parts import initial
from dougong.parts.attention import multi_head_attention
from dougong.parts.embeddings import PatchEmbedding, pair
from dougong.parts.feedforward import feed_forward
from dougong.parts.norms import LayerNorm
from dougong.parts.positions import Learned


def encoder_block(d_model: int, n_heads: int, d_ff: int, activation: str, dropout: float, eps: float) -> Block:
    """A pre-norm block: attention, then a feed-forward network. Args: as of `vit`."""
    attention = multi_head_attention(d_model, n_heads, dropout=dropout)
    network = feed_forward(d_model, d_ff, activation, dropout=dropout)
    return Block(
        attention=Branch(attention, before=LayerNorm(d_model, eps=eps), dropout=dropout),
        feed_forward=Branch(network, before=LayerNorm(d_model, eps=eps), dropout=dropout),
    )


@architecture
def vit(
    *,
    image_size: Side = 224,
    patch_size: Side = 16,
    d_model: Count = 768,
    n_layers: Depth = 12,
    n_heads: Count = 12,
    d_ff: Count = 3072,
    n_classes: Count | None = 1000,
    dropout: Share = 0.0,
    pool: Literal["first", "mean"] = "first",
    pooler: str | None = None,
    activation: str = "gelu",
    eps: Positive = 1e-6,
) -> Model:
    """Vision Transformer: patches, a class token, learned positions, pre-norm blocks (section 3.1).

    Args:
        image_size: in pixels.
        patch_size: in pixels; must divide the picture.
        d_model: D.
        n_layers: blocks.
        n_heads: H.
        d_ff: F.
        n_classes: C; None for the backbone.
        dropout: of the embeddings and of each branch.
        pool: what is classified: the class token, put first, or the mean of the patches (then there is no class token).
        pooler: of a backbone without classes that answers with one vector (B, D), the class token through a linear
            layer: the activation behind it (the paper's own has tanh, between its pre-trained model and the classes).
            None for none; not built where there are classes.
        activation: of the feed-forward networks.
        eps: of the norms.

    Raises:
        ValueError: the pooler of a model without a class token.
    """
    n_prefix = 1 if pool == "first" else 0
    if pooler and not n_prefix and not n_classes:
        raise ValueError("a pooler reads the class token, which pool=mean does without")
    embedding = PatchEmbedding(pair(image_size), pair(patch_size), 3, d_model, n_prefix)
    body = Stack(
        [encoder_block(d_model, n_heads, d_ff, activation, dropout, eps) for _ in range(n_layers)],
        positions=Learned(embedding.length, d_model),
        before=nn.Dropout(dropout),
        after=LayerNorm(d_model, eps=eps),
    )
    head: nn.Module | None = Pooler(d_model, pooler) if pooler else None
    if n_classes:
        head = Classify(First() if n_prefix else Mean(), d_model, n_classes)
    model = Model(embedding, body, head, hidden_feature(embedding, d_model))
    initial.normal(model)
    initial.xavier(body)  # as the paper's own code does; 0.02 throughout is too little for narrow models to start from
    return model
