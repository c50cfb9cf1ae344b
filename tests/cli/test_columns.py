"""Columns named on the command line, as options, as settings and in files; and what else a user of tables runs into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dougong.cli.app import execute
from dougong.cli.naming import chosen
from dougong.cli.sharing import NEXT
from dougong.tasks import TASKS

MODEL = ["textcnn", "model.d_model=8", "model.n_filters=4", "tokenizer=characters", "tensorboard=false"]
TITLES = [(f"news {n}", f"the body of it, number {n}", n % 3, ("a", "a|b", "b", "a|c")[n % 4]) for n in range(60)]


@pytest.fixture
def table(tmp_path: Path) -> str:
    file = tmp_path / "news.csv"
    rows = "".join(f'{n},{title},"{body}",{stars},{tags}\n' for n, (title, body, stars, tags) in enumerate(TITLES))
    file.write_text("id,title,body,stars,tags\n" + rows)
    return str(file)


def columns_of(run: Path) -> dict[str, str]:
    return json.loads((run / "data.json").read_text())["columns"]


def train(table: str, run: Path, *words: str) -> int:
    return execute(["train", *MODEL, "--data", table, "--budget", "1steps", "--out", str(run), *words])


def test_columns_as_options_as_settings_and_from_a_file(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = {"text": "title", "second": "body", "label": "stars"}
    assert train(table, tmp_path / "a", "--text", "title", "--text", "body", "--label", "stars") == 0
    assert columns_of(tmp_path / "a") == pair
    assert train(table, tmp_path / "b", "text=[title, body]", "label=stars") == 0
    assert columns_of(tmp_path / "b") == pair
    assert execute(["train", "--config", str(tmp_path / "a" / "config.yaml"), "--out", str(tmp_path / "as")]) == 0
    assert columns_of(tmp_path / "as") == pair
    file = tmp_path / "words.yaml"
    file.write_text("text: [title, body]\nlabel: stars\n")
    assert train(table, tmp_path / "c", "--config", str(file)) == 0
    assert columns_of(tmp_path / "c") == pair
    assert train(table, tmp_path / "d", "--config", str(file), "--text", "body") == 0
    assert train(table, tmp_path / "e", "--config", str(file), "text=body") == 0
    for each in ("d", "e"):  # what the command line says wins, however it says it
        assert columns_of(tmp_path / each) == {"text": "body", "label": "stars"}
    capsys.readouterr()
    for words, said in (
        (["--text", "title", "text=body", "--label", "stars"], "text=...: is given twice"),
        (["--text", "title", "--text", "body", "--text", "id"], "--text: names 3 columns"),
        (["--text", "nothing", "--label", "stars"], "news.csv: has no column 'nothing'"),
    ):
        assert train(table, tmp_path / "none", *words) == 2
        assert said in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_compare_takes_columns(table: str, tmp_path: Path) -> None:
    words = ["--text", "body", "--label", "stars", "--seeds", "1", "--budget", "1steps", "--out", str(tmp_path / "out")]
    assert execute(["compare", "textcnn", *MODEL[1:], "--data", table, *words]) == 0
    assert columns_of(next((tmp_path / "out").rglob("data.json")).parent) == {"text": "body", "label": "stars"}


@pytest.mark.parametrize("words", [["--labels-split", "|"], ["labels_split=|"]], ids=["option", "setting"])
def test_the_sign_that_is_advised_works(
    words: list[str], table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bar opens a block in YAML, and the column has no usual name for labels."""
    narrow = tmp_path / "tags.csv"
    narrow.write_text("body,tags\n" + "".join(f'"{body}",{tags}\n' for _, body, _, tags in TITLES))
    assert train(str(narrow), tmp_path / "one") == 0
    assert "--labels-split '|'" in capsys.readouterr().err
    assert train(str(narrow), tmp_path / "several", *words) == 0
    assert "A text may have several of 3 labels" in capsys.readouterr().err


