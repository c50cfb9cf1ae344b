"""The verbs that do the main job, on the real digits."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dougong.cli.app import execute


def asked(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    """What a verb prints under --json; stdout must hold that one object and nothing else."""
    got = execute([*words, "--json"])
    out, err = capsys.readouterr()
    assert got == code, err
    assert out.count("\n") == 1
    return json.loads(out)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "first"
    words = ["train", "vit-micro", "--data", "digits", "--budget", "60steps", "--out", str(out), "model.n_layers=2"]
    assert execute(words) == 0
    return out


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three real digits as PNG files, named by their class."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("pictures")
    images, labels = load_digits(return_X_y=True)
    for i in (0, 1, 2):
        Image.fromarray((images[i].reshape(8, 8) * 255 / 16).astype("uint8")).save(folder / f"{labels[i]}.png")
    return folder


def test_train_says_what_came_out(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["train", "resnet-20", "--data", "digits", "--budget", "2steps", "--out", str(tmp_path / "second")]
    assert execute([*words, "model.width=4"]) == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "second") in out and "accuracy" in out and "report.html" in out and "dougong predict" in out
    assert (tmp_path / "second" / "report.html").is_file() and (tmp_path / "second" / "model" / "config.json").is_file()


def test_a_run_can_be_repeated_from_its_configuration(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--config", str(run / "config.yaml"), "--budget", "1steps", "--out", str(tmp_path / "again")]
    told = asked(words, capsys)
    assert told["run"] == str(tmp_path / "again")
    kept = json.loads((tmp_path / "again" / "model" / "config.json").read_text())
    assert kept == json.loads((run / "model" / "config.json").read_text()) and kept["num_hidden_layers"] == 2


BAD = {
    "unknown setting": (["learning_rat=1"], "did you mean 'learning_rate'"),
    "wrong type": (["learning_rate=fast"], "learning_rate"),
    "budget of zero": (["--budget", "0steps"], "budget"),
    "budget of nothing": (["--budget", "soon"], "budget"),
    "model argument": (["model.d_modle=3"], "did you mean 'd_model'"),
    "sizes that do not fit": (["model.n_heads=5"], "5"),
    "unknown data": (["--data", "absent.parquet"], "absent.parquet"),
    "split": (["--split", "80/30/10"], "split"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_training_leaves_nothing(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, said = BAD[case]
    out = tmp_path / "none"
    data = [] if "--data" in words else ["--data", "digits"]
    assert execute(["train", "vit-micro", *data, "--out", str(out), *words]) == 2
    shown, err = capsys.readouterr()
    assert shown == "" and said in err
    assert [line for line in err.splitlines() if not line.startswith("note: ")] == err.splitlines()[-1:]
    assert not out.exists()


def test_an_existing_run_is_not_touched(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert execute(["train", "vit-micro", "--data", "digits", "--budget", "1steps", "--out", str(run)]) == 2
    assert str(run) in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_evaluate_agrees_with_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    on_test = asked(["evaluate", str(run)], capsys)
    on_val = asked(["evaluate", str(run), "--split", "val"], capsys)
    final = json.loads((run / "result.json").read_text())["test"]
    assert on_test["accuracy"] == pytest.approx(final["accuracy"], abs=1e-9)
    assert on_val["loss"] != on_test["loss"]
    assert execute(["evaluate", str(run), "--split", "tset"]) == 2


def test_predict_files_folders_and_lists(
    run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    by_folder = asked(["predict", str(run), str(pictures)], capsys)["predictions"]
    assert [Path(row["where"]).name for row in by_folder] == ["0.png", "1.png", "2.png"]
    names = sorted(str(path) for path in pictures.iterdir())
    assert asked(["predict", str(run), *names], capsys)["predictions"] == by_folder
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(names) + "\n"))
    assert asked(["predict", str(run), "-"], capsys)["predictions"] == by_folder
    for row in by_folder:
        assert row["top"][0] == [row["label"], pytest.approx(row["probability"])]
        assert 0 < row["probability"] <= 1 and row["label"] in set("0123456789")

    assert execute(["predict", str(run), str(pictures), "--out", str(tmp_path / "p.csv")]) == 0
    with (tmp_path / "p.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == [row["label"] for row in by_folder]
    assert execute(["predict", str(run), str(pictures), "--out", str(tmp_path / "p.jsonl")]) == 0
    assert [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()] == by_folder


def test_predict_names_a_bad_picture(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    out = tmp_path / "p.csv"
    assert execute(["predict", str(run), str(bad), "--out", str(out)]) == 2
    shown, err = capsys.readouterr()
    assert shown == "" and "bad.png" in err and err.count("\n") == 1 and not out.exists()


@pytest.mark.parametrize("method", ["integrated-gradients", "rollout"])
def test_explain_draws(
    method: str, run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "why.png"
    words = ["explain", str(run), str(pictures / "1.png"), "--method", method, "--target", "7", "--out", str(out)]
    told = asked(words, capsys)
    assert told["method"] == method and told["target"]["name"] == "7" and told["checks"]
    assert Image.open(out).width > 100


def test_explain_refuses_what_it_does_not_know(run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(pictures / "1.png")
    assert execute(["explain", str(run), picture, "--method", "rolout"]) == 2
    assert "did you mean 'rollout'" in capsys.readouterr().err
    assert execute(["explain", str(run), picture, "--target", "eleven"]) == 2
    assert "eleven" in capsys.readouterr().err


def test_compare_writes_a_table_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "both"
    words = ["compare", "vit-micro", "lstm-micro", "--data", "digits", "--budget", "3steps", "--seeds", "2"]
    assert execute([*words, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "vit-micro" in shown and "lstm-micro" in shown and "accuracy" in shown
    assert str(out / "report.html") in shown
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "vit-micro" in page and "http://" not in page.replace("http://www.w3.org", "")


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(["check", "digits"], capsys)["errors"] == 0
    for name in ("train/a/1.png", "train/a/2.png", "train/b/3.png", "train/b/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (len(name), 10 * int(name[-5]), 0)).save(tmp_path / name)
    (tmp_path / "train/b/5.png").write_bytes(b"")
    told = asked(["check", str(tmp_path)], capsys, code=2)
    assert told["errors"] == len([fault for fault in told["faults"] if fault["severity"] == "error"]) >= 1
    assert any("5.png" in fault["where"] for fault in told["faults"])
    assert execute(["check", str(tmp_path)]) == 2
    assert "5.png" in capsys.readouterr().out


def test_resume_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["resume", str(tmp_path / "absent")]) == 2
    assert "absent" in capsys.readouterr().err


def test_cost(capsys: pytest.CaptureFixture[str]) -> None:
    told = asked(["cost", "vit-base"], capsys)
    assert told["parameters"] == 86_567_656
    assert execute(["cost", "vit-base", "--train", "--batch", "8", "n_classes=10"]) == 0
    assert "85,8" in capsys.readouterr().out.replace(".", ",")  # 85.8 M with ten classes
