"""``dougong generate``: what reaches the terminal, the file and the program that asked."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from support.writers import with_tokenizer

from dougong.cli.app import execute


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_tokenizer(tmp_path_factory.mktemp("writer"))


def test_a_text_is_shown_while_it_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", str(folder), "--prompt", "the quick", "--max-new-tokens", "12"]
    assert execute(words) == 0
    out, err = capsys.readouterr()
    assert "12 tokens in" in err and "ended by length" in err
    assert execute([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    row = found["generations"][0]
    assert out == row["text"] + "\n" and len(row["tokens"]) == 12 and found["tokens_per_second"] > 0


def test_several_prompts_samples_and_a_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("fox\n\n木构件\n", encoding="utf-8")
    rules = ["--max-new-tokens", "6", "--top-p", "0.9", "--samples", "2", "--seed", "4"]
    assert execute(["generate", str(folder), "--prompt", "the", "--file", str(prompts), *rules]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("> ")] == [
        "> the", "> the", "> fox", "> fox", "> 木构件", "> 木构件"
    ]  # fmt: skip
    written = tmp_path / "texts.jsonl"
    monkeypatch.setattr("sys.stdin", io.StringIO("fox\n"))
    assert execute(["generate", str(folder), "--file", "-", *rules, "--out", str(written)]) == 0
    rows = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    assert [row["prompt"] for row in rows] == ["fox", "fox"] and all(row["text"] in out for row in rows)


def test_beams_chat_and_stop(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", str(folder), "--prompt", "the", "--max-new-tokens", "8", "--json"]
    assert execute([*words, "--beams", "3", "--samples", "2"]) == 0
    found = json.loads(capsys.readouterr().out)["generations"]
    assert len(found) == 2 and found[0]["score"] >= found[1]["score"]
    assert execute(words) == 0
    plain = json.loads(capsys.readouterr().out)["generations"][0]
    assert execute([*words, "--chat", "--system", "be brief"]) == 0
    talk = json.loads(capsys.readouterr().out)["generations"][0]
    assert talk["tokens"] != plain["tokens"]
    assert execute([*words, "--stop", plain["text"][3:5]]) == 0
    assert json.loads(capsys.readouterr().out)["generations"][0]["reason"] == "stop"


def test_what_guessing_and_shared_beginnings_saved_is_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", str(folder), "--prompt", "the quick", "--max-new-tokens", "30"]
    assert execute(words) == 0
    plain, err = capsys.readouterr()
    assert "accepted" not in err and "read" not in err
    for guess in (["--lookup", "2"], ["--draft", str(folder)]):
        assert execute([*words, *guess]) == 0
        out, err = capsys.readouterr()
        assert out == plain and "guessed tokens accepted" in err
    assert execute([*words, "--draft", str(folder), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["generations"][0]
    assert row["proposed"] == row["accepted"] > 20  # the model guesses for itself
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(
        "".join(f"the quick brown fox jumps over the lazy dog. {word}\n" for word in ("fox", "dog", "é"))
    )
    assert execute(["generate", str(folder), "--file", str(prompts), "--max-new-tokens", "2"]) == 0
    assert "of the prompts'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--prompt: is missing"),
        (["--prompt", "a", "--temperature", "-1"], "give a number 0 or more"),
        (["--prompt", "a", "--system", "b"], "add --chat"),
        (["--file", "nowhere.txt"], "nowhere.txt: cannot be read"),
        (["--prompt", "a", "--out", "texts.csv"], "end it in .jsonl"),
        (["--prompt", "a", "--beams", "2", "--top-k", "3"], "do not go with drawn tokens"),
        (["--prompt", "a", "--lookup", "2", "--draft", "b"], "--draft: and --lookup both guess"),
        (["--prompt", "a", "--beams", "2", "--draft", "b"], "--beams: do not go with --draft"),
        (["--prompt", "a", "--beams", "2", "--lookup", "2"], "beams: do not go with lookup"),
        (["--prompt", "a", "--draft", "nowhere"], "nowhere"),
        (["--prompt", "a", "--max-new-tokens", "500"], "ask for at most"),
    ],
)
def test_bad_input_is_one_line(folder: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["generate", str(folder), *words]) == 2
    out, err = capsys.readouterr()
    assert said in err and err.count("\n") == 1 and not out


@pytest.mark.parametrize("precision", ["float32", "bf16", "int8", "int4"])
def test_a_precision_is_chosen(folder: Path, precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", str(folder), "--prompt", "the quick", "--max-new-tokens", "6", "--json", "--precision"]
    assert execute([*words, precision]) == 0
    assert len(json.loads(capsys.readouterr().out)["generations"][0]["tokens"]) == 6
    assert execute([*words, "int2"]) == 2
    assert "say float32, bf16, int8, int4" in capsys.readouterr().err
