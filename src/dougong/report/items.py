"""What next items models foresee, beside rules without weights: a part of the report of recommenders."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import torch
from torch import nn

from dougong.explain.subject import evaluation
from dougong.explain.texts import TOO_FEW
from dougong.report.examples import Question, explained
from dougong.report.tables import table, tabs
from dougong.tasks.scores.ranking import standing
from dougong.tasks.task import read_by
from dougong.training.scoring import score

USERS = 10
"""Users whose next items are shown."""
NEWEST = 8
"""Items of a history that are shown."""
NEXT = 5
"""Items shown after it."""


def of_items(models: Mapping[str, nn.Module], task: Any) -> dict[str, str]:
    """The models beside the rules, the next items of some users, and what of their histories led there."""
    chosen = _users(task)
    panes = {name: _next(model, task, chosen) for name, model in models.items()}
    return {
        "Beside rules without weights": beside_part(models, task),
        "Next items": tabs("next", panes),
        "Explanations": explained(models, task, questions(task), "history"),
    }


def beside_part(models: Mapping[str, nn.Module], task: Any) -> str:
    """A table of all metrics, rules below the models; the best of a column in bold."""
    found = {name: score(model, task, "test")[0] for name, model in models.items()}
    rules = task.beside("test")
    keys = [key for key in next(iter(found.values())) if key != "loss"]
    everyone = [*found.items(), *rules.items()]
    rows = [[name, *(f"{figures[key]:.4f}" for key in keys)] for name, figures in everyone]
    best = {}
    for column, key in enumerate(keys, 1):
        values = [figures[key] for _, figures in everyone]
        if not key.startswith("popularity_bias"):
            best[column] = values.index(max(values))
    meaning = (
        "Popularity recommends to all what was met most often in training; co-occurrence what most users have met who "
        "met the last item; item-kNN the nearest items, by cosine, of the whole history. A model that does not beat "
        "them is not worth its cost."
    )
    note = f'<p class="note">{escape(task.protocol[0].upper() + task.protocol[1:])}. {escape(meaning)}</p>'
    return table(["model or rule", *keys], rows, best=best) + note


def _users(task: Any) -> list[int]:
    """Samples of test, spread over all of it."""
    size = task.size("test")
    step = max(1, size // USERS)
    return list(range(0, size, step))[:USERS]


@torch.no_grad()
def _next(model: nn.Module, task: Any, chosen: list[int]) -> str:
    """Some users' newest items, what came next, its rank, and what the model shows."""
    from dougong.parts.output import deferring

    task = read_by(task, model)
    batch = task.batch("test", torch.tensor(chosen), train=False, epoch=0, seed=0)
    with evaluation(model), deferring():
        output = model(*batch.inputs)
        scores = task.scores(output, batch)
    found = task.decode(output, batch)
    names = task.catalogue.names
    rows = []
    for number, asked in enumerate(batch.truth):
        own, true = scores[number : number + 1].clone(), batch.targets[number : number + 1]
        hidden = None
        if task.excludes:
            seen = torch.from_numpy(asked.seen.astype("int64"))
            hidden = (torch.zeros_like(seen), seen)
        above, tied = standing(own, true, hidden)
        history = [names[item] for item in asked.seen[-NEWEST:]]
        more = "... " if len(asked.seen) > NEWEST else ""
        rank = int(above) + (1 + int(tied)) / 2
        shown = ", ".join(f"{name} ({share:.1%})" for name, share in found[number].top[:NEXT])
        rows.append([more + ", ".join(history), names[int(true)], f"{rank:g}", shown, batch.where[number]])
    note = f'<p class="note">Histories end with their newest item. Ranks are among all {len(names):,} items.</p>'
    return note + table(["history", "came next", "rank", "foreseen", "where"], rows, left=(1, 3, 4))


def questions(task: Any) -> list[Question]:
    """Histories of test users whose answers are explained: a few that are long enough for the checks to tell."""
    batch = task.batch("test", torch.tensor(_users(task)), train=False, epoch=0, seed=0)
    asked = []
    for number, one in enumerate(batch.truth):
        names = tuple(task.catalogue.names[item] for item in one.seen[-task.room :])
        if len(names) > TOO_FEW:
            true = task.catalogue.names[int(batch.targets[number])]
            asked.append(Question(names, None, f"After {names[-1]} came {true}.", batch.where[number], true))
    return asked[:3]
