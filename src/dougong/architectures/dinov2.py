"""DINOv2 (Oquab et al. 2024): a Vision Transformer that learnt from pictures without labels."""

from __future__ import annotations

from torch import nn

from dougong.architectures.arguments import Count, Depth, Positive, Share, Side
from dougong.architectures.inputs import hidden_feature
from dougong.architectures.registry import architecture
from dougong.frames.branch import Add, Block, Branch
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.classify import Beside, Classify, First, Mean
from dougong.parts import initial
from dougong.parts.attention import multi_head_attention
from dougong.parts.embeddings import PatchEmbedding, pair
from dougong.parts.feedforward import feed_forward
from dougong.parts.norms import LayerNorm
from dougong.parts.positions import Learned


@architecture
def dinov2(
    *,
    image_size: Side = 518,
    patch_size: Side = 14,
    d_model: Count = 768,
    n_layers: Depth = 12,
    n_heads: Count = 12,
    mlp_ratio: Count = 4,
    gated: bool = False,
    layer_scale: float = 1.0,
    n_classes: Count | None = None,
    dropout: Share = 0.0,
    activation: str = "gelu",
    eps: Positive = 1e-6,
) -> Model:
    """DINOv2: patches, a class token, learned positions, pre-norm blocks with scaled branches (section 5).

    Args:
        image_size: in pixels.
        patch_size: in pixels; must divide the picture.
        d_model: D.
        n_layers: blocks.
        n_heads: H.
        mlp_ratio: F / D; the gated network has two thirds of it, rounded up to a multiple of 8.
        gated: the feed-forward network is gated (giant).
        layer_scale: what the learned factor of each branch's channels starts from.
        n_classes: C; None for the bare backbone.
        dropout: of the embeddings and of each branch.
        activation: of the feed-forward networks.
        eps: of the norms.
    """
    d_ff = (mlp_ratio * d_model * 2 // 3 + 7) // 8 * 8 if gated else mlp_ratio * d_model
    embedding = PatchEmbedding(pair(image_size), pair(patch_size), 3, d_model, n_prefix=1)

    def block() -> Block:
        return Block(
            attention=Branch(
                multi_head_attention(d_model, n_heads, dropout=dropout),
                before=LayerNorm(d_model, eps=eps),
                dropout=dropout,
                residual=Add(scale=layer_scale, d_model=d_model),
            ),
            feed_forward=Branch(
                feed_forward(d_model, d_ff, activation, gated=gated, dropout=dropout),
                before=LayerNorm(d_model, eps=eps),
                dropout=dropout,
                residual=Add(scale=layer_scale, d_model=d_model),
            ),
        )

    body = Stack(
        [block() for _ in range(n_layers)],
        positions=Learned(embedding.length, d_model),
        before=nn.Dropout(dropout),
        after=LayerNorm(d_model, eps=eps),
    )
    head = Classify(Beside(First(), Mean(skip=1)), 2 * d_model, n_classes) if n_classes else None
    model = Model(embedding, body, head, hidden_feature(embedding, d_model))
    initial.normal(model)
    initial.xavier(body)  # as the paper's own code does; 0.02 throughout is too little for narrow models to start from
    return model
