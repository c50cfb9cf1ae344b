"""The size at which pictures are read: theirs where that will do; proportions are kept on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from dougong.data import open_data
from dougong.tasks.pictures import picture_size, resized
from tests.support.pictures import encoded, picture, pixels


def folder_of(root: Path, sizes: list[tuple[int, int]]) -> Path:
    for i, size in enumerate(sizes):
        path = root / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(i, size)))
    return root


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(8, 8)] * 12, (8, 8)),
        ([(28, 28)] * 12, (28, 28)),
        ([(32, 48)] * 12, (32, 48)),
        ([(97, 97)] * 12, (96, 96)),  # a prime: a patch would be one pixel, or all of it
        ([(17, 23)] * 12, (16, 16)),
        ([(3, 3)] * 12, (3, 3)),
        ([(40, 60), (50, 45)] * 6, (32, 32)),
        ([(20, 30)] * 11 + [(500, 700)], (20, 20)),
        ([(300, 400)] * 12, (224, 224)),
    ],
)
def test_size(sizes: list[tuple[int, int]], expected: tuple[int, int], tmp_path: Path) -> None:
    assert picture_size(open_data(folder_of(tmp_path, sizes))) == expected


@pytest.mark.parametrize("size", [(12, 10), (40, 60), (90, 31), (7, 7), (33, 32)])
@pytest.mark.parametrize("target", [(32, 32), (16, 24)])
def test_scaled_until_it_covers_and_cut_to_the_centre(size: tuple[int, int], target: tuple[int, int]) -> None:
    image = picture(3, size)
    direct = ImageOps.fit(image, (target[1], target[0]), Image.Resampling.BILINEAR)
    assert np.abs(resized(pixels(3, size), target).astype(int) - np.asarray(direct)).max() <= 1


def test_the_right_size_is_left_alone() -> None:
    same = pixels(1, (9, 7))
    assert resized(same, (9, 7)) is same
