"""Data sets of the hub and of the `datasets` library: against that library, and against a local server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.datasets_hub import SHA, DatasetsHub

from dougong.data import open_data
from dougong.data.hub import ID, saved_files
from dougong.errors import UserError

FIRST = "train/data-00000-of-00001.arrow"
SPLITS = {"train": 40, "validation": 10, "test": 12}


def labelled(kind: str, count: int, names: tuple[str, ...] = ("pos", "neg"), hidden: bool = False) -> Any:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=list(names))})
    rows = {
        "text": [f"{kind} text {n}" for n in range(count)],
        "label": [-1 if hidden else n % 2 for n in range(count)],
    }
    return Dataset.from_dict(rows, features=features)


def several(make: Any = labelled, **counts: int) -> Any:
    from datasets import DatasetDict

    return DatasetDict({name: make(name, count) for name, count in (counts or SPLITS).items()})


def tagged(kind: str, count: int) -> Any:
    from datasets import ClassLabel, Dataset, Features, Value

    try:
        from datasets import List as Many
    except ImportError:
        from datasets import Sequence as Many
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    features = Features(
        {"id": Value("string"), "tokens": Many(Value("string")), "ner_tags": Many(ClassLabel(names=names))}
    )
    rows = {
        "id": [str(n) for n in range(count)], "tokens": [[kind, "Ada", "L.", f"Paris{n}"] for n in range(count)],
        "ner_tags": [[0, 1, 2, 3]] * count,
    }  # fmt: skip
    return Dataset.from_dict(rows, features=features)


def translated(kind: str, count: int) -> Any:
    from datasets import Dataset, Features, Translation

    rows = {"translation": [{"en": f"{kind} house {n}", "de": f"{kind} Haus {n}"} for n in range(count)]}
    return Dataset.from_dict(rows, features=Features({"translation": Translation(languages=["en", "de"])}))


def plain(kind: str, count: int) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"text": [f"{kind} document {n}\nof two lines" for n in range(count)]})


def save(data: Any, folder: Path, form: str) -> Path:
    if form == "saved":
        data.save_to_disk(str(folder))
    else:
        (folder / "data").mkdir(parents=True)
        for name, part in data.items():
            part.to_parquet(str(folder / "data" / f"{name}-00000-of-00001.parquet"))
        (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


@pytest.mark.parametrize("form", ["saved", "parquet"])
def test_what_datasets_wrote_is_read_as_datasets_reads_it(form: str, tmp_path: Path) -> None:
    source = several()
    data = open_data(save(source, tmp_path / "mine", form))
    assert data.kind == "texts" and data.name == "mine" and data.how == "as given (train, val, test)"
    assert data.classes == ("pos", "neg")  # as declared, not by the alphabet
    for ours, theirs in (("train", "train"), ("val", "validation"), ("test", "test")):
        names = source[theirs].features["label"].names
        got = [(row.texts[0], data.classes[row.labels[0]]) for row in data.splits[ours]]
        assert got == [(row["text"], names[row["label"]]) for row in source[theirs]]
    assert data.splits["train"][3].where.endswith(":3")


@pytest.mark.parametrize("form", ["saved", "parquet"])
def test_tags_pairs_and_plain_texts(form: str, tmp_path: Path) -> None:
    tags = open_data(save(several(tagged), tmp_path / "tags", form))
    assert tags.kind == "tags" and tags.classes == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert tags.splits["test"][2].texts == ("test", "Ada", "L.", "Paris2")
    assert tags.splits["test"][2].tags == ("O", "B-PER", "I-PER", "B-LOC")
    pairs = open_data(save(several(translated), tmp_path / "pairs", form))
    assert pairs.kind == "pairs" and pairs.columns == {"text": "en", "label": "de"}
    assert pairs.splits["val"][1].texts == ("validation house 1", "validation Haus 1")
    back = open_data(tmp_path / "pairs", text="de", label="en")
    assert back.splits["val"][1].texts == ("validation Haus 1", "validation house 1")
    corpus = open_data(save(several(plain), tmp_path / "plain", form))
    assert corpus.kind == "corpus" and corpus.splits["val"][0].texts == ("validation document 0\nof two lines",)


def test_one_data_set_in_shards_has_no_splits(tmp_path: Path) -> None:
    labelled("all", 60).save_to_disk(str(tmp_path / "one"), num_shards=3)
    data = open_data(tmp_path / "one", "60/20/20")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 36, "val": 12, "test": 12}
    assert len(saved_files(tmp_path / "one")) == 3
    texts = {row.texts[0] for split in data.splits.values() for row in split}
    assert texts == {f"all text {n}" for n in range(60)}


def test_splits_that_are_not_read_and_those_without_labels_are_said(tmp_path: Path) -> None:
    from datasets import DatasetDict

    parts = {
        "train": labelled("train", 40),
        "unsupervised": labelled("more", 9),
        "test": labelled("test", 9, hidden=True),
    }
    DatasetDict(parts).save_to_disk(str(tmp_path / "a"))
    data = open_data(tmp_path / "a")
    assert any("split unsupervised, which is not read" in note for note in data.notes)
    assert any("none of its rows has a label" in note for note in data.notes)
    assert "val is 10% of train" in data.how and "test is 10% of train" in data.how
    assert not any("test text" in row.texts[0] for split in data.splits.values() for row in split)


def test_some_rows_without_a_label_are_refused(tmp_path: Path) -> None:
    from datasets import concatenate_datasets

    concatenate_datasets([labelled("a", 5), labelled("b", 2, hidden=True)]).save_to_disk(str(tmp_path / "a"))
    with pytest.raises(UserError, match=r"data-00000-of-00001.arrow:5: has no label"):
        open_data(tmp_path / "a")


def test_pictures(tmp_path: Path) -> None:
    import numpy as np
    from datasets import ClassLabel, Dataset, Features, Image
    from PIL import Image as Pil

    pixels = np.random.default_rng(0).integers(0, 255, (12, 8, 8, 3), np.uint8)
    features = Features({"image": Image(), "label": ClassLabel(names=["dog", "cat"])})
    rows = {"image": [Pil.fromarray(each) for each in pixels], "label": [n % 2 for n in range(12)]}
    several(lambda name, count: Dataset.from_dict(rows, features=features), train=1).save_to_disk(
        str(tmp_path / "pets")
    )
    data = open_data(tmp_path / "pets")
    assert data.kind == "images" and data.classes == ("dog", "cat")
    split = data.splits["train"]
    for number in range(len(split)):
        row = int(split.where(number).rpartition(":")[2])
        assert (split.pixels(number) == pixels[row]).all() and split.labels[number] == row % 2


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: (f / "dataset_dict.json").write_text('{"splits": ["../train"]}'), "names no splits"),
        (lambda f: (f / "dataset_dict.json").write_text('{"splits": '), "is no whole JSON"),
        (lambda f: (f / "dataset_dict.json").write_text('{"splits": ["test", "validation"]}'), "but no train"),
        (lambda f: (f / FIRST).unlink(), "is missing"),
        (lambda f: (f / FIRST).write_bytes(b"ARROW1" * 9), "cannot be read|no whole Arrow file"),
        (lambda f: (f / "train/state.json").write_text('{"_data_files": [{"filename": "/etc/passwd"}]}'), "no files"),
    ],
)  # fmt: skip
def test_damaged_folders_are_refused_in_one_line(break_it: Any, said: str, tmp_path: Path) -> None:
    several().save_to_disk(str(tmp_path / "a"))
    break_it(tmp_path / "a")
    with pytest.raises(UserError, match=said) as caught:
        open_data(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_a_cut_arrow_file_is_refused(tmp_path: Path) -> None:
    several().save_to_disk(str(tmp_path / "a"))
    file = tmp_path / "a" / "train" / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(UserError, match="cannot be read"):
        open_data(tmp_path / "a")


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("hf:org/name", ("org/name", None, None)),
        ("hf:org/name@v1.0", ("org/name", "v1.0", None)),
        ("hf:nyu-mll/glue:mrpc", ("nyu-mll/glue", None, "mrpc")),
        ("hf:org/name@refs/pr/1:de-en", ("org/name", "refs/pr/1", "de-en")),
    ],
)
def test_names(source: str, parts: tuple[str, ...]) -> None:
    match = ID.fullmatch(source)
    assert match is not None and (match["name"], match["revision"], match["config"]) == parts


@pytest.mark.parametrize("source", ["hf:", "hf:name", "hf:../../x", "hf:a/b/c", "hf:org/name@", "hf:org/na me"])
def test_names_that_are_none(source: str) -> None:
    with pytest.raises(UserError, match="names no data set of the hub"):
        open_data(source)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="which is not installed; pip install datasets"):
        open_data("hf:org/name-that-nobody-asked-for")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatasetsHub]:
    root = tmp_path_factory.mktemp("served")
    save(several(), root / "org" / "tiny", "parquet")
    for name in ("code", "empty", "closed"):
        (root / "org" / name).mkdir()
        (root / "org" / name / "README.md").write_text("---\nlicense: mit\n---\n")
    (root / "org" / "code" / "code.py").write_text(f"open({str(root / 'ran')!r}, 'w')\n")
    for config in ("de-en", "fr-en"):
        save(several(translated), root / "org" / "many" / config, "parquet")
    head = "---\nconfigs:\n"
    for config in ("de-en", "fr-en"):
        head += f"- config_name: {config}\n  data_files:\n"
        head += "".join(f"  - split: {part}\n    path: {config}/data/{part}-*\n" for part in SPLITS)
    (root / "org" / "many" / "README.md").write_text(head + "---\n")
    served = DatasetsHub(root)
    yield served
    served.server.shutdown()


ASK = """
import json, sys
from dougong.data import open_data
from dougong.errors import UserError
for source in sys.argv[1:]:
    try:
        data = open_data(source)
        found = {name: [(*row.texts, *row.labels) for row in part] for name, part in data.splits.items()}
        print(json.dumps({"name": data.name, "kind": data.kind, "splits": found, "source": data.source}))
    except UserError as error:
        print(json.dumps(str(error)))
