"""Several labels a text: read from every layout alike, scored as scikit-learn scores, and opened by Transformers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from sklearn.preprocessing import MultiLabelBinarizer

import dougong
from dougong.cli.app import execute
from dougong.data import open_data
from dougong.errors import UserError
from dougong.training import Run

WORDS = {"体育": ["球 赛", "match"], "财经": ["股 市", "stocks"], "科技": ["芯 片", "chip"]}
NAMES = list(WORDS)
ROWS = [
    (f"今 天 {' '.join(WORDS[name][n // 8 % 2] for name in NAMES if n >> NAMES.index(name) & 1)} 新 闻 {n}",
     [name for name in NAMES if n >> NAMES.index(name) & 1])
    for n in range(160)
]  # fmt: skip


def write(folder: Path, layout: str) -> tuple[Path, dict[str, Any]]:
    """The same rows in one of the layouts, and the settings that read it."""
    file = folder / f"news.{'csv' if layout in ('signs', 'json', 'columns') else layout}"
    if layout == "jsonl":
        file.write_text("".join(json.dumps({"text": text, "labels": names}) + "\n" for text, names in ROWS))
        return file, {}
    if layout == "parquet":
        pq.write_table(pa.table({"text": [text for text, _ in ROWS], "labels": [names for _, names in ROWS]}), file)
        return file, {}
    with file.open("w", encoding="utf-8", newline="") as opened:
        table = csv.writer(opened)
        if layout == "columns":
            table.writerow(["text", *NAMES])
            table.writerows([text, *(int(name in names) for name in NAMES)] for text, names in ROWS)
            return file, {"label": NAMES}
        table.writerow(["text", "labels"])
        table.writerows([text, "; ".join(names) if layout == "signs" else json.dumps(names)] for text, names in ROWS)
    return file, {"labels_split": ";" if layout == "signs" else "json"}


@pytest.mark.parametrize("layout", ["signs", "json", "columns", "jsonl", "parquet"])
def test_every_layout_holds_the_same(layout: str, tmp_path: Path) -> None:
    file, settings = write(tmp_path, layout)
    data = open_data(file, **settings)
    assert data.several and set(data.classes) == set(NAMES)  # type: ignore[union-attr]
    found = {row.texts[0]: {data.classes[label] for label in row.labels}
             for split in data.splits.values() for row in split}  # type: ignore[union-attr]  # fmt: skip
    assert found == {text: set(names) for text, names in ROWS}
    assert any(
        "A text may have several of 3 labels, 1.5 on average; 20 texts have none." in note for note in data.notes
    )


@pytest.mark.parametrize("layout", ["signs", "columns", "jsonl", "parquet"])
def test_large_files_hold_the_same(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, settings = write(tmp_path, layout)
    small: Any = open_data(file, **settings)
    monkeypatch.setattr("dougong.data.texts.caching.LARGE", 1)
    monkeypatch.setenv("DOUGONG_CACHE", str(tmp_path / "cache"))
    large: Any = open_data(file, **settings)
    assert (
        large.several and large.classes == small.classes and any("20 texts have none" in note for note in large.notes)
    )
    both = [{row.texts: row.labels for split in data.splits.values() for row in split} for data in (small, large)]
    assert both[0] == both[1]
    assert large.relabelled(("other", *large.classes)).splits["train"][0].labels is not None
    if layout == "signs":  # what was cached is not taken for what is asked in another way
        with pytest.raises(UserError, match="has no label"):
            open_data(file)


def test_a_sign_parts_labels_only_when_it_is_said(tmp_path: Path) -> None:
    file, _ = write(tmp_path, "signs")
    rows = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.endswith(",")]
    file.write_text("\n".join(rows), encoding="utf-8")
    data = open_data(file)
    assert not data.several and len(data.classes) == 7  # type: ignore[union-attr]
    assert any("is taken for one class; if it is several labels, say --labels-split ';'" in note for note in data.notes)


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "neither": ("text,a,b\nx y,1,0\nz,2,1\n", {"label": ["a", "b"]}, r"news.csv:3: column 'a' holds '2', neither"),
    "no column": ("text,a,b\nx y,1,0\n", {"label": ["a", "c"]}, "has no column 'c'"),
    "both": ("text,a,b\nx y,1,0\n", {"label": ["a", "b"], "labels_split": ";"}, "do not go together"),
    "one": ("text,label\n" + "".join(f"x {n},a\n" for n in range(30)), {"labels_split": ";"}, "has 1 label"),
    "empty sign": ("text,label\nx,a\n", {"labels_split": ""}, "is empty"),
    "no list": ("text,label\nx,a\n", {"labels_split": "json"}, "news.csv:2: 'a' is no list of names in JSON"),
    "nameless": ('text,label\nx,"[""a"", null]"\n', {"labels_split": "json"}, "news.csv:2: has a label without"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    held, settings, said = BAD[case]
    (tmp_path / "news.csv").write_text(held, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        open_data(tmp_path / "news.csv", **settings)


def train(place: Path, model: str, budget: str) -> Run:
    file, _ = write(place, "signs")
    words = ["train", model, "--data", str(file), "--budget", budget, "--out", str(place / "run"), "labels_split=;"]
    assert execute([*words, "learning_rate=1e-2", "batch_size=16", "vocab_size=120", "tensorboard=false"]) == 0
    return Run(place / "run")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    model = '{"architecture": "textcnn", "d_model": 16, "n_filters": 16, "dropout": 0.0}'
    return train(tmp_path_factory.mktemp("several"), model, "60steps")


def test_metrics_against_scikit_learn(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "answers.jsonl"
    assert execute(["evaluate", str(run.path), "--split", "train", "--predictions", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    both = MultiLabelBinarizer(classes=sorted(NAMES))
    true, given = both.fit_transform([r["gold"] for r in rows]), both.transform([r["predicted"] for r in rows])
    shares = np.array([[row["probabilities"][name] for name in both.classes_] for row in rows])
    assert ((shares > 0.5) == given).all() and 0 < given.mean() < 1
    assert found["micro_f1"] == pytest.approx(f1_score(true, given, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(true, given, average="macro"))
    assert found["subset_accuracy"] == pytest.approx(accuracy_score(true, given))
    assert found["mean_average_precision"] == pytest.approx(average_precision_score(true, shares, average="macro"))
    loss = -np.where(true, np.log(shares), np.log1p(-shares)).mean()
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    assert found["micro_f1_low"] <= found["micro_f1"] <= found["micro_f1_high"] and 0 <= found["ece"] <= 1
    assert found["micro_f1"] > 0.9
    turned = np.roll(given, 1, axis=1)  # each label's answers under another label's name
    assert found["micro_f1"] > f1_score(true, turned, average="micro") + 0.2
    assert [row["correct"] for row in rows] == (true == given).all(1).tolist()


def test_transformers_predicts_the_same(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = '{"architecture": "bert", "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 32, "dropout": 0.0}'
    run = train(tmp_path, model, "20steps")
    folder = run.path / "model"
    theirs, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    assert theirs.config.problem_type == "multi_label_classification"
    texts = [text for text, _ in ROWS[:12]]
    answers = list(dougong.predict(run, texts))
    with torch.no_grad():
        shares = theirs(**tokenizer(texts, return_tensors="pt", padding=True)).logits.sigmoid()
    for row, answer in zip(shares.tolist(), answers, strict=True):
        expected = {theirs.config.id2label[number]: share for number, share in enumerate(row)}
        assert dict(answer.top) == pytest.approx(expected, abs=1e-5)
        assert answer.labels is not None
        assert {name for name, _ in answer.labels} == {name for name, share in expected.items() if share > 0.5}
    again = dougong.save(dougong.load(folder), tmp_path / "again")
    assert json.loads((again / "config.json").read_text())["problem_type"] == "multi_label_classification"


def test_predictions_list_all_labels(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"今 天 {' '.join(WORDS[name][0] for name in names)} 新 闻" for names in ([], NAMES[:1], NAMES[:2], NAMES)]
    (tmp_path / "new.txt").write_text("\n".join(texts), encoding="utf-8")
    out = tmp_path / "labels.csv"
    assert execute(["predict", str(run.path), str(tmp_path / "new.txt"), "--out", str(out)]) == 0
    with out.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    for row, wanted in zip(rows, ([], NAMES[:1], NAMES[:2], NAMES), strict=True):
        labels, shares = json.loads(row["labels"]), json.loads(row["probabilities"])
        assert set(labels) == set(wanted) and all(share > 0.5 for share in shares)
        assert shares == sorted(shares, reverse=True) and len(shares) == len(labels)
    capsys.readouterr()
    assert execute(["predict", str(run.path), texts[0], texts[3]]) == 0
    shown = capsys.readouterr().out
    assert "none" in shown and all(name in shown for name in NAMES)


def test_report_explanations_and_comparison(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "given wrongly" in page and "mean average precision" in page and "Explanations" in page
    assert execute(["explain", str(run.path), "--method", "occlusion", "--json"]) == 0
    samples = json.loads(capsys.readouterr().out)["samples"]
    assert samples and all(set(each["label"].split(", ")) <= {*NAMES, "none"} for each in samples)
    file, _ = write(tmp_path, "jsonl")
    models = ['{"architecture": "textcnn", "d_model": 8, "n_filters": 8}', str(run.path)]
    words = [
        "compare",
        *models,
        "--data",
        str(file),
        "--budget",
        "4steps",
        "--seeds",
        "1",
        "--out",
        str(tmp_path / "c"),
    ]
    assert execute([*words, "tensorboard=false", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["metric"] == "micro_f1" and "given wrongly" in (tmp_path / "c" / "report.html").read_text(
        encoding="utf-8"
    )


def test_other_data_must_be_of_the_same_kind(run: Run, tmp_path: Path) -> None:
    file, _ = write(tmp_path, "jsonl")
    assert dougong.evaluate(run.path / "model", file)["samples"] == 16
    single = tmp_path / "single.csv"
    single.write_text("text,label\n" + "".join(f"x {n},{NAMES[n % 3]}\n" for n in range(40)), encoding="utf-8")
    with pytest.raises(UserError, match="gives a text one label, the model any number; say --labels-split"):
        dougong.evaluate(run.path / "model", single)
    assert dougong.evaluate(run.path / "model", single, labels_split=";")["samples"] == 3
    with pytest.raises(UserError, match="class 'Sport'"):
        (tmp_path / "other.csv").write_text("text,label\n" + "".join(f"x {n},Sport;财经\n" for n in range(40)))
        dougong.evaluate(run.path / "model", tmp_path / "other.csv", labels_split=";")
