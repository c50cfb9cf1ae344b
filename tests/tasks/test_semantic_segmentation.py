"""Scores of masks against loops over pixels, and what the task makes of data, models and answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scenes import street

import dougong
from dougong.data import open_data
from dougong.data.masks import VOID
from dougong.errors import UserError
from dougong.parts.output import Output
from dougong.tasks import SemanticSegmentation, task_for
from dougong.tasks.scores.segmentation import SegmentationMetrics, borders, boundary_f1, spread
from dougong.tasks.task import Batch


def brute_boundary(given: np.ndarray, truth: np.ndarray, n_classes: int, reach: float) -> list[float]:
    """Boundary F1 of each class by loops over all pairs of pixels."""
    given = np.where(truth == VOID, VOID, given)
    height, width = truth.shape

    def border(classes: np.ndarray, k: int) -> list[tuple[int, int]]:
        found = []
        for y in range(height):
            for x in range(width):
                if classes[y, x] != k:
                    continue
                near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                other = [classes[a, b] for a, b in near if 0 <= a < height and 0 <= b < width]
                if any(each not in (k, VOID) for each in other):
                    found.append((y, x))
        return found

    def met(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        close = [any(math.dist(a, b) <= reach for b in others) for a in some]
        return sum(close) / len(close) if close else math.nan

    scores = []
    for k in range(n_classes):
        mine, true = border(given, k), border(truth, k)
        if not mine and not true:
            scores.append(math.nan)
            continue
        precision, recall = met(mine, true), met(true, mine)
        whole = precision + recall
        scores.append(2 * precision * recall / whole if whole > 0 else 0.0)
    return scores


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.tuples(st.integers(4, 14), st.integers(4, 14)), blocks=st.integers(1, 4))
def test_boundary_f1_equals_loops_over_pixels(seed: int, size: tuple[int, int], blocks: int) -> None:
    rng = np.random.default_rng(seed)

    def mask() -> np.ndarray:
        small = rng.integers(0, 3, (-(-size[0] // blocks), -(-size[1] // blocks)))
        return small.repeat(blocks, 0).repeat(blocks, 1)[: size[0], : size[1]]

    given_mask, truth = mask(), mask()
    truth = np.where(rng.random(size) < 0.15, VOID, truth)
    mean, each = boundary_f1(torch.from_numpy(given_mask), torch.from_numpy(truth), 3, VOID)
    expected = brute_boundary(given_mask, truth, 3, max(1.0, 0.0075 * math.hypot(*size)))
    assert each.tolist() == pytest.approx(expected, abs=1e-6, nan_ok=True)
    known = [value for value in expected if not math.isnan(value)]
    assert mean == pytest.approx(sum(known) / len(known) if known else math.nan, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("reach", [1.0, 2.25, 3.0, 5.1])
def test_what_is_near_is_a_disc(reach: float) -> None:
    marks = torch.zeros(1, 15, 17, dtype=torch.bool)
    marks[0, 7, 8] = marks[0, 0, 0] = True
    rows, columns = torch.meshgrid(torch.arange(15), torch.arange(17), indexing="ij")
    near = ((rows - 7) ** 2 + (columns - 8) ** 2 <= reach**2) | (rows**2 + columns**2 <= reach**2)
    assert torch.equal(spread(marks, reach)[0], near)
    assert not borders(torch.zeros(4, 4, dtype=torch.long), 2, VOID).any()


def filled(seed: int, n: int = 5, size: tuple[int, int] = (7, 9)) -> tuple[SegmentationMetrics, Any, Any, Any]:
    """Random scores and truths, whole and with void; and the metrics of them."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, 4, *size, generator=generator)
    truth = torch.randint(0, 3, (n, *size), generator=generator)  # class 3 never occurs, and is given
    truth[torch.rand(truth.shape, generator=generator) < 0.2] = VOID
    metrics = SegmentationMetrics(("a", "b", "c", "d"), VOID)
    for rows in torch.arange(n).split(2):
        metrics.update(Output(masks=scores[rows]), Batch((), truth[rows], rows, [""] * len(rows)))
    return metrics, scores, truth, scores.argmax(1)


