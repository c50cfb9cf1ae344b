"""Decoders that classify a text or its tokens, or give their hidden states, as in the Hugging Face layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.foreign import check_family
from torch import Tensor, nn

import dougong
from dougong.errors import UserError

LENGTHS = torch.tensor([13, 6, 1])
REAL = torch.arange(13) < LENGTHS[:, None]
TOKENS = torch.randint(1, 31, (3, 13), generator=torch.Generator().manual_seed(1)) * REAL  # 0 is the padding
SMALL: dict[str, Any] = {
    "vocab_size": 31, "hidden_size": 24, "intermediate_size": 28, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "head_dim": 6, "num_labels": 5,
}  # fmt: skip
GPT2: dict[str, Any] = {"vocab_size": 31, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64, "pad_token_id": 0}
FAMILIES: dict[str, dict[str, Any]] = {
    "GPT2": {**GPT2, "num_labels": 5, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "Llama": SMALL,
    "Mistral": {**SMALL, "sliding_window": 4},
    "Mixtral": {**SMALL, "num_local_experts": 3, "num_experts_per_tok": 2},
    "Qwen2": {key: value for key, value in SMALL.items() if key != "head_dim"},
    "Qwen3": SMALL,
    "Gemma2": {**SMALL, "sliding_window": 4, "query_pre_attn_scalar": 5},
}
KINDS = {"Model": None, "ForSequenceClassification": "sequence", "ForTokenClassification": "tokens"}


def tiny(family: str, kind: str) -> nn.Module:
    import transformers

    return getattr(transformers, family + kind)(getattr(transformers, f"{family}Config")(**FAMILIES[family]))


def picked(output: Tensor) -> Tensor:
    return output if output.dim() == 2 else output[REAL]


def ours_of(model: nn.Module) -> Tensor:
    output = model(TOKENS, LENGTHS)
    return picked(output.hidden if output.logits is None else output.logits)


def theirs_of(model: Any) -> Tensor:
    if "Mixtral" in type(model).__name__:
        model.set_experts_implementation("eager")  # the default one knows no float64
    output = model(TOKENS, attention_mask=REAL.long())
    return picked(output.last_hidden_state if hasattr(output, "last_hidden_state") else output.logits)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_of_every_decoder(family: str, kind: str, tmp_path: Path) -> None:
    ours = check_family(lambda: tiny(family, kind), ours_of, theirs_of, tmp_path)
    assert ours.config["head"] == KINDS[kind]
    if KINDS[kind]:
        assert ours.config["n_classes"] == 5
        with pytest.raises(UserError, match="its head scores no tokens"):
            dougong.generate(ours, [1, 2], end=())


def test_the_last_real_token_is_read_and_no_other(tmp_path: Path) -> None:
    tiny("Llama", "ForSequenceClassification").save_pretrained(tmp_path)
    ours = dougong.load(tmp_path)
    with torch.no_grad():
        right = ours(TOKENS, LENGTHS).logits
        assert not torch.allclose(ours(TOKENS, LENGTHS - 1 + (LENGTHS == 1)).logits[:2], right[:2])
        for row, length in enumerate(LENGTHS.tolist()):
            torch.testing.assert_close(ours(TOKENS[[row], :length]).logits[0], right[row])
