"""SegFormer (Xie et al. 2021): a pyramid of patches, attention with fewer keys, and a head of linear layers."""

from __future__ import annotations

from typing import Literal

from torch import nn

from dougong.architectures.arguments import Count, Counts, Positive, Share, Side
from dougong.architectures.registry import architecture
from dougong.frames.branch import Block, Branch
from dougong.frames.model import Model
from dougong.frames.pyramid import Pyramid, TokenStage
from dougong.frames.stack import Stack
from dougong.heads.classify import Classify, Mean
from dougong.heads.segment import AllMlp
from dougong.parts import initial
from dougong.parts.attention import multi_head_attention
from dougong.parts.convolution import Layers
from dougong.parts.embeddings import MapEmbedding, pair
from dougong.parts.feedforward import Activation, FeedForward
from dougong.parts.grid import GridConvolution, OverlappingPatches, ReducedGrid, StochasticDepth
from dougong.parts.norms import LayerNorm
from dougong.parts.output import Feature


@architecture
def segformer(
    *,
    image_size: Side = 512,
    layers: Counts = [2, 2, 2, 2],  # noqa: B006 - copied when it is checked
    widths: Counts = [32, 64, 160, 256],  # noqa: B006
    n_heads: Counts = [1, 2, 5, 8],  # noqa: B006
    reductions: Counts = [8, 4, 2, 1],  # noqa: B006
    patch_sizes: Counts = [7, 3, 3, 3],  # noqa: B006
    strides: Counts = [4, 2, 2, 2],  # noqa: B006
    mlp_ratios: Counts = [4, 4, 4, 4],  # noqa: B006
    n_classes: Count | None = 150,
    head: Literal["masks", "classes"] = "masks",
    d_head: Count = 256,
    dropout: Share = 0.0,
    head_dropout: Share = 0.1,
    skipped: Share = 0.1,
    activation: str = "gelu",
    eps: Positive = 1e-5,
) -> Model:
    """SegFormer: stages of overlapping patches and pre-norm blocks without positions; masks at the first stage's grid.

    Args:
        image_size: in pixels, for examples and cost; other sizes are read too.
        layers: blocks of each stage.
        widths: D of each stage.
        n_heads: H of each stage.
        reductions: of each stage, rows (and columns) of keys that become one.
        patch_sizes: of each stage, in pixels of the map before it.
        strides: of each stage, likewise.
        mlp_ratios: F / D of each stage.
        n_classes: C; None for the bare backbone.
        head: what is scored: every pixel, or the picture.
        d_head: the width to which the head of masks brings every stage.
        dropout: of each branch.
        head_dropout: before the scores of masks.
        skipped: share of samples that skip the last block in training; of the first none, evenly between.
        activation: of the feed-forward networks.
        eps: of the norms.

    Raises:
        ValueError: the lists are not of one length.
    """
    each = (layers, widths, n_heads, reductions, patch_sizes, strides, mlp_ratios)
    if len({len(values) for values in each}) != 1:
        raise ValueError(f"every stage needs one value of each: there are {', '.join(str(len(one)) for one in each)}")
    stages, features, c_in, stride, number = [], [], 3, 1, 0

    def block(d_model: int, heads: int, reduction: int, d_ff: int, share: float) -> Block:
        source = ReducedGrid(d_model, reduction, LayerNorm(d_model, eps=eps)) if reduction > 1 else None
        network = FeedForward(
            nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model), Activation(activation), mix=GridConvolution(d_ff),
            dropout=dropout,
        )  # fmt: skip
        bodies = {"attention": multi_head_attention(d_model, heads, source=source), "feed_forward": network}
        return Block(
            **{
                name: Branch(
                    body, before=LayerNorm(d_model, eps=eps), inside=StochasticDepth(share) if share else None,
                    dropout=dropout,
                )
                for name, body in bodies.items()
            }
        )  # fmt: skip

    for index, (count, d_model, heads, reduction, patch, step, ratio) in enumerate(zip(*each, strict=True)):
        shares = [skipped * place / max(sum(layers) - 1, 1) for place in range(number, number + count)]
        blocks = [block(d_model, heads, reduction, d_model * ratio, share) for share in shares]
        patches = OverlappingPatches(c_in, d_model, patch, step, LayerNorm(d_model, eps=eps))
        stages.append(TokenStage(patches, Stack(blocks, after=LayerNorm(d_model, eps=eps))))
        c_in, stride, number = d_model, stride * step, number + count
        features.append(Feature(f"stage{index + 1}", d_model, (stride, stride)))
    top: nn.Module | None = None
    if n_classes:
        top = AllMlp(widths, d_head, n_classes, head_dropout) if head == "masks" else Classify(Mean(), c_in, n_classes)
    model = Model(MapEmbedding(Layers(), pair(image_size)), Pyramid(stages), top, features)
    initial.normal(model)
    initial.he(model)
    if isinstance(top, AllMlp):
        initial.normal(top.score, d_head**-0.5)  # with much less, rare classes take hundreds of steps to stand out
    return model
