"""Tasks: what a sample is, what is learnt from it, how well, and how an answer reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dougong.errors import UserError, unknown
from dougong.tasks.class_weights import weights_of_classes
from dougong.tasks.image_classification import Augment, ImageClassification
from dougong.tasks.language import CausalLanguage
from dougong.tasks.masked_language import MaskedLanguage
from dougong.tasks.next_item import NextItem
from dougong.tasks.object_detection import ObjectDetection
from dougong.tasks.semantic_segmentation import SemanticSegmentation
from dougong.tasks.sentence_embedding import SentenceEmbedding
from dougong.tasks.task import Batch, Metrics, Prediction, Task
from dougong.tasks.text_classification import TextClassification
from dougong.tasks.token_classification import TokenClassification
from dougong.tasks.translation import Translation

__all__ = [
    "KINDS", "TASKS", "Batch", "CausalLanguage", "ImageClassification", "MaskedLanguage", "Metrics", "NextItem",
    "ObjectDetection", "Prediction", "SemanticSegmentation", "SentenceEmbedding", "Task", "TextClassification",
    "TokenClassification", "Translation", "load_task", "task_for",
]  # fmt: skip

TASKS: dict[str, Any] = {
    each.name: each
    for each in (
        ImageClassification,
        ObjectDetection,
        TextClassification,
        TokenClassification,
        CausalLanguage,
        MaskedLanguage,
        Translation,
        SentenceEmbedding,
        SemanticSegmentation,
        NextItem,
    )
}
POSED = {
    "images": ImageClassification.name,
    "detection": ObjectDetection.name,
    "texts": TextClassification.name,
    "tags": TokenClassification.name,
    "corpus": CausalLanguage.name,
    "pairs": Translation.name,
    "sentences": SentenceEmbedding.name,
    "masks": SemanticSegmentation.name,
    "interactions": NextItem.name,
}
"""The task that each kind of data poses by itself."""
KINDS = {name: kind for kind, name in POSED.items() if kind != "images"} | {MaskedLanguage.name: "corpus"}
"""The kind of data that each task learns from, but for pictures with one class."""


def task_for(
    data: Any,
    name: str | None = None,
    augment: Augment = "auto",
    image_size: int | Sequence[int] | None = None,
    class_weights: str | dict[str, float] = "none",
    vectors: dict[str, Any] | None = None,
    recommending: dict[str, Any] | None = None,
    **text: Any,
) -> Task:
    """The task that a data set poses.

    Args:
        data: from `dougong.data.open_data`.
        name: of the task; read off the data when left out.
        augment: how training pictures are varied: "auto", "none", "mild", "crop", "standard", "strong", or amounts
            as ``{"shift": 0.1, "flip": True}``; see `dougong.data.augment`.
        image_size: in pixels, to which pictures are brought; chosen by the data when left out.
        class_weights: see `dougong.tasks.class_weights`; of tasks whose answers are classes.
        vectors: pooling, temperature and symmetric of `SentenceEmbedding.from_data`, and ``source``, a folder whose
            pooling is kept; other tasks take the last alone, and have no use for it.
        recommending: see `dougong.tasks.recommending.choices.Choices`; of that task alone.
        text: how texts are read: tokenizer, vocab_size, max_length and most; see `TextClassification.from_data`.

    Raises:
        UserError: an unknown task or kind of augmentation, or a task for another kind of data.
    """
    chosen = name or POSED.get(data.kind)
    if chosen is None:
        raise UserError("task", f"{data.kind} pose none by themselves that is known", f"say one of {', '.join(TASKS)}")
    if chosen not in TASKS:
        raise unknown("task", "task", chosen, TASKS)
    if KINDS.get(chosen, "images") != data.kind:
        raise UserError(f"task {chosen}", f"is not for {data.kind}", f"leave it out, or say {POSED.get(data.kind)}")
    own = {key: value for key, value in (vectors or {}).items() if value is not None}
    source = own.pop("source", None)
    picked = {key: value for key, value in (recommending or {}).items() if value is not None}
    for owner, given in ((SentenceEmbedding.name, own), (NextItem.name, picked)):
        for key in given if chosen != owner else ():
            raise UserError(key, f"{chosen} has none", f"leave it out, or learn with --task {owner}")
    if chosen in (SentenceEmbedding.name, NextItem.name) and source is not None:
        own["source"] = source
    if data.kind in ("images", "detection", "masks"):
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        task: Any = TASKS[chosen].from_data(data, augment, None if size is None else (size[0], size[1]))
    elif chosen == NextItem.name:
        lengths = {key: text.get(key) for key in ("max_length", "most")}
        task = NextItem.from_data(data, **lengths, **own, **picked)
    else:
        task = TASKS[chosen].from_data(data, **text, **own)
    if class_weights != "none":
        if not hasattr(task, "counts"):
            raise UserError("class_weights", f"{chosen} has no classes", "leave it out")
        task.class_weights = weights_of_classes(
            class_weights, task.classes, task.counts(), getattr(task, "several", False)
        )
    return task


def load_task(folder: str | Path) -> Task:
    """The task that a saved model learnt, from its folder's task.json.

    Raises:
        UserError: no such file, or one that describes no task.
    """
    file = Path(folder) / "task.json"
    if not file.is_file() and (Path(folder) / "model" / "task.json").is_file():
        file = Path(folder) / "model" / "task.json"
    try:
        described = json.loads(file.read_text(encoding="utf-8"))
        name = described["task"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(str(file), "does not say what the model learnt", "give the folder of a trained model") from None
    if name not in TASKS:
        raise unknown(str(file), "task", str(name), TASKS)
    try:
        return TASKS[name].from_description(described, file.parent)
    except UserError as error:
        raise UserError(f"{file}: {error.where}", error.what, error.remedy) from None
