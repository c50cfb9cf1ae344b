"""CLIP, both towers, loaded from and saved to the Hugging Face layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.foreign import check_family
from torch import Tensor, nn

import dougong
from dougong.errors import UserError

G = torch.Generator().manual_seed(2)
PIXELS = torch.randn(3, 3, 10, 10, generator=G)
LENGTHS = torch.tensor([7, 2, 4])
TOKENS = torch.randint(3, 22, (3, 7), generator=G)
for row, length in enumerate(LENGTHS.tolist()):
    TOKENS[row, length - 1 :] = 22  # the end, and then padding by the same token, as the tokenizer does it
REAL = torch.arange(7) < LENGTHS[:, None]
TEXT: dict[str, Any] = {
    "vocab_size": 23, "hidden_size": 8, "intermediate_size": 14, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 9, "eos_token_id": 22, "bos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 3, "image_size": 10,
    "patch_size": 5,
}  # fmt: skip
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "clip": ({}, {}),
    "the end of old files": ({"eos_token_id": 2}, {}),
    "gelu, other eps": ({"hidden_act": "gelu", "layer_norm_eps": 1e-3}, {"hidden_act": "gelu", "layer_norm_eps": 1e-3}),
}  # fmt: skip


def tiny(name: str) -> nn.Module:
    import transformers

    text, vision = VARIANTS[name]
    config = transformers.CLIPConfig(
        text_config={**TEXT, **text}, vision_config={**VISION, **vision}, projection_dim=6, logit_scale_init_value=0.3
    )
    return transformers.CLIPModel(config)


def theirs_of(model: nn.Module) -> Any:
    return model(input_ids=TOKENS, pixel_values=PIXELS.to(next(model.parameters()).dtype), attention_mask=REAL.long())


def ours_of(model: nn.Module) -> Any:
    return model(PIXELS.to(next(model.parameters()).dtype), TOKENS, LENGTHS)


OUTPUTS: dict[str, tuple[Callable[[Any], Tensor], Callable[[Any], Tensor]]] = {
    "logits": (lambda ours: ours.logits, lambda theirs: theirs.logits_per_image),
    "vectors": (
        lambda ours: torch.cat((ours.images, ours.texts)),
        lambda theirs: torch.cat((theirs.image_embeds, theirs.text_embeds)),
    ),
}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", VARIANTS)
def test_as_transformers_computes_it(name: str, output: str, tmp_path: Path) -> None:
    mine, yours = OUTPUTS[output]
    check_family(
        lambda: tiny(name), lambda model: mine(ours_of(model)), lambda model: yours(theirs_of(model)), tmp_path
    )


def test_without_lengths_a_text_ends_as_there(tmp_path: Path) -> None:
    theirs = tiny("clip").eval()
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        found = dougong.load(tmp_path)(PIXELS, TOKENS).logits
        torch.testing.assert_close(found, theirs_of(theirs).logits_per_image, rtol=1e-5, atol=1e-6)


def test_the_settings_of_old_files_are_read(tmp_path: Path) -> None:
    tiny("clip").save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    ours = dougong.load(tmp_path).config
    config["text_config_dict"] = {"hidden_size": 8}
    config["vision_config"]["projection_dim"] = 512
    file.write_text(json.dumps(config))
    assert dougong.load(tmp_path).config == ours
    config["text_config_dict"] = {"hidden_size": 9}
    file.write_text(json.dumps(config))
    with pytest.raises(UserError, match="text_config_dict says hidden_size=9"):
        dougong.load(tmp_path)


@pytest.mark.parametrize(
    ("where", "change", "said"),
    [
        ("text_config", {"hidden_act": "sparkle"}, "hidden_act='sparkle'"),
        ("text_config", {"layer_norm_eps": 1e-3}, "eps .* differs from the other tower"),
        ("vision_config", {"num_channels": 4}, "num_channels=4"),
        ("vision_config", {"new_option": True}, "new_option"),
        ("text_config", {"eos_token_id": [1, 2]}, "eos_token_id"),
        (None, {"projection_dim": 0}, "projection_dim=0"),
        (None, {"architectures": ["CLIPTextModel"]}, "CLIPTextModel"),
        (None, {"surprise": 3}, "surprise"),
    ],
)
def test_what_is_not_built_is_refused_by_name(where: str | None, change: Any, said: str, tmp_path: Path) -> None:
    tiny("clip").save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    (config if where is None else config[where]).update(change)
    file.write_text(json.dumps(config))
    with pytest.raises(UserError, match=said):
        dougong.load(tmp_path)
