"""Pictures with boxes, in splits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dougong.data.images import PictureSplit, most_common

if TYPE_CHECKING:
    import numpy as np


@dataclass(eq=False)
class DetectionSplit(PictureSplit):
    """Samples in a fixed order.

    Args:
        boxes: of each sample, float64 (M, 6): class's number, left, top, right, bottom in pixels, 1 for a crowd.
        keys: of each sample, the hash of its pixels.
        places: of each sample, the file and row it comes from.
        loaders: of each sample, what gives its pixels, uint8 (h, w, 3).
        sizes: of each sample, (h, w).
    """

    boxes: list[np.ndarray]
    keys: list[str]
    places: list[str]
    loaders: Sequence[Callable[[], np.ndarray]]
    sizes: list[tuple[int, int]]


@dataclass(eq=False)
class DetectionData:
    """A data set of pictures for detection.

    Args:
        name: short, for titles.
        source: as the user gave it.
        classes: their names; a box's class is a number in this order.
        splits: "train", "val" and "test".
        how: how the splits were made, in words.
        seed: of the splits.
        notes: what was decided for the user, to be said aloud.
        duplicates: a line for each picture that occurs more than once.
        format: of the source, in words.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    splits: dict[str, DetectionSplit]
    how: str
    seed: int
    notes: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    format: str = ""

    kind = "detection"

    @property
    def image_size(self) -> tuple[int, int]:
        """The most common (h, w) of the training pictures."""
        return most_common(self.splits["train"].sizes)

    @property
    def fingerprint(self) -> str:
        """sha256 over every sample's content hash, boxes and split, in order."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for name, split in self.splits.items():
            for key, boxes in zip(split.keys, split.boxes, strict=True):
                digest.update(f"{name} {key} ".encode() + boxes.tobytes())
        return digest.hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """Boxes of each class in each split."""
        return {
            name: {
                label: int(sum((boxes[:, 0] == number).sum() for boxes in split.boxes))
                for number, label in enumerate(self.classes)
            }
            for name, split in self.splits.items()
        }

    def describe(self) -> dict[str, Any]:
        """Everything that data.json holds: enough to know each sample and its split again."""
        return {
            "name": self.name,
            "source": self.source,
            "format": self.format,
            "classes": list(self.classes),
            "image_size": list(self.image_size),
            "fingerprint": self.fingerprint,
            "split": self.how,
            "seed": self.seed,
            "counts": self.counts(),
            "notes": list(self.notes),
            "duplicates": list(self.duplicates),
            "samples": {
                name: [
                    {"key": key, "boxes": len(boxes), "where": where}
                    for key, boxes, where in zip(split.keys, split.boxes, split.places, strict=True)
                ]
                for name, split in self.splits.items()
            },
        }
