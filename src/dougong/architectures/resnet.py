"""Residual network (He et al. 2016): convolutions with shortcuts, coarser from stage to stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from dougong.architectures.arguments import Count, Counts, Side
from dougong.architectures.registry import architecture
from dougong.frames.branch import Add, Branch
from dougong.frames.model import Model
from dougong.frames.pyramid import Pyramid
from dougong.heads.classify import Classify, Mean
from dougong.parts import initial
from dougong.parts.convolution import (
    ChannelsLast,
    Layers,
    Norm,
    Subsample,
    basic_convolutions,
    bottleneck_convolutions,
    convolution,
)
from dougong.parts.embeddings import MapEmbedding, pair
from dougong.parts.output import Feature

STEMS = {
    # a 7x7 convolution and pooling, both by 2, for photographs (table 1)
    "imagenet": (
        4,
        lambda width, norm: ChannelsLast(
            convolution(3, width, 7, 2, activation=nn.ReLU(), norm=norm), nn.MaxPool2d(3, 2, 1)
        ),
    ),
    # one 3x3 convolution, for pictures of some 32 pixels (section 4.2)
    "small": (1, lambda width, norm: convolution(3, width, 3, activation=nn.ReLU(), norm=norm)),
}
BODIES = {"basic": (1, basic_convolutions), "bottleneck": (4, bottleneck_convolutions)}


@architecture
def resnet(
    *,
    image_size: Side = 224,
    layers: Counts = [3, 4, 6, 3],  # noqa: B006 - copied when it is checked
    width: Count = 64,
    block: Literal["basic", "bottleneck"] = "bottleneck",
    stem: Literal["imagenet", "small"] = "imagenet",
    shortcut: Literal["projection", "subsample"] = "projection",
    n_classes: Count | None = 1000,
) -> Model:
    """Residual network: a stem, then stages of residual branches, each stage half as fine and twice as wide.

    Args:
        image_size: in pixels, for examples and cost; other sizes are read too.
        layers: branches of each stage.
        width: channels of the first stage's narrow convolutions.
        block: two 3x3 convolutions, or 1x1, 3x3, 1x1 (figure 5).
        stem: for photographs, or for small pictures.
        shortcut: where the shape changes: a 1x1 convolution (option B), or every second pixel (option A).
        n_classes: C; None for the bare backbone.
    """
    embedding, body, features = residual_pyramid(image_size, layers, width, block, stem, shortcut)
    head = Classify(Mean(), features[-1].channels, n_classes) if n_classes else None
    model = Model(embedding, body, head, features)
    initial.he(model)
    return model


def residual_pyramid(
    image_size: Side,
    layers: Sequence[int],
    width: int,
    block: str = "bottleneck",
    stem: str = "imagenet",
    shortcut: str = "projection",
    norm: Norm = nn.BatchNorm2d,
) -> tuple[MapEmbedding, Pyramid, list[Feature]]:
    """The backbone by itself, for those who build on its maps: stem, stages, and what each stage gives.

    Args:
        image_size: in pixels, for examples and cost.
        layers: branches of each stage.
        width: channels of the first stage's narrow convolutions.
        block: "basic" or "bottleneck".
        stem: "imagenet" or "small".
        shortcut: "projection" or "subsample".
        norm: makes the norm behind each convolution.
    """
    stride, make_stem = STEMS[stem]
    widening, body = BODIES[block]
    stages, features, c_in = [], [], width
    for index, count in enumerate(layers):
        c_out, branches = width * 2**index * widening, []
        for number in range(count):
            step = 2 if index and not number else 1
            stride *= step
            join: nn.Module | None = None
            if step > 1 or c_in != c_out:
                subsample = shortcut == "subsample"
                join = Subsample(c_in, c_out, step) if subsample else convolution(c_in, c_out, 1, step, norm=norm)
            branches.append(Branch(body(c_in, c_out, step, norm), residual=Add(join), after=nn.ReLU()))
            c_in = c_out
        stages.append(Layers(*branches))
        features.append(Feature(f"stage{index + 1}", c_out, (stride, stride)))
    return MapEmbedding(make_stem(width, norm), pair(image_size)), Pyramid(stages), features