def test_scores_equal_loops_over_pixels() -> None:
    metrics, scores, truth, answer = filled(0)
    found = metrics.compute()
    right = union = 0
    ious, shares, nats, pixels = [], [], 0.0, 0
    for k in range(4):
        both = either = true = 0
        for g, t in zip(answer.flatten().tolist(), truth.flatten().tolist(), strict=True):
            if t != VOID:
                both += g == t == k
                either += k in (g, t)
                true += t == k
        right, union = right + both, union + either
        ious.append(both / either if either else math.nan)
        if true:
            shares.append(both / true)
    for picture, mask in zip(scores.double(), truth, strict=True):
        for y in range(7):
            for x in range(9):
                if mask[y, x] != VOID:
                    nats -= float(picture[:, y, x].log_softmax(0)[mask[y, x]])
                    pixels += 1
    assert found["mean_iou"] == pytest.approx(np.nanmean(ious))
    assert found["loss"] == pytest.approx(nats / pixels, rel=1e-5)
    assert found["pixel_accuracy"] == pytest.approx(right / pixels)
    assert found["class_accuracy"] == pytest.approx(np.mean(shares))
    table = metrics.table()["per_class"]
    assert [row["iou"] for row in table.values()] == pytest.approx(ious)
    low, high = metrics.interval()
    assert low < found["mean_iou"] < high and len(metrics.sample_scores()) == 5
    # the law that a control breaks: IoU of all pixels together is not the mean of pictures'
    assert abs(np.mean(metrics.sample_scores()) - found["mean_iou"]) > 1e-4


