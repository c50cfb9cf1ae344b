"""Bad input ends with exit code 2, one line on stderr, and nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dougong.cli.app import execute

TRAIN = ["train", "vit-micro", "--data", "digits", "--budget", "1steps"]

MATRIX = {
    "unknown model": (["models", "vit-bse"], "did you mean 'vit-base'"),
    "two models": (["models", "vit-base", "resnet-18"], "resnet-18: is a second model"),
    "unknown argument": (["models", "vit-base", "d_modle=3"], "did you mean 'd_model'"),
    "wrong type": (["models", "vit-base", "d_model=wide"], "d_model='wide'"),
    "sizes that do not fit": (["models", "vit-base", "d_model=7"], "vit"),
    "no folder": (["models", "absent/folder"], "absent/folder: no such folder"),
    "broken configuration": (["models", "{architecture: vit"], "MODEL: is no YAML"),
    "configuration of nothing": (["models", "{}"], "names no architecture"),
    "setting for the builder": (["models", "vit-base", "device=cuda"], "device: is not an argument"),
    "setting without a key": (["models", "vit-base", "=3"], "=3: is not a setting"),
    "setting twice": (["models", "vit-base", "n_classes=3", "n_classes=4"], "n_classes: is given twice"),
    "no config file": (["train", "--config", "absent.yaml"], "absent.yaml: cannot be read"),
    "no model": (["train", "--data", "digits"], "MODEL: is missing"),
    "no data": (["train", "vit-micro"], "--data: is missing"),
    "nothing to compare": (["compare", "--data", "digits"], "MODEL: is missing"),
    "model setting that is none": ([*TRAIN, "model=3"], "model: 3 is not a setting"),
    "no run to predict with": (["predict", "absent", "file.yaml"], "absent: no such folder"),
    "kind of output": (["predict", ".", "file.yaml", "--out", "x.xlsx"], "--out x.xlsx"),
    "kind of picture": (["explain", ".", "file.yaml", "--out", "x.gif"], "--out x.gif"),
    "folder of the output": (["explain", ".", "file.yaml", "--out", "absent/x.png"], "--out absent/x.png"),
    "no picture": (["explain", ".", "absent.png"], "absent.png: no such file"),
}


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("file.yaml").write_text("a: 1\n")
    return tmp_path


@pytest.mark.parametrize("case", MATRIX)
def test_bad_input(case: str, room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, said = MATRIX[case]
    before = written(room)
    assert execute(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and said in err, err
    assert ": " in err and "; " in err  # where: what; remedy
    assert written(room) == before


@pytest.mark.parametrize("case", ["unknown model", "no data", "no run to predict with"])
def test_bad_input_under_json(case: str, room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, said = MATRIX[case]
    assert execute([*words, "--json"]) == 2
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["exit_code"] == 2 and said in told["error"]
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limt: 3\n", "file.yaml: unknown key 'limt'; did you mean 'limit'"),
        ("- vit-base\n", "file.yaml: holds no mapping"),
        ("limit: many\n", "file.yaml: limit"),
        ("limit: [1, 2]\n", "file.yaml: limit"),
        ("limit: -1\n", "file.yaml: limit"),
        ("limit: 1\nlimit: 2\n", "file.yaml:2: is no YAML (key 'limit' stands here twice)"),
    ],
)
def test_bad_config_file(text: str, said: str, room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file.yaml").write_text(text)
    assert execute(["check", "digits", "--config", "file.yaml"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err, err


def test_a_failure_of_ours_is_one_line_and_a_traceback_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import dougong.architectures

    def broken() -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(dougong.architectures, "sizes", broken)
    assert execute(["models"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err == "dougong: RuntimeError: two lines; run it again with --debug to see where\n"
    with pytest.raises(RuntimeError):
        execute(["models", "--debug"])


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import dougong.architectures

    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dougong.architectures, "sizes", stopped)
    assert execute(["models"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_a_reader_that_leaves_is_no_failure() -> None:
    command = [sys.executable, "-m", "dougong", "models", "vit-micro"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("seed=3", "write --seed instead"),
        ("learning_rate=inf", "finite"),
        ("weight_decay=nan", "finite"),
        ("name=-1", "no name"),
        ("model.n_layers=99999999999999999999", "n_layers"),
        ("model.d_ff=100000000000000000000", "d_ff"),
    ],
)
def test_a_setting_that_will_not_do(word: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert execute(["train", "vit-micro", "--data", "digits", "--out", str(out), word]) == 2
    told = capsys.readouterr().err
    assert said in told and told.strip().count("\n") == 0 and not out.exists()
