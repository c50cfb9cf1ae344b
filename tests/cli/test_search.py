"""``dougong train --search``: its output, its page, a search that is killed and taken up again, and bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dougong.cli.app import execute

MODEL = "{architecture: vit, image_size: 8, patch_size: 4, d_model: 16, n_layers: 1, n_heads: 2, d_ff: 32}"
WORDS = ["train", MODEL, "--data", "digits", "--budget", "10steps", "--search", "5", "learning_rate=1e-4..1e-1",
         "batch_size=[16,32]", "model.dropout=0..0.3"]  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search") / "found"
    assert execute([*WORDS, "--out", str(out)]) == 0
    return out


def asked(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert execute([*words, "--json"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    return json.loads(shown)


def test_what_is_said_and_kept(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["resume", str(found)]) == 0
    shown, err = capsys.readouterr()
    assert "is finished" in err
    told = json.loads((found / "search.json").read_text())
    best = told["trials"][told["best"]]
    assert (
        f"best: learning_rate={best['settings']['learning_rate']} batch_size={best['settings']['batch_size']}" in shown
    )
    assert f"accuracy {told['test']['accuracy']:.4g}" in shown and str(found / "report.html") in shown
    assert set(told["space"]) == {"learning_rate", "batch_size", "model.dropout"} and len(told["trials"]) == 5


def test_json_and_what_can_be_done_with_it(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = asked(["resume", str(found)], capsys)
    assert len(told["trials"]) == 5 and told["settings"] == told["trials"][told["best"]]["settings"]
    measured = asked(["evaluate", str(found)], capsys)
    assert measured["accuracy"] == pytest.approx(told["test"]["accuracy"])
    again = asked(["train", str(found), "--data", "digits", "--budget", "1steps", "--out", str(found / "next")], capsys)
    assert again["steps"] == 1


def test_the_page(found: Path) -> None:
    page = (found / "report.html").read_text(encoding="utf-8")
    told = json.loads((found / "search.json").read_text())
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script" not in page
    for trial in told["trials"]:
        assert f"<title>trial {trial['number']}: {trial['value']:.4f}</title>" in page
    for key in told["space"]:
        assert f'aria-label="value by {key}"' in page
    assert page.count("value by ") >= 4 and "learning_rate (logarithmic)" in page
    assert (found / "trials" / f"{told['best']:03d}" / "report.html").is_file()


@pytest.mark.long
def test_killed_and_taken_up_again(found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "dougong", *WORDS, "--out", str(out)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for number in (1, 3):  # killed twice, in the middle of a trial
        process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not (out / "trials" / f"{number:03d}" / "last").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run([*command[:3], "resume", str(out), "--json"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    straight = json.loads((found / "search.json").read_text())
    assert [trial["settings"] for trial in again["trials"]] == [trial["settings"] for trial in straight["trials"]]
    assert [trial["number"] for trial in again["trials"]] == list(range(5))


BAD = {
    "no trials": (["--search", "0"], "--search"),
    "a word": (["--search", "many"], "--search"),
    "unknown setting": (["--search", "3", "learning_rat=1e-5..1e-3"], "did you mean 'learning_rate'"),
    "downwards": (["--search", "3", "learning_rate=1e-3..1e-5"], "does not go up"),
    "a wrong choice": (["--search", "3", "batch_size=[16, none]"], "'none' will not do"),
    "a wrong argument": (["--search", "3", "model.d_modle=[16, 32]"], "did you mean 'model.d_model'"),
    "a range without a search": (["learning_rate=1e-5..1e-3"], "add --search 20"),
    "the seed": (["--search", "3", "seed=[1, 2]"], "write --seed instead"),
    "data": (["--search", "3", "--data", "absent.csv"], "absent.csv"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, said = BAD[case]
    out = tmp_path / "none"
    data = [] if "--data" in words else ["--data", "digits"]
    assert execute(["train", "vit-micro", *data, "--out", str(out), *words]) == 2
    shown, err = capsys.readouterr()
    assert shown == "" and said in err and err.count("\n") == 1
    assert not out.exists()


def test_a_folder_with_something_else_is_not_touched(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in found.rglob("*")}
    assert execute([*WORDS[:-1], "--out", str(found)]) == 2
    assert "on other terms" in capsys.readouterr().err
    assert execute(["train", MODEL, "--data", "digits", "--budget", "1steps", "--out", str(found)]) == 2
    assert {path: path.stat().st_mtime_ns for path in found.rglob("*")} == before
