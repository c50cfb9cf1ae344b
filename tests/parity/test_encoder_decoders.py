"""T5, BART and Marian loaded from and saved to the Hugging Face layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.foreign import check_family
from torch import Tensor, nn

import dougong
from dougong.errors import UserError

G = torch.Generator().manual_seed(1)
SOURCE, TARGET = torch.randint(3, 23, (3, 11), generator=G), torch.randint(3, 23, (3, 7), generator=G)
SOURCE_LENGTHS, TARGET_LENGTHS = torch.tensor([11, 4, 1]), torch.tensor([7, 1, 5])
READ, REAL = torch.arange(11) < SOURCE_LENGTHS[:, None], torch.arange(7) < TARGET_LENGTHS[:, None]
T5: dict[str, Any] = {
    "vocab_size": 23, "d_model": 12, "d_kv": 5, "d_ff": 20, "num_layers": 2, "num_heads": 3, "dropout_rate": 0.0,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 9,
}  # fmt: skip
BART: dict[str, Any] = {
    "vocab_size": 23, "d_model": 12, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 3,
    "decoder_attention_heads": 3, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20, "max_position_embeddings": 13,
    "dropout": 0.0, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("T5ForConditionalGeneration", T5),
    "t5, more of a decoder": ("T5ForConditionalGeneration", {**T5, "num_decoder_layers": 3}),
    "t5, version 1.1": (
        "T5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    ),
    "bart": ("BartForConditionalGeneration", BART),
    "bart, scaled, less of a decoder": (
        "BartForConditionalGeneration",
        {**BART, "scale_embedding": True, "decoder_layers": 1, "activation_function": "relu"},
    ),
    "marian": ("MarianMTModel", {**BART, "scale_embedding": True, "activation_function": "swish"}),
}  # fmt: skip


def tiny(name: str) -> nn.Module:
    import transformers

    kind, config = VARIANTS[name]
    model = getattr(transformers, kind)(getattr(transformers, kind.split("For")[0].split("MT")[0] + "Config")(**config))
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.normal_(generator=torch.Generator().manual_seed(3))
    return model


def ours_of(model: nn.Module) -> Tensor:
    return model(SOURCE, TARGET, SOURCE_LENGTHS, TARGET_LENGTHS).logits[REAL]


def theirs_of(model: nn.Module) -> Tensor:
    return model(
        input_ids=SOURCE, attention_mask=READ.long(), decoder_input_ids=TARGET, decoder_attention_mask=REAL.long()
    ).logits[REAL]


@pytest.mark.parametrize("name", VARIANTS)
def test_encoder_decoder(name: str, tmp_path: Path) -> None:
    check_family(lambda: tiny(name), ours_of, theirs_of, tmp_path)


def test_a_table_of_its_own_for_writing(tmp_path: Path) -> None:
    """Version 1.1 as the hub has it: tie_word_embeddings is false, and lm_head.weight is another than shared.weight."""
    from safetensors.torch import load_file, save_file

    theirs = tiny("t5, version 1.1").eval()
    theirs.save_pretrained(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    written = torch.randn(23, 12, generator=torch.Generator().manual_seed(2))
    save_file({**load_file(weights), "lm_head.weight": written}, weights, metadata={"format": "pt"})
    told = json.loads(config.read_text())
    told.pop("scale_decoder_outputs", None)
    config.write_text(json.dumps({**told, "tie_word_embeddings": False}))
    ours = dougong.load(tmp_path)
    assert not ours.config["tied"] and not ours.config["scaled"]
    hidden = ours(SOURCE, TARGET).hidden
    torch.testing.assert_close(ours(SOURCE, TARGET).logits, hidden @ written.T)
    again = dougong.load(dougong.save(ours, tmp_path / "back"))
    assert again.config == ours.config and torch.equal(again.head.linear.weight, written)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("t5", {"feed_forward_proj": "gated-mish"}, "feed_forward_proj='gated-mish'"),
        ("t5", {"vocab_size": 24}, "shared.weight gives (23, 12), not (24, 12)"),
        ("bart", {"normalize_before": True}, "normalize_before=True"),
        ("bart", {"decoder_ffn_dim": 21}, "decoder_ffn_dim=21"),
        ("bart", {"architectures": ["BartForSequenceClassification"]}, "BartForSequenceClassification"),
        ("marian", {"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings=False"),
    ],
)
def test_what_we_do_not_build_is_refused_by_name(name: str, change: dict[str, Any], said: str, tmp_path: Path) -> None:
    tiny(name).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UserError) as error:
        dougong.load(tmp_path)
    assert said in str(error.value) and str(tmp_path) in str(error.value)
