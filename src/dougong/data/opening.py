"""From a source to splits: list it, look at every picture, divide it."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from dougong.data.images import SPLITS, ImageData, ImageSplit
from dougong.data.listing import Listing, Sample
from dougong.data.splitting import DEFAULT, parse_split, split_samples

if TYPE_CHECKING:
    import numpy as np


def list_source(source: str | Path) -> Listing:
    """What a source holds."""
    from dougong.data.digits import list_digits

    return list_digits()


def read_images(source: str | Path, *, split: str | None = None, seed: int = 0) -> ImageData:
    """Open pictures for training: every one is looked at, and the splits are made."""
    import numpy as np

    listing = list_source(source)
    classes = listing.class_names()
    pixels = [np.asarray(sample.read()) for sample in listing.samples]
    keys = [content_key(each) for each in pixels]
    labels = [classes.index(str(sample.label)) for sample in listing.samples]
    parts = split_samples(labels, keys, parse_split(split or DEFAULT), seed)
    splits = {}
    for name, part in zip(SPLITS, parts, strict=True):
        chosen: list[Sample] = [listing.samples[index] for index in part]
        splits[name] = ImageSplit(
            [labels[index] for index in part],
            [keys[index] for index in part],
            [sample.where for sample in chosen],
            [functools.partial(_given, pixels[index]) for index in part],
            [(pixels[index].shape[0], pixels[index].shape[1]) for index in part],
        )
    return ImageData(listing.name, str(source), tuple(classes), splits, f"stratified {split or DEFAULT}", seed)


def _given(pixels: np.ndarray) -> np.ndarray:
    return pixels


def content_key(pixels: np.ndarray) -> str:
    """sha256 of a picture's size and pixels, as hexadecimal digits."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
