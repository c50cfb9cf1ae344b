"""U-Net (Ronneberger et al. 2015): convolutions down to a coarse map and back up, both sides of each level joined."""

from __future__ import annotations

from torch import nn

from dougong.architectures.arguments import Count, Counts, Side
from dougong.architectures.registry import architecture
from dougong.frames.model import Model
from dougong.frames.pyramid import Pyramid
from dougong.heads.segment import UpPath
from dougong.parts import initial
from dougong.parts.convolution import Layers, convolution
from dougong.parts.embeddings import MapEmbedding, pair
from dougong.parts.output import Feature


def twice(c_in: int, c_out: int) -> Layers:
    """Two 3x3 convolutions, each with its norm and ReLU."""
    return Layers(convolution(c_in, c_out, 3, activation=nn.ReLU()), convolution(c_out, c_out, 3, activation=nn.ReLU()))


@architecture
def unet(
    *,
    image_size: Side = 512,
    widths: Counts = [64, 128, 256, 512, 1024],  # noqa: B006 - copied when it is checked
    n_classes: Count | None = 2,
) -> Model:
    """U-Net: levels of two 3x3 convolutions, halved by pooling on the way down, doubled on the way up (figure 1).

    Two things are as in today's use: convolutions are padded, so that a mask is as large as its picture, and followed
    by batch norms.

    Args:
        image_size: in pixels, for examples and cost; other sizes are read too.
        widths: channels of each level, finest first.
        n_classes: C; None for the way down alone.
    """
    stages, features, c_in = [], [], 3
    for level, width in enumerate(widths):
        body = twice(c_in, width)
        stages.append(Layers(nn.MaxPool2d(2), body) if level else body)
        features.append(Feature(f"level{level + 1}", width, (2**level, 2**level)))
        c_in = width
    bodies = [twice(2 * width, width) for width in widths[:-1]]
    head = UpPath(widths, bodies, n_classes) if n_classes else None
    model = Model(MapEmbedding(Layers(), pair(image_size)), Pyramid(stages), head, features)
    initial.he(model)
    if head is not None:
        initial.normal(head.score, widths[0] ** -0.5)  # not by its few outputs: scores would start far apart
    return model
