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


def test_a_bare_vit_reads_without_its_pooler(tmp_path: Path) -> None:
    import transformers

    theirs = transformers.ViTModel(transformers.ViTConfig(**SMALL, intermediate_size=20)).eval()
    theirs.save_pretrained(tmp_path)
    ours = dougong.load(tmp_path)
    torch.testing.assert_close(ours(PIXELS).hidden, theirs(PIXELS).last_hidden_state, rtol=0, atol=1e-5)


def test_the_mean_of_patches_keeps_our_layout(tmp_path: Path) -> None:
    model = dougong.build("vit-micro", pool="mean")
    assert dougong.load(dougong.save(model, tmp_path)).config == model.config
    with pytest.raises(dougong.UserError, match="no counterpart"):
        dougong.save(model, tmp_path / "other", layout="huggingface")
    assert not (tmp_path / "other").exists()
