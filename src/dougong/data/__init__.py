"""Data: readers, splits, batches, and the doctor that says what is wrong with a source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.data.batching import batches, epoch_order
from dougong.errors import UserError

if TYPE_CHECKING:
    from dougong.data.boxes import DetectionData
    from dougong.data.images import ImageData
    from dougong.data.interactions import InteractionData
    from dougong.data.listing import Fault
    from dougong.data.masks import MaskData
    from dougong.data.texts import TextData

__all__ = ["batches", "check", "check_images", "epoch_order", "open_data", "read_images"]


def read_images(source: str | Path, *, split: str | None = None, seed: int = 0) -> ImageData:
    """Open pictures for training; see `dougong.data.opening.read_images`."""
    from dougong.data.opening import read_images as read

    return read(source, split=split, seed=seed)


def open_data(
    source: str | Path, split: str | None = None, seed: int = 0,
    *, text: str | list[str] | None = None, label: str | list[str] | None = None, kind: str | None = None,
    labels_split: str | None = None, void: str | None = None, interactions: Mapping[str, Any] | None = None,
) -> ImageData | TextData | DetectionData | MaskData | InteractionData:  # fmt: skip
    """Open a data set for training.

    Args:
        source: "digits", or the path of an image folder, a Parquet, CSV or TSV file, or a zip of one of these; pictures
            with boxes, as COCO JSON, VOC XML, YOLO text or Parquet with objects; labelled texts in a CSV, TSV, JSON
            Lines or Parquet file, CoNLL columns, a text file, or a folder of these named after splits, or of parallel
            files as train.de and train.en; or interactions, a user and an item in each row of such a table or of a
            .inter file.
        split: "80/10/10", per cent for train/val/test, where the source has no splits of its own; of interactions,
            "leave-one-out", or per cent by time.
        seed: of the split.
        text: of texts, the column of the text, or two columns; guessed when None.
        label: of texts, the column of the label, or columns of 0 and 1, each named after a label; guessed when None.
        kind: of data that could be several: "texts", "tags", "corpus", "pairs" or "sentences"; "detection", "masks" or
            "interactions".
        labels_split: of texts, the sign between the labels of a cell, where a text may have several.
        void: of pictures with masks (images/ and masks/, see `dougong.data.masks.opening.read_masks`), names or numbers
            of what is of no class, separated by commas; by their names when None.
        interactions: the columns ``user``, ``item`` and ``time``, and ``k_core``; see
            `dougong.data.interactions.read_interactions`. What is None is guessed.

    Raises:
        UserError: nothing there, or a fault that training cannot live with.
    """
    from dougong.data.kinds import PICTURES, TEXTS, Asked, kind_for

    columns = {key: value for key, value in (interactions or {}).items() if value is not None}
    kind = kind or ("masks" if void is not None else None)
    asked = Asked(kind, split, seed, text, label, labels_split, void, columns)
    found = kind_for(source, asked)
    for key in columns if found in (TEXTS, PICTURES) else ():
        raise UserError(key, f"is for interactions, which {source} is not read as", "leave it out, or name --task")
    return found.open(source, asked)  # type: ignore[no-any-return]


def check(source: str | Path) -> list[Fault]:
    """Read all of a data set and name every fault: where, what, remedy, and severity ("error" or "warning").

    Training refuses errors; it lives with warnings. Of texts, at most a thousand faults of each kind are listed;
    `dougong.data.texts.doctor.examine_texts` counts all of them.

    Raises:
        UserError: there is no such source, or it is of no kind that is read.
    """
    from dougong.data.kinds import Asked, kind_for

    return kind_for(source, Asked()).check(source)


check_images = check
