"""DETR (Carion et al. 2020): object queries read a picture, and each answers with a class and a box."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from dougong.architectures.arguments import Count, Counts, Depth, Share, Side
from dougong.architectures.registry import architecture
from dougong.architectures.resnet import residual_pyramid
from dougong.frames.branch import Block, Branch
from dougong.frames.detector import Detector
from dougong.frames.stack import Stack
from dougong.heads.detect import Detect
from dougong.parts import initial
from dougong.parts.attention import Memory, multi_head_attention
from dougong.parts.feedforward import feed_forward
from dougong.parts.norms import FrozenBatchNorm, LayerNorm
from dougong.parts.positions import AtEveryLayer, Learned, Sinusoidal2d

NORMS = {"frozen": FrozenBatchNorm, "batch": nn.BatchNorm2d}


@architecture
def detr(
    *,
    image_size: Side = 800,
    layers: Counts = [3, 4, 6, 3],  # noqa: B006 - copied when it is checked
    width: Count = 64,
    block: Literal["basic", "bottleneck"] = "bottleneck",
    norm: Literal["frozen", "batch"] = "frozen",
    d_model: Count = 256,
    n_encoder_layers: Depth = 6,
    n_layers: Depth = 6,
    n_heads: Count = 8,
    d_ff: Count = 2048,
    n_queries: Count = 100,
    n_classes: Count = 91,
    activation: str = "relu",
    dropout: Share = 0.1,
    attention_dropout: Share = 0.0,
    activation_dropout: Share = 0.0,
) -> Detector:
    """DETR: a residual network, an encoder of its last map, and a decoder of object queries (section 3.2).

    Args:
        image_size: in pixels, for examples and cost; other sizes are read too.
        layers: branches of each stage of the residual network.
        width: channels of its first stage's narrow convolutions.
        block: of the residual network: two 3x3 convolutions, or 1x1, 3x3, 1x1.
        norm: of the residual network: "frozen" where it was trained before (appendix A.4), "batch" from scratch.
        d_model: D.
        n_encoder_layers: blocks of the encoder.
        n_layers: blocks of the decoder; each one's answer is judged.
        n_heads: H.
        d_ff: F.
        n_queries: N, objects that can be found at most.
        n_classes: C; "no object" comes to them.
        activation: of the feed-forward networks.
        dropout: of the places and of each branch.
        attention_dropout: of the weights of attention.
        activation_dropout: after the activation.
    """
    embedding, body, features = residual_pyramid(image_size, layers, width, block, norm=NORMS[norm])

    def branch(part: nn.Module) -> Branch:
        return Branch(part, after=LayerNorm(d_model), dropout=dropout)

    def one(decoder: bool) -> Block:
        own = multi_head_attention(d_model, n_heads, dropout=attention_dropout)
        cross = multi_head_attention(d_model, n_heads, source=Memory(), dropout=attention_dropout) if decoder else None
        network = feed_forward(d_model, d_ff, activation, dropout=activation_dropout)
        between = {"cross_attention": branch(cross)} if cross is not None else {}
        return Block(attention=branch(own), **between, feed_forward=branch(network))

    def places() -> AtEveryLayer:
        return AtEveryLayer(Sinusoidal2d(d_model, span=2 * math.pi))

    encoder = Stack([one(False) for _ in range(n_encoder_layers)], positions=places(), before=nn.Dropout(dropout))
    decoder = Stack(
        [one(True) for _ in range(n_layers)],
        positions=AtEveryLayer(Learned(n_queries, d_model)),
        after=LayerNorm(d_model),
        memory_positions=places(),
    )
    project = nn.Conv2d(features[-1].channels, d_model, 1)
    model = Detector(embedding, body, project, encoder, decoder, Detect(d_model, n_classes), n_queries, features)
    initial.he(body)
    initial.he(embedding)
    initial.xavier(model)
    return model
