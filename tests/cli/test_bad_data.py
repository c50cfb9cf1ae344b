"""Bad data through the command line: exit code 2, one line, nothing written; check names what training refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dougong.cli.app import execute
from tests.support.fault_cases import CASES
from tests.support.faults import good
from tests.support.pictures import encoded, image_folder, picture

ERRORS = [name for name, case in CASES.items() if case.severity == "error"]
WARNINGS = [name for name, case in CASES.items() if case.severity == "warning"]


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ERRORS)
def test_training_refuses(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    source = case.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = written(tmp_path)
    assert execute(["train", "vit-micro", "--data", str(source), "--budget", "1steps"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1, err
    assert ": " in err and "; " in err
    assert case.what in err or "lists all" in err, err
    assert written(tmp_path) == before  # no runs/


@pytest.mark.parametrize("name", [*ERRORS, *WARNINGS])
def test_check_names_it(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    source = case.make(tmp_path)
    before = written(tmp_path)
    code = 2 if case.severity == "error" else 0
    assert execute(["check", str(source)]) == code
    out, err = capsys.readouterr()
    assert err == "" and case.what in out and case.remedy in out
    ending = out.splitlines()[-1]
    assert ending.startswith(f"{source}: ") and ("no errors" in ending) is (code == 0)
    assert execute(["check", str(source), "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert any(case.what in fault["what"] and case.where in fault["where"] for fault in told["faults"])
    assert told["errors"] + told["warnings"] == len(told["faults"])
    assert written(tmp_path) == before


def test_check_shows_errors_first_and_then_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = image_folder(tmp_path / "photos", {"train/cat": 4, "train/dog": 5, "test/cat": 2, "test/dog": 2})
    (folder / "train" / "cat" / "a note.txt").write_text("x")
    for name in ("p.png", "q.png"):
        (folder / "train" / "dog" / name).write_bytes(b"")
    assert execute(["check", str(folder), "--limit", "2"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["error", "error"]
    assert lines[4] == "... and 1 more; --limit 0 shows all"
    assert [line.split() for line in lines[6:7] + lines[8:11]] == [
        ["class", "train", "test"], ["cat", "4", "2"], ["dog", "7", "2"], ["all", "11", "4"],
    ]  # fmt: skip
    assert lines[-1] == f"{folder}: 15 pictures, 2 classes, 2 errors, 1 warning"
    assert execute(["check", str(folder), "--limit", "0"]) == 2
    assert "a note.txt" in capsys.readouterr().out


OPTIONS = {
    "split of nothing": (["--split", "80/20"], "--split 80/20: is not three numbers"),
    "split beyond all": (["--split", "80/20/20"], "--split 80/20/20: adds up to 120"),
    "split without a test": (["--split", "90/10/0"], "leaves test empty"),
    "augmentation": (["augment=strnog"], "did you mean 'strong'?"),
    "amount": (["augment.shfit=0.1"], "did you mean 'shift'?"),
    "amount of more than all": (["augment.shift=2"], "augment.shift=2: will not do; give 0 to 1"),
    "task": (["--task", "image-clasification"], "did you mean 'image-classification'?"),
    "budget of zero": (["--budget", "0epochs"], "budget"),
    "setting": (["batchsize=3"], "did you mean 'batch_size'?"),
    "argument": (["model.patchsize=3"], "did you mean 'patch_size'?"),
    "patch that does not divide": (["model.patch_size=5"], "it does not divide 12x10; leave it out, or set 2"),
    "heads that do not divide": (["model.n_heads=5"], "5"),
    "classes of another number": (["model.n_classes=7"], "the data has 2 classes; leave it out, or set 2"),
    "size of another number": (["model.image_size=32"], "the pictures are read at 12x10; leave it out, or set 12x10"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_the_data_does_not_bear(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, said = OPTIONS[name]
    folder = good(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = written(tmp_path)
    assert execute(["train", "vit-micro", "--data", str(folder), "--budget", "1steps", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err, err
    assert written(tmp_path) == before


def test_a_split_for_data_that_has_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = image_folder(tmp_path / "photos", {"train/cat": 9, "train/dog": 9, "test/cat": 2, "test/dog": 2})
    words = ["train", "vit-micro", "--data", str(folder), "--split", "80/10/10", "--out", str(tmp_path / "run")]
    assert execute(words) == 2
    assert "the data has its own splits (test, train); leave --split out" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = good(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("kept")
    before = written(tmp_path)
    words = ["train", "vit-micro", "--data", str(folder), "--budget", "1steps", "--out", str(tmp_path / "run")]
    assert execute(words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "run: " in err and "; " in err
    assert written(tmp_path) == before


def test_a_picture_that_cannot_be_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, run = good(tmp_path), tmp_path / "run"
    words = ["train", "rnn-micro", "--data", str(folder), "--budget", "1steps", "--out", str(run)]
    assert execute(words) == 0, capsys.readouterr().err
    capsys.readouterr()
    for name, content in {"text.png": b"a list", "none.png": b"", "half.png": encoded(picture(1))[:200]}.items():
        (tmp_path / name).write_bytes(content)
        assert execute(["predict", str(run), str(tmp_path / name)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and name in err and "; " in err, err
