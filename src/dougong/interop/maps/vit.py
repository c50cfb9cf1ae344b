"""ViT: ``vit`` in the Hugging Face layout. DeiT and DINOv2 have most of its names."""

from __future__ import annotations

from typing import Any

from dougong.errors import UserError
from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.names import activation, foreign_activation, head_of, n_classes
from dougong.interop.transforms import Lead

SILENT = ("encoder_stride", "pooler_output_size", "pooler_act", "num_channels")


def shared(theirs: Foreign, **defaults: Any) -> dict[str, Any]:
    """What these families say alike."""
    theirs.only("num_channels", 3)
    theirs.only("qkv_bias", True)
    theirs.only("attention_probs_dropout_prob", 0.0)
    return {
        "image_size": side(theirs, "image_size", defaults.get("image_size", 224)),
        "patch_size": side(theirs, "patch_size", defaults.get("patch_size", 16)),
        "d_model": theirs.count("hidden_size", 768),
        "n_layers": theirs.count("num_hidden_layers", 12, most=10_000),
        "n_heads": theirs.count("num_attention_heads", 12),
        "dropout": theirs.take("hidden_dropout_prob", 0.0),
        "activation": activation(theirs, "hidden_act"),
        "eps": theirs.take("layer_norm_eps", defaults.get("layer_norm_eps", 1e-12)),
    }


def side(theirs: Foreign, key: str, default: int) -> int | list[int]:
    """A size in pixels, one number or two.

    Raises:
        UserError: it is neither.
    """
    value = theirs.take(key, default, kind=(int, list, tuple))
    sides = [value] if isinstance(value, int) else list(value)
    if len(sides) > 2 or not all(isinstance(each, int) and 1 <= each <= 10**5 for each in sides):
        raise UserError(theirs.where, f"{key}={value!r} is no size in pixels", "correct it")
    return sides[0] if len(set(sides)) == 1 else sides


def foreign(ours: dict[str, Any]) -> dict[str, Any]:
    """The same, back."""
    return {
        "num_channels": 3,
        "qkv_bias": True,
        "attention_probs_dropout_prob": 0.0,
        "image_size": ours["image_size"],
        "patch_size": ours["patch_size"],
        "hidden_size": ours["d_model"],
        "num_hidden_layers": ours["n_layers"],
        "num_attention_heads": ours["n_heads"],
        "hidden_dropout_prob": ours["dropout"],
        "hidden_act": foreign_activation(ours["activation"]),
        "layer_norm_eps": ours["eps"],
        **({"num_labels": ours["n_classes"]} if ours["n_classes"] else {}),
    }


def blocks(name: str, before: str, after: str, up: str, down: str) -> list[Key]:
    """Embedding and blocks. Args: name: of the base model; before, after, up, down: theirs of norms and layers."""
    layer, block = f"{name}.encoder.layer.{{i}}", "body.blocks.{i}"
    return [
        Key(f"{name}.embeddings.patch_embeddings.projection.*", "embedding.project.*"),
        Key(f"{name}.embeddings.position_embeddings", "body.positions.all.weight", Lead()),
        *(
            Key(f"{layer}.attention.attention.{mine}.*", f"{block}.attention.body.{mine}.*")
            for mine in ("query", "key", "value")
        ),
        Key(f"{layer}.attention.output.dense.*", f"{block}.attention.body.output.*"),
        Key(f"{layer}.{before}.*", f"{block}.attention.before.*"),
        Key(f"{layer}.{after}.*", f"{block}.feed_forward.before.*"),
        Key(f"{layer}.{up}.*", f"{block}.feed_forward.body.up.*"),
        Key(f"{layer}.{down}.*", f"{block}.feed_forward.body.down.*"),
        Key(f"{name}.layernorm.*", "body.after.*"),
    ]


NAMES = ("layernorm_before", "layernorm_after", "intermediate.dense", "output.dense")


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours."""
    head = head_of(theirs, {"ViTForImageClassification": "sequence", "ViTModel": None})
    found = shared(theirs)
    return {
        **found,
        "d_ff": theirs.count("intermediate_size", 3072),
        "n_classes": n_classes(theirs) if head else None,
        "pool": "first",
        "pooler": None if head else pooler(theirs, found["d_model"]),
    }


def pooler(theirs: Foreign, d_model: int) -> str:
    """Activation of the pooler of the base model. Whether a checkpoint has one, its weights say.

    Raises:
        UserError: it is not as wide as the model.
    """
    theirs.only("pooler_output_size", d_model)
    return activation(theirs, "pooler_act", "tanh")


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs.

    Raises:
        UserError: what their library has no counterpart of.
    """
    if ours["pool"] != "first":
        raise UserError("pool", "the mean of the patches has no counterpart in the Hugging Face layout", "use first")
    kind = "ViTForImageClassification" if ours["n_classes"] else "ViTModel"
    found = {"model_type": "vit", "architectures": [kind], **foreign(ours), "intermediate_size": ours["d_ff"]}
    if ours["n_classes"] or not ours["pooler"]:
        return found
    return {**found, "pooler_output_size": ours["d_model"], "pooler_act": foreign_activation(ours["pooler"])}


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    head = [Key("classifier.*" if ours["n_classes"] else "vit.pooler.dense.*", "head.linear.*")]
    return [Key("vit.embeddings.cls_token", "embedding.prefix", Lead()), *blocks("vit", *NAMES), *head]


MAP = Map(
    "vit", ("vit",), ours, theirs, keys, prefix="vit.", headless=("ViTModel",),
    ignored=(r"vit\.pooler\.dense\..*", r"vit\.embeddings\.mask_token"), silent=SILENT,
)  # fmt: skip
