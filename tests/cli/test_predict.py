"""`dougong predict` on files, pipes and standard input without an end."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import dougong
from dougong.cli.app import execute
from dougong.errors import UserError
from dougong.training import Run

GOOD, BAD = ["好看", "精彩", "fine"], ["无聊", "糟糕", "dull"]
COMMAND = [sys.executable, "-c", "import sys; from dougong.cli.app import main; main(sys.argv[1:])"]


def films(count: int, start: int = 0) -> list[str]:
    return [f"这 部 电影 {(GOOD if n % 2 else BAD)[n % 3]} {n}" for n in range(start, start + count)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("films")
    rows = "".join(f"{n},{text},{'好' if n % 2 else '坏'}\n" for n, text in enumerate(films(200)))
    (place / "films.csv").write_text("id,review,label\n" + rows, encoding="utf-8")
    model = {"architecture": "textcnn", "d_model": 16, "n_filters": 16, "dropout": 0.0}
    return dougong.train(
        model, place / "films.csv", out=place / "run", budget="6epochs", learning_rate=5e-3, vocab_size=120,
        max_length=10, tensorboard=False,
    )  # fmt: skip


@pytest.fixture
def folder(run: Run) -> str:
    return str(run.path)


@torch.no_grad()
def labels_of(run: Run, texts: list[str]) -> list[str]:
    """The likeliest class of each text, one by one."""
    model, task = run.model(), run.task()
    found = []
    for text in texts:
        logits = model(*task.prepare(text).inputs).logits
        found.append(task.classes[int(logits.argmax())])  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_each_row_of_a_table_has_its_answer_in_order(batch: int, run: Run, folder: str, tmp_path: Path) -> None:
    texts = films(70, 300)
    source, out = tmp_path / "new.csv", tmp_path / "answers.jsonl"
    source.write_text("review,who\n" + "".join(f"{text},x\n" for text in texts), encoding="utf-8")
    assert execute(["predict", folder, str(source), "--out", str(out), "--batch-size", str(batch)]) == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == texts
    assert [row["where"] for row in rows] == [f"new.csv:{n + 2}" for n in range(70)]
    expected = labels_of(run, texts)
    assert [row["label"] for row in rows] == expected and len(set(expected)) == 2
    assert execute(["predict", folder, str(source), "--out", str(tmp_path / "answers.csv")]) == 0
    with (tmp_path / "answers.csv").open(encoding="utf-8", newline="") as opened:
        assert [(row["text"], row["label"]) for row in csv.DictReader(opened)] == list(
            zip(texts, expected, strict=True)
        )


def test_a_pipe_without_an_end(folder: str) -> None:
    """What `yes TEXT | dougong predict RUN - | head -20` does."""
    writer = subprocess.Popen(["yes", films(1)[0]], stdout=subprocess.PIPE)
    asked = subprocess.Popen(
        [*COMMAND, "predict", folder, "-", "--batch-size", "8"], stdin=writer.stdout, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip
    assert writer.stdout is not None and asked.stdout is not None and asked.stderr is not None
    writer.stdout.close()
    lines = list(itertools.islice(asked.stdout, 20))
    asked.stdout.close()
    assert asked.wait(60) == 0 and writer.wait(60) != 0
    said = asked.stderr.read()
    asked.stderr.close()
    assert (
        len(lines) == 20 and all("坏" in line for line in lines[2:]) and "Traceback" not in said and "rror" not in said
    )


def test_piped_texts_need_no_word(folder: str, tmp_path: Path) -> None:
    got = subprocess.run(
        [*COMMAND, "predict", folder, "--format", "jsonl", "--json"], capture_output=True, check=True,
        input="".join(json.dumps({"review": text}) + "\n" for text in films(3)).encode(),
    )  # fmt: skip
    rows = json.loads(got.stdout)["predictions"]
    assert [row["where"] for row in rows] == ["stdin:1", "stdin:2", "stdin:3"]
    assert [row["label"] for row in rows] == ["坏", "好", "坏"]


def test_a_killed_run_leaves_whole_lines(folder: str, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    half = tmp_path / "answers.jsonl.part"
    writer = subprocess.Popen(["yes", films(1)[0]], stdout=subprocess.PIPE)
    asked = subprocess.Popen([*COMMAND, "predict", folder, "-", "--out", str(out)], stdin=writer.stdout,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    assert writer.stdout is not None
    writer.stdout.close()
    limit = time.monotonic() + 60
    while not (half.is_file() and half.stat().st_size > 50_000) and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(asked.pid, signal.SIGKILL)
    assert asked.wait(60) == -signal.SIGKILL and writer.wait(60) != 0
    held = half.read_bytes()
    assert held.endswith(b"\n") and not out.exists()
    assert {json.loads(line)["label"] for line in held.decode().splitlines()} == {"坏"}


def test_memory_does_not_grow(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a batch is taken from a generator before its answers are given out."""
    taken = itertools.count()
    last = 0

    def texts() -> Any:
        nonlocal last
        for last in taken:
            yield films(1, last)[0]

    answers = dougong.predict(run, texts(), batch_size=5)
    for number, answer in enumerate(itertools.islice(answers, 23)):
        assert answer.text == films(1, number)[0] and last <= number // 5 * 5 + 4
    answers.close()


