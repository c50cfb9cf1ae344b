"""Every verb explains itself, with examples whose options exist; mistakes in a command line get one line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer

from dougong.cli.app import VERBS, app, execute


def commands() -> dict[str, typer.core.TyperCommand]:
    execute(["--version"])  # loads the verbs
    return typer.main.get_command(app).commands


def examples() -> list[str]:
    return [
        line.strip()
        for verb in VERBS
        for line in (commands()[verb].epilog or "").splitlines()
        if "dougong " in line and not line.startswith("\b")
    ]


def test_every_verb_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([]) == 0
    out = capsys.readouterr().out
    listed = [line.split()[0] for line in out.split("Commands:")[1].splitlines() if line.startswith("  ")]
    assert listed[: len(VERBS)] == list(VERBS)
    assert "..." not in out.split("Commands:")[1]  # no summary is cut short


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_and_the_common_options(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"    dougong {verb}" in out.split("Examples:")[1] or f"| dougong {verb}" in out
    for option in ("--config", "--json", "--debug", "--help"):
        assert option in out


@pytest.mark.parametrize("line", examples())
def test_examples_parse(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text("model: vit-micro\ndata: digits\nlearning_rate: 1e-3\n")
    words = shlex.split(line.split("|")[-1])
    assert words[0] == "dougong"
    commands()[words[1]].make_context("dougong", words[2:])


def test_an_example_with_a_wrong_option_would_be_seen() -> None:
    with pytest.raises(typer.TyperException):
        commands()["train"].make_context("dougong", ["vit-micro", "--bugdet", "3epochs"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "did you mean 'train'"),
        (["train", "--bugdet", "1epochs"], "did you mean '--budget'"),
        (["compare", "--seed=3"], "did you mean '--seeds'"),
        (["compare", "vit-micro", "--seeds", "three"], "'--seeds'"),
        (["compare", "vit-micro", "--seeds", "0"], "'--seeds'"),
        (["predict"], "missing argument 'RUN'"),
        (["train", "--config"], "'--config' requires an argument"),
        (["--jsn"], "unknown option '--jsn'"),
    ],
)
def test_mistakes_get_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and said in err and "--help" in err
