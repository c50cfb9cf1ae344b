"""From what a user holds - a run, a folder or a module, and a picture or a text - to a subject."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dougong.errors import UserError, unknown
from dougong.explain.boxes import box_subject
from dougong.explain.explanation import Target
from dougong.explain.pictures import PictureSubject
from dougong.explain.places import KINDS, At, answer_named, answers, in_place, placed
from dougong.explain.subject import Subject, embed, logits, shares
from dougong.explain.texts import Passage, TextSubject, empty_text, read_passage, texts_of
from dougong.figures import many

BOXES, MASKS = "object-detection", "semantic-segmentation"
TASKS = ("image-classification", "text-classification", BOXES, MASKS, *KINDS)


def open_model(model: Any, task: Any = None) -> tuple[nn.Module, Any]:
    """The module, and the task that prepares its inputs, if one is known.

    Args:
        model: a module, a run (anything with ``model()`` and ``task()``), or the path of a run or model folder.
        task: takes the place of the model's own.

    Raises:
        UserError: none of these.
    """
    if isinstance(model, nn.Module):
        return model, task
    if isinstance(model, str | Path):
        from dougong.interop import load

        return load(model), task or described_task(Path(model))
    if callable(getattr(model, "model", None)) and callable(getattr(model, "task", None)):
        return model.model(), task or model.task()
    raise UserError("model", f"{type(model).__name__} is no model", "give a module, a run or the path of its folder")


def described_task(folder: Path) -> Any:
    """The task that a model folder, or a run folder's model, describes in task.json; None without that file."""
    from dougong.tasks import load_task

    for place in (folder, folder / "model"):
        if (place / "task.json").is_file():
            return load_task(place)
    return None


@dataclass(frozen=True, eq=False)
class Sample:
    """One prepared sample.

    Args:
        inputs: (1, ...).
        source: its name.
        passage: of a text, its words.
        place: the token whose answer is explained, of a model that answers at each.
        about: what that answer is about, in words.
        index: of the answer, where it follows from the place.
        region: the part of a picture that is asked about, of a model whose pixels have classes.
        whole: (h, w) of such a picture before it was prepared.
        reader, subject, name, before: see `dougong.explain.places.Placed`.
        said: what else a reader should know.
    """

    inputs: Tensor
    source: str = ""
    passage: Passage | None = None
    place: int | None = None
    about: str = ""
    index: int | None = None
    region: str | None = None
    whole: tuple[int, int] | None = None
    reader: nn.Module | None = None
    subject: type[TextSubject] = TextSubject
    name: str = ""
    before: str | None = None
    said: str = ""


def prepare(raw: Any, task: Any, model: nn.Module, at: At = None) -> Sample:
    """One prepared sample.

    Args:
        raw: the path of a picture, a PIL image, an array, a text, a pair of texts, or a prepared tensor with or without
            a batch axis.
        task: that prepares what is not a tensor.
        model: that answers.
        at: the word that is asked about, of a model that answers at each; see `dougong.explain.places.placed`.

    Raises:
        UserError: several samples, nothing that says how to prepare this one, or a text without words.
    """
    if isinstance(raw, Tensor):
        # a picture is (3, h, w), tokens (L,); a batch axis of one is welcome
        batched = raw if raw.dim() == 4 or (raw.dim() in (2, 3) and raw.shape[0] == 1) else raw[None]
        if len(batched) != 1:
            raise UserError("inputs", f"{len(batched)} samples at once", "explain one at a time")
        if has_masks(model):
            return Sample(batched, region=None if at is None else str(at))
        return Sample(batched, place=rank_of(at))
    if task is None:
        raise UserError(
            "inputs", "this model does not say how its inputs are prepared",
            "give a run or a folder with task.json, or task=..., or a prepared tensor",
        )  # fmt: skip
    if task.name in KINDS:
        found = placed(task, model, raw, at)
        return Sample(
            found.inputs, "", found.passage, found.place, found.about, found.index, reader=found.reader,
            subject=found.subject, name=found.name, before=found.before, said=found.said,
        )  # fmt: skip
    if task.name == MASKS:
        batch = task.prepare(raw)
        source = str(raw) if isinstance(raw, str | Path) else ""
        return Sample(batch.inputs[0], source, region=None if at is None else str(at), whole=batch.truth[0])
    if at is not None and task.name != BOXES:
        raise UserError(f"at={at}", f"{task.name} answers about the whole input", "leave it out")
    batch = task.prepare(raw)
    if len(batch.inputs[0]) != 1:
        raise UserError("inputs", f"{len(batch.inputs[0])} samples at once", "explain one at a time")
    texts = texts_of(raw)
    if texts is not None and hasattr(task, "encodings"):
        return Sample(batch.inputs[0], "", read_passage(texts, task.encodings([texts])[0]))
    return Sample(batch.inputs[0], str(raw) if isinstance(raw, str | Path) else "", place=rank_of(at))


