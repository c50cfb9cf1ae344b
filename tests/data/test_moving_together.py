"""Pictures, masks and boxes move alike: boxes drawn as masks, crops by hand, the shared corners by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dougong.data import augment
from dougong.data.augment import KINDS, NONE, Augmentation, choose, varied
from dougong.data.moving import moved_boxes

SIZES = st.tuples(st.integers(24, 64), st.integers(24, 64))
HOW = st.builds(
    Augmentation, shift=st.sampled_from([0.0, 0.1, 0.3]), whole=st.booleans(), flip=st.booleans(),
    rotate=st.sampled_from([0.0, 10.0, 60.0]), scale=st.sampled_from([0.0, 0.3, 1.0]), crop=st.booleans(),
    brightness=st.sampled_from([0.0, 0.2]),
)  # fmt: skip


def drawn(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A mask in which box k is of class k + 1; boxes of whole pixels."""
    mask = torch.zeros(size, dtype=torch.int64)
    for number, (left, top, right, bottom) in enumerate(boxes.int().tolist(), 1):
        mask[top:bottom, left:right] = number
    return mask


def around(mask: torch.Tensor, number: int) -> torch.Tensor | None:
    """The box of a class's pixels."""
    rows, columns = (mask == number).nonzero(as_tuple=True)
    if not len(rows):
        return None
    return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


