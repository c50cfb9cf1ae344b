"""DAB-DETR (Liu et al. 2022) with denoising: a detector that learns from few pictures."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from dougong.architectures.arguments import Amount, Count, Counts, Depth, Share, Side
from dougong.architectures.registry import architecture
from dougong.architectures.resnet import residual_pyramid
from dougong.frames.anchored import AnchorDecoder, AnchorDetector
from dougong.frames.branch import Block, Branch
from dougong.frames.detector import OverPlaces
from dougong.frames.pyramid import TopDown
from dougong.frames.stack import Stack
from dougong.heads.denoise import Noise
from dougong.heads.detect import Detect
from dougong.parts import initial
from dougong.parts.anchors import AnchorPositions, AnchorPull
from dougong.parts.attention import Memory, multi_head_attention
from dougong.parts.convolution import convolution
from dougong.parts.feedforward import feed_forward
from dougong.parts.gaussian import gaussian
from dougong.parts.norms import LayerNorm
from dougong.parts.positions import AtEveryLayer, Sinusoidal2d


@architecture
def dab_detr(
    *,
    image_size: Side = 512,
    layers: Counts = [2, 2, 2, 2],  # noqa: B006 - copied when it is checked
    width: Count = 64,
    block: Literal["basic", "bottleneck"] = "basic",
    n_levels: Count = 3,
    d_model: Count = 256,
    n_encoder_layers: Depth = 1,
    n_layers: Depth = 3,
    n_heads: Count = 8,
    d_ff: Count = 1024,
    n_queries: Count = 100,
    n_noised: Amount = 4,
    n_classes: Count = 80,
    dropout: Share = 0.0,
) -> AnchorDetector:
    """DAB-DETR with denoising: queries are boxes from the best places of several maps, refined layer by layer.

    Queries are boxes (Liu et al. 2022, section 4), taken from a first guess at every place (Zhu et al. 2021, section
    4.2); attention is drawn to them (Gao et al. 2021); in training noisy true boxes are mended too (Li et al. 2022).
    The memory is maps of several stages, of which the coarsest is read by an encoder and handed down (Lin et al. 2017).

    Args:
        image_size: in pixels, for examples and cost; other sizes are read too.
        layers: branches of each stage of the residual network.
        width: channels of its first stage's narrow convolutions.
        block: of the residual network: two 3x3 convolutions, or 1x1, 3x3, 1x1.
        n_levels: stages whose maps are read, the last ones.
        d_model: D.
        n_encoder_layers: blocks over the coarsest map.
        n_layers: blocks of the decoder; each one's answer is judged.
        n_heads: H.
        d_ff: F.
        n_queries: N, objects that can be found at most.
        n_noised: noisy copies of each true object in training; 0 for none.
        n_classes: C; each is scored by itself.
        dropout: of each branch.

    Raises:
        ValueError: more maps than stages.
    """
    if n_levels > len(layers):
        raise ValueError(f"{n_levels} maps of {len(layers)} stages: lower n_levels")
    embedding, body, features = residual_pyramid(image_size, layers, width, block)

    def branch(part: nn.Module) -> Branch:
        return Branch(part, after=LayerNorm(d_model), dropout=dropout)

    def one(decoder: bool) -> Block:
        cross = {"cross_attention": branch(multi_head_attention(d_model, n_heads, source=Memory()))} if decoder else {}
        network = branch(feed_forward(d_model, d_ff, "relu"))
        return Block(attention=branch(multi_head_attention(d_model, n_heads)), **cross, feed_forward=network)

    encoder = Stack(
        [one(False) for _ in range(n_encoder_layers)],
        positions=AtEveryLayer(Sinusoidal2d(d_model, span=2 * math.pi)),
    )
    project = TopDown(
        [convolution(each.channels, d_model, 1) for each in features[-n_levels:]],
        [convolution(d_model, d_model, 3, activation=nn.ReLU()) for _ in range(n_levels - 1)],
        OverPlaces(encoder),
    )
    guess, head = Detect(d_model, n_classes, no_object=False), Detect(d_model, n_classes, no_object=False)
    decoder = AnchorDecoder(
        [one(True) for _ in range(n_layers)],
        AnchorPositions(d_model),
        [AnchorPull(n_heads) for _ in range(n_layers)],
        head,
        LayerNorm(d_model),
    )
    noise = Noise(n_classes, d_model, n_noised) if n_noised else None
    levels = gaussian(n_levels, d_model, std=1.0)
    model = AnchorDetector(embedding, body, project, levels, guess, decoder, noise, n_queries, features)
    for part in (embedding, body, project):
        initial.he(part)
    initial.xavier(model)
    for each in (guess, head):
        initial.rare(each.classes)
        initial.still(each.box.last)
    return model
