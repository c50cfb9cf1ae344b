"""What the tasks on pictures have in common: how pictures are read, prepared, kept, and told from raw input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dougong.errors import UserError
from dougong.tasks.pictures import resized
from dougong.tasks.task import Batch

if TYPE_CHECKING:
    import numpy as np

CACHE = 512 * 2**20
"""Splits whose prepared pictures take fewer bytes than this are kept prepared."""
SAMPLED = 5000
"""Pictures from which mean and deviation are taken."""


class PictureTask:
    """Pictures of a data set at a model's size, and the same of any others.

    Args:
        image_size: (h, w) that a model reads.
        mean: of each channel, of values from 0 to 1.
        std: of each channel.
        data: with its splits; None for a task that only predicts.
    """

    typical_length = None  # pictures have none
    processor = "ViTImageProcessor"
    """What prepares pictures likewise in Transformers."""

    def __init__(
        self, image_size: tuple[int, int], mean: Sequence[float], std: Sequence[float], data: Any = None
    ) -> None:
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        self.data = data
        self._mean = torch.tensor(self.mean).view(3, 1, 1) * 255
        self._std = torch.tensor(self.std).view(3, 1, 1) * 255
        self._prepared: dict[str, Tensor] = {}

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of each channel over training pictures, of values from 0 to 1."""
        n = self.size("train")
        # evenly spread, so that every class is among them
        some = torch.linspace(0, n - 1, min(n, SAMPLED)).round().long()
        total, squares, count = torch.zeros(3).double(), torch.zeros(3).double(), 0
        for part in some.split(256):
            values = self.raw("train", part).double().div(255)
            total += values.sum((0, 2, 3))
            squares += values.square().sum((0, 2, 3))
            count += values.numel() // 3
        mean = total / count
        std = (squares / count - mean.square()).clamp_min(0).sqrt().clamp_min(1 / 255)
        return mean.tolist(), std.tolist()

    def size(self, split: str) -> int:
        """Samples in a split."""
        return len(self._split(split))

    def raw(self, split: str, indices: Tensor) -> Tensor:
        """Pictures at the model's size, uint8 (B, 3, h, w)."""
        if split not in self._prepared:
            height, width = self.image_size
            n = self.size(split)
            if n * 3 * height * width > CACHE:
                return self._resized(split, indices)
            self._prepared[split] = self._resized(split, torch.arange(n))
        return self._prepared[split][indices]

    def normalised(self, pixels: Tensor) -> Tensor:
        """Values from 0 to 255, (B, 3, h, w), to mean 0 and deviation 1 of each channel."""
        return pixels.sub(self._mean).div_(self._std)

    def keep(self, folder: Path) -> None:
        """Write how a picture is prepared, as Transformers' preprocessor_config.json says it."""
        prepared = {
            "image_processor_type": self.processor,
            "do_resize": True,
            "size": {"height": self.image_size[0], "width": self.image_size[1]},
            "resample": 2,  # bilinear
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(prepared, indent=2) + "\n", encoding="utf-8")

    def prepare(self, raw: Any) -> Batch:
        """A path, PIL image or uint8 array (h, w, 3) or (h, w), or a list of these, as evaluation reads pictures.

        Raises:
            UserError: a file that cannot be read, or no picture at all.
        """
        from dougong.data.pictures import as_pixels

        many = list(raw) if isinstance(raw, list | tuple) else [raw]
        if not many:
            raise UserError("inputs", "no picture is given", "name at least one file")
        where = [str(each) if isinstance(each, str | Path) else f"input {i + 1}" for i, each in enumerate(many)]
        pixels = [self.fitted(as_pixels(each, place)) for each, place in zip(many, where, strict=True)]
        return Batch((self.normalised(stacked(pixels).float()),), None, torch.arange(len(many)), where)

    def _split(self, name: str) -> Any:
        if self.data is None:
            raise UserError("data", "this model was opened without its data", "give data=..., or use predict")
        if name not in self.data.splits:
            raise UserError(f"split {name}", "is not there", f"choose from {', '.join(self.data.splits)}")
        return self.data.splits[name]

    def _resized(self, split: str, indices: Tensor) -> Tensor:
        part = self._split(split)
        return stacked([self.fitted(part.pixels(number)) for number in indices.tolist()])

    def fitted(self, pixels: np.ndarray) -> np.ndarray:
        """A picture uint8 (h, w, 3) at the model's size: its proportions kept, cut to the centre."""
        return resized(pixels, self.image_size)


def stacked(pictures: Sequence[np.ndarray]) -> Tensor:
    """Pictures (h, w, 3) of one size as uint8 (B, 3, h, w)."""
    import numpy as np

    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
