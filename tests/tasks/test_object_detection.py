"""Finding boxes: what is learnt and judged, and the whole way from data to drawn pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import cells

import dougong
from dougong.cli.app import execute
from dougong.data import open_data
from dougong.errors import UserError
from dougong.parts.output import Output
from dougong.tasks import load_task, task_for
from dougong.tasks.scores.detection import Found, as_coco, average_precision, coco_scores, judged, precision_interval
from dougong.training.loop import Loop
from dougong.training.run import Run

TINY = {"architecture": "dab_detr", "layers": [1, 1], "width": 4, "n_levels": 2, "d_model": 16, "n_layers": 1,
        "n_heads": 2, "d_ff": 16, "n_queries": 8, "n_noised": 1}  # fmt: skip
TRAINING = {"budget": "6steps", "evaluate_every": 3, "batch_size": 4, "tensorboard": False, "seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("cells") / "cells"
    cells.write(place, "coco", {"train": 10, "val": 4, "test": 4})
    return place


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return dougong.train(TINY, folder, out=tmp_path_factory.mktemp("runs") / "whole", **TRAINING)


def random_pictures(seed: int, crowds: bool = False) -> list[Found]:
    drawn = np.random.default_rng(seed)
    found = []
    for _ in range(6):
        there = drawn.integers(0, 6)
        corner, side = drawn.uniform(0, 60, (there, 2)), drawn.uniform(5, 40, (there, 2))
        flags = (drawn.random(there) < 0.3) if crowds else np.zeros(there)
        true = np.column_stack((drawn.integers(0, 3, there), corner, corner + side, flags))
        near = true[drawn.integers(0, there, 9), 1:5] + drawn.normal(0, 4, (9, 4)) if there else np.zeros((0, 4))
        boxes = np.concatenate((near, np.column_stack((lo := drawn.uniform(0, 60, (4, 2)), lo + 20))))
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = np.sort(drawn.uniform(0, 1, len(boxes)))[::-1]
        found.append(Found(boxes, scores.copy(), drawn.integers(0, 3, len(boxes)), true, (100, 100)))
    return found


@pytest.mark.parametrize("crowds", [False, True], ids=["", "with crowds"])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_cocos(seed: int, crowds: bool) -> None:
    """Our own, by COCO's rules in plain Python, against faster-coco-eval."""
    found = random_pictures(seed, crowds)
    scores, each = coco_scores(found, ["a", "b", "c"])
    mine = [judged(one, 3) for one in found]
    assert abs(average_precision(mine) - scores["ap"]) < 1e-9 and 0.01 < scores["ap"] < scores["ap50"] < 1
    assert abs(np.nanmean(list(each.values())) - scores["ap50"]) < 1e-9
    low, high = precision_interval(mine, draws=40)
    assert low <= scores["ap"] <= high and high - low > 0.01
    doubled = np.full(len(mine), 2.0)
    assert abs(average_precision(mine, doubled) - scores["ap"]) < 1e-9
    moved = [Found(one.boxes + 9, one.scores, one.classes, one.true, one.size) for one in found]
    assert coco_scores(moved, ["a", "b", "c"])[0]["ap"] < scores["ap"]  # a control


def test_scores_where_nothing_is() -> None:
    nothing = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), np.zeros((0, 6)), (10, 10))
    there = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), np.array([[0, 1.0, 1, 5, 5, 0]]), (10, 10))
    assert np.isnan(coco_scores([nothing], ["a"])[0]["ap"]) and np.isnan(average_precision([judged(nothing, 1)]))
    assert coco_scores([there], ["a"])[0]["ap50"] == 0 == average_precision([judged(there, 1)])
    exact = Found(there.true[:, 1:5], np.ones(1), np.zeros(1, int), there.true, (10, 10))
    assert coco_scores([exact], ["a"])[0]["ap"] == 1
    assert as_coco([exact], ["a"])["annotations"][0]["bbox"] == [1, 1, 4, 4]


def test_batches_hold_the_boxes_as_shares(folder: Path) -> None:
    data = open_data(folder)
    task = task_for(data, augment="none")
    assert task.image_size == (64, 64)  # 48x64 in steps of 32
    batch = task.batch("train", torch.arange(4), train=True, epoch=0, seed=0)
    assert batch.inputs[0].shape == (4, 3, 64, 64) and batch.targets.shape[2] == 5
    for row, (boxes, size) in enumerate(batch.truth):
        real = batch.targets[row][batch.targets[row, :, 0] >= 0]
        assert len(real) == len(boxes) and size == (cells.H, cells.W)
        left = (real[:, 1] - real[:, 3] / 2) * cells.W
        torch.testing.assert_close(left, torch.tensor(boxes[:, 1]).float())
    again = task_for(data, augment="standard")
    first, other = (again.batch("train", torch.arange(4), train=True, epoch=e, seed=0) for e in (0, 1))
    assert not torch.equal(first.targets, other.targets)
    assert torch.equal(first.targets, again.batch("train", torch.arange(4), train=True, epoch=0, seed=0).targets)
    assert first.targets[..., 1:].min() >= 0 and first.targets[..., 1:].max() <= 1


