"""One small comparison on pictures with names that would do harm if they were not escaped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dougong.training import Comparison, compare

CLASSES = ("<img src=x onerror=alert(1)>", 'tom & "jerry" \'', "斗拱")
MODELS = [
    {"architecture": "vit", "image_size": 8, "patch_size": 2, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 16,
     "n_classes": 3},
    {"architecture": "resnet", "image_size": 8, "layers": [1], "width": 4, "block": "basic", "stem": "small",
     "n_classes": 3},
]  # fmt: skip


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder: stripes down, stripes across and blobs, all noisy; file names are hostile too."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    stripes = np.tile([[0, 255]], (8, 4))
    for split, count in (("train", 30), ("val", 8), ("test", 12)):
        for number, name in enumerate(CLASSES):
            place = folder / split / name
            place.mkdir(parents=True)
            for sample in range(count):
                blob = np.pad(np.full((4, 4), 255), 2)
                shape = (stripes, stripes.T, blob)[number]
                noisy = 0.5 * shape + 0.5 * generator.integers(0, 256, (8, 8))
                pixels = np.repeat(noisy[..., None], 3, 2).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"<b>&{sample}.png")
    return folder


@pytest.fixture(scope="session")
def comparison(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two models, two seeds, a few steps each."""
    out = tmp_path_factory.mktemp("compared") / "fair"
    return compare(MODELS, pictures, budget="3epochs", seeds=2, out=out, augment="none", batch_size=8)
