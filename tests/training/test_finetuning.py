"""Training goes on from the weights of a trained model: which are taken, which are trained, and how fast."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import dougong
from dougong.cli.app import execute
from dougong.errors import UserError
from dougong.training import Run
from dougong.training.config import TrainingConfig
from dougong.training.optimizers import make_optimizer, scale_of
from dougong.training.starting import initial_model, whole

from .conftest import SMALL, same, weights


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model with seven classes, in the layout of Hugging Face."""
    model = dougong.build({**SMALL, "n_classes": 7}, seed=5)
    dougong.save(model, tmp_path / "source")
    assert "architecture" not in json.loads((tmp_path / "source" / "config.json").read_text())
    return tmp_path / "source"


def test_weights_are_taken_and_the_head_is_new(source: Path, trained: Callable[..., Run]) -> None:
    run = trained(model=str(source), budget="1steps", learning_rate=1e-9, weight_decay=0.0)
    there, here = dougong.load(source).state_dict(), weights(run)
    assert run.config.model["n_classes"] == 10 and run.config.init == str(source)
    for name, value in here.items():
        if name.startswith("head."):
            assert value.shape[0] == 10
        else:
            torch.testing.assert_close(value, there[name], rtol=0, atol=1e-6)
    assert "new, with random weights: head.linear.bias, head.linear.weight" in (run.path / "log.txt").read_text()
    fresh = trained("fresh", budget="1steps", learning_rate=1e-9)
    assert not torch.allclose(weights(fresh)["embedding.project.weight"], there["embedding.project.weight"])


def test_a_pooler_does_not_become_the_classes(tmp_path: Path, trained: Callable[..., Run]) -> None:
    wide = {**SMALL, "d_model": 10, "n_heads": 2, "n_classes": None, "pooler": "tanh"}  # as wide as there are classes
    source = dougong.save(dougong.build(wide, seed=5), tmp_path / "source")
    run = trained(model=str(source), budget="1steps", learning_rate=1e-9, weight_decay=0.0)
    there, here = dougong.load(source).state_dict(), weights(run)
    assert there["head.linear.weight"].shape == here["head.linear.weight"].shape
    assert not torch.allclose(there["head.linear.weight"], here["head.linear.weight"], atol=1e-3)
    torch.testing.assert_close(here["body.after.weight"], there["body.after.weight"], rtol=0, atol=1e-6)
    assert "new, with random weights: head.linear.bias, head.linear.weight" in (run.path / "log.txt").read_text()
    assert json.loads((run.path / "model" / "config.json").read_text())["architectures"] == [
        "ViTForImageClassification"
    ]


def test_a_run_goes_on_in_another(trained: Callable[..., Run]) -> None:
    first = trained("first")
    second = trained("second", model=str(first.path), budget="1steps", learning_rate=1e-9, weight_decay=0.0)
    for name, value in first.model().state_dict().items():
        torch.testing.assert_close(weights(second)[name], value, rtol=0, atol=1e-6)
    assert not (second.path / "log.txt").read_text().count("new, with random weights")


def test_only_the_head_is_trained(source: Path, trained: Callable[..., Run]) -> None:
    run = trained(model=str(source), tune="head", learning_rate=0.1)
    there, here = dougong.load(source).state_dict(), weights(run)
    for name, value in there.items():
        if not name.startswith("head."):
            assert torch.equal(here[name], value), name
    begin = initial_model(run.config)[0].state_dict()
    assert not torch.allclose(here["head.linear.weight"], begin["head.linear.weight"])


def test_deeper_layers_learn_more_slowly(source: Path, trained: Callable[..., Run]) -> None:
    model = dougong.build({**SMALL, "n_layers": 3})
    config = TrainingConfig.parse(model=SMALL, name="x", data="digits", layer_decay=0.5, learning_rate=1.0)
    by_name = dict(model.named_parameters())
    found = {id(p): group["scale"] for group in make_optimizer(model, config).param_groups for p in group["params"]}
    assert len(found) == len(by_name)
    for name, parameter in by_name.items():
        expected = 1.0
        if name.startswith("body.blocks."):
            expected = 0.5 ** (3 - int(name.split(".")[2]))
        elif name.startswith(("embedding", "body.positions")):
            expected = 0.5**4
        assert found[id(parameter)] == expected == scale_of(name, model, 0.5), name
    run = trained(model=str(source), layer_decay=0.01, weight_decay=0.0, learning_rate=1e-2, budget="3steps")
    there, here = dougong.load(source).state_dict(), weights(run)
    moved = {name: float((here[name] - value).abs().max()) for name, value in there.items() if "head" not in name}
    assert moved["embedding.project.weight"] < 1e-4 < moved["body.after.weight"]


