"""`evaluate` writes what the model said of each sample, and the written rows alone give the numbers that it reports."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
import torch
from seqeval.metrics import f1_score as entity_f1
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score, f1_score

import dougong
from dougong.cli.app import execute
from dougong.data.writing import RowWriter
from dougong.errors import UserError
from dougong.tasks.records import Records

TEXTS = [("好看 的 电影", "好"), ("无聊 透顶", "坏"), ("a fine film, really", "好"), ('dull "and" long', "坏")]
SMALL = {"architecture": "textcnn", "d_model": 8, "n_filters": 8, "dropout": 0.0}
BERT = {"architecture": "bert", "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 16, "dropout": 0.0}
PLAIN: dict[str, Any] = {"tensorboard": False, "budget": "6steps", "batch_size": 8}


def labelled(file: Path) -> Path:
    with file.open("w", encoding="utf-8", newline="") as opened:
        rows = [(f"{TEXTS[n % 4][0]} {n}", TEXTS[n % 4][1]) for n in range(80)]
        csv.writer(opened).writerows([("text", "label"), *rows])
    return file


def tagged(file: Path) -> Path:
    words = ["Ann B-person\ngoes O\nto O\nNew B-place\nOslo I-place\n", "Bob B-person\nsleeps O\n"]
    file.write_text("\n".join(f"{words[n % 2]}{n} O\n" for n in range(80)), encoding="utf-8")
    return file


def paired(folder: Path) -> Path:
    folder.mkdir()
    for split, numbers in (("train", range(20, 84)), ("val", range(10, 16)), ("test", range(6))):
        (folder / f"{split}.de").write_text("".join(f"eins zwei {n}\n" for n in numbers), encoding="utf-8")
        (folder / f"{split}.en").write_text("".join(f"one two {n}\n" for n in numbers), encoding="utf-8")
    return folder


def written(file: Path) -> Path:
    file.write_text("".join(f"子曰：学而时习之 {n}, to learn.\n" for n in range(400)), encoding="utf-8")
    return file


Made = Callable[[str], Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run of each task, trained on first use."""
    place = tmp_path_factory.mktemp("runs")
    kept: dict[str, Any] = {}
    gpt = {"architecture": "gpt2", "d_model": 16, "n_layers": 1, "n_heads": 2, "dropout": 0.0}
    pair = {"architecture": "transformer", "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 16, "dropout": 0.0}
    vit = {"architecture": "vit", "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 16, "dropout": 0.0}

    def make(name: str) -> Any:
        if name not in kept:
            model, data, more = {
                "classes": lambda: (SMALL, labelled(place / "films.csv"), {"vocab_size": 80}),
                "tags": lambda: (BERT, tagged(place / "names.conll"), {"vocab_size": 80, "max_length": 7}),
                "pairs": lambda: (pair, paired(place / "pairs"), {"vocab_size": 300}),
                "language": lambda: (gpt, written(place / "story.txt"), {"tokenizer": "characters", "max_length": 16}),
                "masks": lambda: (BERT, written(place / "story2.txt"), {"task": "masked-language", "max_length": 16}),
                "pictures": lambda: (vit, "digits", {}),
            }[name]()
            kept[name] = dougong.train(model, data, out=place / f"run-{name}", **PLAIN, **more)
        return kept[name]

    return make


def rows_of(run: Any, file: Path, **settings: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    found = dougong.evaluate(run, predictions=file, **settings)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert not file.with_name(file.name + ".part").exists() and len(rows) == found["samples"]
    return rows, found


@pytest.mark.parametrize("name", ["classes", "pictures"])
def test_classes(name: str, made: Made, tmp_path: Path) -> None:
    run = made(name)
    rows, found = rows_of(run, tmp_path / "answers.jsonl")
    gold, given = [row["gold"] for row in rows], [row["predicted"] for row in rows]
    assert found["accuracy"] == pytest.approx(accuracy_score(gold, given))
    seen = sorted(set(gold) | set(given))
    assert found["macro_f1"] == pytest.approx(f1_score(gold, given, average="macro", labels=seen))
    each = f1_score(gold, given, average=None, labels=seen, zero_division=0)
    assert [found["per_class"][label]["f1"] for label in seen] == pytest.approx(each.tolist())
    assert found["loss"] == pytest.approx(-sum(math.log(row["probability_of_gold"]) for row in rows) / len(rows), 1e-4)
    counts = [[sum(pair == (a, b) for pair in zip(gold, given, strict=True)) for b in found["classes"]]
              for a in found["classes"]]  # fmt: skip
    assert found["confusion"] == counts
    assert [row["correct"] for row in rows] == [a == b for a, b in zip(gold, given, strict=True)]
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"] and "ece" in found
    if name == "classes":
        held = {row.where: row for row in run.task().split("test")}
        assert all(held[row["where"]].texts[0] == row["text"] for row in rows)
        alone = list(dougong.predict(run, [row["text"] for row in rows]))
        assert [answer.label for answer in alone] == given


def test_csv_holds_the_same_rows(made: Made, tmp_path: Path) -> None:
    rows, _ = rows_of(made("classes"), tmp_path / "answers.jsonl")
    dougong.evaluate(made("classes"), predictions=tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(encoding="utf-8", newline="") as opened:
        table = list(csv.DictReader(opened))
    for row, cells in zip(rows, table, strict=True):
        assert {**cells, "correct": cells["correct"] == "true"} == {
            **row, "probability": str(row["probability"]), "probability_of_gold": str(row["probability_of_gold"])
        }  # fmt: skip


def test_tags(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, found = rows_of(made("tags"), tmp_path / "answers.jsonl")
    gold, given = [row["gold"] for row in rows], [row["predicted"] for row in rows]
    assert found["f1"] == pytest.approx(entity_f1(gold, given, mode="strict", scheme=IOB2))
    assert all(len(row["tokens"]) == len(row["gold"]) == len(row["predicted"]) for row in rows)
    assert found["f1_low"] <= found["f1"] <= found["f1_high"] and 0 <= found["ece"] <= 1
    assert found["cut"] > 0 and f"{found['cut']} of {len(rows)} texts are cut to 7 tokens" in capsys.readouterr().err


def test_pairs(made: Made, tmp_path: Path) -> None:
    rows, found = rows_of(made("pairs"), tmp_path / "answers.jsonl")
    assert [row["source"] for row in rows] == [f"eins zwei {n}" for n in range(6)]
    assert [row["reference"] for row in rows] == [f"one two {n}" for n in range(6)]
    corpus = sacrebleu.corpus_bleu([row["written"] for row in rows], [[row["reference"] for row in rows]])
    assert found["bleu"] == pytest.approx(corpus.score) and "nrefs:1" in found["signatures"][0]
    for row in rows:
        alone = sacrebleu.sentence_bleu(row["written"], [row["reference"]], use_effective_order=True)
        assert row["bleu"] == pytest.approx(alone.score)


def test_asked_of_files_a_model_says_what_it_says_of_samples(made: Made, tmp_path: Path) -> None:
    rows, _ = rows_of(made("tags"), tmp_path / "answers.jsonl")
    file, out = tmp_path / "sentences.conll", tmp_path / "tags.jsonl"
    file.write_text("\n".join("".join(f"{word}\n" for word in row["tokens"]) for row in rows), encoding="utf-8")
    assert execute(["predict", str(made("tags").path), str(file), "--out", str(out)]) == 0
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["tokens"], row["tags"]) for row in found] == [(row["tokens"], row["predicted"]) for row in rows]
    assert found[1]["where"] == f"sentences.conll:{len(rows[0]['tokens']) + 2}"
    pairs, _ = rows_of(made("pairs"), tmp_path / "pairs.jsonl")
    (tmp_path / "new.de").write_text("".join(f"{row['source']}\n" for row in pairs), encoding="utf-8")
    assert execute(["predict", str(made("pairs").path), str(tmp_path / "new.de"), "--out", str(out)]) == 0
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["text"], row["written"]) for row in lines] == [(row["source"], row["written"]) for row in pairs]


def test_language(made: Made, tmp_path: Path) -> None:
    run = made("language")
    rows, found = rows_of(run, tmp_path / "answers.jsonl")
    nats, tokens = sum(row["nats"] for row in rows), sum(row["tokens"] for row in rows)
    assert found["loss"] == pytest.approx(nats / tokens) and found["perplexity"] == pytest.approx(
        math.exp(nats / tokens)
    )
    bits = nats / math.log(2)
    assert found["bits_per_character"] == pytest.approx(bits / sum(row["characters"] for row in rows))
    assert found["bits_per_byte"] == pytest.approx(bits / sum(row["bytes"] for row in rows))
    assert found["bits_per_byte"] < found["bits_per_character"] and found["loss_low"] <= found["loss"]
    model, task = run.model(), run.task()
    document = task.rows("test").documents[0]
    with torch.no_grad():
        share = model(document.ids[:16].long()[None]).logits[0].log_softmax(-1)  # the first window, by hand
    expected = -sum(float(share[place, document.ids[place + 1]]) for place in range(16))
    assert rows[0]["nats"] == pytest.approx(expected, 1e-4) and rows[0]["tokens"] == 16
    assert rows[0]["where"].endswith("token 0")


def test_masks(made: Made, tmp_path: Path) -> None:
    rows, found = rows_of(made("masks"), tmp_path / "answers.jsonl")
    hidden = sum(row["hidden"] for row in rows)
    assert found["loss"] == pytest.approx(sum(row["nats"] for row in rows) / hidden)
    assert all(0 <= row["found"] <= row["hidden"] for row in rows)


def test_what_fails_leaves_the_old_file(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text("old")
    calls: list[int] = []
    right = Records.__call__

    def fail(self: Records, *given: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("power is gone")
        return right(self, *given)

    monkeypatch.setattr(Records, "__call__", fail)
    monkeypatch.setattr("dougong.training.scoring.BATCH", 4)
    with pytest.raises(RuntimeError):
        dougong.evaluate(made("classes"), predictions=file)
    assert file.read_text() == "old" and sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl"]


def test_other_data_is_read_by_the_runs_columns(made: Made, tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    rows = "".join(f"{TEXTS[n % 4][1]},{'nothing to see here at all ' * 3},好看 {n}\n" for n in range(40))
    file.write_text("mark,words,piece\n" + rows, encoding="utf-8")
    found, _ = rows_of(made("classes"), tmp_path / "a.jsonl", data=file, text="piece", label="mark")
    assert all(row["text"].startswith("好看") for row in found)
    with pytest.raises(UserError, match="no column 'stars'"):
        dougong.evaluate(made("classes"), file, text="piece", label="stars")
    with pytest.raises(UserError, match="name it by --data"):
        dougong.evaluate(made("classes"), label="mark")


@pytest.mark.parametrize(
    ("name", "said"), [("a.xlsx", "no kind of table"), ("none/a.csv", "in no folder"), ("d.csv", "a folder")]
)
def test_files_that_cannot_be_written(name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "d.csv").mkdir()
    assert execute(["evaluate", str(tmp_path), "--predictions", str(tmp_path / name)]) == 2
    assert said in capsys.readouterr().err


def test_the_command_shows_classes_and_confusion(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answers.csv"
    assert execute(["evaluate", str(made("classes").path), "--predictions", str(file)]) == 0
    out = capsys.readouterr().out
    assert "is, taken for:" in out and "precision" in out and "坏" in out and f"predictions: {file}" in out
    assert execute(["evaluate", str(made("classes").path), "--predictions", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["per_class"]) == {"好", "坏"} and torch.tensor(told["confusion"]).sum() == told["samples"]


def test_a_writer_keeps_odd_text_and_refuses_other_keys(tmp_path: Path) -> None:
    odd = ["line\nend", "half \ud800", 'quote " , ;', "name \udcff", "猫", ""]
    with RowWriter(tmp_path / "a.jsonl") as writer:
        writer.write({"text": text} for text in odd)
    assert [json.loads(line)["text"] for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()] == odd
    with RowWriter(tmp_path / "a.csv") as writer:
        writer.write({"text": text} for text in odd if "\ud800" not in text)
    with (tmp_path / "a.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as opened:
        assert [row["text"] for row in csv.DictReader(opened)] == [text for text in odd if "\ud800" not in text]
    with pytest.raises(ValueError, match="under"), RowWriter(tmp_path / "b.csv") as writer:
        writer.write([{"a": 1}, {"b": 1}])
    assert not (tmp_path / "b.csv").exists() and not (tmp_path / "b.csv.part").exists()


@pytest.mark.parametrize("precision", ["float32", "bf16", "int8"])
def test_prepared_models_are_judged_and_asked_alike(
    trained: Callable[..., Any], precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = {"architecture": "vit", "image_size": 8, "patch_size": 4, "d_model": 32, "n_layers": 1, "n_heads": 2,
             "d_ff": 64, "n_classes": 10}  # fmt: skip
    run = trained(model=model, budget="30steps")
    plain, found = dougong.evaluate(run), dougong.evaluate(run, precision=precision)
    assert abs(found["loss"] - plain["loss"]) < {"float32": 1e-5, "bf16": 0.03, "int8": 0.02}[precision]
    if precision != "float32":
        assert found["loss"] != plain["loss"], "a control: it is computed otherwise"
    assert execute(["evaluate", str(run.path), "--precision", precision]) == 0
    assert execute(["evaluate", str(run.path), "--precision", "int3"]) == 2
    assert "say float32, bf16, int8, int4" in capsys.readouterr().err
    pixels = torch.rand(8, 8, 3).mul(255).byte().numpy()
    (before,), (after,) = (list(dougong.predict(run, pixels, precision=each)) for each in (None, precision))
    assert abs(before.probability - after.probability) < 0.03