@pytest.mark.parametrize("columns", [2, 3], ids=["each class by itself", "or no object"])
def test_decoding_orders_by_probability(columns: int, folder: Path) -> None:
    task = task_for(open_data(folder), augment="none")
    logits = torch.full((1, 3, columns), -9.0)
    logits[0, 0, 0], logits[0, 2, 1] = 1.0, 3.0
    if columns == 3:
        logits[0, 1, 2] = 9.0
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1], [0.9, 0.5, 0.4, 1.0]]])
    ((found, scores, kinds),) = task.found(Output(logits=logits, boxes=boxes), [(100, 200)])
    assert kinds[:2].tolist() == [1, 0] and scores[0] > scores[1] > 0.5 > scores[2]
    np.testing.assert_allclose(found[:2], [[140, 0, 200, 100], [80, 40, 120, 60]], atol=1e-4)
    (said,) = task.decode(Output(logits=logits, boxes=boxes))
    assert said.label == f"1 {task.classes[1]}, 1 {task.classes[0]}" and said.top[0][0] == task.classes[1]


def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, go = run.checkpoints.read("step-000006")[0]["model"], Loop.run
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "stop", None, raising=False)

        def stopping(self: Loop, show: Any = lambda *_, **__: None) -> Any:
            self.stop = lambda: self.state.step >= 4
            return go(self, show)

        patch.setattr(Loop, "run", stopping)
        with pytest.raises(KeyboardInterrupt):
            dougong.train(TINY, folder, out=tmp_path / "stopped", **TRAINING)
    gone_on = dougong.resume(tmp_path / "stopped").checkpoints.read("step-000006")[0]["model"]
    assert all(torch.equal(gone_on[name], tensor) for name, tensor in whole.items())
    other = dougong.train(TINY, folder, out=tmp_path / "other", **{**TRAINING, "seed": 4})
    assert not all(
        torch.equal(each, whole[name]) for name, each in other.checkpoints.read("step-000006")[0]["model"].items()
    )


def test_evaluate_and_what_it_writes(run: Run, folder: Path, tmp_path: Path) -> None:
    found = dougong.evaluate(run.path, predictions=tmp_path / "rows.jsonl")
    assert {"loss", "ap", "ap50", "ap75", "ar", "ap_low", "ap_high", "per_class"} <= set(found)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == found["samples"] == 4 and all(row["gold"] for row in rows)
    again = dougong.evaluate(run.path / "model", data=folder)
    assert again["ap"] == found["ap"] and again["loss"] == pytest.approx(found["loss"], rel=1e-6)
    assert "Worst pictures" in (run.path / "report.html").read_text() if (run.path / "report.html").exists() else True


def test_predict_draws_and_writes_coco(run: Run, folder: Path, tmp_path: Path, capsys: Any) -> None:
    from PIL import Image

    asked = ["predict", str(run.path), str(folder / "images"), "--threshold", "0.02"]
    assert execute([*asked, "--out", str(tmp_path / "a.json"), "--draw", str(tmp_path / "drawn")]) == 0
    content = json.loads((tmp_path / "a.json").read_text())
    assert len(content["images"]) == 18 and content["annotations"]
    assert {each["name"] for each in content["categories"]} == set(cells.NAMES)
    assert min(each["score"] for each in content["annotations"]) >= 0.02
    drawn = sorted((tmp_path / "drawn").iterdir())
    assert len(drawn) == 18 and Image.open(drawn[0]).size == (5 * cells.W, 5 * cells.H)
    plain = Image.open(folder / "images/cell000.png").convert("RGB").resize((5 * cells.W, 5 * cells.H))
    assert (np.asarray(Image.open(drawn[0])) != np.asarray(plain)).any()
    capsys.readouterr()
    assert execute([*asked, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    assert [row["where"] for row in rows] == [image["file_name"] for image in content["images"]]
    assert execute(["predict", str(run.path), str(folder / "images"), "--out", str(tmp_path / "a.txt")]) == 2
    capsys.readouterr()
    one = ["predict", str(run.path), str(folder / "images/cell000.png"), "--threshold", "1"]
    assert execute([*one, "--out", str(tmp_path / "b.json")]) == 0
    said = capsys.readouterr()  # nothing found is said to be so
    assert "nothing is 100% probable" in said.err and said.out.startswith("1 prediction: ")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    assert execute(["predict", str(run.path), str(broken)]) == 2


def test_the_saved_model_says_what_it_learnt(run: Run) -> None:
    task = load_task(run.path)
    assert task.name == "object-detection" and set(task.classes) == set(cells.NAMES)
    assert json.loads((run.path / "model/preprocessor_config.json").read_text())["do_resize"]


def test_models_and_data_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="finds no boxes"):
        dougong.train("vit-micro", folder, out=tmp_path / "a", budget="1steps")
    with pytest.raises(UserError, match="finds boxes"):
        dougong.train(TINY, "digits", out=tmp_path / "b", budget="1steps")
    with pytest.raises(UserError, match="the data has 2 classes"):
        dougong.train({**TINY, "n_classes": 7}, folder, out=tmp_path / "c", budget="1steps")
    with pytest.raises(UserError, match="is not for detection"):
        dougong.train(TINY, folder, task="image-classification", out=tmp_path / "d", budget="1steps")
    with pytest.raises(UserError, match="label_smoothing"):
        dougong.train(TINY, folder, out=tmp_path / "e", budget="1steps", label_smoothing=0.1)
    assert not (tmp_path / "a").exists() and not (tmp_path / "c").exists()


def test_plain_detr_from_scratch_lets_its_norms_learn(folder: Path) -> None:
    config, lines = task_for(open_data(folder)).adapt(dougong.resolve("detr-resnet-50"))
    assert config["norm"] == "batch" and config["n_classes"] == 2 and any("norm" in line for line in lines)
    kept, _ = task_for(open_data(folder)).adapt(dougong.resolve("detr-resnet-50"), trained=True)
    assert kept["norm"] == "frozen"
