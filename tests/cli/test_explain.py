"""`dougong explain` on texts, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.pages import check_self_contained

from dougong.cli.app import execute

WORDS = {"good": ("marvellous", "delightful", "splendid"), "bad": ("dreadful", "tedious", "horrid")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reviews")
    rows = ["text,label"]
    for number in range(120):
        label = ("good", "bad")[number % 2]
        rows.append(f"the <i>film</i> {number // 2} was {WORDS[label][number // 2 % 3]} 很 today,{label}")
    (folder / "all.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    model = json.dumps({"architecture": "textcnn", "d_model": 16, "n_filters": 8})
    words = ["train", model, "--data", str(folder / "all.csv"), "--budget", "300steps", "--out", str(folder / "run")]
    assert execute([*words, "learning_rate=1e-2", "vocab_size=150"]) == 0
    return folder / "run"


def asked(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert execute([*words, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def test_the_report_of_the_run_explains(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    check_self_contained(page)
    assert ">Explanations</h2>" in page and 'class="passage"' in page and "<i>film" not in page


def test_a_text_in_words(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["explain", str(run), "a horrid film\x1b[31m"]) == 0
    out = capsys.readouterr().out
    assert "bad" in out and "for: horrid" in out and "completeness: passed" in out and "\x1b" not in out


@pytest.mark.parametrize("way", ["place", "option", "file"])
def test_ways_to_give_a_text(way: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.txt").write_text("\nthe film was splendid 很 today\n", encoding="utf-8")
    text = "the film was splendid 很 today"
    words = {"place": [text], "option": ["--text", text], "file": [str(tmp_path / "one.txt")]}[way]
    out = tmp_path / "why.html"
    found = asked(["explain", str(run), *words, "--method", "occlusion", "--out", str(out)], capsys)
    assert found["texts"] == [text] and found["target"]["name"] == "good"
    best = found["units"]["names"][max(range(6), key=lambda place: found["scores"][place])]
    assert best == "splendid" and "splendid</span>" in out.read_text(encoding="utf-8")


def test_a_pair(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(["explain", str(run), "--text", "a film", "--text", "was horrid"], capsys)
    assert found["texts"] == ["a film", "was horrid"] and found["units"]["spans"][-1] == [1, 4, 10]


def test_test_samples(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(["explain", str(run), "--out", str(tmp_path / "why.html")], capsys)
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    check_self_contained(page)
    assert len(found["samples"]) >= 2 and "<i>film" not in page
    for row in found["samples"]:
        assert row["where"] in page and row["checks"]["completeness"]["passed"]
    assert asked(["explain", str(run), "--out", str(tmp_path / "why.json")], capsys)["samples"] == found["samples"]
    assert len(json.loads((tmp_path / "why.json").read_text(encoding="utf-8"))) == len(found["samples"])


def test_test_samples_of_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = json.dumps({"architecture": "resnet", "layers": [1], "width": 4, "block": "basic", "stem": "small"})
    out = tmp_path / "digits"
    assert execute(["train", model, "--data", "digits", "--budget", "5steps", "--out", str(out)]) == 0
    capsys.readouterr()
    found = asked(["explain", str(out), "--out", str(tmp_path / "why.html")], capsys)
    assert found["samples"] and "<img" in (tmp_path / "why.html").read_text(encoding="utf-8")


def test_bad_input(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "two.txt").write_text("one film\ntwo films\n")
    cases: dict[str, list[str]] = {
        "holds no word": [str(run), "  "],
        "holds 2 texts, one a line": [str(run), str(tmp_path / "two.txt")],
        "give one of them": [str(run), "a", "--text", "b"],
        "is a model without its data": [str(run / "model")],
        "is one drawing, for several samples": [str(run), "--out", str(tmp_path / "x.png")],
        "textcnn has no attention": [str(run), "a film", "--method", "attention"],
        "unknown class 'goood'; did you mean 'good'": [str(run), "a film", "--target", "goood"],
    }
    for said, words in cases.items():
        assert execute(["explain", *words]) == 2
        out, err = capsys.readouterr()
        assert said in err and err.count("\n") == 1 and out == "", err
    assert [path.name for path in tmp_path.iterdir()] == ["two.txt"]
