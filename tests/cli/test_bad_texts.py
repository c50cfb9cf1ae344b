"""Bad texts through the command line: training refuses in one line what check calls an error, and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dougong.cli.app import execute
from dougong.data import open_data
from tests.support.text_faults import FAULTS, ROWS, csv, words_for

ERRORS = [name for name, case in FAULTS.items() if case.severity == "error"]
WARNINGS = [name for name, case in FAULTS.items() if case.severity == "warning"]


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ERRORS)
def test_training_refuses(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = FAULTS[name]
    source = case.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = written(tmp_path)
    assert execute(["train", *words_for(case), "--data", str(source), "--budget", "1steps"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "; " in err, err
    assert case.where.split(":")[0] in err and "Traceback" not in err
    assert written(tmp_path) == before
    assert execute(["check", str(source)]) == 2
    out = capsys.readouterr().out
    assert case.what in out and case.where in out and "no errors" not in out.splitlines()[-1]
    assert written(tmp_path) == before


@pytest.mark.parametrize("name", WARNINGS)
def test_training_lives_with(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = FAULTS[name]
    source = case.make(tmp_path)
    assert execute(["check", str(source), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["errors"] == 0 and told["warnings"] >= 1
    assert any(each["kind"] == case.kind and each["where"] == case.where for each in told["faults"])
    data = open_data(source)
    used = sum(len(split) for split in data.splits.values())
    if case.kind in ("empty", "leak"):
        assert used == told["rows"] - 1 and any("left out" in note for note in data.notes)
    elif case.kind not in ("no header", "broken tags"):
        assert used == told["rows"]


def test_rows_that_stand_on_the_right_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Arrow does not say where a row of several lines begins; the line is said all the same."""
    (tmp_path / "a.csv").write_text(csv() + '"two\nlines",positive\nx\0y,negative\n')
    assert execute(["train", "textcnn", "--data", str(tmp_path / "a.csv"), "--budget", "1steps"]) == 2
    assert capsys.readouterr().err.startswith("a.csv:44: holds a NUL byte; ")


def test_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "a.csv"
    source.write_text(csv() + ",positive\n" * 9 + "no label,\n" + f"{ROWS[0][0]},positive\n")
    assert execute(["check", str(source), "--limit", "4"]) == 2
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split()[:2] for line in lines[2:6]]  # errors first, and of each kind at least one
    assert shown == [["error", "a.csv:51"], ["warning", "a.csv:42"], ["warning", "a.csv:43"], ["warning", "a.csv:52"]]
    assert lines[6] == "... and 7 more; --limit 0 shows all that are listed"
    kinds = {tuple(line.split()) for line in lines if line.startswith(("error ", "warning "))}
    assert ("error", "no", "label", "1", "drops", "the", "row") in kinds
    assert ("warning", "empty", "9", "drops", "the", "row") in kinds
    assert lines[-1] == f"{source}: 51 texts, 2 classes, 1 error, 10 warnings"


def test_fix_writes_a_copy_and_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "a.csv"
    source.write_text(csv() + "no label,\nx\0y,negative\n" + f"{ROWS[0][0]},negative\n")
    before = source.read_bytes()
    assert execute(["check", str(source), "--fix", str(tmp_path / "copy")]) == 0
    out = capsys.readouterr().out
    assert "dropped  a.csv:42  has no label" in out and "mended   a.csv:43  holds a NUL byte" in out
    assert [line.split() for line in out.splitlines() if line.startswith("a.csv ")] == [
        ["a.csv", "43", "42", "1", "no", "label", "1", "NUL", "byte"]
    ]
    assert "under other labels" in out and out.count("a.csv: 42 texts, 2 classes, no errors, 1 warning") == 1
    assert source.read_bytes() == before and written(tmp_path) == {"a.csv", "copy", "copy/a.csv"}
    assert execute(["check", str(source), "--fix", str(tmp_path / "copy")]) == 2
    assert "exists and is not empty; name a new folder" in capsys.readouterr().err
    assert execute(["check", str(source), "--json", "--fix", str(tmp_path / "new")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fixed"]["files"][0]["dropped"] == {"no label": 1} and told["fixed"]["warnings"] == 1
    assert told["errors"] == 2


def test_options_of_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "a.csv"
    source.write_text("review,stars\n" + "".join(f"{text},{label}\n" for text, label in ROWS))
    assert execute(["check", str(source), "--text", "review", "--label", "stars", "--length", "6", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["columns"] == {"text": "review", "label": "stars"} and told["warnings"] == 40
    assert told["lengths"] == {"median": 7, "95 %": 7, "longest": 7} and told["length_unit"] == "words"
    for words, said in (
        (["--text", "nothing"], "has no column 'nothing'"),
        (["--encoding", "klingon"], "is no encoding that is known"),
        (["--task", "text-clasification"], "did you mean 'text-classification'?"),
        (["--tokenizer", "absent"], "there is no such file or folder"),
    ):
        assert execute(["check", str(source), *words]) == 2
        shown = capsys.readouterr()
        assert said in shown.out + shown.err
    assert execute(["check", "digits", "--length", "9"]) == 2
    assert "--length: is for texts, which digits does not hold" in capsys.readouterr().err


def test_an_encoding_that_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(csv([*ROWS, ("Ĉu vi parolas ĝin?", "positive")]).encode("iso8859-3"))
    assert execute(["check", str(source), "--encoding", "iso8859-3", "--fix", str(tmp_path / "copy")]) == 0
    assert "Ĉu vi parolas ĝin?" in (tmp_path / "copy" / "a.csv").read_text(encoding="utf-8")
    assert "is iso8859-3, not UTF-8" in capsys.readouterr().out


def test_tokens_of_a_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, run = tmp_path / "a.csv", tmp_path / "run"
    source.write_text(csv())
    words = ["train", "textcnn", "model.d_model=16", "tokenizer=characters", "--budget", "1steps"]
    assert execute([*words, "--data", str(source), "--out", str(run)]) == 0
    capsys.readouterr()
    assert execute(["check", str(source), "--tokenizer", str(run), "--length", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["length_unit"] == "tokens" and told["warnings"] == 40
    assert told["lengths"]["longest"] >= max(len(text) for text, _ in ROWS)
