"""ViT, DeiT and DINOv2 loaded from and saved to the Hugging Face layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.foreign import check_family
from torch import Tensor, nn

import dougong

PIXELS = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
SMALL: dict[str, Any] = {
    "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 12, "patch_size": 4,
}  # fmt: skip
VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vit": ("ViT", "ForImageClassification", {"intermediate_size": 20, "num_labels": 5, "layer_norm_eps": 1e-6}),
    "vit, other activation": ("ViT", "ForImageClassification", {"intermediate_size": 20, "hidden_act": "relu"}),
    "deit, both tokens": ("DeiT", "ForImageClassificationWithTeacher", {"intermediate_size": 20, "num_labels": 5}),
    "deit, class token": ("DeiT", "ForImageClassification", {"intermediate_size": 20, "num_labels": 5}),
    "dinov2": ("Dinov2", "Model", {"mlp_ratio": 2, "use_mask_token": False}),
    "dinov2, classes": ("Dinov2", "ForImageClassification", {"mlp_ratio": 2, "num_labels": 5, "use_mask_token": False}),
    "dinov2, gated": ("Dinov2", "Model", {"mlp_ratio": 3, "use_swiglu_ffn": True, "use_mask_token": False}),
}
RESNETS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet, basic": ("ForImageClassification", {"layer_type": "basic", "hidden_sizes": [8, 16], "num_labels": 5}),
    "resnet, bottleneck": ("ForImageClassification", {"layer_type": "bottleneck", "hidden_sizes": [32, 64]}),
    "resnet, bare": ("Model", {"layer_type": "basic", "hidden_sizes": [8, 16]}),
}


def answer(output: Any) -> Tensor:
    for name in ("logits", "last_hidden_state", "hidden"):
        if getattr(output, name, None) is not None:
            return getattr(output, name)
    raise AssertionError("nothing to compare")


def of(model: nn.Module) -> Tensor:
    return answer(model(PIXELS.to(next(model.parameters()).dtype)))


@pytest.mark.parametrize("name", VARIANTS)
def test_vision(name: str, tmp_path: Path) -> None:
    import transformers

    family, kind, changes = VARIANTS[name]

    def make() -> nn.Module:
        return getattr(transformers, family + kind)(getattr(transformers, f"{family}Config")(**SMALL, **changes))

    check_family(make, of, of, tmp_path)


@pytest.mark.parametrize("name", RESNETS)
def test_resnet(name: str, tmp_path: Path) -> None:
    import transformers

    kind, changes = RESNETS[name]

    def make() -> nn.Module:
        return getattr(transformers, "ResNet" + kind)(
            transformers.ResNetConfig(embedding_size=8, depths=[1, 2], **changes)
        )

    def larger(model: nn.Module) -> Tensor:
        pixels = torch.randn(2, 3, 41, 33, generator=torch.Generator().manual_seed(2))
        return answer(model(pixels.to(next(model.parameters()).dtype)))

    check_family(make, larger, larger, tmp_path, control="body.stages.1.0.body.1.0.weight")


def vit(add_pooling_layer: bool = True, **changes: Any) -> nn.Module:
    import transformers

    config = transformers.ViTConfig(**SMALL, intermediate_size=20, **changes)
    return transformers.ViTModel(config, add_pooling_layer=add_pooling_layer).eval()


def hidden_and_pooled(model: nn.Module) -> Tensor:
    output = model(PIXELS.to(next(model.parameters()).dtype))
    pooled = output.pooler_output if hasattr(output, "pooler_output") else output.logits
    assert pooled.shape == (2, SMALL["hidden_size"])
    hidden = output.last_hidden_state if hasattr(output, "last_hidden_state") else output.hidden
    return torch.cat((hidden.flatten(1), pooled), 1)


@pytest.mark.parametrize("changes", [{}, {"pooler_act": "gelu_new", "pooler_output_size": 12}], ids=["tanh", "gelu"])
def test_a_pooled_vit(changes: dict[str, Any], tmp_path: Path) -> None:
    import transformers

    ours = check_family(lambda: vit(**changes), hidden_and_pooled, hidden_and_pooled, tmp_path)
    assert ours.config["pooler"] == {"gelu_new": "gelu_tanh"}.get(changes.get("pooler_act", ""), "tanh")
    dougong.save(ours, tmp_path / "back")
    auto = transformers.AutoModel.from_pretrained(tmp_path / "back")
    torch.testing.assert_close(hidden_and_pooled(auto), hidden_and_pooled(ours), rtol=0, atol=1e-5)


def test_a_vit_without_a_pooler_stays_without(tmp_path: Path) -> None:
    theirs = vit(add_pooling_layer=False)
    theirs.save_pretrained(tmp_path)
    ours = dougong.load(tmp_path)
    assert ours.head is None and ours.config["pooler"] is None
    torch.testing.assert_close(of(ours), of(theirs), rtol=0, atol=1e-5)
    assert dougong.load(dougong.save(ours, tmp_path / "back", layout="huggingface")).config == ours.config


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pooler_output_size": 8}, "pooler_output_size=8 is not supported"),
        ({"pooler_act": "mish"}, "pooler_act='mish' is not supported"),
    ],
)
def test_a_pooler_that_we_do_not_build_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    vit(**changes).save_pretrained(tmp_path)
    with pytest.raises(dougong.UserError, match=said):
        dougong.load(tmp_path)


def test_half_a_pooler_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    vit().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["pooler.dense.bias"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(dougong.UserError, match=r"lacks .*pooler\.dense\.bias"):
        dougong.load(tmp_path)


def test_classes_take_the_place_of_the_pooler() -> None:
    plain, same = (dougong.build("vit-micro", n_classes=5, pooler=pooler).state_dict() for pooler in (None, "tanh"))
    assert {name: each.shape for name, each in plain.items()} == {name: each.shape for name, each in same.items()}
    with pytest.raises(dougong.UserError, match="pool=mean"):
        dougong.build("vit-micro", n_classes=None, pool="mean", pooler="tanh")


def test_the_mean_of_patches_keeps_our_layout(tmp_path: Path) -> None:
    model = dougong.build("vit-micro", pool="mean")
    assert dougong.load(dougong.save(model, tmp_path)).config == model.config
    with pytest.raises(dougong.UserError, match="no counterpart"):
        dougong.save(model, tmp_path / "other", layout="huggingface")
    assert not (tmp_path / "other").exists()
