"""Which predictions to explain, and the explanations side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from torch import Tensor, nn

from dougong.errors import UserError
from dougong.explain import Explanation, explain, passages
from dougong.explain.colours import overlay
from dougong.explain.page import explanation_part, image
from dougong.frames.pyramid import Pyramid
from dougong.parts.attention import Attention
from dougong.report.predictions import Predictions, thumbnail
from dougong.report.tables import tabs
from dougong.tasks.task import read_by

MOST_MODELS = 6
PATIENCE = 30.0
"""Seconds spent on explanations; those that would take longer are left out, and the page says so."""


def choose(models: Sequence[Predictions]) -> dict[int, str]:
    """Samples that say most of the models, by number, with why each was chosen.

    Args:
        models: their predictions on the same samples.
    """
    truth = np.stack([each.of_truth for each in models])
    right = np.stack([each.right for each in models])
    several = len(models) > 1
    chosen: dict[int, str] = {}

    def add(mask: np.ndarray, value: np.ndarray, why: str) -> None:
        places = [int(place) for place in np.argsort(-value, kind="stable") if mask[place] and int(place) not in chosen]
        if places:
            chosen[places[0]] = why

    all_right, none_right = np.all(right, 0), ~np.any(right, 0)
    surest = "All models are right, and surely so." if several else "Right, and surest of all."
    add(all_right, truth.min(0), surest)
    if several:
        spread = truth.max(0) - truth.min(0)
        add(~all_right & ~none_right, spread, "The models disagree most.")
        add(none_right, -truth.mean(0), "All models are wrong.")
    else:
        add(none_right, -truth[0], "The worst mistake.")
        add(none_right, -truth[0], "The second worst mistake.")
    barely = "All models are right, one of them only just." if several else "Right, but only just."
    add(all_right, -truth.min(0), barely)
    return chosen


def explanations(
    models: Mapping[str, nn.Module], task: Any, predictions: Mapping[str, Predictions], split: str = "test"
) -> str:
    """Some predictions of every model explained, each with its checks.

    Args:
        models: by name.
        task: that all of them learnt.
        predictions: of each, on the split.
        split: where the samples are from.
    """
    first = next(iter(predictions.values()))
    shown = dict(list(models.items())[:MOST_MODELS])
    texts = task.data.kind == "texts"
    parts, started, slowest, left_out = [introduction("text" if texts else "picture")], time.monotonic(), 0.0, 0
    refused: dict[str, None] = {}
    for number, why in choose(list(predictions.values())).items():
        sample = sample_of(task, split, number)
        blocks: dict[str, str] = {}
        heats = []
        for name, model in shown.items():
            for method in methods_for(model):
                begun = time.monotonic()
                if begun - started + slowest > PATIENCE:
                    left_out += 1
                    continue
                try:
                    found = explain(model, sample, method=method, task=task)
                except UserError as error:  # as a text without a word that the model reads
                    refused[f"{first.where[number]}: {error.what}"] = None
                    continue
                slowest = max(slowest, time.monotonic() - begun)
                sure = predictions[name].right[number]
                heats.append(small_heat(name, found, bool(sure)))
                blocks[f"{name}, {method}"] = explanation_part(found)
        if not heats:
            continue
        true = first.name_true(number)
        truth = f"is <b>{escape(true)}</b>"
        where = f'<span class="faint">{escape(first.where[number])}</span>'
        if texts:
            body = f'<p>{truth} {where}</p><div class="explained-text">{"".join(heats)}</div>'
        else:
            original = task.data.splits[split].pixels(number)
            head = image(thumbnail(original, 224), first.where[number])
            head = f"<figure>{head}<figcaption>{truth}<br>{where}</figcaption></figure>"
            body = f'<div class="pictures explained">{head}{"".join(heats)}</div>'
        more = f"<summary>checks and deletion curves</summary>{tabs(f'why-{number}', blocks)}"
        parts.append(f"<h3>{escape(why)}</h3>{body}<details>{more}</details>")
    if len(models) > len(shown):
        parts.append(f'<p class="note">Of {len(models)} models the first {len(shown)} are explained.</p>')
    if left_out:
        parts.append(
            f'<p class="note">{left_out} more were left out: on this machine one takes up to {slowest:.0f} s. '
            "<code>dougong explain</code> makes any of them.</p>"
        )
    parts += [f'<p class="note">Not explained: {escape(said)}.</p>' for said in refused]
    return "".join(parts)


@dataclass(frozen=True)
class Question:
    """An answer at a token that is to be explained. Args: text: or its words; at: as `explain` takes it; why: it is
    shown; where: the text is from; true: the right answer, if known."""

    text: Any
    at: int | str | None
    why: str
    where: str
    true: str | None


def explained(models: Mapping[str, nn.Module], task: Any, asked: Sequence[Question], of: str = "text") -> str:
    """Answers at tokens explained, of every model, each with its checks.

    Args:
        models: by name.
        task: that all of them learnt.
        asked: about which answers.
        of: what is explained: a "text", a "pair" of texts that are compared, or a "history" of items.
    """
    of = "picture" if task.data is not None and task.data.kind == "masks" else of
    looks = any("attention" in methods_for(model) for model in models.values())
    parts, started, slowest, left_out = [introduction(of, looks)], time.monotonic(), 0.0, 0
    for number, one in enumerate(asked):
        blocks, heats = {}, []
        for name, model in list(models.items())[:MOST_MODELS]:
            for method in methods_for(model):
                begun = time.monotonic()
                if begun - started + slowest > PATIENCE:
                    left_out += 1
                    continue
                try:
                    found = explain(model, one.text, method=method, task=read_by(task, model), at=one.at)
                except UserError:  # as a model of language that hides words, and is given none hidden
                    continue
                slowest = max(slowest, time.monotonic() - begun)
                heats.append(small_heat(name, found, None if one.true is None else found.target.name == one.true))
                blocks[f"{name}, {method}"] = explanation_part(found)
        if heats:
            kind = "pictures explained" if of == "picture" else "explained-text"
            body = f'<div class="{kind}">{"".join(heats)}</div>'
            more = f"<summary>checks and deletion curves</summary>{tabs(f'why-{number}', blocks)}"
            where = f' <span class="faint">{escape(one.where)}</span>'
            parts.append(f"<h3>{escape(one.why)}</h3><p>{where}</p>{body}<details>{more}</details>")
    if left_out:
        parts.append(f'<p class="note">{left_out} more were left out: one takes up to {slowest:.0f} s here.</p>')
    return "".join(parts) if len(parts) > 1 else "<p>There was nothing to explain.</p>"


PARTS = {"text": "words", "history": "items", "picture": "patches", "pair": "words"}


def introduction(whole: str, looks: bool = False) -> str:
    """How to read what follows. Args: whole: what is explained, one of `PARTS`; looks: by attention to a memory, not by
    rollout."""
    part, drawn = PARTS[whole], whole == "picture"
    what, asked, answer = f"the {whole} adds to the class that the model gives", "class", "answer"
    if whole == "pair":
        what, asked, answer = "a text adds to its cosine with the other text", "other text", "vector"
    lines = ", blue against it" if drawn else ", with a solid line under it, and blue, with a dashed line, against it"
    second = (
        f"Attention says at which {part} the model looked before it answered"
        if looks
        else f"Rollout, for models with attention, says which {part} the {answer} was mixed from, whatever the {asked}"
    )
    return (
        f"<p>Integrated gradients say what each part of {what}: orange "
        f"speaks for it{lines}. {second}: the deeper the orange, the more. Each explanation was tested itself; how "
        "many tests it passed stands under it, and what they mean unfolds below it.</p>"
    )


def methods_for(model: nn.Module) -> list[str]:
    """Integrated gradients; and rollout where there is attention, or attention itself where it looks at a memory or on
    several grids, through which rollout does not lead."""
    own = [module for name, module in model.named_modules() if isinstance(module, Attention) and name[:5] != "head."]
    looks = isinstance(getattr(model, "body", None), Pyramid) or any(module.cross for module in own)
    second = [] if not own else ["attention"] if looks else ["rollout"]
    return ["integrated-gradients", *second]


def sample_of(task: Any, split: str, number: int) -> Tensor | tuple[str, ...]:
    """One sample as `explain` takes it: texts, or a prepared picture, (1, ...)."""
    import torch

    if task.data.kind == "texts":
        return tuple(task.data.splits[split][number].texts)

    return task.batch(split, torch.tensor([number]), train=False, epoch=0, seed=0).inputs[0]


def small_heat(name: str, found: Explanation, right: bool | None) -> str:
    """A heat map or a coloured text with whose it is, what it explains, and how many checks it passed."""
    seen = found.picture_seen
    passed, of = sum(check.passed for check in found.checks.values()), len(found.checks)
    failed = ", ".join(check for check, result in found.checks.items() if not result.passed)
    verdict = f'<span class="passed">{passed} of {of} checks passed</span>' if not failed else (
        f'<span class="failed">failed: {escape(failed)}</span>'
    )  # fmt: skip
    said = f"<b>{escape(name)}</b> {escape(found.target.said)}, "
    said = said[:-2] if right is None else said + ("right" if right else "wrong")
    if seen is None:
        caption = f"{said}; {escape(found.method)}; {verdict}"
        return f"<figure>{passages.html(found)}<figcaption>{caption}</figcaption></figure>"
    heat = image(overlay(seen, found.scores, found.units.owner, found.signed), f"heat map, {name}, {found.method}")
    return f"<figure>{heat}<figcaption>{said}<br>{escape(found.method)}<br>{verdict}</figcaption></figure>"
