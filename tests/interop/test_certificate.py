"""Certificates of every kind of model: what is equal passes, and one wrong weight anywhere does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.numbers import shake
from torch import nn

import dougong
from dougong.interop.certificate import certify
from dougong.parts.experts import Experts

BERT: dict[str, Any] = {
    "vocab_size": 29, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
    "max_position_embeddings": 32, "num_labels": 4,
}  # fmt: skip
LLAMA: dict[str, Any] = {
    "vocab_size": 29, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 20, "max_position_embeddings": 32, "head_dim": 4,
}  # fmt: skip
PICTURE: dict[str, Any] = {
    "image_size": 8, "patch_size": 4, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
    "intermediate_size": 20, "num_labels": 3,
}  # fmt: skip
T5: dict[str, Any] = {
    "vocab_size": 23, "d_model": 12, "d_kv": 5, "d_ff": 20, "num_layers": 2, "num_heads": 3, "dropout_rate": 0.0,
    "num_decoder_layers": 3, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 9,
}  # fmt: skip
BART: dict[str, Any] = {
    "vocab_size": 23, "d_model": 12, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 3,
    "decoder_attention_heads": 3, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20, "max_position_embeddings": 20,
    "dropout": 0.0, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
TOWER: dict[str, Any] = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}
CLIP: dict[str, Any] = {
    "text_config": {**TOWER, "vocab_size": 29, "max_position_embeddings": 14, "eos_token_id": 28, "bos_token_id": 27},
    "vision_config": {**TOWER, "image_size": 8, "patch_size": 4, "num_hidden_layers": 3},
    "projection_dim": 10,
}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "masked language": ("BertForMaskedLM", "BertConfig", BERT),
    "pooler": ("BertModel", "BertConfig", BERT),
    "sequence": ("BertForSequenceClassification", "BertConfig", BERT),
    "tokens": ("RobertaForTokenClassification", "RobertaConfig", {**BERT, "pad_token_id": 1}),
    "questions": ("DistilBertForQuestionAnswering", "DistilBertConfig", {
        "vocab_size": 29, "dim": 12, "n_layers": 2, "n_heads": 3, "hidden_dim": 20, "max_position_embeddings": 32,
    }),
    "local and global": ("ModernBertForMaskedLM", "ModernBertConfig", {
        **BERT, "num_hidden_layers": 3, "global_attn_every_n_layers": 2, "local_attention": 4, "pad_token_id": 0,
        "hidden_size": 24, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2,
    }),
    "decoder": ("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "window": ("MistralForCausalLM", "MistralConfig", {**LLAMA, "sliding_window": 4}),
    "soft cap": ("Gemma2ForCausalLM", "Gemma2Config", {**LLAMA, "sliding_window": 4, "pad_token_id": 0}),
    "experts": ("MixtralForCausalLM", "MixtralConfig", {**LLAMA, "num_local_experts": 5, "num_experts_per_tok": 2}),
    "encoder and decoder, one bias": ("T5ForConditionalGeneration", "T5Config", T5),
    "encoder and decoder": ("BartForConditionalGeneration", "BartConfig", BART),
    "translation": ("MarianMTModel", "MarianConfig", {**BART, "pad_token_id": 22, "decoder_start_token_id": 22}),
    "pictures": ("ViTForImageClassification", "ViTConfig", PICTURE),
    "two tokens": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", PICTURE),
    "scaled layers": ("Dinov2ForImageClassification", "Dinov2Config", {
        **{key: value for key, value in PICTURE.items() if key != "intermediate_size"}, "mlp_ratio": 2,
    }),
    "pictures and texts": ("CLIPModel", "CLIPConfig", CLIP),
}  # fmt: skip
SEQUENCES = [name for name, (kind, _, _) in KINDS.items() if not kind.startswith(("ViT", "DeiT", "Dino"))]
PAIRS = [name for name in KINDS if name.startswith(("encoder", "translation"))]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny random checkpoint of each kind."""
    import transformers

    root = tmp_path_factory.mktemp("kinds")
    for number, (kind, config, values) in enumerate(KINDS.values()):
        torch.manual_seed(number)
        made = getattr(transformers, kind)(getattr(transformers, config)(**values))
        shake(made).save_pretrained(root / str(number))
    return {name: root / str(number) for number, name in enumerate(KINDS)}


def results(model: nn.Module, folder: Path, **settings: Any) -> dict[str, bool]:
    found = certify(model, folder, **settings)
    passed = {check["name"]: check["passed"] for check in found["checks"]}
    assert found["passed"] == all(passed.values())
    assert len(passed) == len(found["checks"])
    return passed


@pytest.mark.parametrize("name", KINDS)
def test_what_is_equal_passes_with_the_reference_library(name: str, folders: dict[str, Path]) -> None:
    found = certify(dougong.load(folders[name]), folders[name])
    assert found["passed"], [check for check in found["checks"] if not check["passed"]]
    passed = {check["name"] for check in found["checks"]}
    assert found["against"] == "transformers" and {"keys", "stack 0, layer 0", "stack 0, layer 1", "output"} <= passed
    assert ("output with padding" in passed) == (name in SEQUENCES) == bool(found["lengths"])
    assert ("stack 0, layer 1 with padding" in passed) == (name in SEQUENCES)
    assert ("stack 1, layer 0" in passed) == (name in PAIRS or name == "pictures and texts")


