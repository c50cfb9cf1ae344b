"""Pictures with one class each, in splits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "val", "test")


class PictureSplit:
    """Samples that are pictures, in a fixed order: what splits of all kinds of pictures answer alike."""

    keys: list[str]
    places: list[str]
    loaders: Sequence[Callable[[], np.ndarray]]
    sizes: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.keys)

    def pixels(self, index: int) -> np.ndarray:
        """A sample's picture, uint8 (h, w, 3), upright and in RGB."""
        return self.loaders[index]()

    def where(self, index: int) -> str:
        """Where a sample stands, as "train/cat/3.jpg", "file.parquet:17" or "instances_train.json: 12.jpg"."""
        return self.places[index]

    def key(self, index: int) -> str:
        """The hash of a sample's pixels: equal exactly when the pictures are."""
        return self.keys[index]


@dataclass(eq=False)
class ImageSplit(PictureSplit):
    """Samples in a fixed order.

    Args:
        labels: of each sample, its class's number.
        keys: of each sample, the hash of its pixels.
        places: of each sample, the file and row it comes from.
        loaders: of each sample, what gives its pixels, uint8 (h, w, 3).
        sizes: of each sample, (h, w).
    """

    labels: list[int]
    keys: list[str]
    places: list[str]
    loaders: Sequence[Callable[[], np.ndarray]]
    sizes: list[tuple[int, int]]


@dataclass(eq=False)
class ImageData:
    """A data set of pictures for classification.

    Args:
        name: short, for titles.
        source: as the user gave it.
        classes: their names; a label is a number in this order.
        splits: "train", "val" and "test".
        how: how the splits were made, in words.
        seed: of the splits.
        notes: what was decided for the user, to be said aloud.
        duplicates: a line for each picture that occurs more than once.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    splits: dict[str, ImageSplit]
    how: str
    seed: int
    notes: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)

    kind = "images"

    @property
    def image_size(self) -> tuple[int, int]:
        """The most common (h, w) of the training pictures."""
        return most_common(self.splits["train"].sizes)

    @property
    def one_size(self) -> bool:
        """Whether all pictures have the same size."""
        return len({size for split in self.splits.values() for size in split.sizes}) == 1

    @property
    def fingerprint(self) -> str:
        """sha256 over every sample's content hash, label and split, in order."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for name, split in self.splits.items():
            for key, label in zip(split.keys, split.labels, strict=True):
                digest.update(f"{name} {label} {key}\n".encode())
        return digest.hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """Samples of each class in each split."""
        return {
            name: {label: split.labels.count(number) for number, label in enumerate(self.classes)}
            for name, split in self.splits.items()
        }

    def describe(self) -> dict[str, Any]:
        """Everything that data.json holds: enough to know each sample and its split again."""
        return {
            "name": self.name,
            "source": self.source,
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
                    {"key": key, "label": self.classes[label], "where": where}
                    for key, label, where in zip(split.keys, split.labels, split.places, strict=True)
                ]
                for name, split in self.splits.items()
            },
        }


def most_common(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The most common size, the larger of several equally common ones."""
    counts: dict[tuple[int, int], int] = {}
    for size in sizes:
        counts[size] = counts.get(size, 0) + 1
    return max(counts, key=lambda size: (counts[size], size))
