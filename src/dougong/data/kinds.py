"""The kinds of data: how each is recognised, opened for training, and examined. A new kind is one entry of `KINDS`.

Readers are imported when they are used, as some of them are heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dougong.data.listing import Fault


@dataclass(frozen=True)
class Asked:
    """What a user says of a source beside its place; see `dougong.data.open_data`.

    Args:
        kind: that is asked for.
        split: of the samples.
        seed: of the split.
        text: the column of the text, or two.
        label: the column of the label, or several.
        labels_split: the sign between labels.
        void: what of a mask is of no class.
        columns: of interactions, and ``k_core``.
    """

    kind: str | None = None
    split: str | None = None
    seed: int = 0
    text: str | list[str] | None = None
    label: str | list[str] | None = None
    labels_split: str | None = None
    void: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Args:
        name: as people say it.
        named: of (source, asked), whether what is asked for can be nothing else.
        recognises: of (source, asked), whether the source holds it, told by what lies there.
        open: of (source, asked), the data set for training.
        examine: of a source, what the doctor saw; it has ``faults``.
        unit: what is counted of each class.
    """

    name: str
    named: Callable[[str | Path, Asked], bool]
    recognises: Callable[[str | Path, Asked], bool]
    open: Callable[[str | Path, Asked], Any]
    examine: Callable[[str | Path], Any]
    unit: str

    def check(self, source: str | Path) -> list[Fault]:
        """Every fault of a source; of texts, at most a thousand of each kind."""
        return list(self.examine(source).faults)


def kind_for(source: str | Path, asked: Asked) -> Kind:
    """The first kind that is asked for, or that a source holds; what is nothing else is read as pictures.

    Raises:
        UserError: a data set of the hub, or a zip file, that cannot be opened.
    """
    return next(
        each
        for each in KINDS
        if each.named(source, asked) or (asked.kind is None and each.recognises(source, asked))
    )  # fmt: skip


def _boxes(source: str | Path, asked: Asked) -> bool:
    from dougong.data.boxes.opening import format_of

    return bool(format_of(source))


def _open_boxes(source: str | Path, asked: Asked) -> Any:
    from dougong.data.boxes.opening import read_boxes

    return read_boxes(source, split=asked.split, seed=asked.seed)


def _examine_boxes(source: str | Path) -> Any:
    from dougong.data.boxes.doctor import examine_boxes

    return examine_boxes(source)


def _masks(source: str | Path, asked: Asked) -> bool:
    from dougong.data.masks.opening import masks_in

    return bool(masks_in(source))


def _open_masks(source: str | Path, asked: Asked) -> Any:
    from dougong.data.masks.opening import read_masks

    return read_masks(source, split=asked.split, seed=asked.seed, void=asked.void)


def _examine_masks(source: str | Path) -> Any:
    from dougong.data.masks.doctor import examine_masks

    return examine_masks(source)


def _interactions(source: str | Path, asked: Asked) -> bool:
    from dougong.data.interactions import holds_interactions

    texts = asked.text is not None or asked.label is not None
    return not texts and str(source) != "digits" and holds_interactions(source)


def _open_interactions(source: str | Path, asked: Asked) -> Any:
    from dougong.data.interactions import read_interactions

    return read_interactions(source, split=asked.split, **asked.columns)


def _examine_interactions(source: str | Path) -> Any:
    from dougong.data.interactions.doctor import examine_interactions

    return examine_interactions(source)


def _are_texts(source: str | Path, asked: Asked) -> bool:
    given = (asked.text, asked.label, asked.kind, asked.labels_split)
    return str(source) != "digits" and any(each is not None for each in given)


def _texts(source: str | Path, asked: Asked) -> bool:
    from dougong.data.texts.opening import kind_of

    return str(source) != "digits" and bool(kind_of(source, asked.kind))


def _open_texts(source: str | Path, asked: Asked) -> Any:
    from dougong.data.texts.opening import read_texts

    named = {"text": asked.text, "label": asked.label, "kind": asked.kind, "labels_split": asked.labels_split}
    return read_texts(source, split=asked.split, seed=asked.seed, **named)  # type: ignore[arg-type]


def _examine_texts(source: str | Path) -> Any:
    from dougong.data.texts.doctor import examine_texts

    return examine_texts(source)


def _open_pictures(source: str | Path, asked: Asked) -> Any:
    from dougong.data.opening import read_images

    return read_images(source, split=asked.split, seed=asked.seed)


def _examine_pictures(source: str | Path) -> Any:
    from dougong.data.doctor import examine

    return examine(source)


DETECTION = Kind(
    "detection", lambda _, asked: asked.kind == "detection", _boxes, _open_boxes, _examine_boxes, "boxes"
)  # fmt: skip
MASKS = Kind("masks", lambda _, asked: asked.kind == "masks", _masks, _open_masks, _examine_masks, "pixels")
INTERACTIONS = Kind(
    "interactions", lambda _, asked: asked.kind == "interactions" or bool({"user", "item"} & set(asked.columns)),
    _interactions, _open_interactions, _examine_interactions, "interactions",
)  # fmt: skip
TEXTS = Kind("texts", _are_texts, _texts, _open_texts, _examine_texts, "texts")
PICTURES = Kind("images", lambda *_: False, lambda *_: True, _open_pictures, _examine_pictures, "pictures")

KINDS = (DETECTION, MASKS, INTERACTIONS, TEXTS, PICTURES)
"""In the order in which they are asked; the last one takes what is left."""
