"""The task against torch and scikit-learn: batches, loss, metrics, answers, and what a saved model knows of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn import metrics as reference

from dougong.data import open_data
from dougong.data.augment import NONE
from dougong.errors import UserError
from dougong.parts.output import Output
from dougong.tasks import Batch, ImageClassification, load_task, task_for
from tests.support.pictures import encoded, image_folder, picture, pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("data") / "photos", {"cat": 20, "dog": 15, "owl": 12})


@pytest.fixture(scope="module")
def task(folder: Path) -> ImageClassification:
    return made(folder)


def made(folder: Path, augment: Any = "none") -> ImageClassification:
    task = task_for(open_data(folder), augment=augment)
    assert isinstance(task, ImageClassification)
    return task


def outputs(logits: torch.Tensor) -> Output:
    return Output(hidden=logits[:, None], logits=logits)


def some(targets: list[int]) -> Batch:
    n = len(targets)
    return Batch((torch.zeros(n, 3, 2, 2),), torch.tensor(targets), torch.arange(n), [""] * n)


def test_a_batch_is_the_files_normalised(task: ImageClassification, folder: Path) -> None:
    rows = torch.tensor([5, 0, 9])
    batch = task.batch("train", rows, train=False, epoch=0, seed=0)
    for i, place in enumerate(batch.where):
        direct = np.asarray(Image.open(folder / place)).astype(np.float64) / 255
        expected = ((direct - task.mean) / task.std).transpose(2, 0, 1)
        assert np.abs(batch.inputs[0][i].numpy() - expected).max() < 1e-5
        assert batch.targets is not None and task.classes[batch.targets[i]] == place.split("/")[0]
    assert torch.equal(batch.indices, rows) and len(batch) == 3
    assert batch.inputs[0].shape == (3, 3, 12, 10) and batch.inputs[0].dtype == torch.float32


def test_mean_and_deviation_are_of_train_alone(task: ImageClassification, folder: Path) -> None:
    assert task.data is not None
    values = np.stack([np.asarray(Image.open(folder / place)) for place in task.data.splits["train"].places]) / 255
    assert np.allclose(task.mean, values.mean((0, 1, 2))) and np.allclose(task.std, values.std((0, 1, 2)))


def test_a_batch_is_pure(folder: Path) -> None:
    task, again = made(folder, "strong"), made(folder, "strong")
    rows = torch.tensor([3, 1, 7, 2])
    first = task.batch("train", rows, train=True, epoch=4, seed=9).inputs[0]
    torch.rand(5)
    state = torch.get_rng_state()
    assert torch.equal(first, again.batch("train", rows, train=True, epoch=4, seed=9).inputs[0])
    assert torch.equal(state, torch.get_rng_state())  # what dropout draws does not hang on augmentation
    other = task.batch("train", rows.flip(0), train=True, epoch=4, seed=9).inputs[0]
    assert torch.equal(first, other.flip(0))
    for seed, epoch in ((8, 4), (9, 5)):
        assert not torch.allclose(first, task.batch("train", rows, train=True, epoch=epoch, seed=seed).inputs[0])


def test_val_and_test_are_never_varied(folder: Path) -> None:
    task = made(folder, "strong")
    rows = torch.arange(3)
    for split in ("val", "test"):
        varied, plain = (task.batch(split, rows, train=train, epoch=1, seed=1).inputs[0] for train in (True, False))
        assert torch.equal(varied, plain)
    varied, plain = (task.batch("train", rows, train=train, epoch=1, seed=1).inputs[0] for train in (True, False))
    assert not torch.allclose(varied, plain, atol=0.1)


def test_tiny_pictures_are_left_alone_and_digits_never_mirrored() -> None:
    data = open_data("digits")
    assert task_for(data).augmentation == NONE  # type: ignore[attr-defined]
    for kind in ("crop", "standard", "strong"):
        assert not task_for(data, augment=kind).augmentation.flip  # type: ignore[attr-defined]
    plain = task_for(data, augment="none")
    rows = torch.arange(64)
    assert torch.equal(
        task_for(data).batch("train", rows, train=True, epoch=1, seed=1).inputs[0],
        plain.batch("train", rows, train=False, epoch=0, seed=0).inputs[0],
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss(task: ImageClassification, smoothing: float) -> None:
    logits = torch.randn(7, 3, dtype=torch.float64) * 3
    targets = [0, 1, 2, 2, 1, 0, 0]
    share = torch.full((7, 3), smoothing / 3, dtype=torch.float64)
    share[torch.arange(7), targets] += 1 - smoothing
    by_hand = -(share * logits.log_softmax(-1)).sum(-1).mean()
    found = task.loss(outputs(logits.float()), some(targets), smoothing)
    assert float(found) == pytest.approx(float(by_hand), rel=1e-6)
    assert float(found) == pytest.approx(
        float(F.cross_entropy(logits, torch.tensor(targets), label_smoothing=smoothing)), rel=1e-6
    )


@given(st.integers(1, 80), st.integers(2, 6), st.integers(0, 10**6), st.integers(1, 5))
def test_metrics_against_scikit_learn(n: int, classes: int, seed: int, parts: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator) * 3
    targets = torch.randint(0, classes, (n,), generator=generator)
    task = ImageClassification([f"c{i}" for i in range(classes)], (2, 2), (0.5,) * 3, (0.2,) * 3)
    found = task.new_metrics()
    for rows in torch.arange(n).chunk(parts):
        found.update(outputs(logits[rows]), some(targets[rows].tolist()))
    given_ = logits.argmax(-1)
    said = found.compute()
    assert said["accuracy"] == pytest.approx(reference.accuracy_score(targets, given_))
    assert said["macro_f1"] == pytest.approx(reference.f1_score(targets, given_, average="macro", zero_division=0))
    shares = logits.double().softmax(-1)
    assert said["loss"] == pytest.approx(reference.log_loss(targets, shares, labels=list(range(classes))), rel=1e-5)
    assert said["ece"] == pytest.approx(calibration_error(shares, targets))
    table = found.table()
    assert table["confusion"] == reference.confusion_matrix(targets, given_, labels=list(range(classes))).tolist()
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        targets, given_, labels=list(range(classes)), zero_division=0
    )
    for i, row in enumerate(table["per_class"].values()):
        assert list(row.values()) == pytest.approx([precision[i], recall[i], f1[i], support[i]])
    assert found.sample_scores() == (given_ == targets).double().tolist()
    assert np.mean(found.sample_scores()) == pytest.approx(said["accuracy"])


def calibration_error(shares: torch.Tensor, targets: torch.Tensor) -> float:
    """Guo et al. 2017, equation 3, sample by sample."""
    confidence, given_ = (each.numpy() for each in shares.max(-1))
    right, total = (given_ == targets.numpy()).astype(float), 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def test_metrics_tell_wrong_from_right(task: ImageClassification) -> None:
    """The negative control: shuffled answers change every number."""
    logits, targets = torch.eye(3).repeat(4, 1) * 5, [0, 1, 2] * 4
    good, bad = task.new_metrics(), task.new_metrics()
    good.update(outputs(logits), some(targets))
    bad.update(outputs(logits.roll(1, 0)), some(targets))
    assert good.compute()["accuracy"] == 1 and bad.compute()["accuracy"] == 0
    assert all(good.compute()[name] != bad.compute()[name] for name in ("loss", "accuracy", "macro_f1", "ece"))
    assert all(np.isnan(value) for value in task.new_metrics().compute().values())


def test_answers(task: ImageClassification) -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.5, 0.5, -1.0]])
    first, second = task.decode(outputs(logits))
    shares = np.exp([1, 3, 2]) / np.exp([1, 3, 2]).sum()
    assert first.label == "dog" and first.probability == pytest.approx(shares[1])
    assert [name for name, _ in first.top] == ["dog", "owl", "cat"]
    assert [value for _, value in first.top] == pytest.approx(sorted(shares, reverse=True))
    assert second.label == "cat"  # of equally likely ones the first


def test_what_a_saved_model_knows(task: ImageClassification, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(json.dumps(task.describe()))
    again = load_task(tmp_path)
    assert again.describe() == task.describe() and again.data is None
    places = [str(folder / place) for place in task.data.splits["test"].places]  # type: ignore[union-attr]
    rows = torch.arange(len(places))
    direct = task.batch("test", rows, train=False, epoch=0, seed=0)
    prepared = again.prepare(places)
    assert torch.equal(prepared.inputs[0], direct.inputs[0])
    assert prepared.targets is None and prepared.where == places
    assert again.decode(outputs(torch.eye(3)))[2].label == "owl"
    with pytest.raises(UserError, match="opened without its data"):
        again.batch("test", rows, train=False, epoch=0, seed=0)


@pytest.mark.parametrize("text", ["", "[]", '{"task": 3}', '{"name": "x"}', '{"task": "image-clasification"}'])
def test_a_description_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(text)
    with pytest.raises(UserError, match=r"task\.json"):
        load_task(tmp_path)


@pytest.mark.parametrize("key", ["classes", "image_size", "mean", "std"])
@pytest.mark.parametrize("value", [None, "x", [], 3, [0, -1, None]])
def test_a_description_with_a_broken_value(key: str, value: Any, task: ImageClassification, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(json.dumps({**task.describe(), key: value}))
    with pytest.raises(UserError, match=r"task\.json"):
        load_task(tmp_path)


def test_inputs_of_any_form_are_read_alike(task: ImageClassification, tmp_path: Path) -> None:
    array, path = pixels(5), tmp_path / "a.png"
    path.write_bytes(encoded(picture(5)))
    batches = [task.prepare(raw) for raw in (str(path), path, array, picture(5), [path])]
    assert all(torch.equal(batch.inputs[0], batches[0].inputs[0]) for batch in batches)
    assert task.prepare([array, path]).where == ["input 1", str(path)]
    larger = task.prepare(np.repeat(np.repeat(array, 2, 0), 2, 1))
    assert larger.inputs[0].shape == (1, 3, 12, 10)
    grey = task.prepare(array[..., 0])
    assert torch.equal(grey.inputs[0], task.prepare(np.repeat(array[..., :1], 3, 2)).inputs[0])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ([], "no picture is given"),
        ("absent.png", "there is no such file"),
        (".", "is a folder"),
        (np.zeros((4, 4, 3)), "is no picture"),
        (np.zeros((4, 4, 4), np.uint8), "is no picture"),
        (np.zeros((0, 4, 3), np.uint8), "is no picture"),
        (Image.new("CMYK", (4, 4)), "is in CMYK colours"),
        (3, "is no picture"),
    ],
)
def test_inputs_that_are_none(raw: Any, said: str, task: ImageClassification) -> None:
    with pytest.raises(UserError, match=said):
        task.prepare(raw)


def test_other_data_with_its_classes_in_another_order(task: ImageClassification, tmp_path: Path) -> None:
    other = image_folder(tmp_path / "other", {"owl": 12, "cat": 12}, first=300)
    on = task.on(open_data(other))
    batch = on.batch("test", torch.arange(on.size("test")), train=False, epoch=0, seed=0)
    assert batch.targets is not None
    assert [task.classes[number] for number in batch.targets] == [place.split("/")[0] for place in batch.where]
    with pytest.raises(UserError, match="unknown class 'bat'; did you mean 'cat'"):
        task.on(open_data(image_folder(tmp_path / "bats", {"bat": 12, "cat": 12}, first=400)))


def test_unknown_tasks_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'image-classification'"):
        task_for(open_data(folder), "image-clasification")
