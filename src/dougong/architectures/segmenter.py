"""Segmenter (Strudel et al. 2021): a Vision Transformer whose patches are scored, alone or against class embeddings."""

from __future__ import annotations

from typing import Literal

from torch import nn

from dougong.architectures.arguments import Count, Depth, Positive, Share, Side
from dougong.architectures.registry import architecture
from dougong.architectures.vit import encoder_block, vit
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.heads.segment import LinearPatches, MaskTransformer
from dougong.parts import initial
from dougong.parts.embeddings import PatchEmbedding
from dougong.parts.norms import LayerNorm


@architecture
def segmenter(
    *,
    image_size: Side = 512,
    patch_size: Side = 16,
    d_model: Count = 384,
    n_layers: Depth = 12,
    n_heads: Count = 6,
    d_ff: Count = 1536,
    n_classes: Count | None = 150,
    head: Literal["linear", "mask"] = "mask",
    n_head_layers: Depth = 2,
    dropout: Share = 0.0,
    head_dropout: Share = 0.1,
    activation: str = "gelu",
    eps: Positive = 1e-6,
) -> Model:
    """Segmenter: the backbone of `vit` with masks on top, one score a patch and class.

    Args:
        image_size: in pixels.
        patch_size: in pixels; must divide the picture. Masks are this much coarser than the picture.
        d_model: D.
        n_layers: blocks of the backbone.
        n_heads: H.
        d_ff: F.
        n_classes: C; None for the bare backbone.
        head: one linear layer, or blocks over the patches and an embedding of each class (section 3.2).
        n_head_layers: blocks of the second kind of head.
        dropout: of the embeddings and of each branch of the backbone.
        head_dropout: of each branch of the head, or before the linear layer.
        activation: of the feed-forward networks.
        eps: of the norms.
    """
    model = vit(
        image_size=image_size, patch_size=patch_size, d_model=d_model, n_layers=n_layers, n_heads=n_heads, d_ff=d_ff,
        n_classes=None, dropout=dropout, activation=activation, eps=eps,
    )  # fmt: skip
    assert isinstance(model, Model) and isinstance(model.embedding, PatchEmbedding)
    if not n_classes:
        return model
    grid, skip = model.embedding.grid, model.embedding.n_prefix
    top: nn.Module = LinearPatches(grid, skip, d_model, n_classes, head_dropout)
    if head == "mask":
        blocks = [encoder_block(d_model, n_heads, d_ff, activation, head_dropout, eps) for _ in range(n_head_layers)]
        top = MaskTransformer(grid, skip, d_model, n_classes, Stack(blocks, after=LayerNorm(d_model, eps=eps)))
    initial.xavier(top)
    model.head = top
    return model
