"""``dougong models`` and ``dougong cost`` read a folder's configuration in either layout, without its weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers

import dougong
from dougong.cli.naming import configuration
from dougong.errors import UserError


@pytest.mark.parametrize("layout", ["dougong", "huggingface"])
def test_a_run_with_its_model_in_either_layout(layout: str, tmp_path: Path) -> None:
    model = dougong.build("vit-micro", n_classes=3)
    folder = dougong.save(model, tmp_path / "model", layout=layout)
    assert ("model_type" in json.loads((folder / "config.json").read_text())) == (layout == "huggingface")
    for source in (tmp_path, folder):
        found = configuration(str(source), {})
        built = dougong.build(found, device="meta")
        assert {name: value.shape for name, value in built.state_dict().items()} == {
            name: value.shape for name, value in model.state_dict().items()
        }
    (folder / "model.safetensors").unlink()
    assert configuration(str(folder), {"n_classes": 5})["n_classes"] == 5


def test_a_foreign_folder_reads_as_loading_reads_it(tmp_path: Path) -> None:
    config = transformers.Qwen2Config(
        vocab_size=29, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1,
        intermediate_size=20,
    )  # fmt: skip
    transformers.Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    assert configuration(str(tmp_path), {}) == dougong.load(tmp_path).config
    held = json.loads((tmp_path / "config.json").read_text())
    for change, said in (
        ({"model_type": "opt"}, "unknown model_type 'opt'"),
        ({"hidden_act": "odd"}, "hidden_act='odd'"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**held, **change}))
        with pytest.raises(UserError, match=said):
            configuration(str(tmp_path), {})
