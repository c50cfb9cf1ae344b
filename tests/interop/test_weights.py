"""Weights in every layout, and every way in which they can be broken: one line each, nothing executed."""

from __future__ import annotations

import json
import struct
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import dougong
from dougong.errors import UserError

CONFIG: dict[str, Any] = {
    "vocab_size": 29, "max_position_embeddings": 13, "type_vocab_size": 3, "hidden_size": 12, "num_hidden_layers": 2,
    "num_attention_heads": 3, "intermediate_size": 20, "pad_token_id": 0,
}  # fmt: skip
WORDS = "bert.embeddings.word_embeddings.weight"
TOKENS = torch.tensor([[3, 1, 4, 1, 5]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    import transformers

    torch.manual_seed(0)
    place = tmp_path / "model"
    transformers.BertForMaskedLM(transformers.BertConfig(**CONFIG)).save_pretrained(place)
    return place


def logits(folder: Path) -> Tensor:
    return dougong.load(folder)(TOKENS).logits


def refused(folder: Path) -> str:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    began = time.perf_counter()
    with pytest.raises(UserError) as error:
        dougong.load(folder)
    assert time.perf_counter() - began < 1
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return str(error.value)


def change(folder: Path, edit: Callable[[dict[str, Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


EDITS: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "missing": (lambda held: held.pop(WORDS), f"lacks {WORDS}"),
    "surplus": (lambda held: held.update(extra=torch.ones(2)), "has unknown bert.extra"),
    "shape": (lambda held: held.update({WORDS: torch.ones(12, 29)}), "gives (12, 29), not (29, 12)"),
    "integers": (lambda held: held.update({WORDS: torch.ones(29, 12, dtype=torch.int64)}), "holds torch.int64"),
    "NaN": (lambda held: held[WORDS][3].fill_(float("nan")), f"{WORDS} holds NaN"),
    "infinite": (lambda held: held[WORDS][3].fill_(float("inf")), f"{WORDS} holds NaN or infinite"),
}


@pytest.mark.parametrize("name", EDITS)
def test_wrong_tensors(name: str, folder: Path) -> None:
    edit, said = EDITS[name]
    assert dougong.load(folder) is not None  # the control: unbroken it loads
    change(folder, edit)
    found = refused(folder)
    assert said.replace("bert.extra", "") in found


def test_large_values_are_no_nan(folder: Path) -> None:
    change(folder, lambda held: held[WORDS].fill_(3e38))
    assert dougong.load(folder) is not None
    change(folder, lambda held: held.update({k: v.half().clamp(-6e4, 6e4) for k, v in held.items()}))
    assert next(dougong.load(folder).parameters()).dtype == torch.float16


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated(share: float, folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    assert "is no safetensors file" in refused(folder)


@pytest.mark.parametrize("length", [0, 7, 2**31, 2**63, 2**64 - 1])
def test_header_length_that_lies(length: int, folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(struct.pack("<Q", length) + file.read_bytes()[8:])
    assert "is no safetensors file" in refused(folder)


class Bomb:
    """Runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("old", [False, True])
def test_pickle_that_would_execute(old: bool, folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    (folder / "model.safetensors").unlink()
    torch.save({WORDS: Bomb(mark)}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not old)
    assert "is no plain file of weights" in refused(folder)
    assert not mark.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert mark.exists()  # the control: it does execute when it is let


@pytest.mark.parametrize("old", [False, True])
def test_bin_is_read(old: bool, folder: Path) -> None:
    before = logits(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not old)
    assert torch.equal(logits(folder), before)


def test_shards_both_ways(folder: Path, tmp_path: Path) -> None:
    import transformers

    model, ours, theirs = dougong.load(folder), tmp_path / "ours", tmp_path / "theirs"
    dougong.interop.save(model, ours, layout="huggingface", shard=2000)
    assert len(list(ours.glob("model-*-of-*.safetensors"))) > 2 and not (ours / "model.safetensors").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reference, said = transformers.BertForMaskedLM.from_pretrained(ours, output_loading_info=True)
    assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    reference.save_pretrained(theirs, max_shard_size=2000)
    assert len(list(theirs.glob("model-*-of-*.safetensors"))) > 2
    for place in (ours, theirs):
        assert torch.equal(logits(place), logits(folder))
    assert (reference.eval()(TOKENS).logits - logits(ours)).abs().max() < 1e-5
    dougong.save(model, ours, layout="huggingface")  # and back to one file: the shards go
    assert sorted(p.name for p in ours.iterdir() if "model" in p.name) == ["model.safetensors"]


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "..", "", "a/b.safetensors"])
def test_index_that_leads_outside(name: str, folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(tmp_path / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {WORDS: name}}))
    assert "outside the folder" in refused(folder)


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"weight_map": [1]}', "[" * 99999])
def test_broken_index(said: str, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(said)
    assert "is no index of weights" in refused(folder)


def test_index_that_promises_what_is_not_there(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {WORDS: "a.safetensors", "more": "a.safetensors"}}))
    assert "lacks more, which the index promises" in refused(folder)
    index.write_text(json.dumps({"weight_map": {WORDS: "b.safetensors"}}))
    assert "no such file, though the index names it" in refused(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_links(name: str, folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    assert "leads outside" in refused(folder)


def test_links_of_the_hubs_cache(folder: Path, tmp_path: Path) -> None:
    before = logits(folder)
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    folder.rename(blobs)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(Path("..") / ".." / "blobs" / file.name)
    assert torch.equal(logits(snapshot), before)


@pytest.mark.parametrize(
    "absurd",
    [{"num_hidden_layers": 10_000}, {"num_hidden_layers": 10**12}, {"vocab_size": 10**7, "hidden_size": 9_999_999},
     {"hidden_size": 10**7 - 1}, {"max_position_embeddings": 10**7}, {"intermediate_size": -1},
     {"num_attention_heads": 0}, {"vocab_size": 1e30}, {"hidden_size": None}],
)  # fmt: skip
def test_absurd_sizes_are_refused_at_once(absurd: dict[str, Any], folder: Path) -> None:
    import resource

    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **absurd}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB
