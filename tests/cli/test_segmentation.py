"""Masks from the command line: check, train, resume, evaluate, predict, explain, compare, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.scenes import COLOURS, as_file, scene, street

import dougong
from dougong.cli.app import execute
from dougong.data.masks.drawing import drawn, wrong_pixels
from dougong.training import Run, resume
from dougong.training.loop import Loop

MODEL = {"architecture": "segformer", "layers": [1, 1], "widths": [8, 16], "n_heads": [1, 2], "reductions": [2, 1],
         "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2], "d_head": 16, "skipped": 0.2}  # fmt: skip
SETTINGS: dict[str, Any] = {"batch_size": 4, "learning_rate": 5e-3, "tensorboard": False, "evaluate_every": 10}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("street")
    street(root / "street", {"train": 12, "val": 4, "test": 4})
    return root


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    return dougong.train(MODEL, place / "street", out=place / "run", budget="60steps", augment="none", **SETTINGS)


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_it_learns_and_is_kept_in_the_layout_of_transformers(run: Run) -> None:
    import transformers

    assert run.result is not None and run.result["test"]["mean_iou"] > 0.55
    theirs = transformers.SegformerForSemanticSegmentation.from_pretrained(run.path / "model").eval()
    ours, pixels = run.model(), torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        assert torch.allclose(theirs(pixels).logits, ours(pixels).masks, atol=1e-4)
    prepared = json.loads((run.path / "model" / "preprocessor_config.json").read_text())
    assert prepared["image_processor_type"] == "SegformerImageProcessor"
    assert prepared["size"] == {"height": 48, "width": 64}
    described = json.loads((run.path / "data.json").read_text())
    assert described["kind"] == "masks" and described["counts"]["train"].keys() == {"sky", "road", "car"}


def test_a_resumed_run_equals_an_uninterrupted_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**SETTINGS, "budget": "6steps", "evaluate_every": 2}
    whole = dougong.train(MODEL, place / "street", out=place / "whole", **settings)
    real = Loop.run

    def stopping(self: Loop, show: Any = lambda *_, **__: None) -> Any:
        self.stop = lambda: self.state.step >= 3
        return real(self, show)

    monkeypatch.setattr(Loop, "run", stopping)
    with pytest.raises(KeyboardInterrupt):
        dougong.train(MODEL, place / "street", out=place / "stopped", **settings)
    monkeypatch.setattr(Loop, "run", real)
    torch.manual_seed(99)
    gone_on = resume(Run.open(place / "stopped"))
    kept = [each.path / "model" / "model.safetensors" for each in (whole, gone_on)]
    assert kept[0].read_bytes() == kept[1].read_bytes()
    assert whole.result is not None and gone_on.result is not None and whole.result["test"] == gone_on.result["test"]


def test_check_counts_pixels(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["check", str(place / "street"), "--json"]) == 0
    found = said(capsys)
    train = sum(int((scene(number)[1] == 2).sum()) for number in range(12))
    assert found["pictures"] == 20 and found["classes"]["car"]["train"] == train
    street(tmp_path)
    (tmp_path / "masks/train/000.png").write_bytes(as_file(scene(0, (10, 64))[1]))
    train_it = ["train", "segformer-micro", "--data", str(tmp_path), "--out", str(tmp_path / "r")]
    assert execute(["check", str(tmp_path)]) == execute(train_it) == 2
    assert "masks/train/000.png: is 10x64 (h x w)" in capsys.readouterr().err and not (tmp_path / "r").exists()


def test_evaluate_says_each_class(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert execute(["evaluate", str(run.path), "--json", "--predictions", str(tmp_path / "rows.jsonl")]) == 0
    found = said(capsys)
    assert found["mean_iou"] == pytest.approx(run.result["test"]["mean_iou"])  # type: ignore[index]
    assert found["mean_iou_low"] <= found["mean_iou"] <= found["mean_iou_high"]
    ious = [row["iou"] for row in found["per_class"].values()]
    assert found["mean_iou"] == pytest.approx(np.mean(ious))
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rows] == [f"images/test/{number:03}.png" for number in range(16, 20)]
    assert execute(["evaluate", str(run.path)]) == 0
    assert "boundary F1" in capsys.readouterr().out


def test_predict_writes_masks_and_drawings(
    run: Run, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = place / "street" / "images" / "test"
    assert execute(["predict", str(run.path), str(frames), "--out", str(tmp_path / "masks"), "--json"]) == 0
    rows = said(capsys)["predictions"]
    assert len(rows) == 4 and sum(rows[0]["shares"].values()) == pytest.approx(1)
    mask = Image.open(tmp_path / "masks" / "masks" / "016.png")
    values = np.asarray(mask)
    assert mask.mode == "P" and values.shape == (48, 64) and set(np.unique(values)) <= {0, 1, 2}
    assert mask.getpalette()[:9] == [each for colour in COLOURS[:3] for each in colour]  # type: ignore[index]
    for name in ("sky", "road", "car"):
        assert rows[0]["shares"][name] == pytest.approx(float((values == ("sky", "road", "car").index(name)).mean()))
    assert (values == scene(16)[1]).mean() > 0.8
    over = np.asarray(Image.open(tmp_path / "masks" / "drawn" / "016.jpg")).astype(int)
    expected = drawn(scene(16)[0], values, COLOURS[:3])
    assert over.shape == (48, 64, 3) and np.abs(over - expected).mean() < 8
    assert execute(["predict", str(run.path), str(frames), "--out", str(tmp_path / "masks")]) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert execute(["predict", str(run.path), str(frames), "--out", str(tmp_path / "shares.csv")]) == 0
    assert "sky" in (tmp_path / "shares.csv").read_text()


def test_drawings_leave_void_alone_and_show_what_is_wrong() -> None:
    picture, mask = scene(3)
    none = np.full_like(mask, 255)
    assert np.array_equal(drawn(picture, none, COLOURS), picture)
    assert np.array_equal(drawn(picture, mask, COLOURS, cover=1.0), np.array(COLOURS)[mask])
    given = mask.copy()
    given[4, 5] = (mask[4, 5] + 1) % 3
    red = wrong_pixels(picture, given, mask).astype(int)
    assert (red[..., 0] - red[..., 1] > 60).sum() == 1
    assert np.array_equal(wrong_pixels(picture, given, none), wrong_pixels(picture, mask, none))


def test_explain_answers_for_a_class_a_point_and_a_box(
    run: Run, place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = str(place / "street" / "images" / "test" / "016.png")
    out = tmp_path / "why.png"
    assert execute(["explain", str(run.path), file, "--target", "road", "--json", "--out", str(out)]) == 0
    found = said(capsys)
    assert found["target"]["name"] == "road" and out.is_file()
    assert "pixels that are given road" in found["target"]["about"]
    assert found["checks"].keys() >= {"completeness", "deletion", "randomised weights"}
    assert found["checks"]["completeness"]["passed"]
    assert execute(["explain", str(run.path), file, "--at", "3,3", "--json"]) == 0
    assert said(capsys)["target"]["name"] == "sky"
    for bad, words in (("99,3", "lies outside"), ("5,5,2,9", "is no box"), ("car", "is no place")):
        assert execute(["explain", str(run.path), file, "--at", bad]) == 2
        assert words in capsys.readouterr().err
    assert execute(["explain", str(run.path), file, "--method", "attention", "--at", "3,3", "--json"]) == 0
    found = said(capsys)
    assert found["checks"]["reproduction"]["passed"] and "the region pays" in found["meaning"]
    assert [each["name"] for each in found["maps"]] == [
        "stage 1, layer 1, head 1", "stage 2, layer 2, head 1", "stage 2, layer 2, head 2"
    ]  # fmt: skip
    assert execute(["explain", str(run.path), file, "--method", "rollout"]) == 2
    assert "several grids" in capsys.readouterr().err


def test_the_report_draws_the_worst_pictures(run: Run) -> None:
    from dougong.report import write_run_report

    page = write_run_report(run).read_text(encoding="utf-8")
    for words in ("Worst pictures", "wrong, in red", "boundary F1", "images/test/01", "integrated-gradients", "IoU"):
        assert words in page
    assert page.count("<img") >= 16


def test_compare_puts_them_beside_a_unet(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["compare", "segformer-micro", "unet-micro", "--data", str(place / "street"), "--budget", "3steps", "--json"]
    assert execute([*line, "--seeds", "1", "--out", str(tmp_path / "both"), "batch_size=4"]) == 0
    found = json.dumps(said(capsys))
    assert "segformer-micro" in found and "unet-micro" in found and "mean_iou" in found
    assert execute(["compare", "vit-micro", "unet-micro", "--data", str(place / "street"), "--budget", "3steps"]) == 2
    assert "vit: gives no masks" in capsys.readouterr().err