@pytest.mark.parametrize("name", KINDS)
def test_what_is_right_passes_without_it(name: str, folders: dict[str, Path]) -> None:
    found = certify(dougong.load(folders[name]), folders[name], reference=False)
    assert found["passed"], [check for check in found["checks"] if not check["passed"]]
    passed = {check["name"] for check in found["checks"]}
    assert {"batch against single", "float32 against float64, output"} <= passed and found["against"] == "itself"
    assert ("batch against single with padding" in passed) == (name in SEQUENCES)
    causal = {"decoder", "window", "soft cap", "experts", *PAIRS}
    assert ("cache on against off" in passed) == (name in causal)
    assert ("cache on against off with padding" in passed) == (name in PAIRS)


@pytest.mark.parametrize("name", KINDS)
def test_each_wrong_weight_is_seen(name: str, folders: dict[str, Path]) -> None:
    """The control: every matrix in turn with its rows moved."""
    model = dougong.load(folders[name])
    for each, weight in model.named_parameters():
        if weight.dim() < 2 or min(weight.shape) < 2:
            continue
        before = weight.detach().clone()
        with torch.no_grad():
            weight.copy_(weight.roll(1, 0))
        passed = results(model, folders[name])
        assert not passed["output"], f"a wrong {each} is not seen"
        if "blocks.1." in each and "blocks.1.0" not in each and name not in PAIRS and name != "pictures and texts":
            assert passed["stack 0, layer 0"] and not passed["stack 0, layer 1"]
        with torch.no_grad():
            weight.copy_(before)


class DeafToLengths(nn.Module):
    """A model that takes padding for tokens."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.config, self.input_kind = model, model.config, model.input_kind
        self.example_inputs, self.card, self.end = model.example_inputs, model.card, getattr(model, "end", None)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        count = 2 if self.input_kind in ("tokens_pair", "image_text") else 1
        return self.model(*inputs[:count], **named)


@pytest.mark.parametrize(
    "name", [name for name in SEQUENCES if name not in ("decoder", "window", "soft cap", "experts")]
)
def test_padding_taken_for_tokens_is_seen(name: str, folders: dict[str, Path]) -> None:
    if name == "pictures and texts":  # a text ends at its end token, whatever follows
        return
    deaf = DeafToLengths(dougong.load(folders[name]))
    passed = results(deaf, folders[name])
    assert passed["output"] and not passed["output with padding"]
    passed = results(deaf, folders[name], reference=False)
    assert passed["batch against single"] and not passed["batch against single with padding"]
    assert not passed["what stands in the padding changes nothing"]


@pytest.mark.parametrize("name", ["decoder", "encoder and decoder"])
def test_a_cache_that_forgets_is_seen(name: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from dougong.parts.cache import Cache

    model = dougong.load(folders[name])
    assert results(model, folders[name], reference=False)["cache on against off"]
    right = Cache.extend
    monkeypatch.setattr(
        Cache, "extend", lambda self, layer, key, value, reach=None: right(self, layer, key.roll(1, -1), value, reach)
    )
    passed = results(model, folders[name], reference=False)
    assert not passed["cache on against off"] and passed["batch against single"]


def test_experts_that_no_token_reaches_are_named(folders: dict[str, Path]) -> None:
    model = dougong.load(folders["experts"])
    assert results(model, folders["experts"])["experts not reached"]
    experts = next(module for module in model.modules() if isinstance(module, Experts))
    with torch.no_grad():
        experts.router.weight[3] = 0
        experts.router.weight[[0, 1]] = 0
        experts.router.weight[4] = 50 * experts.router.weight[4]
        experts.router.weight[2] = -experts.router.weight[4]
    found = certify(model, folders["experts"], reference=False)
    assert found["inputs"][0][0] == 64  # it tried
    last = found["checks"][-1]
    assert last["name"] == "experts not reached" and last["error"] >= 1 and not found["passed"]


def test_a_model_of_ours_alone(tmp_path: Path) -> None:
    for config in (
        {"architecture": "resnet", "layers": [1, 1], "width": 8, "n_classes": 3, "block": "basic", "stem": "small"},
        {"architecture": "lstm", "vocab_size": 11, "d_model": 8, "n_layers": 1, "n_classes": 2},
        {"architecture": "transformer", "vocab_size": 11, "d_model": 8, "n_heads": 2, "n_layers": 1, "d_ff": 8},
    ):
        model = dougong.build(config, seed=0).eval()
        dougong.interop.save(model, tmp_path / config["architecture"], layout="dougong")
        found = certify(model, tmp_path / config["architecture"])
        assert found["passed"] and found["against"] == "itself", found["checks"]
