"""Augmentation: of each sample alone, against shifts by hand, and off where it would harm."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from dougong.data.augment import KINDS, NONE, Augmentation, augmented, choose, may_flip, uniform
from dougong.data.moving import moving
from dougong.errors import UserError

PICTURES = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def vary(how: Augmentation, rows: torch.Tensor, seed: int = 1, epoch: int = 2) -> torch.Tensor:
    return augmented(PICTURES[rows], how, seed=seed, epoch=epoch, indices=rows)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_batch_equals_its_samples_one_by_one_in_any_order(kind: str) -> None:
    everything = torch.arange(24)
    together, order = vary(KINDS[kind], everything), torch.randperm(24)
    assert torch.equal(together[order], vary(KINDS[kind], order))
    assert torch.equal(together, torch.cat([vary(KINDS[kind], row) for row in everything.split(1)]))


@pytest.mark.parametrize("kind", ["crop", "standard", "strong", "mild"])
def test_seeds_epochs_and_samples_differ(kind: str) -> None:
    rows, how = torch.arange(24), KINDS[kind]
    same = torch.zeros(24, dtype=torch.long)
    copies = augmented(PICTURES[same], how, seed=1, epoch=2, indices=rows)
    assert len(torch.unique(copies.flatten(1), dim=0)) > 15
    for other in (vary(how, rows, seed=2), vary(how, rows, epoch=3), vary(how, rows, seed=2, epoch=1)):
        assert not torch.allclose(vary(how, rows), other, atol=1)


def test_crop_is_a_whole_shift_of_the_mirrored_border_and_perhaps_a_flip() -> None:
    result = vary(KINDS["crop"], torch.arange(24))
    shifts, flips = set(), set()
    for before, after in zip(PICTURES.float().numpy(), result.numpy(), strict=True):
        found = None
        for flip in (False, True):
            source = before[..., ::-1] if flip else before
            wide = np.pad(source, ((0, 0), (4, 4), (4, 4)), mode="reflect")
            for top in range(9):
                for left in range(9):
                    if np.abs(wide[:, top : top + 32, left : left + 32] - after).max() < 0.05:
                        found = (top, left, flip)
        assert found is not None
        shifts.add(found[:2])
        flips.add(found[2])
    assert len(shifts) > 12 and flips == {True, False}


def test_numbers_are_uniform_and_independent() -> None:
    drawn = uniform(0, 0, np.arange(20000), 8)
    assert drawn.min() >= 0 and drawn.max() < 1
    for column in drawn.T:
        counts = np.bincount((column * 20).astype(int), minlength=20)
        assert ((counts - 1000) ** 2 / 1000).sum() < 50  # chi-square of 19 degrees of freedom
    # its columns, and the next sample's first number, tell nothing of each other
    neighbours = np.column_stack([drawn[:-1], drawn[1:, 0]])
    assert np.abs(np.corrcoef(neighbours.T) - np.eye(9)).max() < 0.04


def test_turning_keeps_the_centre_and_the_distances() -> None:
    how = Augmentation(rotate=30, flip=True)
    moves = moving(np.random.default_rng(0).uniform(-1, 1, (50, 10)), how, (11, 17), (11, 17))
    centre = np.array([8.0, 5.0, 1.0])
    assert np.allclose(moves @ centre, centre[:2])
    assert np.allclose(np.abs(np.linalg.det(moves[:, :, :2])), 1)


def test_colours_stay_colours() -> None:
    result = vary(KINDS["strong"], torch.arange(24))
    assert result.min() >= 0 and result.max() <= 255
    grey = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    only = augmented(grey, Augmentation(brightness=0.5), seed=0, epoch=0, indices=torch.tensor([0]))
    assert only.unique().numel() == 1 and 50 <= float(only[0, 0, 0, 0]) <= 150


@pytest.mark.parametrize(
    ("size", "classes", "expected"),
    [
        ((8, 8), ("0", "1"), NONE),
        ((32, 32), ("cat", "dog"), KINDS["crop"]),
        ((28, 28), tuple("0123456789"), Augmentation(shift=0.125, whole=True)),
        ((224, 224), ("cat", "dog"), KINDS["standard"]),
    ],
)
def test_auto(size: tuple[int, int], classes: tuple[str, ...], expected: Augmentation) -> None:
    assert choose("auto", size, classes) == expected


@pytest.mark.parametrize(
    ("classes", "flips"),
    [("ab", False), (("10", "11"), False), (("turn_left", "go"), False), (("cat", "dog"), True), (("a", "dog"), True)],
)
def test_signs_and_sides_are_not_mirrored(classes: tuple[str, ...], flips: bool) -> None:
    assert may_flip(classes) is flips


@pytest.mark.parametrize("bad", ["strnog", {"shfit": 0.1}, {"shift": 2}, {"flip": 1}, {"rotate": -5}, {"shift": True}])
def test_what_cannot_be_is_refused(bad: object) -> None:
    with pytest.raises(UserError, match="augment"):
        choose(bad, (32, 32), ("cat", "dog"))  # type: ignore[arg-type]
    assert choose({"shift": 0.1, "flip": True}, (32, 32), ()) == Augmentation(shift=0.1, flip=True)


@pytest.mark.parametrize("page", ["docs/howto/data.md", "docs/zh/howto/data.md"])
def test_the_manual_names_every_kind_and_every_amount(page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    kinds = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")} - {"augment="}
    assert kinds == {"auto", *KINDS}
    assert all(f"`{each.name}`" in text for each in fields(Augmentation))
