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
    from dougong.data.boxes.opening import format_of
    from dougong.data.masks.opening import masks_in, read_masks
    from dougong.data.texts.opening import kind_of, read_texts

    if void is not None:
        kind = kind or "masks"
    if kind == "detection" or (kind is None and format_of(source)):
        from dougong.data.boxes.opening import read_boxes

        return read_boxes(source, split=split, seed=seed)
    if kind == "masks" or (kind is None and masks_in(source)):
        return read_masks(source, split=split, seed=seed, void=void)
    columns = {key: value for key, value in (interactions or {}).items() if value is not None}
    named = "user" in columns or "item" in columns
    if named or kind == "interactions" or (kind is None and text is None and label is None and _met(source)):
        from dougong.data.interactions import read_interactions

        return read_interactions(source, split=split, **columns)
    for key in columns:
        raise UserError(key, f"is for interactions, which {source} is not read as", "leave it out, or name --task")
    asked = any(each is not None for each in (text, label, kind, labels_split))
    if str(source) != "digits" and (asked or kind_of(source)):
        return read_texts(source, split=split, seed=seed, text=text, label=label, kind=kind, labels_split=labels_split)
    return read_images(source, split=split, seed=seed)


def _met(source: str | Path) -> bool:
    """Whether a source holds interactions."""
    from dougong.data.interactions import holds_interactions

    return str(source) != "digits" and holds_interactions(source)


def check(source: str | Path) -> list[Fault]:
    """Read all of a data set and name every fault: where, what, remedy, and severity ("error" or "warning").

    Training refuses errors; it lives with warnings. Of texts, at most a thousand faults of each kind are listed;
    `dougong.data.texts.doctor.examine_texts` counts all of them.

    Raises:
        UserError: there is no such source, or it is of no kind that is read.
    """
    from dougong.data.boxes.opening import format_of
    from dougong.data.masks.opening import masks_in
    from dougong.data.texts.opening import kind_of

    if format_of(source):
        from dougong.data.boxes.doctor import examine_boxes

        return examine_boxes(source).faults
    if masks_in(source):
        from dougong.data.masks.doctor import examine_masks

        return examine_masks(source).faults
    if _met(source):
        from dougong.data.interactions.doctor import examine_interactions

        return examine_interactions(source).faults
    if str(source) != "digits" and kind_of(source):
        from dougong.data.texts.doctor import check_texts

        return check_texts(source)
    from dougong.data.doctor import check_images as look

    return look(source)


check_images = check
