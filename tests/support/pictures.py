"""Small pictures, no two alike, and folders of them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def pixels(number: int, size: tuple[int, int] = (12, 10)) -> np.ndarray:
    """uint8 (h, w, 3), another for each number."""
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def picture(number: int, size: tuple[int, int] = (12, 10)) -> Image.Image:
    """The same as a PIL image."""
    return Image.fromarray(pixels(number, size))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    into = io.BytesIO()
    image.save(into, kind, **options)
    return into.getvalue()


def image_folder(root: Path, counts: Mapping[str, int], first: int = 0) -> Path:
    """PNG files 0.png, 1.png, ... in each named folder, all of them different."""
    number = first
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in range(count):
            (root / folder / f"{name}.png").write_bytes(encoded(picture(number)))
            number += 1
    return root
