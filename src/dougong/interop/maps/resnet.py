"""ResNet: ``resnet`` in the Hugging Face layout."""

from __future__ import annotations

from typing import Any

from dougong.errors import UserError
from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.maps.vit import side
from dougong.interop.names import head_of, n_classes

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
WIDENING = {"basic": 1, "bottleneck": 4}


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours.

    Raises:
        UserError: stages that do not double in width.
    """
    head = head_of(theirs, {"ResNetForImageClassification": "classes", "ResNetModel": None})
    theirs.only("num_channels", 3)
    theirs.only("hidden_act", "relu")
    theirs.only("downsample_in_first_stage", False)
    theirs.only("downsample_in_bottleneck", False)
    theirs.ignore("stage_names", "out_features", "out_indices")
    block = theirs.only("layer_type", "bottleneck", "basic")
    width = theirs.count("embedding_size", 64)
    layers = theirs.take("depths", [3, 4, 6, 3], kind=list)
    widths = theirs.take("hidden_sizes", [256, 512, 1024, 2048], kind=list)
    if widths != [width * WIDENING[block] * 2**index for index in range(len(layers))]:
        raise UserError(theirs.where, f"hidden_sizes={widths} is not supported", "each stage must be twice as wide")
    return {
        "image_size": side(theirs, "image_size", 224),
        "layers": layers,
        "width": width,
        "block": block,
        "stem": "imagenet",
        "shortcut": "projection",
        "n_classes": n_classes(theirs) if head else None,
    }


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs.

    Raises:
        UserError: what their library has no counterpart of.
    """
    for key, value in (("stem", "imagenet"), ("shortcut", "projection")):
        if ours[key] != value:
            raise UserError(key, f"{ours[key]} has no counterpart in the Hugging Face layout", f"use {value}")
    return {
        "model_type": "resnet",
        "architectures": ["ResNetForImageClassification" if ours["n_classes"] else "ResNetModel"],
        "num_channels": 3,
        "image_size": ours["image_size"],
        "embedding_size": ours["width"],
        "hidden_sizes": [ours["width"] * WIDENING[ours["block"]] * 2**index for index in range(len(ours["layers"]))],
        "depths": ours["layers"],
        "layer_type": ours["block"],
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
        **({"num_labels": ours["n_classes"]} if ours["n_classes"] else {}),
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours: convolutions, each with its norm."""
    layer, branch = "resnet.encoder.stages.{s}.layers.{b}", "body.stages.{s}.{b}"
    pairs = [
        ("resnet.embedder.embedder", "embedding.stem.0"),
        (f"{layer}.shortcut", f"{branch}.residual.shortcut"),
        (f"{layer}.layer.{{n}}", f"{branch}.body.{{n}}"),
    ]
    found = [Key(f"{their}.convolution.weight", f"{mine}.0.weight") for their, mine in pairs]
    found += [Key(f"{their}.normalization.{leaf}", f"{mine}.1.{leaf}") for their, mine in pairs for leaf in NORM]
    return found + ([Key("classifier.1.*", "head.linear.*")] if ours["n_classes"] else [])


MAP = Map("resnet", ("resnet",), ours, theirs, keys, prefix="resnet.", headless=("ResNetModel",))
