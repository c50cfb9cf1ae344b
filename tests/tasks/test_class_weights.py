"""Weights of classes against scikit-learn, and steps that are the same however a batch is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

import dougong
from dougong.cli.app import execute
from dougong.data import open_data
from dougong.errors import UserError
from dougong.parts.output import Output
from dougong.tasks import task_for
from dougong.tasks.class_weights import weights_of_classes
from tests.training.conftest import same, weights

ROWS = [("good " * (1 + n % 7) + str(n), "good") for n in range(80)] + [
    ("bad " * (1 + n % 5) + str(n), "bad") for n in range(20)
]
SMALL = {"architecture": "textcnn", "d_model": 8, "n_filters": 4, "widths": [1, 2], "dropout": 0.0}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uneven") / "films.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS), encoding="utf-8")
    return path


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60).filter(lambda labels: len(set(labels)) == 4))
def test_balanced_weights_are_those_of_scikit_learn(labels: list[int]) -> None:
    counts = [labels.count(number) for number in range(4)]
    wanted = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    found = weights_of_classes("balanced", "abcd", counts)
    assert found is not None and torch.allclose(found.double(), torch.from_numpy(wanted), atol=1e-6)
    assert weights_of_classes("none", "abcd", counts) is None


def test_several_labels_weigh_what_is_there_against_what_is_not() -> None:
    found = weights_of_classes("balanced", "ab", [10, 50, 100], several=True)
    assert found is not None and found.tolist() == [9.0, 1.0]


def test_weights_by_name(file: Path) -> None:
    task = task_for(open_data(str(file)), class_weights={"bad": 3.0})
    assert task.class_weights is not None
    assert dict(zip(task.classes, task.class_weights.tolist(), strict=True)) == {"bad": 3.0, "good": 1.0}
    batch = task.batch("train", torch.arange(10), train=True, epoch=0, seed=0)
    logits = torch.randn(10, 2)
    each = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
    shares = torch.tensor([3.0 if task.classes[label] == "bad" else 1.0 for label in batch.targets.tolist()])
    assert torch.allclose(task.loss(Output(logits=logits), batch), (each * shares).sum() / shares.sum())
    assert task.weight(batch) == float(shares.sum())
    plain = task_for(open_data(str(file)))
    assert torch.allclose(plain.loss(Output(logits=logits), batch), each.mean()) and plain.weight(batch) == 10


@pytest.mark.parametrize("given", [{"ugly": 2.0}, {"bad": 0.0}, {"bad": float("nan")}])
def test_weights_that_will_not_do(file: Path, given: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(given))):
        task_for(open_data(str(file)), class_weights=given)


def test_a_corpus_has_no_classes(tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text("once upon a time there was a king\n" * 50, encoding="utf-8")
    with pytest.raises(UserError, match="has no classes"):
        task_for(open_data(str(tmp_path / "story.txt")), class_weights="balanced")


def test_parts_of_a_batch_make_the_same_step(file: Path, tmp_path: Path) -> None:
    """Of uneven classes and lengths, where parts weigh differently; AdamW would blow up the rounding."""
    alike = {
        "data": file, "budget": "12steps", "batch_size": 20, "optimizer": "sgd", "learning_rate": 0.2,
        "class_weights": "balanced", "tensorboard": False,
    }  # fmt: skip
    whole = dougong.train(SMALL, out=tmp_path / "whole", **alike)
    parts = dougong.train(SMALL, out=tmp_path / "parts", accumulate=3, **alike)
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, atol=1e-6, rtol=1e-4)
    plain = dougong.train(SMALL, out=tmp_path / "plain", **{**alike, "class_weights": "none"})
    assert not same(weights(whole), weights(plain))


def test_from_the_command_line(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    line = ["train", "textcnn", "--data", str(file), "--budget", "2epochs", "--out", str(out), "batch_tokens=80"]
    code = execute([*line, "class_weights={bad: 4}", "model.d_model=8", "model.n_filters=4", "tensorboard=false"])
    said = "".join(capsys.readouterr())
    assert code == 0 and "padding: " in said and "class weights bad 4, good 1" in said
    result = dougong.Run.open(out).result
    assert result is not None and result["padding"]["takes"] < result["padding"]["would_take"]
    assert result["epochs"] == 2
    assert execute(["train", "vit-micro", "--data", "digits", "batch_tokens=80", "--out", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()
