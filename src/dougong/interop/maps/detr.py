"""DETR: ``detr`` with its own residual network in the Hugging Face layout."""

from __future__ import annotations

from typing import Any

from dougong.errors import UserError
from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.maps import resnet
from dougong.interop.maps.vit import side
from dougong.interop.names import activation, foreign_activation, head_of, n_classes

COSTS = {"class_cost": 1, "bbox_cost": 5, "giou_cost": 2}
LOSSES = {"bbox_loss_coefficient": 5, "giou_loss_coefficient": 2, "eos_coefficient": 0.1}
SILENT = (
    "auxiliary_loss", "mask_loss_coefficient", "dice_loss_coefficient", "init_std", "init_xavier_std",
    "encoder_layerdrop", "decoder_layerdrop", "num_hidden_layers", *COSTS, *LOSSES,
)  # fmt: skip


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours.

    Raises:
        UserError: a backbone that is not their own ResNet, or another choice that we do not build.
    """
    head_of(theirs, {"DetrForObjectDetection": None})
    theirs.only("num_channels", 3)
    theirs.only("position_embedding_type", "sine")
    theirs.only("dilation", False)
    theirs.only("use_timm_backbone", False, default=False)
    theirs.only("use_pretrained_backbone", False, default=False)
    theirs.ignore("backbone", "backbone_kwargs")
    if not theirs.values.get("backbone_config"):
        raise UserError(theirs.where, "names a backbone of another library", "use a model with a backbone_config")
    backbone = theirs.inside("backbone_config")
    backbone.only("model_type", "resnet")
    backbone.values.pop("architectures", None)  # of the backbone's own folder, if it had one
    last = f"stage{len(backbone.take('depths', [3, 4, 6, 3], kind=list))}"
    if backbone.take("out_features", [last], kind=list)[-1] != last:
        raise UserError(backbone.where, "reads another stage than the last", "use a model that reads the last one")
    network = resnet.ours(backbone)
    backbone.finish()
    n_heads = theirs.count("encoder_attention_heads", 8)
    d_ff = theirs.count("encoder_ffn_dim", 2048)
    theirs.only("decoder_attention_heads", n_heads, default=8)
    theirs.only("decoder_ffn_dim", d_ff, default=2048)
    return {
        "image_size": side(theirs, "image_size", 800),
        "layers": network["layers"],
        "width": network["width"],
        "block": network["block"],
        "norm": "frozen",
        "d_model": theirs.count("d_model", 256),
        "n_encoder_layers": theirs.count("encoder_layers", 6, most=10_000),
        "n_layers": theirs.count("decoder_layers", 6, most=10_000),
        "n_heads": n_heads,
        "d_ff": d_ff,
        "n_queries": theirs.count("num_queries", 100),
        "n_classes": n_classes(theirs),
        "activation": activation(theirs, "activation_function", "relu"),
        "dropout": float(theirs.take("dropout", 0.1)),
        "attention_dropout": float(theirs.take("attention_dropout", 0.0)),
        "activation_dropout": float(theirs.take("activation_dropout", 0.0)),
    }


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs.

    Raises:
        UserError: batch norms that still learn, which their library has not.
    """
    if ours["norm"] != "frozen":
        raise UserError("norm", f"{ours['norm']} has no counterpart in the Hugging Face layout", "use frozen")
    network = resnet.theirs({**ours, "stem": "imagenet", "shortcut": "projection", "n_classes": None})
    last = len(ours["layers"])
    sides = {
        f"{part}_{name}": ours[mine]
        for part in ("encoder", "decoder")
        for name, mine in (("attention_heads", "n_heads"), ("ffn_dim", "d_ff"))
    }
    return {
        "model_type": "detr",
        "architectures": ["DetrForObjectDetection"],
        "is_encoder_decoder": True,
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone": None,
        "backbone_config": {
            **{key: value for key, value in network.items() if key != "architectures"},
            "out_features": [f"stage{last}"],
            "out_indices": [last],
        },
        "num_channels": 3,
        "image_size": ours["image_size"],
        "d_model": ours["d_model"],
        "encoder_layers": ours["n_encoder_layers"],
        "num_hidden_layers": ours["n_encoder_layers"],
        "decoder_layers": ours["n_layers"],
        **sides,
        "num_queries": ours["n_queries"],
        "num_labels": ours["n_classes"],
        "activation_function": foreign_activation(ours["activation"]),
        "dropout": ours["dropout"],
        "attention_dropout": ours["attention_dropout"],
        "activation_dropout": ours["activation_dropout"],
        "position_embedding_type": "sine",
        "dilation": False,
        "auxiliary_loss": False,
        **COSTS,
        **LOSSES,
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours; the residual network's are those of `resnet`, but for counters that frozen norms lack."""
    network = "model.backbone.conv_encoder.model."
    found = [
        Key(str(key.theirs).replace("resnet.", network, 1), key.ours)
        for key in resnet.keys({"n_classes": None})
        if not str(key.theirs).endswith("num_batches_tracked")
    ]
    found += [
        Key("model.input_projection.*", "project.*"),
        Key("model.query_position_embeddings.weight", "decoder.positions.all.positions.weight"),
        Key("model.decoder.layernorm.*", "decoder.after.*"),
        Key("class_labels_classifier.*", "head.classes.*"),
        Key("bbox_predictor.layers.{i}.*", "head.box.layers.{i}.*"),
    ]
    sides = (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "output"))
    for part in ("encoder", "decoder"):
        layer, block = f"model.{part}.layers.{{i}}", f"{part}.blocks.{{i}}"
        attentions = [("self_attn", "attention")] + [("encoder_attn", "cross_attention")] * (part == "decoder")
        for name, branch in attentions:
            found += [Key(f"{layer}.{name}.{their}.*", f"{block}.{branch}.body.{mine}.*") for their, mine in sides]
            found.append(Key(f"{layer}.{name}_layer_norm.*", f"{block}.{branch}.after.*"))
        found += [
            Key(f"{layer}.fc1.*", f"{block}.feed_forward.body.up.*"),
            Key(f"{layer}.fc2.*", f"{block}.feed_forward.body.down.*"),
            Key(f"{layer}.final_layer_norm.*", f"{block}.feed_forward.after.*"),
        ]
    return found


MAP = Map("detr", ("detr",), ours, theirs, keys, ignored=(r".*\.num_batches_tracked",), silent=SILENT)