def test_one_text_for_a_model_of_two(table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert train(table, run, "--text", "title", "--text", "body", "--label", "stars") == 0
    (tmp_path / "lines.txt").write_text("only this\n")
    for given in ("only this", str(tmp_path / "lines.txt")):
        capsys.readouterr()
        assert execute(["predict", str(run), given]) == 2
        assert "is one text, but the model was trained with two, 'title' and 'body'; " in capsys.readouterr().err
    assert execute(["predict", str(run), table, "--out", str(tmp_path / "out.csv")]) == 0


def test_nothing_to_predict_is_said(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    assert train(table, tmp_path / "run", "--text", "body", "--label", "stars") == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    capsys.readouterr()
    assert execute(["predict", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        "INPUTS: hold nothing to predict; give a text in quotes, a file, or - for standard input\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["textcnn-kim"], "textcnn: has no head for causal language; choose "),
        (["bert-tiny"], "bert: has no head for causal language; choose "),
        (["gpt2-micro", "--task", "masked-language"], "gpt2: has no head for masked language; choose bert"),
        (["lstm-micro", "model.bidirectional=true"], "model.bidirectional=True: what is foreseen must not be read; "),
    ],
)
def test_a_family_that_does_not_fit_a_task(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = tmp_path / "story.txt"
    story.write_text("once upon a time there was a word " * 80)
    assert execute(["train", *words, "--data", str(story), "--budget", "1steps", "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(said) and err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_size_that_reads_from_both_ends_reads_forwards_to_foresee(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = tmp_path / "story.txt"
    story.write_text("once upon a time there was a word " * 80)
    words = ["tokenizer=characters", "max_length=16", "tensorboard=false", "--out", str(tmp_path / "out")]
    assert execute(["train", "lstm-micro", "--data", str(story), "--budget", "1steps", *words]) == 0
    out, err = capsys.readouterr()
    assert "model.bidirectional: True -> False, what is foreseen must not be read" in err
    assert f"next: dougong generate {tmp_path / 'out'} --prompt" in out


def test_every_task_has_next_lines() -> None:
    assert set(NEXT) == set(TASKS)


def test_names_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub id is fetched and its weights are taken; a folder "model" is named after what it lies in."""
    import dougong

    small: dict[str, Any] = {"architecture": "bert", "d_model": 16, "n_layers": 1, "n_heads": 2, "vocab_size": 30}
    dougong.save(dougong.build(small), tmp_path / "run" / "model")
    assert chosen(str(tmp_path / "run" / "model"), {}).name == "run"
    assert chosen(str(tmp_path / "run"), {}).name == "run"
    (tmp_path / "link").symlink_to(tmp_path / "run" / "model")
    assert chosen(str(tmp_path / "link"), {}).name == "link"
    monkeypatch.setattr("dougong.interop.hub.fetch", lambda source: tmp_path / "run" / "model")
    monkeypatch.chdir(tmp_path)
    found = chosen("somebody/small-bert@main", {})
    assert found.name == "small-bert" and found.config["init"] == "somebody/small-bert@main"
    assert found.config["d_model"] == 16 and "init" not in chosen("somebody/small-bert", {}, scratch=True).config


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "a.csv: has no rows with a text; "),
        ("one,good\n", "a.csv: has too few texts to fill val: 1; "),
        ("".join(f"text {n},{n * 0.37}\n" for n in range(40)), "a.csv: has 40 texts and as many labels, each but once"),
    ],
)
def test_rows_of_which_nothing_can_be_learnt(
    rows: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label\n" + rows)
    assert train(str(file), tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_check_counts_each_label_of_a_cell(table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", table, "--text", "body", "--label", "tags"]
    assert execute([*words, "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["classes"] == {each: {"all": 15} for each in ("a", "a|b", "b", "a|c")}
    assert "'a|b' is taken for one class; if it is several labels, say --labels-split '|'." in told.err
    assert execute([*words, "--labels-split", "|", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["classes"] == {"a": {"all": 45}, "b": {"all": 30}, "c": {"all": 15}}
    assert "taken for one class" not in told.err
    assert execute([*words, "--labels-split", "|"]) == 0
    out = capsys.readouterr().out
    assert "class  labels" in out and "60 texts, 3 classes, no errors" in out
    # none is an answer, too, and what check finds whole is trained on
    odd = Path(table).with_name("odd.csv")
    odd.write_text(Path(table).read_text() + '60,x,"the body of none",1,\n61,y,"the last, of b and b",1,b|b\n')
    assert execute(["check", str(odd), *words[2:], "--labels-split", "|", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"]["b"] == {"all": 31}
    assert execute(["check", str(odd), *words[2:], "--json"]) == 2  # a control: one label a text, and a text has none
    capsys.readouterr()
    lists = tmp_path / "lists.jsonl"
    rows = [{"text": f"text {n}", "labels": [["a"], ["a", "b"], []][n % 3]} for n in range(60)]
    lists.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert execute(["check", str(lists), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == {"a": {"all": 40}, "b": {"all": 20}}
    broken = tmp_path / "broken.csv"
    good = "".join(f'text {n},"[""a"", ""{"bc"[n % 2]}""]"\n' for n in range(40))
    broken.write_text(f"text,labels\n{good}x,[a\n")
    assert execute(["check", str(broken), "--labels-split", "json"]) == 2
    assert "broken.csv:42" in capsys.readouterr().out
    for source, split in ((table, ""), (_tagged(tmp_path), ";")):
        assert execute(["check", source, "--labels-split", split]) == 2
        assert capsys.readouterr().err.startswith("--labels-split: ")


def _tagged(folder: Path) -> str:
    file = folder / "a.conll"
    file.write_text("Ann\tB-per\nwent\tO\n\n" * 30)
    return str(file)


def test_texts_under_several_labels_are_said(tmp_path: Path) -> None:
    from dougong.data import open_data

    file = tmp_path / "a.csv"
    rows = [f"text {n},{'ab'[n % 2]}\n" for n in range(40)]
    file.write_text("text,label\n" + "".join([*rows, "text 3,b\n", "text 3,a\n", "text 3,a\n", "text 4,a\n"]))
    said = "1 text stands under other labels again, as a.csv:5 and a.csv:43; dougong check names all."
    assert said in open_data(file).notes
    file.write_text("text,label\n" + "".join([*rows, *rows]))  # copies alone do not contradict one another
    assert not any("under other labels" in note for note in open_data(file).notes)


def test_a_curve_of_one_point_is_seen() -> None:
    from dougong.explain.svg import Axis, Line, line_chart

    one, two = (line_chart([Line("a", [1.0, 2.0][:n], [3.0, 4.0][:n], 0)], Axis("x"), Axis("y"), "") for n in (1, 2))
    assert one.count('class="dot ') == 1 and two.count('class="dot ') == 0