def test_perfect_answers_score_one_and_void_counts_nowhere() -> None:
    truth = torch.randint(0, 3, (2, 8, 8), generator=torch.Generator().manual_seed(1))
    truth[:, :2] = VOID
    scores = torch.nn.functional.one_hot(truth.where(truth != VOID, 0), 4).permute(0, 3, 1, 2).float() * 30
    metrics = SegmentationMetrics(("a", "b", "c", "d"), VOID)
    metrics.update(Output(masks=scores), Batch((), truth, torch.arange(2), ["", ""]))
    assert {name: round(value, 6) for name, value in metrics.compute().items() if name != "loss"} == dict.fromkeys(
        ("mean_iou", "pixel_accuracy", "class_accuracy", "boundary_f1"), 1.0
    )
    assert math.isnan(SegmentationMetrics(("a", "b"), VOID).compute()["mean_iou"])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Scenes of two sizes."""
    root = tmp_path_factory.mktemp("mixed")
    street(root, {"train": 5, "val": 2, "test": 1})
    street(root, {"test": 2}, size=(60, 90), first=20)
    return open_data(root)


def test_answers_are_judged_at_the_size_of_their_masks(mixed: Any) -> None:
    task = task_for(mixed, augment="none")
    assert isinstance(task, SemanticSegmentation) and task.image_size == (48, 64)
    batch = task.batch("test", torch.arange(3), train=False, epoch=0, seed=0)
    assert batch.inputs[0].shape == (3, 3, 48, 64) and batch.targets is not None and batch.targets.shape == (3, 48, 64)
    assert sorted(each.shape for each in batch.truth) == [(48, 64), (60, 90), (60, 90)]
    metrics = task.new_metrics()
    metrics.update(Output(masks=torch.randn(3, 3, 12, 16)), batch)
    assert metrics.pixels == sum(int((each != VOID).sum()) for each in batch.truth)
    found = task.decode(Output(masks=torch.randn(3, 3, 12, 16)), batch)
    assert sorted(each.mask.shape for each in found) == [(48, 64), (60, 90), (60, 90)]
    shares = [sum(share for _, share in each.top) for each in found]
    assert shares == pytest.approx([1, 1, 1])
    prepared = task.prepare([np.zeros((30, 40, 3), np.uint8)])
    assert prepared.inputs[0].shape == (1, 3, 48, 64) and prepared.truth == [(30, 40)]
    rows = task.records(Output(masks=torch.randn(3, 3, 12, 16)), batch, "test")
    assert len(rows) == 3 and sum(rows[0]["gold"].values()) == pytest.approx(1)


def test_training_pictures_move_with_their_masks_and_others_stay(mixed: Any) -> None:
    task = task_for(mixed, augment={"flip": True})
    rows = torch.arange(5)
    still, moved = (task.batch("train", rows, train=train, epoch=0, seed=0) for train in (False, True))
    for place in range(5):
        same = torch.allclose(still.inputs[0][place], moved.inputs[0][place], atol=1e-4)
        flipped = torch.allclose(still.inputs[0][place].flip(-1), moved.inputs[0][place], atol=1e-3)
        assert same != flipped
        right = still.targets[place] if same else still.targets[place].flip(-1)
        assert torch.equal(moved.targets[place], right)
    again = task.batch("train", rows.flip(0), train=True, epoch=0, seed=0)
    assert torch.equal(again.inputs[0].flip(0), moved.inputs[0]) and torch.equal(again.targets.flip(0), moved.targets)
    assert not torch.equal(task.batch("train", rows, train=True, epoch=1, seed=0).targets, moved.targets)
    assert task.counts() == [sum(row[k] for row in mixed.splits["train"].counts) for k in range(3)]


def test_models_are_made_to_fit_or_refused(mixed: Any) -> None:
    task = task_for(mixed, augment="none")
    fitted, lines = task.adapt(dougong.resolve("segformer-micro"))
    assert fitted["n_classes"] == 3 and fitted["image_size"] == [48, 64] and len(lines) == 2
    fitted, lines = task.adapt(dougong.resolve({"architecture": "segmenter", "patch_size": 20, "d_model": 12}))
    assert fitted["patch_size"] == 16 and any("patch_size: 20 -> 16" in line for line in lines)
    with pytest.raises(UserError, match="vit: gives no masks; choose segformer"):
        task.adapt(dougong.resolve("vit-micro"))
    with pytest.raises(UserError, match="the data has 3 classes"):
        task.adapt(dougong.resolve({"architecture": "unet", "n_classes": 7}), {"n_classes"})
    classifies, lines = task.adapt(dougong.resolve({"architecture": "segformer", "head": "classes"}))
    assert classifies["head"] == "masks" and any("head" in line for line in lines)
    with pytest.raises(UserError, match="is not for masks"):
        task_for(mixed, "image-classification")


def test_on_other_data_classes_are_found_by_name(mixed: Any, tmp_path: Path) -> None:
    task = task_for(mixed, augment="none")
    street(tmp_path, {"train": 3, "val": 1, "test": 2}, first=40)
    (tmp_path / "classes.txt").write_text("road\nsky\ncar\nvoid\n")  # the same numbers mean other classes
    other = task.on(open_data(tmp_path))
    own = open_data(tmp_path).splits["test"].mask(0)
    expected = np.array([1, 0, 2, *[VOID] * 253], np.uint8)[own]
    batch = other.batch("test", torch.tensor([0]), train=False, epoch=0, seed=0)
    assert batch.targets is not None and np.array_equal(batch.targets[0].numpy(), expected)
    assert other.classes == ("sky", "road", "car")
    (tmp_path / "classes.txt").write_text("road\nsea\ncar\nvoid\n")
    with pytest.raises(UserError, match="sea"):
        task.on(open_data(tmp_path))


def test_a_description_is_read_back_or_refused(mixed: Any) -> None:
    task = task_for(mixed, augment="none")
    described = task.describe()
    again = SemanticSegmentation.from_description(described)
    assert again.describe() == described and again.colours == task.colours
    for key, bad in (("values", [0, 1]), ("colours", [[0, 0, 300]] * 3), ("classes", []), ("std", [0, 1, 1])):
        with pytest.raises(UserError, match=key):
            SemanticSegmentation.from_description({**described, key: bad})