def rank_of(at: At) -> int | None:
    """The number from 0 of a box that is asked about by its number from 1.

    Raises:
        UserError: it is no number.
    """
    if at is None or isinstance(at, int):
        return None if at is None else at - 1
    raise UserError(f"at={at}", "is no number of a box", "write 1 for the most probable one")


def has_masks(model: nn.Module) -> bool:
    """Whether a model scores classes at pixels."""
    return getattr(getattr(model, "head", None), "answers", "") == "masks"


def named(task: Any, target: int | str | None) -> int | str | None:
    """The target as a number, where a task of language names a token by a word."""
    return answer_named(task, target) if getattr(task, "name", None) in KINDS else target


def class_names(task: Any) -> tuple[str, ...]:
    """The classes' names as the task describes them; none without a task.

    Raises:
        UserError: a task whose answers are no classes, tags or tokens.
    """
    name = getattr(task, "name", TASKS[0])
    if name not in TASKS:
        raise UserError(
            str(name),
            "does not answer with classes, tags or tokens, so there is nothing to explain",
            f"ask about {' or '.join(TASKS)}",
        )
    if name in KINDS:
        return answers(task)
    return tuple(str(name) for name in task.describe().get("classes", ())) if task is not None else ()


@torch.no_grad()
def make_subject(
    model: nn.Module, sample: Sample | Tensor, classes: tuple[str, ...], target: int | str | None, several: bool = False
) -> Subject:
    """The question that is asked, with the model already in evaluation mode.

    Args:
        model: a classifier.
        sample: what it is asked about; for what is no text, its tensor (1, ...) will do.
        classes: their names, if known.
        target: number or name of the class; the most probable one by default.
        several: classes stand side by side, each with a probability of its own.

    Raises:
        UserError: a kind of model that is not explained yet, or a class that is not there.
    """
    asked = Sample(sample) if isinstance(sample, Tensor) else sample
    model = asked.reader or model
    kind = str(getattr(model, "input_kind", ""))
    if kind.endswith("_pair"):
        raise UserError("model", "a model of two sequences answers with no class", "give a classifier")
    first = next(model.parameters(), asked.inputs)
    if has_masks(model):
        from dougong.explain.regions import region_subject

        pixels = asked.inputs.to(first.device, first.dtype)
        return region_subject(model, pixels, classes, target, asked.region, asked.whole)
    inputs, passage, place = asked.inputs.to(first.device), asked.passage, asked.place
    if hasattr(model, "n_queries"):
        return box_subject(model, inputs.to(first.dtype), classes, target, place)
    if inputs.is_floating_point():
        inputs = inputs.to(first.dtype)
        points = inputs
    else:
        points = embed(model, inputs)
    scores = logits(model, inputs, points, place)[0]
    index = find_class(asked.index if target is None else target, classes, scores)
    name = asked.name or (classes[index] if index < len(classes) else str(index))
    name = name if asked.before is None else in_place(name, asked.before, classes)
    measure = asked.subject.measure if passage is not None else Subject.measure
    given = scores if measure == "cosine" else shares(scores, several)
    found = Target(index, name, float(given[index]), asked.about, measure)
    if passage is not None:
        empty = empty_text(points, passage)
        return asked.subject(model, inputs, points, empty, classes, found, several, place, passage, asked.said)
    kind_of = PictureSubject if inputs.dim() == 4 else Subject
    return kind_of(model, inputs, points, torch.zeros_like(points), classes, found, several)


def find_class(target: int | str | None, classes: tuple[str, ...], scores: Tensor) -> int:
    """The class asked for, by number or name; the most probable one when none is."""
    if target is None:
        return int(scores.argmax())
    if isinstance(target, str) and target not in classes and not target.isdecimal():
        raise unknown("target", "class", target, classes or map(str, range(len(scores))))
    index = classes.index(target) if isinstance(target, str) and target in classes else int(target)
    if not 0 <= index < len(scores):
        remedy = f"choose from 0 to {len(scores) - 1}"
        raise UserError(f"target={target}", f"the model has {many(len(scores), 'class')}", remedy)
    return index


def picture_seen(inputs: Tensor, task: Any) -> np.ndarray | None:
    """uint8 (h, w, 3): the prepared picture (1, 3, h, w) with the task's normalisation taken back; None for sequences.

    Without a task, the range of the tensor is stretched to black and white.
    """
    if inputs.dim() != 4:
        return None
    pixels = inputs[0].float().cpu()
    described = task.describe() if task is not None else {}
    if "mean" in described and "std" in described:
        mean, std = (torch.tensor(described[key], dtype=pixels.dtype).view(-1, 1, 1) for key in ("mean", "std"))
        pixels = pixels * std + mean
    else:
        low, high = pixels.min(), pixels.max()
        pixels = (pixels - low) / (high - low).clamp_min(1e-12)
    shown = (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return np.repeat(shown, 3, 2) if shown.shape[2] == 1 else shown[..., :3]