"""


def ask(place: Path, *sources: str, **environment: str) -> list[Any]:
    """Open sources in a fresh process, as the library reads its settings once."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *sources], cwd=place, capture_output=True, text=True, timeout=200,
        env={**kept, "HF_HOME": str(place / "home"), "HF_HUB_DISABLE_XET": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_hub(hub: DatasetsHub, tmp_path: Path) -> None:
    sources = [
        "hf:org/tiny", f"hf:org/tiny@{SHA}", "hf:org/many:fr-en", "hf:org/many", "hf:org/many:de-eng", "hf:org/absent",
        "hf:org/tiny@nowhere", "hf:org/closed", "hf:org/code", "hf:org/empty",
    ]  # fmt: skip
    (tmp_path / "org" / "tiny").mkdir(parents=True)  # a folder of that name is not meant
    first, pinned, pairs, *lines = ask(tmp_path, *sources, HF_ENDPOINT=hub.url)
    assert first["name"] == "tiny" and first["kind"] == "texts" and first["source"] == "hf:org/tiny"
    for ours, theirs in (("train", "train"), ("val", "validation"), ("test", "test")):
        expected = labelled(theirs, SPLITS[theirs])
        assert first["splits"][ours] == [[row["text"], row["label"]] for row in expected]
    assert pinned["splits"] == first["splits"]
    assert pairs["kind"] == "pairs" and pairs["splits"]["val"][0] == ["validation house 0", "validation Haus 0"]
    wanted = [
        "has several configurations; write hf:org/many:de-en, or another of de-en, fr-en",
        "has no configuration 'de-eng'; did you mean de-en?", "is not on the hub", "has no revision nowhere",
        "set HF_TOKEN", "code of its own, which is never run", "holds no files",
    ]  # fmt: skip
    assert len(lines) == len(wanted)
    for line, want, source in zip(lines, wanted, sources[3:], strict=True):
        assert want in line and line.startswith(source) and "\n" not in line
    assert not (hub.folder / "ran").exists()
    count = len(hub.asked)
    again, absent = ask(tmp_path, "hf:org/tiny", "hf:org/other", HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert again["splits"] == first["splits"] and len(hub.asked) == count
    assert "is not in the cache, and the hub cannot be reached; go online, or give a folder" in absent


LEARN = """
import sys, dougong as dg
run = dg.train({"architecture": "textcnn", "d_model": 8, "n_filters": 4}, "hf:org/tiny", budget="2steps", out="run")
assert run.config.data == "hf:org/tiny", run.config.data
assert run.task().size("train") == 40
"""


def test_a_run_keeps_the_name_and_opens_it_again(hub: DatasetsHub, tmp_path: Path) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", LEARN], cwd=tmp_path, capture_output=True, text=True, timeout=200,
        env={**kept, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "HF_ENDPOINT": hub.url},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "data.json").read_text())["source"] == "hf:org/tiny"
