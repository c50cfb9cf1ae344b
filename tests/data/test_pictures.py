"""What pictures of other modes are turned into, against the arithmetic done here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dougong.cli.app import execute
from dougong.data.pictures import as_pixels, look_at
from dougong.errors import UserError
from tests.support.pictures import encoded, pixels

RANDOM = pixels(7, (9, 11))
ALPHA = pixels(8, (9, 11))[..., 0]


def over_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


def palette() -> tuple[Image.Image, np.ndarray]:
    """Three colours, of which the second is see-through."""
    colours = np.array([[200, 10, 30], [0, 90, 250], [1, 2, 3]], np.uint8)
    numbers = RANDOM[..., 0] % 3
    image = Image.fromarray(numbers, "L").convert("P")
    image.putdata(numbers.ravel().tolist())
    image.putpalette(colours.ravel().tolist())
    return image, over_white(colours[numbers], np.where(numbers == 1, 0, 255))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_what_is_see_through_is_laid_over_white(kind: str) -> None:
    options: dict[str, Any] = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    content = encoded(Image.fromarray(np.dstack([RANDOM, ALPHA]), "RGBA"), kind, **options)
    found = look_at(content, "x")
    assert found.pixels is not None and found.pixels.shape == (9, 11, 3)
    assert np.abs(found.pixels - over_white(RANDOM, ALPHA)).max() <= 1
    assert [fault.severity for fault in found.faults] == ["warning"] and "transparent" in found.faults[0].what


def test_a_see_through_colour_of_a_palette() -> None:
    image, expected = palette()
    found = look_at(encoded(image, "PNG", transparency=1), "x")
    assert found.pixels is not None and np.array_equal(found.pixels, expected.astype(np.uint8))


def test_opaque_pictures_keep_their_colours() -> None:
    content = encoded(Image.fromarray(np.dstack([RANDOM, np.full((9, 11), 255, np.uint8)]), "RGBA"))
    found = look_at(content, "x")
    assert found.pixels is not None and np.array_equal(found.pixels, RANDOM) and not found.faults


def test_sixteen_bits_are_scaled_and_not_cut() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (9, 11)).astype(np.uint16)
    found = look_at(encoded(Image.fromarray(values)), "x")
    assert found.pixels is not None
    assert np.array_equal(found.pixels, np.repeat((values / 65535 * 255).round()[..., None], 3, 2))


def test_black_and_white_and_greys() -> None:
    grey = RANDOM[..., 0]
    for image, expected in (
        (Image.fromarray(grey), grey),
        (Image.fromarray(grey > 99), np.where(grey > 99, 255, 0)),
    ):
        found = look_at(encoded(image), "x")
        assert found.pixels is not None and np.array_equal(found.pixels, np.repeat(expected[..., None], 3, 2))


def test_an_error_is_one_line_that_every_terminal_can_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "a\n\udcff.png")
    Path(place).write_bytes(b"a shopping list")
    with pytest.raises(UserError) as caught:
        as_pixels(place, place)
    assert str(caught.value).encode() and "\n" not in str(caught.value) and "\\udcff.png: is no" in str(caught.value)
    assert execute(["check", place]) == 2
    assert capsys.readouterr().err.count("\n") <= 1
    raised = UserError("\udcff.png", "is lost", "find it")
    assert str(raised) == "\\udcff.png: is lost; find it"
