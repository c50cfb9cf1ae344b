"""DINOv2: ``dinov2`` in the Hugging Face layout; ViT's names, and a factor for each branch."""

from __future__ import annotations

from typing import Any

from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.maps.vit import SILENT, blocks, foreign, shared
from dougong.interop.names import head_of, n_classes
from dougong.interop.transforms import Lead, Split


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours; the gated network's activation is always silu."""
    head = head_of(theirs, {"Dinov2ForImageClassification": "sequence", "Dinov2Model": None})
    gated = theirs.take("use_swiglu_ffn", False)
    theirs.only("drop_path_rate", 0.0)
    theirs.ignore(
        "use_mask_token", "apply_layernorm", "reshape_hidden_states", "stage_names", "out_features", "out_indices"
    )
    found = shared(theirs, layer_norm_eps=1e-6)
    return {
        **found,
        "mlp_ratio": theirs.count("mlp_ratio", 4),
        "gated": gated,
        "activation": "silu" if gated else found["activation"],
        "layer_scale": float(theirs.take("layerscale_value", 1.0)),
        "n_classes": n_classes(theirs) if head else None,
    }


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    kind = "Dinov2ForImageClassification" if ours["n_classes"] else "Dinov2Model"
    return {
        "model_type": "dinov2",
        "architectures": [kind],
        **foreign(ours),
        **({"hidden_act": "gelu"} if ours["gated"] else {}),
        "mlp_ratio": ours["mlp_ratio"],
        "use_swiglu_ffn": ours["gated"],
        "layerscale_value": ours["layer_scale"],
        "use_mask_token": False,
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    layer, block = "dinov2.encoder.layer.{i}", "body.blocks.{i}"
    found = blocks("dinov2", "norm1", "norm2", "mlp.fc1", "mlp.fc2")
    if ours["gated"]:
        gates = tuple(f"{block}.feed_forward.body.{side}" for side in ("gate", "up"))
        found = [key for key in found if ".mlp." not in str(key.theirs)]
        found += [
            Key(f"{layer}.mlp.weights_in.{leaf}", tuple(f"{gate}.{leaf}" for gate in gates), Split())
            for leaf in ("weight", "bias")
        ]
        found.append(Key(f"{layer}.mlp.weights_out.*", f"{block}.feed_forward.body.down.*"))
    return [
        Key("dinov2.embeddings.cls_token", "embedding.prefix", Lead()),
        *found,
        Key(f"{layer}.layer_scale1.lambda1", f"{block}.attention.residual.scale"),
        Key(f"{layer}.layer_scale2.lambda1", f"{block}.feed_forward.residual.scale"),
        *([Key("classifier.*", "head.linear.*")] if ours["n_classes"] else []),
    ]


MAP = Map(
    "dinov2", ("dinov2",), ours, theirs, keys, prefix="dinov2.", headless=("Dinov2Model",),
    ignored=(r"dinov2\.embeddings\.mask_token",), silent=SILENT,
)  # fmt: skip
