"""``dougong models``: the list, the tree, and stdout that holds one JSON object."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dougong.architectures import build, save, sizes
from dougong.cli.app import execute
from dougong.cli.models import parts


def asked(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert execute([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_list_has_every_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["models"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name} " in out for name in sizes())
    assert "86567656" in out


def test_json_is_all_of_stdout() -> None:
    command = [sys.executable, "-m", "dougong", "models", "vit-micro", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout)["name"] == "vit-micro"


def test_what_a_library_prints_stays_out_of_the_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import dougong.architectures

    def talking(*given: Any, **also: Any) -> Any:
        print("Loading ...")
        return build(*given, **also)

    monkeypatch.setattr(dougong.architectures, "build", talking)
    assert asked(["models", "vit-micro"], capsys)["config"]["architecture"] == "vit"


def counted(tree: dict[str, Any]) -> int:
    """Parameters of a tree, from its leaves up: each part's own, times how often it is there."""
    own = 0
    for shape in tree["own"].values():
        product = 1
        for side in shape:
            product *= side
        own += product
    return own + sum(counted(child) * child["times"] for child in tree["children"])


@pytest.mark.parametrize("name", ["vit-micro", "resnet-20", "lstm-micro", "textcnn-kim"])
def test_the_tree_adds_up(name: str) -> None:
    model = build(name, device="meta")
    assert counted(parts(model, name)) == sum(p.numel() for p in model.parameters())


def test_equal_blocks_are_folded_and_unequal_ones_are_not() -> None:
    blocks = next(part for part in parts(build("vit-base", device="meta"), "x")["children"] if part["name"] == "body")
    blocks = next(part for part in blocks["children"] if part["name"] == "blocks")
    assert [(child["name"], child["times"]) for child in blocks["children"]] == [("0-11", 12)]
    layers = parts(build("lstm-micro", device="meta"), "x")
    assert "0-1" not in json.dumps(layers)  # the second layer of a two-directional LSTM is wider


def test_settings_reach_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    by_word = asked(["models", "vit-micro", "n_classes=3", "image_size=[16, 8]"], capsys)
    assert by_word["config"]["n_classes"] == 3 and by_word["config"]["image_size"] == [16, 8]
    dotted = asked(["models", "--model.n_classes", "3", "vit-micro", "--model.image_size=[16, 8]"], capsys)
    assert dotted["config"] == by_word["config"]
    config = json.dumps(by_word["config"])
    assert asked(["models", config], capsys)["config"] == by_word["config"]


def test_a_file_in_place_of_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "m.yaml"
    file.write_text("model: vit-micro\nn_classes: 3\n")
    assert asked(["models", "--config", str(file)], capsys)["config"]["n_classes"] == 3
    assert asked(["models", f"--config={file}", "n_classes=4"], capsys)["config"]["n_classes"] == 4
    assert asked(["models", "resnet-20", "--config", str(file)], capsys)["config"]["architecture"] == "resnet"
    file.write_text("model: {architecture: vit, n_layers: 1, n_classes: 5}\n")
    assert asked(["models", "--config", str(file)], capsys)["config"]["n_layers"] == 1


def test_a_folder_is_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(build("vit-micro", n_classes=7), tmp_path / "kept" / "model")
    for folder in ("kept", "kept/model"):
        assert asked(["models", str(tmp_path / folder)], capsys)["config"]["n_classes"] == 7
