"""CLIP: ``clip`` in the Hugging Face layout, both towers."""

from __future__ import annotations

from typing import Any

from dougong.errors import UserError
from dougong.interop.mapping import Foreign, Key, Map
from dougong.interop.maps.vit import side
from dougong.interop.names import activation, foreign_activation, head_of
from dougong.interop.transforms import Row


def ours(theirs: Foreign) -> dict[str, Any]:
    """Their configuration as ours."""
    head_of(theirs, {"CLIPModel": None})
    found: dict[str, Any] = {"d_out": theirs.count("projection_dim", 512)}
    found["scale"] = float(theirs.take("logit_scale_init_value", 2.6592))
    vision, text = theirs.inside("vision_config"), theirs.inside("text_config")
    for name, tower in (("vision", vision), ("text", text)):
        _repeated(theirs, f"{name}_config_dict", tower)
        tower.read.add("projection_dim")  # the whole one's holds
        sizes = {"vision": (768, 12, 12, 3072), "text": (512, 12, 8, 2048)}[name]
        found[f"d_{name}"] = tower.count("hidden_size", sizes[0])
        found[f"n_{name}_layers"] = tower.count("num_hidden_layers", sizes[1], most=10_000)
        found[f"n_{name}_heads"] = tower.count("num_attention_heads", sizes[2])
        found[f"d_{name}_ff"] = tower.count("intermediate_size", sizes[3])
        same = {
            "activation": activation(tower, "hidden_act", "quick_gelu"),
            "eps": tower.take("layer_norm_eps", 1e-5),
            "attention_dropout": tower.take("attention_dropout", 0.0),
        }
        tower.only("dropout", 0.0)
        for key, value in same.items():
            if found.setdefault(key, value) != value:
                raise UserError(tower.where, f"{key} {value!r} differs from the other tower's", "use one for both")
    vision.only("num_channels", 3)
    found["image_size"], found["patch_size"] = side(vision, "image_size", 224), side(vision, "patch_size", 32)
    found["vocab_size"] = text.count("vocab_size", 49408)
    found["max_length"] = text.count("max_position_embeddings", 77)
    end = text.take("eos_token_id", 49407, kind=int)
    # 2 stands in files of before 2023, when the token of the highest id was taken for the end
    found["end"] = found["vocab_size"] - 1 if end == 2 else end
    vision.finish()
    text.finish()
    return found


def _repeated(theirs: Foreign, key: str, tower: Foreign) -> None:
    """Old files hold a tower's settings twice; both must agree."""
    for name, value in (theirs.take(key, None, kind=dict) or {}).items():
        if name in tower.values and tower.values[name] != value and name != "transformers_version":
            raise UserError(theirs.where, f"{key} says {name}={value!r}, the tower itself does not", "delete one")


def theirs(ours: dict[str, Any]) -> dict[str, Any]:
    """Our configuration as theirs."""
    towers: dict[str, dict[str, Any]] = {
        name: {
            "model_type": f"clip_{name}_model",
            "hidden_size": ours[f"d_{name}"],
            "num_hidden_layers": ours[f"n_{name}_layers"],
            "num_attention_heads": ours[f"n_{name}_heads"],
            "intermediate_size": ours[f"d_{name}_ff"],
            "hidden_act": foreign_activation(ours["activation"]),
            "layer_norm_eps": ours["eps"],
            "attention_dropout": ours["attention_dropout"],
            "projection_dim": ours["d_out"],
        }
        for name in ("vision", "text")
    }
    towers["vision"] |= {"num_channels": 3, "image_size": ours["image_size"], "patch_size": ours["patch_size"]}
    towers["text"] |= {"vocab_size": ours["vocab_size"], "max_position_embeddings": ours["max_length"]}
    towers["text"]["eos_token_id"] = ours["end"]
    return {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "projection_dim": ours["d_out"],
        "logit_scale_init_value": ours["scale"],
        **{f"{name}_config": tower for name, tower in towers.items()},
    }


def keys(ours: dict[str, Any]) -> list[Key]:
    """Theirs beside ours."""
    found = [
        Key("logit_scale", "scale"),
        Key("visual_projection.weight", "pictures.head.linear.weight"),
        Key("text_projection.weight", "texts.head.linear.weight"),
        Key("vision_model.embeddings.class_embedding", "pictures.embedding.prefix", Row()),
        Key("vision_model.embeddings.patch_embedding.weight", "pictures.embedding.project.weight"),
        Key("vision_model.embeddings.position_embedding.weight", "pictures.body.positions.all.weight"),
        Key("vision_model.pre_layrnorm.*", "pictures.body.before.*"),
        Key("vision_model.post_layernorm.*", "pictures.head.norm.*"),
        Key("text_model.embeddings.token_embedding.weight", "texts.embedding.weight"),
        Key("text_model.embeddings.position_embedding.weight", "texts.body.positions.all.weight"),
        Key("text_model.final_layer_norm.*", "texts.body.after.*"),
    ]
    for tower, name in (("pictures", "vision"), ("texts", "text")):
        layer, block = f"{name}_model.encoder.layers.{{i}}", f"{tower}.body.blocks.{{i}}"
        attention = f"{block}.attention.body"
        found += [
            *(
                Key(f"{layer}.self_attn.{short}_proj.*", f"{attention}.{mine}.*")
                for short, mine in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "output"))
            ),
            Key(f"{layer}.layer_norm1.*", f"{block}.attention.before.*"),
            Key(f"{layer}.mlp.fc1.*", f"{block}.feed_forward.body.up.*"),
            Key(f"{layer}.mlp.fc2.*", f"{block}.feed_forward.body.down.*"),
            Key(f"{layer}.layer_norm2.*", f"{block}.feed_forward.before.*"),
        ]
    return found


MAP = Map("clip", ("clip",), ours, theirs, keys, ignored=(r"(text|vision)_model\.embeddings\.position_ids",))