@settings(max_examples=100, deadline=None)
@given(size=SIZES, seen=st.none() | SIZES, how=HOW, seed=st.integers(0, 10**6), index=st.integers(0, 10**6))
def test_boxes_drawn_as_masks_move_alike(
    size: tuple[int, int], seen: tuple[int, int] | None, how: Augmentation, seed: int, index: int
) -> None:
    height, width = size
    # two boxes that do not touch, one in each half
    rng = np.random.default_rng(seed)
    boxes = []
    for low, high in ((0, width // 2), (width // 2, width)):
        left = int(rng.integers(low, high - 6))
        top = int(rng.integers(0, height - 6))
        boxes.append([left, top, int(rng.integers(left + 5, high + 1)), int(rng.integers(top + 5, height + 1))])
    given_boxes, masks = torch.tensor(boxes).float(), drawn(torch.tensor(boxes), size)
    pixels = torch.full((1, 3, *size), 100, dtype=torch.uint8)
    both = varied(
        pixels, how, seed=seed, epoch=3, indices=torch.tensor([index]), masks=masks[None], boxes=[given_boxes],
        size=seen,
    )  # fmt: skip
    assert both.masks is not None and both.masks.shape[1:] == both.pixels.shape[2:] == (seen or size)
    for number, (box, share) in enumerate(zip(both.boxes[0], both.shown[0].tolist(), strict=True), 1):
        found = around(both.masks[0], number)
        if found is None:  # nothing, or less than the middle of a pixel
            assert share == 0 or float((box[2:] - box[:2]).min()) <= 1.5
        elif how.rotate == 0:
            assert share > 0 and float((found - box).abs().max()) <= 0.51  # the nearest pixel
        else:  # what the frame cuts into a sliver may lie between the pixels: the test of many points sees it
            assert share > 0 and (found[:2] >= box[:2] - 0.51).all() and (found[2:] <= box[2:] + 0.51).all()
            assert share < 1 or float((found - box).abs().max()) <= 1.5


def test_the_law_fails_when_boxes_are_moved_by_their_centres() -> None:
    """A control: the half pixel between a pixel's middle and its edge is seen when pictures grow."""
    boxes = torch.tensor([[10.0, 10.0, 20.0, 20.0]])
    grown = np.array([[2.0, 0.0, -19.5], [0.0, 2.0, -19.5]])
    right, _ = moved_boxes(boxes.numpy(), grown, (40, 40))
    wrong = boxes.numpy().reshape(-1, 2, 2) @ grown[:, :2].T + grown[:, 2]
    assert np.allclose(right, [[0.0, 0.0, 20.0, 20.0]]) and not np.allclose(wrong.reshape(-1, 4), right)


@settings(max_examples=100, deadline=None)
@given(
    angle=st.floats(-3.1, 3.1), factor=st.floats(0.3, 3), dx=st.floats(-30, 30), dy=st.floats(-30, 30),
    box=st.tuples(st.floats(0, 20), st.floats(0, 20), st.floats(2, 20), st.floats(2, 20)), flip=st.booleans(),
)  # fmt: skip
def test_what_is_seen_of_a_turned_box_against_many_points(
    angle: float, factor: float, dx: float, dy: float, box: tuple[float, float, float, float], flip: bool
) -> None:
    left, top, width, height = box
    a, b = factor * np.cos(angle), factor * np.sin(angle)
    move = np.array([[-a if flip else a, b, dx], [b if flip else -b, a, dy]])
    frame = (30, 40)
    found, share = moved_boxes(np.array([[left, top, left + width, top + height]]), move, frame)
    steps = np.linspace(0, 1, 201)
    points = np.stack(np.meshgrid(left + width * steps, top + height * steps), -1).reshape(-1, 2)
    points = (points - 0.5) @ move[:, :2].T + move[:, 2] + 0.5
    inside = points[((points >= 0) & (points <= [40, 30])).all(1)]
    step = factor * max(width, height) / 100
    if len(inside):
        expected = np.concatenate([inside.min(0), inside.max(0)])
        assert np.abs(found[0] - expected).max() <= step + 1e-6 and share[0] >= 0
    else:
        assert (found[0, 2:] - found[0, :2]).min() <= step + 1e-6


def test_a_batch_equals_its_samples_one_by_one_and_pictures_move_with_their_masks() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 6, (5, 4, 5), generator=generator).repeat_interleave(16, 1).repeat_interleave(16, 2)
    pixels = (masks * 40)[:, None].expand(-1, 3, -1, -1).to(torch.uint8)
    boxes = [torch.tensor([[3.0, 4.0, 20.0 + k, 30.0]]) for k in range(5)]
    how = KINDS["scene"]
    still = Augmentation(flip=True, scale=1.0, crop=True, rotate=20)
    rows = torch.arange(5)
    together = varied(pixels, how, seed=1, epoch=0, indices=rows, masks=masks, boxes=boxes)
    for row in range(5):
        part = slice(row, row + 1)
        alone = varied(
            pixels[part], how, seed=1, epoch=0, indices=rows[part], masks=masks[part], boxes=boxes[part]
        )  # fmt: skip
        assert alone.masks is not None and together.masks is not None
        assert torch.equal(alone.pixels[0], together.pixels[row]) and torch.equal(alone.masks[0], together.masks[row])
        assert torch.equal(alone.boxes[0], together.boxes[row]) and torch.equal(alone.shown[0], together.shown[row])
    moved = varied(pixels, still, seed=1, epoch=0, indices=rows, masks=masks)
    assert moved.masks is not None
    # away from borders between classes the colour is the class's
    near = torch.nn.functional.unfold(moved.masks.float()[:, None], 5, padding=2).unflatten(-1, (64, 80))
    inner = (near == near[:, 12:13]).all(1)
    known = inner & (moved.masks != 255)
    assert int(known.sum()) > 500
    assert float((moved.pixels[:, 0][known] - moved.masks[known] * 40).abs().max()) < 1e-2
    outside = inner & (moved.masks == 255)
    assert int(outside.sum()) > 100 and float((moved.pixels[:, 0][outside] - augment.GREY).abs().max()) < 1e-2


def test_nothing_asked_changes_nothing_and_a_cut_is_the_middle() -> None:
    pixels = torch.randint(0, 256, (2, 3, 20, 24), dtype=torch.uint8)
    masks = torch.randint(0, 9, (2, 20, 24), dtype=torch.uint8)
    boxes = [torch.tensor([[1.0, 2.0, 9.0, 7.0]]), torch.zeros(0, 4)]
    rows = torch.arange(2)
    same = varied(pixels, NONE, seed=0, epoch=0, indices=rows, masks=masks, boxes=boxes)
    assert torch.equal(same.pixels, pixels.float()) and same.masks is masks and torch.equal(same.boxes[0], boxes[0])
    assert same.boxes[1].shape == (0, 4) and same.shown[1].shape == (0,)
    cut = varied(pixels, NONE, seed=0, epoch=0, indices=rows, masks=masks, boxes=boxes, size=(10, 12))
    assert cut.masks is not None and torch.equal(cut.masks, masks[:, 5:15, 6:18])
    assert torch.allclose(cut.pixels, pixels[:, :, 5:15, 6:18].float(), atol=1e-3)
    assert torch.allclose(cut.boxes[0], torch.tensor([[0.0, 0.0, 3.0, 2.0]]))
    assert cut.shown[0].tolist() == pytest.approx([6 / 40])


def test_a_crop_reaches_every_edge() -> None:
    how, size = Augmentation(crop=True), (12, 12)
    masks = torch.arange(40 * 40).reshape(1, 40, 40).expand(400, -1, -1)
    cut = varied(
        torch.zeros(400, 3, 40, 40), how, seed=0, epoch=0, indices=torch.arange(400), masks=masks, void=-1, size=size
    )  # fmt: skip
    assert cut.masks is not None and int(cut.masks.min()) >= 0  # never outside
    tops = cut.masks[:, 0, 0] // 40
    assert int(tops.min()) == 0 and int(tops.max()) == 28 and len(tops.unique()) == 29


def test_scene_is_what_auto_means_where_a_task_says_so() -> None:
    assert choose("auto", (32, 32), ("sky", "road"), "scene") == KINDS["scene"]
    assert choose("auto", (32, 32), ("left", "right"), "scene").flip is False
    assert choose({"crop": True, "scale": 0.5}, (32, 32), ()) == Augmentation(crop=True, scale=0.5)