def test_a_resumed_run_equals_an_uninterrupted_one(source: Path, trained: Callable[..., Run]) -> None:
    settings: dict[str, Any] = {"model": str(source), "layer_decay": 0.7}
    straight, stopped = trained("straight", **settings), trained("stopped", stop_at=7, **settings)
    assert same(weights(straight), weights(dougong.resume(stopped.path)))


def test_what_a_trained_model_cannot_be_changed_to(source: Path, trained: Callable[..., Run]) -> None:
    with pytest.raises(UserError, match="has no weights for"):
        initial_model(TrainingConfig.parse(model={**SMALL, "d_model": 24}, init=str(source), name="x", data="digits"))
    with pytest.raises(UserError, match="no such folder"):
        whole({**SMALL, "init": "nowhere"})[1] and initial_model(
            TrainingConfig.parse(model=SMALL, init="nowhere", name="x", data="digits")
        )
    with pytest.raises(UserError, match="tune"):
        TrainingConfig.parse(model=SMALL, name="x", data="digits", tune="half")


def test_on_the_command_line(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", str(source), "--data", "digits", "--budget", "2steps", "batch_size=16", "tensorboard=false"]
    assert execute([*words, "--out", str(tmp_path / "a")]) == 0
    assert execute([*words, "--out", str(tmp_path / "b"), "--scratch"]) == 0
    capsys.readouterr()
    runs = Run.open(tmp_path / "a"), Run.open(tmp_path / "b")
    assert [run.config.init for run in runs] == [str(source), None]
    assert runs[0].config.learning_rate == 5e-5 != runs[1].config.learning_rate


def test_pictures_are_prepared_in_transformers_as_here(source: Path, trained: Callable[..., Run], digits: Any) -> None:
    import transformers

    (source / "preprocessor_config.json").write_text('{"image_mean": [9, 9, 9]}')
    run = trained(model=str(source), budget="1steps")
    processor = transformers.AutoImageProcessor.from_pretrained(run.path / "model", use_fast=False)
    picture = digits.splits["test"].pixels(3)
    theirs = torch.as_tensor(processor(picture, return_tensors="np")["pixel_values"])
    ours = run.task().batch("test", torch.tensor([3]), train=False, epoch=0, seed=0).inputs[0]
    torch.testing.assert_close(theirs.float(), ours, rtol=1e-5, atol=1e-5)


def test_a_pooler_goes_into_the_new_head(tmp_path: Path) -> None:
    sizes = {"architecture": "bert", "vocab_size": 40, "max_length": 16, "d_model": 12, "n_layers": 1, "n_heads": 2}
    sizes |= {"d_ff": 20, "n_classes": 3}
    source = dougong.build({**sizes, "head": "pooler"}, seed=3)
    dougong.save(source, tmp_path)
    config = TrainingConfig.parse(model={**sizes, "head": "sequence"}, init=str(tmp_path), name="x", data="digits")
    model, lines = initial_model(config)
    assert torch.equal(model.head.pool.linear.weight, source.head.linear.weight)  # type: ignore[union-attr]
    assert lines[-1] == "new, with random weights: head.linear.bias, head.linear.weight"


def test_low_rank_matrices_learn_and_become_part_of_the_weights(source: Path, trained: Callable[..., Run]) -> None:
    run = trained(model=str(source), tune="lora", lora_rank=2, learning_rate=1e-2, budget="8steps")
    there, kept = dougong.load(source).state_dict(), dougong.load(run.path / "model").state_dict()
    assert {name for name in kept if "lora" in name} == set()
    changed = {name for name, value in there.items() if "head" not in name and not torch.equal(kept[name], value)}
    assert changed and all(".attention.body." in name and name.endswith("weight") for name in changed)
    assert (run.path / "adapter" / "adapter_config.json").is_file()
    assert "of the weights learn" in (run.path / "log.txt").read_text()
    # a checkpoint opens as it was trained, and computes what the folded model does
    last, pixels = run.model("last"), torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(last(pixels).logits, run.model("best")(pixels).logits, rtol=1e-4, atol=1e-5)
    stopped = trained(
        "stopped", stop_at=5, model=str(source), tune="lora", lora_rank=2, learning_rate=1e-2, budget="8steps"
    )
    assert same(weights(run), weights(dougong.resume(stopped.path)))
