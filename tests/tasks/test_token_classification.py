"""Tags of words: pieces labelled, entities scored, and a training from a file to a prediction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import dougong
from dougong.cli.app import execute
from dougong.data import open_data
from dougong.data.tagging import IGNORED
from dougong.parts.output import Output
from dougong.tasks import load_task, task_for
from dougong.tasks.token_classification import TokenClassification

NAMES, PLACES = ["Ann", "Bob", "Eve", "Joe"], ["Rome", "Oslo", "Bonn", "Lima"]


def conll(count: int) -> str:
    lines = []
    for n in range(count):
        lines += [f"{NAMES[n % 4]} B-person", f"goes{n % 9} O", "to O"]
        lines += [f"{PLACES[n % 3]} B-place", f"{PLACES[(n + 1) % 4]} I-place", ". O", ""]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tags")
    (place / "all.conll").write_text(conll(240), encoding="utf-8")
    return place / "all.conll"


@pytest.fixture(scope="module")
def task(folder: Path) -> TokenClassification:
    found = task_for(open_data(folder), tokenizer="bpe", vocab_size=300)
    assert isinstance(found, TokenClassification)
    return found


def test_the_first_piece_of_each_word_is_labelled(task: TokenClassification) -> None:
    batch = task.batch("train", torch.arange(4), train=True, epoch=0, seed=0)
    tokens, lengths = batch.inputs
    assert batch.targets is not None and tokens.shape == batch.targets.shape
    for row in range(4):
        labels = [int(label) for label in batch.targets[row] if label != IGNORED]
        assert [task.classes[label] for label in labels] == list(batch.truth[row].row.tags)
        ids = tokens[row, : lengths[row]].tolist()
        assert task.tokenizer.decode(ids).split() == list(batch.truth[row].row.texts)
    assert int((batch.targets != IGNORED).sum()) < int(lengths.sum())  # some words have several pieces


def perfect(task: TokenClassification, targets: torch.Tensor) -> torch.Tensor:
    return F.one_hot(targets.clamp_min(0), len(task.classes)).float() * 20


def test_scores_of_the_truth_and_of_nothing(task: TokenClassification) -> None:
    batch = task.batch("test", torch.arange(8), train=False, epoch=0, seed=0)
    assert batch.targets is not None
    right, wrong = task.new_metrics(), task.new_metrics()
    right.update(Output(logits=perfect(task, batch.targets)), batch)
    wrong.update(Output(logits=perfect(task, torch.zeros_like(batch.targets))), batch)
    assert right.compute()["f1"] == 1 and wrong.compute()["f1"] == 0
    assert wrong.table()["per_class"]["place"]["support"] == 8


def test_words_that_are_cut_off_are_missed(folder: Path) -> None:
    task = task_for(open_data(folder), tokenizer="characters", max_length=10)
    assert any("have no piece" in note for note in task.notes)
    batch = task.batch("test", torch.arange(8), train=False, epoch=0, seed=0)
    metrics = task.new_metrics()
    metrics.update(Output(logits=perfect(task, batch.targets)), batch)
    assert metrics.compute()["precision"] == 1 and metrics.compute()["recall"] == 0.5  # the places lie behind the cut


def test_the_loss_is_the_mean_over_words(task: TokenClassification) -> None:
    batch = task.batch("train", torch.arange(6), train=True, epoch=0, seed=0)
    assert batch.targets is not None
    logits = torch.randn(*batch.targets.shape, len(task.classes))
    chosen = batch.targets != IGNORED
    wanted = F.cross_entropy(logits[chosen], batch.targets[chosen])
    torch.testing.assert_close(task.loss(Output(logits=logits), batch), wanted)


def test_train_evaluate_predict(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    model = {"architecture": "lstm", "d_model": 32, "n_layers": 1, "bidirectional": True}
    run = dougong.train(model, folder, budget="150steps", out=out, learning_rate=0.01, vocab_size=400)
    assert run.result is not None and run.result["test"]["f1"] > 0.9
    assert dougong.evaluate(run)["f1"] == run.result["test"]["f1"]
    answer = next(iter(dougong.predict(run, ["Bob goes3 to Rome Oslo."])))
    assert [(each["type"], each["text"]) for each in answer.parts] == [("person", "Bob"), ("place", "Rome Oslo")]
    assert answer.label == "person: Bob; place: Rome Oslo"
    kept = load_task(out)
    assert kept.describe() == run.task().describe()
    capsys.readouterr()
    assert execute(["predict", str(out), "Eve goes1 to Lima Rome .", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["predictions"][0]["parts"][1]["type"] == "place"
    from dougong.report import write_run_report

    page = write_run_report(run).read_text(encoding="utf-8")
    assert "Entities by type" in page and "Confusion" not in page


def test_chinese_words_are_signs(tmp_path: Path) -> None:
    lines = []
    for n in range(60):
        lines += ["王 B-人", f"{'小大老'[n % 3]} I-人", f"{chr(0x4E00 + n)} O", "北 B-地", "京 I-地", ""]
    (tmp_path / "a.bmes").write_text("\n".join(lines), encoding="utf-8")
    task = task_for(open_data(tmp_path / "a.bmes"))
    assert isinstance(task, TokenClassification) and task.separator == ""
    batch = task.prepare("王小去北京ok")
    assert batch.truth[0].row.texts == ("王", "小", "去", "北", "京", "ok")
