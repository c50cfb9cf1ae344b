"""``dougong convert``: both ways, certified, and red where a weight is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.numbers import shake

import dougong
from dougong.cli.app import execute
from dougong.interop.certificate import certify

SIZES: dict[str, Any] = {"vocab_size": 29, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 3}


def reference(kind: str, folder: Path) -> Path:
    import transformers

    torch.manual_seed(0)
    if kind == "gpt2":
        model: Any = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZES))
    else:
        rope = {"hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 20, "num_hidden_layers": 2}
        if kind == "llama":
            heads = {"num_key_value_heads": 1, "num_attention_heads": 2, "hidden_size": 16}
            model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=29, **{**rope, **heads}))
        elif kind == "vit":
            sizes = {"image_size": 8, "patch_size": 4, "num_labels": 3}
            model = transformers.ViTForImageClassification(transformers.ViTConfig(**rope, **sizes))
        else:
            model = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=29, **rope))
    shake(model)  # weights as they begin are so small that attention hardly matters
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["gpt2", "bert", "llama", "vit"])
def test_there_and_back_certified(kind: str, tmp_path: Path) -> None:
    first = reference(kind, tmp_path / "first")
    assert execute(["convert", str(first), str(tmp_path / "ours"), "--to", "dougong", "--certify"]) == 0
    assert execute(["convert", str(tmp_path / "ours"), str(tmp_path / "back"), "--certify"]) == 0
    for name in ("ours", "back"):
        found = json.loads((tmp_path / name / "certificate.json").read_text())
        assert found["passed"] and found["against"] == "transformers"
        named = [check["name"] for check in found["checks"]]
        assert {"keys", "stack 0, layer 0", "stack 0, layer 1", "output"} <= set(named)
        assert found["versions"]["torch"] == torch.__version__ and len(found["files"]["config.json"]) == 64
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "back"))
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", ["gpt2", "bert", "llama", "vit"])
def test_a_wrong_weight_is_seen_in_its_layer(kind: str, tmp_path: Path) -> None:
    folder = reference(kind, tmp_path)
    model = dougong.load(folder)
    assert certify(model, folder)["passed"] and certify(model, folder, reference=False)["passed"]
    name = next(name for name, weight in model.named_parameters() if "blocks.1." in name and weight.dim() > 1)
    with torch.no_grad():
        model.get_parameter(name).mul_(1.5)
    found = certify(model, folder)
    assert not found["passed"]
    passed = {check["name"]: check["passed"] for check in found["checks"]}
    assert passed["stack 0, layer 0"] and not passed["stack 0, layer 1"] and not passed["output"]


def test_without_the_reference_library(tmp_path: Path) -> None:
    folder = reference("gpt2", tmp_path)
    found = certify(dougong.load(folder), folder, reference=False)
    named = [check["name"] for check in found["checks"]]
    assert found["passed"] and found["against"] == "itself"
    assert {"batch against single", "cache on against off", "float32 against float64, output"} <= set(named)


def test_nan_does_not_pass(tmp_path: Path) -> None:
    folder = reference("gpt2", tmp_path)
    model = dougong.load(folder)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    assert not certify(model, folder)["passed"] and not certify(model, folder, reference=False)["passed"]


def test_a_certificate_that_fails_ends_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = reference("gpt2", tmp_path / "first")
    assert execute(["convert", str(folder), str(tmp_path / "ours"), "--to", "dougong"]) == 0
    file = tmp_path / "ours" / "model.safetensors"
    tensors = load_file(file)
    save_file({n: t * (1.5 if "blocks.1" in n and t.dim() > 1 else 1) for n, t in tensors.items()}, file)
    assert not certify(dougong.load(tmp_path / "ours"), folder)["passed"]
    monkeypatch.setattr("dougong.interop.certificate._answer", lambda answer, head: answer.logits + 1)
    assert execute(["convert", str(folder), str(tmp_path / "back"), "--certify"]) == 1
    assert not json.loads((tmp_path / "back" / "certificate.json").read_text())["passed"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["convert", "absent", "new"], "absent: no such folder"),
        (["convert", "first", "first"], "is there already"),
        (["convert", "first", "new", "--to", "onyx"], "unknown layout 'onyx'"),
    ],
)
def test_bad_input(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reference("gpt2", tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert execute(words) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1 and not (tmp_path / "new").exists()
