"""Pictures whose every pixel has a class, in splits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dougong.data.images import PictureSplit, most_common

if TYPE_CHECKING:
    import numpy as np

VOID = 255
"""Pixels of no class, which are neither learnt from nor judged."""
MOST_CLASSES = 255


@dataclass(eq=False)
class MaskSplit(PictureSplit):
    """Samples in a fixed order.

    Args:
        keys: of each sample, the hash of its picture's pixels.
        mask_keys: of each sample, the hash of its mask.
        places: of each sample, the file and row of its picture.
        loaders: of each sample, what gives its picture, uint8 (h, w, 3).
        mask_loaders: of each sample, what gives its mask, uint8 (h, w): classes, and `VOID`.
        sizes: of each sample, (h, w).
        counts: of each sample, the pixels of each class, and at the end those of none.
    """

    keys: list[str]
    mask_keys: list[str]
    places: list[str]
    loaders: Sequence[Callable[[], np.ndarray]]
    mask_loaders: Sequence[Callable[[], np.ndarray]]
    sizes: list[tuple[int, int]]
    counts: list[list[int]]

    def mask(self, index: int) -> np.ndarray:
        """A sample's mask, uint8 (h, w): numbers of classes, and `VOID`."""
        return self.mask_loaders[index]()


@dataclass(eq=False)
class MaskData:
    """A data set for semantic segmentation.

    Args:
        name: short, for titles.
        source: as the user gave it.
        classes: names of those that are learnt; a mask holds numbers in this order.
        values: of each class, its number in the masks' files.
        colours: of each class, red, green and blue, in which it is drawn.
        void: names, or numbers, of what is of no class.
        splits: "train", "val" and "test".
        how: how the splits were made, in words.
        seed: of the splits.
        notes: what was decided for the user, to be said aloud.
        duplicates: a line for each picture that occurs more than once.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    values: tuple[int, ...]
    colours: tuple[tuple[int, int, int], ...]
    void: tuple[str, ...]
    splits: dict[str, MaskSplit]
    how: str
    seed: int
    notes: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)

    kind = "masks"

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
        """sha256 over the classes and every sample's picture, mask and split, in order."""
        digest = hashlib.sha256(repr((self.classes, self.values)).encode())
        for name, split in self.splits.items():
            for key, mask in zip(split.keys, split.mask_keys, strict=True):
                digest.update(f"{name} {mask} {key}\n".encode())
        return digest.hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """Pixels of each class in each split."""
        return {
            name: {label: sum(row[number] for row in split.counts) for number, label in enumerate(self.classes)}
            for name, split in self.splits.items()
        }

    def describe(self) -> dict[str, Any]:
        """Everything that data.json holds: enough to know each sample and its split again."""
        return {
            "name": self.name,
            "source": self.source,
            "kind": self.kind,
            "classes": list(self.classes),
            "values": list(self.values),
            "void": list(self.void),
            "image_size": list(self.image_size),
            "fingerprint": self.fingerprint,
            "split": self.how,
            "seed": self.seed,
            "unit": "pixels",
            "counts": self.counts(),
            "notes": list(self.notes),
            "duplicates": list(self.duplicates),
            "samples": {
                name: [
                    {"key": key, "mask": mask, "where": where}
                    for key, mask, where in zip(split.keys, split.mask_keys, split.places, strict=True)
                ]
                for name, split in self.splits.items()
            },
        }
