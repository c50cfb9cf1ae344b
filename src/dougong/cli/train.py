"""``dougong train``: one model, one data set, one budget, one run folder."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dougong.cli.app import Models, verb
from dougong.cli.sharing import (
    Budget,
    Data,
    LabelColumns,
    LabelsSplit,
    Seed,
    Split,
    Task,
    TextColumns,
    columns,
    show_run,
    show_search,
)
from dougong.errors import UserError


@verb(
    "dougong train vit-micro --data digits --budget 2epochs",
    "dougong train resnet-20 --data photos/ --budget 10min learning_rate=1e-3 model.dropout=0.1",
    "dougong train vit-folder --data photos/ --budget 3epochs learning_rate=3e-5 layer_decay=0.8",
    "dougong train vit-micro --data digits --budget 2epochs --search 20 learning_rate=1e-4..1e-2 batch_size=[16,32]",
    "dougong train --config run.yaml",
)
def train(
    model: Models = None,
    data: Data = None,
    task: Task = None,
    text: TextColumns = None,
    label: LabelColumns = None,
    labels_split: LabelsSplit = None,
    budget: Budget = "10epochs",
    split: Split = None,
    seed: Seed = 0,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="The run's folder; runs/TIME-NAME by default.")
    ] = None,
    scratch: Annotated[bool, typer.Option("--scratch", help="Random weights, where MODEL is a trained one.")] = False,
    search: Annotated[
        int | None,
        typer.Option(metavar="TRIALS", min=1, help="Search for good settings in so many trials, each with the budget."),
    ] = None,
    *,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Train a model on a data set under a budget.

    MODEL is a size, whose weights begin at random; or a run or a model's folder, whose weights are taken and trained
    further: all of them, or those of the head only (tune=head).

    Settings are key=value: batch_size, optimizer, learning_rate, weight_decay, schedule, warmup, clip, augment, ...
    and model.ARGUMENT for the model's own. With --search a range, as learning_rate=1e-5..1e-3, or a list of choices, as
    batch_size=[16,32], is searched; without any, the settings that matter most are.
    """
    from dougong.cli.naming import chosen, one

    name = one(model or [], "train")
    if data is None:
        raise UserError("--data", "is missing", "name the data, as in --data digits")
    settings = {**columns(text, label, labels_split), **settings}
    changes = settings.pop("model", {})
    space = taken_out(name, settings, changes, search)
    wanted = chosen(name, changes, scratch)
    settings.setdefault("name", wanted.name)
    if search is not None:
        from dougong.training import search as run_search

        return show_search(
            run_search(
                wanted.config,
                data,
                trials=search,
                space=space,
                fixed=wanted.fixed,
                budget=budget,
                task=task,
                split=split,
                seed=seed,
                out=out,
                **settings,
            )
        )
    from dougong.training import train as run_training

    run = run_training(
        wanted.config,
        data,
        fixed=wanted.fixed,
        budget=budget,
        task=task,
        split=split,
        seed=seed,
        out=out,
        **settings,
    )
    return show_run(run)


def taken_out(model: str, settings: dict[str, Any], changes: Any, trials: int | None) -> dict[str, Any]:
    """Take what is a space rather than a value out of the settings.

    Args:
        model: as the user gave it.
        settings: of the training.
        changes: of the model.
        trials: of a search; None for none.

    Raises:
        UserError: a range without a search.
    """
    from dougong.cli.naming import configuration
    from dougong.training.space import is_range, is_space

    inner = {f"model.{key}": value for key, value in changes.items()} if isinstance(changes, dict) else {}
    given = {**settings, **inner}
    if trials is None:
        for key, value in given.items():
            if is_range(value):
                raise UserError(f"{key}={value}", "is a range", "add --search 20 to search it, or give one value")
        return {}
    config = configuration(model, {})
    space = {key: value for key, value in given.items() if is_space(key, value, config)}
    for key in space:
        settings.pop(key, None)
        if key in inner:
            changes.pop(key.removeprefix("model."))
    return space
