"""Drawn scenes with masks: a sky, a road and a few cars, every pixel known; and folders of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from support.pictures import encoded

CLASSES = ("sky", "road", "car", "void")
COLOURS = ((120, 160, 220), (90, 90, 90), (200, 40, 40), (0, 0, 0))
PALETTE = [value for colour in COLOURS for value in colour]


def scene(number: int, size: tuple[int, int] = (48, 64)) -> tuple[np.ndarray, np.ndarray]:
    """A picture uint8 (h, w, 3) and its mask uint8 (h, w); about a hundredth of the pixels is void."""
    rng, (height, width) = np.random.default_rng(number), size
    mask = np.zeros(size, np.uint8)
    horizon = int(rng.integers(height // 3, height // 2))
    mask[horizon:] = 1
    for _ in range(int(rng.integers(1, 4))):
        tall, wide = int(rng.integers(height // 6, height // 3)), int(rng.integers(width // 6, width // 3))
        top, left = int(rng.integers(horizon - 4, height - tall)), int(rng.integers(0, width - wide))
        mask[top : top + tall, left : left + wide] = 2
    picture = np.array(COLOURS[:3])[mask] + rng.normal(0, 12, (height, width, 3))
    mask[rng.random(size) < 0.01] = 3
    return picture.clip(0, 255).astype(np.uint8), mask


def as_file(mask: np.ndarray, kind: str = "palette") -> bytes:
    """A mask as a PNG of a kind: "palette", "grey", "colours" or "sixteen" (bits)."""
    if kind == "colours":
        return encoded(Image.fromarray(np.array(COLOURS, np.uint8)[mask]))
    if kind == "sixteen":
        return encoded(Image.fromarray(mask.astype(np.uint16)))
    image = Image.fromarray(mask)
    if kind == "palette":
        image.putpalette(PALETTE)
    return encoded(image)


def street(root: Path, counts: dict[str | None, int] | None = None, kind: str = "palette", **options: Any) -> Path:
    """A folder images/SPLIT/NAME.png, masks/SPLIT/NAME.png and classes.txt.

    Args:
        root: is made.
        counts: scenes of each split; None for files without splits.
        kind: of the masks.
        options: ``size`` of the scenes; ``named=False`` for no file of classes; ``first``, the first scene's number.
    """
    number = options.get("first", 0)
    for split, count in (counts or {"train": 8, "val": 3, "test": 3}).items():
        for _ in range(count):
            picture, mask = scene(number, options.get("size", (48, 64)))
            place = Path(split or "") / f"{number:03}.png"
            for side, content in (("images", encoded(Image.fromarray(picture))), ("masks", as_file(mask, kind))):
                (root / side / place).parent.mkdir(parents=True, exist_ok=True)
                (root / side / place).write_bytes(content)
            number += 1
    if options.get("named", True):
        rows = [" ".join(map(str, colour)) + f" {name}" for name, colour in zip(CLASSES, COLOURS, strict=True)]
        (root / "classes.txt").write_text("\n".join(rows if kind == "colours" else CLASSES) + "\n", encoding="utf-8")
    return root
