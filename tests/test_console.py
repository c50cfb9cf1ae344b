"""What the user sees: plain lines where there is no terminal, one JSON object where it is asked for."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dougong import console, figures

WORK = """
import time
from dougong import console
with console.progress(3, "outer", unit="runs") as outer:
    for i in range(3):
        with console.progress(20, f"inner {i}", unit="steps") as inner:
            for j in range(20):
                inner.advance(loss=0.5)
            time.sleep(0.6 if i == 2 else 0)
        outer.advance()
        console.say(f"run {i} done")
console.table("Scores", ["model", "accuracy"], [["vit [red]", 0.97134]])
"""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    console.configure()


def test_results_and_progress_are_apart() -> None:
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:3] == ["run 0 done", "run 1 done", "run 2 done"]
    assert "\x1b" not in done.stdout + done.stderr
    assert "inner 2: 20/20 steps (100 %)  loss 0.5" in done.stderr
    assert "inner 0" not in done.stderr  # what is quick needs no line
    assert done.stderr.splitlines()[-1].startswith("outer: 3/3 runs (100 %)")


def test_a_terminal_gets_bars_and_the_pipe_stays_clean() -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE, stderr=theirs, text=True, env=env)
    os.close(theirs)
    drawn = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        drawn += piece
    out = done.communicate()[0]
    os.close(ours)
    assert done.returncode == 0
    assert "━".encode() in drawn and b"outer" in drawn and b"inner" in drawn
    assert "\x1b" not in out and out.startswith("run 0 done\n")


def test_table_is_aligned_and_takes_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("Scores", ["model", "accuracy", "n"], [["[red]", 0.97134, 3], ["模型", None, 12]])
    assert capsys.readouterr().out.splitlines() == [
        "Scores",
        "model  accuracy   n",
        "-----  --------  --",
        "[red]    0.9713   3",
        "模型          -  12",
    ]


def test_json_keeps_stdout_for_the_object(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass
    class Score:
        value: float
        where: Path

    console.configure(json=True)
    console.say("a line")
    console.note("a note")
    console.table("t", ["a"], [[1]])
    console.tree(("root", [("leaf", [])]))
    console.emit({"score": Score(float("nan"), Path("a/b")), "big": float("inf"), 3: ("中", {4})})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"score": {"value": None, "where": "a/b"}, "big": None, "3": ["中", [4]]}
    assert out.count("\n") == 1 and err == "a line\nnote: a note\n"


def test_numbers_of_numpy_and_torch_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    import numpy
    import torch

    console.emit({"a": numpy.float32(0.5), "b": numpy.arange(2), "c": torch.tensor([1.5]), "d": torch.tensor(2)})
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": [0, 1], "c": [1.5], "d": 2}


def test_names_that_are_no_text_and_terminals_that_are_not_utf8() -> None:
    code = "from dougong import console; console.say('a\\udcff 中'); console.emit({'a': 'x\\udcff 中'})"
    env = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    line, told = done.stdout.splitlines()
    assert line == "a\\udcff \\u4e2d"
    assert json.loads(told)["a"].endswith("中")


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (figures.count(0), "0"),
        (figures.count(999), "999"),
        (figures.count(999_600), "1 M"),
        (figures.count(86_567_656), "86.6 M"),
        (figures.count(1.2e15), "1.2 P"),
        (figures.count(float("inf")), "inf"),
        (figures.size(100), "100 B"),
        (figures.size(1.5 * 2**30), "1.5 GiB"),
        (figures.duration(0.0004), "0.4 ms"),
        (figures.duration(59.99), "60 s"),
        (figures.duration(245), "4 min 05 s"),
        (figures.duration(7800), "2 h 10 min"),
        (figures.duration(float("nan")), "?"),
        (figures.percent(0.97134), "97.13 %"),
        (figures.number(0.97134), "0.9713"),
    ],
)
def test_figures(shown: str, text: str) -> None:
    assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"), [("key", "key"), ("two words", "two words"), (" ", "“ ”"), (" the", "“ the”"), ("\n", r"“\n”")]
)
def test_blanks_at_the_ends_are_seen(text: str, shown: str) -> None:
    assert console.visible(text) == shown


def test_the_end_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    for last, lines in ((3, 1), (2, 2)):  # done, and said so; then the control: stopped short of the total
        bar = console._Lines(3, "work", "steps")
        with bar:
            bar.start, bar.next = bar.start - 9, 0.0
            bar.set(last)
        assert len(capsys.readouterr().err.splitlines()) == lines