def test_bad_rows_stop_or_are_counted(
    run: Run, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = films(8)
    source, out = tmp_path / "a.txt", tmp_path / "a.jsonl"
    source.write_text("\n".join([*texts[:5], "", *texts[5:], " "]) + "\n", encoding="utf-8")
    words = ["predict", folder, str(source), "--out", str(out), "--batch-size", "3"]
    assert execute(words) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "a.txt:6: holds no text; fill it in, or leave such rows out with --skip-bad"
    assert not out.exists() and "5 predictions" in said[-2]
    kept = (tmp_path / "a.jsonl.part").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["text"] for line in kept] == texts[:5]
    assert execute([*words, "--skip-bad"]) == 0
    assert "2 rows are left out: a.txt:6 holds no text, a.txt:10 holds no text" in capsys.readouterr().err
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == texts and not (tmp_path / "a.jsonl.part").exists()
    assert [answer.text for answer in dougong.predict(run, source, skip_bad=True)] == texts
    with pytest.raises(UserError, match=r"a\.txt:6"):
        list(dougong.predict(run, [source]))


def test_cut_texts_are_counted(run: Run, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task: Any = run.task()
    texts = [" ".join(["电影"] * count) for count in range(1, 20)]
    over = sum(len(task.tokenizer.encode(text).ids) > 10 for text in texts)
    assert 0 < over < 19
    (tmp_path / "long.txt").write_text("\n".join(texts), encoding="utf-8")
    assert execute(["predict", folder, str(tmp_path / "long.txt"), "--out", str(tmp_path / "a.csv")]) == 0
    assert f"{over} of 19 texts are cut to 10 tokens" in capsys.readouterr().err
    assert execute(["predict", folder, texts[0]]) == 0
    assert "cut" not in capsys.readouterr().err


def test_many_rows_flow_and_few_stand_in_a_table(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in (4, 5):
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(films(count)) + "\n"))
        assert execute(["predict", folder, "-", "--batch-size", "4"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["where", "text", "answer", "probability", "next"] and set(lines[1]) == {"-", " "}
        assert [line.split()[0] for line in lines[2:]] == [f"stdin:{n + 1}" for n in range(count)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.csv"], "absent.csv: no such file"),
        (["-", "-"], "is named twice"),
        (["a b", "--text", "a", "--text", "b", "--text", "c"], "names 3 columns"),
        (["-", "--format", "jsn"], "did you mean 'jsonl'"),
        (["-"], "INPUTS: hold nothing to predict"),
    ],
)
def test_what_cannot_be_asked(
    words: list[str], said: str, folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert execute(["predict", folder, *words, "--json"]) == 2
    out, err = capsys.readouterr()
    assert said in err.splitlines()[-1] and json.loads(out)["exit_code"] == 2
