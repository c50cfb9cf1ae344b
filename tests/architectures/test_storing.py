"""Saving and loading: what comes back is bit for bit what went in, and a broken file is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import dougong
from dougong.architectures import storing
from dougong.architectures.weights import write_weights
from dougong.errors import UserError

SMALL = {"architecture": "gpt2", "vocab_size": 11, "max_length": 6, "d_model": 8, "n_layers": 1, "n_heads": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model."""
    return storing.save(dougong.build(SMALL, seed=0), tmp_path / "model")


def refused(where: Path, *words: str):
    return pytest.raises(UserError, match="(?s)" + "".join(f"(?=.*{word})" for word in (str(where), *words)))


def test_tied_weights_are_written_once_and_stay_tied(folder: Path) -> None:
    names = load_file(folder / "model.safetensors").keys()
    assert "embedding.weight" in names and "head.weight" not in names
    model = storing.load(folder)
    assert model.head.weight is model.embedding.weight and not model.training
    with torch.no_grad():
        model.embedding.weight.add_(1)
    assert torch.equal(model.head.weight, model.embedding.weight)
    pair = dougong.build("transformer", vocab_size=9, d_model=8, n_heads=2, n_layers=1, d_ff=8)
    names = load_file(storing.save(pair, folder / "pair") / "model.safetensors").keys()
    assert [name for name in names if "embedding" in name or "head" in name] == ["source_embedding.weight"]
    again = storing.load(folder / "pair")
    assert again.source_embedding.weight is again.target_embedding.weight is again.head.weight


def test_a_run_folder_is_opened_at_its_model(folder: Path) -> None:
    assert torch.equal(storing.load(folder.parent).embedding.weight, storing.load(folder).embedding.weight)


def test_type_is_kept_unless_another_is_asked_for(folder: Path) -> None:
    storing.save(dougong.build(SMALL, dtype=torch.bfloat16), folder)
    assert storing.load(folder).embedding.weight.dtype == torch.bfloat16
    assert storing.load(folder, dtype=torch.float32).embedding.weight.dtype == torch.float32
    resnet = dougong.build("resnet", layers=[1], width=4, n_classes=2, block="basic").half()
    loaded = storing.load(storing.save(resnet, folder), dtype=torch.float32)
    assert loaded.embedding.stem[0][1].num_batches_tracked.dtype == torch.int64
    assert loaded.embedding.stem[0][1].running_mean.dtype == torch.float32


def test_a_model_can_be_trained_after_loading(folder: Path) -> None:
    model = storing.load(folder)
    model(torch.randint(0, 11, (2, 5))).logits.sum().backward()
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())


def test_nothing_half_written_is_left(folder: Path) -> None:
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors"]
    with pytest.raises(UserError, match="has no configuration"):
        storing.save(torch.nn.Linear(2, 2), folder / "other")
    assert not (folder / "other").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "is no JSON"),
        (b"", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "names no"),
        (b'{"d_model": 8}', "names no"),
        (b'{"architecture": "gtp2"}', "gpt2"),
        (b'{"architecture": ["gpt2"]}', "architecture"),
        (b'{"architecture": "gpt2", "d_modle": 8}', "d_model"),
        (b'{"architecture": "gpt2", "d_model": "8"}', "d_model='8' will not do"),
        (b'{"architecture": "gpt2", "d_model": 10, "n_heads": 3}', "width 10 does not divide into 3"),
        (b'{"architecture": "lstm"}', "give exactly one of"),
        (b'{"architecture": "vectors"}', "needs input_dim"),
    ],
)
def test_a_broken_configuration_is_named_with_its_file(folder: Path, text: bytes, said: str) -> None:
    (folder / "config.json").write_bytes(text)
    with refused(folder / "config.json", said):
        storing.load(folder)


def test_missing_files_are_named(folder: Path) -> None:
    with refused(folder / "nowhere", "no such folder"):
        storing.load(folder / "nowhere")
    with refused(folder / "config.json", "no such folder"):
        storing.load(folder / "config.json")
    (folder / "model.safetensors").unlink()
    with refused(folder, "no weights"):
        storing.load(folder)
    (folder / "config.json").unlink()
    with refused(folder, "no config.json"):
        storing.load(folder)


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    file = folder / "model.safetensors"
    held = load_file(file)
    for name, tensor in tensors.items():
        key = name.replace("__", ".")
        if tensor is None:
            del held[key]
        else:
            held[key] = tensor
    save_file(held, file)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"body__after__bias": None}, "lacks body.after.bias"),
        ({"body__extra": torch.zeros(2)}, "has unknown body.extra"),
        ({"head__weight": torch.zeros(11, 8)}, "has unknown head.weight"),
        ({"body__after__bias": torch.zeros(9)}, r"body.after.bias gives \(9,\), not \(8,\)"),
        ({"body__after__bias": torch.zeros(8, dtype=torch.int64)}, "body.after.bias holds"),
        ({"body__after__bias": torch.zeros(8, dtype=torch.bool)}, "body.after.bias holds"),
        ({"body__after__bias": torch.zeros(8, dtype=torch.complex64)}, "body.after.bias holds"),
        ({"body__after__bias": torch.tensor([0, 0, 0, torch.nan, 0, 0, 0, 0])}, "body.after.bias holds NaN"),
        ({"body__after__bias": torch.tensor([0, 0, 0, torch.inf, 0, 0, 0, 0])}, "NaN or infinite"),
    ],
)
def test_weights_that_are_not_the_models_are_named(folder: Path, tensors: dict, said: str) -> None:
    assert storing.load(folder) is not None  # the control: unbroken it loads
    change(folder, **tensors)
    with refused(folder, said):
        storing.load(folder)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_a_truncated_file_is_named(folder: Path, share: float) -> None:
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with refused(file, "is no safetensors file"):
        storing.load(folder)


def test_rubbish_and_a_pickle_are_not_read(folder: Path) -> None:
    file = folder / "model.safetensors"
    torch.save({"embedding.weight": torch.zeros(2)}, file)
    with refused(file, "is no safetensors file"):
        storing.load(folder)
    file.write_bytes(os.urandom(5000))
    with refused(file, "is no safetensors file"):
        storing.load(folder)


@pytest.mark.parametrize("length", [0, 7, 2**31, 2**63, 2**64 - 1])
def test_a_header_length_that_lies_is_named(folder: Path, length: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(length.to_bytes(8, "little") + file.read_bytes()[8:])
    with refused(file, "is no safetensors file"):
        storing.load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_links_that_lead_outside_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with refused(folder / name, "leads outside"):
        storing.load(folder)
    (folder / name).unlink()
    (tmp_path / "elsewhere").rename(folder / "kept")
    (folder / name).symlink_to("kept")  # the control: a link inside is followed
    assert storing.load(folder) is not None


def test_absurd_sizes_are_refused_before_the_layers_are_made(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_layers": 10_000}))
    with refused(folder / "config.json", "asks for 10000 layers"):
        storing.load(folder)


def test_large_weights_are_written_in_several_files_and_read(folder: Path) -> None:
    before = storing.load(folder)
    write_weights(folder, load_file(folder / "model.safetensors"), shard=300)
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    after = storing.load(folder)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_the_configuration_is_plain_json(folder: Path) -> None:
    assert json.loads((folder / "config.json").read_text()) == dougong.resolve(SMALL)
    assert storing.load(folder).config == dougong.resolve(SMALL)
