"""RoBERTa, DistilBERT and ModernBERT loaded from and saved to the Hugging Face layout, with each of their heads."""

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

LENGTHS = torch.tensor([11, 7, 1])
TOKENS = torch.randint(3, 29, (3, 11), generator=torch.Generator().manual_seed(1))
REAL = torch.arange(11) < LENGTHS[:, None]
PADDED = TOKENS.where(REAL, 1)
ROBERTA: dict[str, Any] = {
    "vocab_size": 29, "max_position_embeddings": 15, "type_vocab_size": 1, "hidden_size": 12, "num_hidden_layers": 2,
    "num_attention_heads": 3, "intermediate_size": 20, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    "pad_token_id": 1,
}  # fmt: skip
DISTILBERT: dict[str, Any] = {
    "vocab_size": 29, "max_position_embeddings": 13, "dim": 12, "n_layers": 2, "n_heads": 3, "hidden_dim": 20,
    "dropout": 0.0, "attention_dropout": 0.0, "pad_token_id": 1,
}  # fmt: skip
MODERNBERT: dict[str, Any] = {
    "vocab_size": 29, "max_position_embeddings": 64, "hidden_size": 24, "num_hidden_layers": 5,
    "num_attention_heads": 3, "intermediate_size": 20, "local_attention": 6, "pad_token_id": 1, "bos_token_id": 0,
    "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2,
}  # fmt: skip
HEADS = ["ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "Model"]


def real(answer: Tensor) -> Tensor:
    """Answers at padded places mean nothing."""
    return answer[REAL] if answer.dim() == 3 else answer


def ours_of(model: nn.Module) -> Tensor:
    output = model(PADDED, LENGTHS)
    return real(output.hidden if output.logits is None else output.logits)


def theirs_of(model: nn.Module) -> Tensor:
    output = model(PADDED, attention_mask=REAL.long())
    if hasattr(output, "start_logits"):
        return real(torch.stack((output.start_logits, output.end_logits), -1))
    for name in ("logits", "pooler_output", "last_hidden_state"):
        if getattr(output, name, None) is not None:
            return real(getattr(output, name))
    raise AssertionError("nothing to compare")


def family(name: str, kind: str, config: dict[str, Any], tmp_path: Path) -> nn.Module:
    import transformers

    labels = {"num_labels": 4} if kind.endswith("Classification") else {}

    def make() -> nn.Module:
        return getattr(transformers, name + kind)(getattr(transformers, f"{name}Config")(**config, **labels))

    return check_family(make, ours_of, theirs_of, tmp_path)


@pytest.mark.parametrize("kind", HEADS)
def test_roberta(kind: str, tmp_path: Path) -> None:
    family("Roberta", kind, ROBERTA, tmp_path)


def test_xlm_roberta_is_read(tmp_path: Path) -> None:
    import transformers

    theirs = transformers.XLMRobertaForMaskedLM(transformers.XLMRobertaConfig(**ROBERTA)).eval()
    theirs.save_pretrained(tmp_path)
    ours = dougong.load(tmp_path)
    assert ours.config["architecture"] == "roberta" and ours.card["model_type"] == "xlm-roberta"
    torch.testing.assert_close(ours_of(ours), theirs_of(theirs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", HEADS)
def test_distilbert(kind: str, tmp_path: Path) -> None:
    family("DistilBert", kind, DISTILBERT, tmp_path)


@pytest.mark.parametrize("kind", HEADS)
def test_modernbert(kind: str, tmp_path: Path) -> None:
    family("ModernBert", kind, MODERNBERT, tmp_path)


def test_modernbert_that_classifies_the_mean(tmp_path: Path) -> None:
    model = family("ModernBert", "ForSequenceClassification", {**MODERNBERT, "classifier_pooling": "mean"}, tmp_path)
    assert model.config["pool"] == "mean"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"norm_bias": True}, "norm_bias=True"),
        ({"classifier_pooling": "max"}, "classifier_pooling='max'"),
        ({"layer_types": ["full_attention"] * 2 + ["sliding_attention"] * 3}, "layer_types"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn", "rope_theta": 1.0}}}, "rope_type='yarn'"),
        ({"decoder_bias": False}, "decoder_bias=False"),
    ],
)
def test_what_we_do_not_build_is_refused_by_name(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    import transformers

    transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**MODERNBERT)).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UserError) as error:
        dougong.load(tmp_path)
    assert said in str(error.value) and str(file) in str(error.value)
