"""SegFormer: ``segformer`` in the Hugging Face layout."""

from __future__ import annotations

from typing import Any

from dougong.errors import UserError
from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.maps.resnet import NORM
from dougong.interop.maps.vit import side
from dougong.interop.names import activation, foreign_activation, head_of, n_classes

HEADS = {"masks": "SegformerForSemanticSegmentation", "classes": "SegformerForImageClassification"}
BARE = "SegformerModel"
# theirs, ours, and what they take when a key is missing
STAGES: tuple[tuple[str, str, list[int]], ...] = (
    ("depths", "layers", [2, 2, 2, 2]),
    ("hidden_sizes", "widths", [32, 64, 160, 256]),
    ("num_attention_heads", "n_heads", [1, 2, 5, 8]),
    ("sr_ratios", "reductions", [8, 4, 2, 1]),
    ("patch_sizes", "patch_sizes", [7, 3, 3, 3]),
    ("strides", "strides", [4, 2, 2, 2]),
    ("mlp_ratios", "mlp_ratios", [4, 4, 4, 4]),
)
EPS = 1e-5
"""Of every norm, whatever their layer_norm_eps says."""


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours.

    Raises:
        UserError: lists of several lengths, or a number of stages that is not theirs.
    """
    head = head_of(theirs, {name: kind for kind, name in HEADS.items()} | {BARE: None}, "masks")
    theirs.only("num_channels", 3)
    theirs.only("attention_probs_dropout_prob", 0.0)
    theirs.only("reshape_last_stage", True)
    stages = theirs.count("num_encoder_blocks", 4)
    found = {mine: _numbers(theirs, key, default, stages) for key, mine, default in STAGES}
    return {
        **found,
        "image_size": side(theirs, "image_size", 512),
        "n_classes": n_classes(theirs) if head else None,
        "head": head or "masks",
        "d_head": theirs.count("decoder_hidden_size", 256),
        "dropout": theirs.take("hidden_dropout_prob", 0.0),
        "head_dropout": theirs.take("classifier_dropout_prob", 0.1),
        "skipped": theirs.take("drop_path_rate", 0.1),
        "activation": activation(theirs, "hidden_act"),
        "eps": EPS,
    }


def _numbers(theirs: Foreign, key: str, default: list[int], stages: int) -> list[int]:
    """One whole number for each stage."""
    values = list(theirs.take(key, default, kind=(list, tuple)))
    if len(values) != stages or not all(type(each) is int and 1 <= each <= 10**5 for each in values):
        raise UserError(theirs.where, f"{key}={values} is not one number for each of {stages} stages", "correct it")
    return values


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs.

    Raises:
        UserError: what their library has no counterpart of.
    """
    if ours["eps"] != EPS:
        raise UserError("eps", f"{ours['eps']} has no counterpart in the Hugging Face layout", f"use {EPS}")
    return {
        "model_type": "segformer",
        "architectures": [HEADS[ours["head"]] if ours["n_classes"] else BARE],
        "num_channels": 3,
        "image_size": ours["image_size"],
        "num_encoder_blocks": len(ours["layers"]),
        **{key: ours[mine] for key, mine, _ in STAGES},
        "decoder_hidden_size": ours["d_head"],
        "hidden_act": foreign_activation(ours["activation"]),
        "hidden_dropout_prob": ours["dropout"],
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout_prob": ours["head_dropout"],
        "drop_path_rate": ours["skipped"],
        "reshape_last_stage": True,
        **({"num_labels": ours["n_classes"]} if ours["n_classes"] else {}),
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    encoder, layer = "segformer.encoder", "segformer.encoder.block.{s}.{i}"
    stage, block = "body.stages.{s}", "body.stages.{s}.stack.blocks.{i}"
    pairs = [
        (f"{encoder}.patch_embeddings.{{s}}.proj", f"{stage}.patches.project"),
        (f"{encoder}.patch_embeddings.{{s}}.layer_norm", f"{stage}.patches.norm"),
        (f"{encoder}.layer_norm.{{s}}", f"{stage}.stack.after"),
        *((f"{layer}.attention.self.{each}", f"{block}.attention.body.{each}") for each in ("query", "key", "value")),
        (f"{layer}.attention.self.sr", f"{block}.attention.body.source.reduce"),
        (f"{layer}.attention.self.layer_norm", f"{block}.attention.body.source.norm"),
        (f"{layer}.attention.output.dense", f"{block}.attention.body.output"),
        (f"{layer}.layer_norm_1", f"{block}.attention.before"),
        (f"{layer}.layer_norm_2", f"{block}.feed_forward.before"),
        (f"{layer}.mlp.dense1", f"{block}.feed_forward.body.up"),
        (f"{layer}.mlp.dwconv.dwconv", f"{block}.feed_forward.body.mix.filters"),
        (f"{layer}.mlp.dense2", f"{block}.feed_forward.body.down"),
    ]
    found = [Key(f"{their}.*", f"{mine}.*") for their, mine in pairs]
    if not ours["n_classes"]:
        return found
    if ours["head"] == "classes":
        return [*found, Key("classifier.*", "head.linear.*")]
    return [
        *found,
        Key("decode_head.linear_c.{s}.proj.*", "head.sides.{s}.*"),
        Key("decode_head.linear_fuse.weight", "head.join.weight"),
        *(Key(f"decode_head.batch_norm.{leaf}", f"head.norm.{leaf}") for leaf in NORM),
        Key("decode_head.classifier.*", "head.score.*"),
    ]


MAP = Map(
    "segformer", ("segformer",), ours, theirs, keys, prefix="segformer.", headless=(BARE,),
    silent=("layer_norm_eps", "semantic_loss_ignore_index", "downsampling_rates"),
)  # fmt: skip
