"""``dougong train``: one model, one data set, one budget, one run folder."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dougong.cli.app import Models, verb
from dougong.cli.sharing import Budget, Data, Seed, Split, show_run
from dougong.errors import UserError


@verb(
    "dougong train vit-micro --data digits --budget 2epochs",
    "dougong train resnet-20 --data photos/ --budget 10min learning_rate=1e-3 model.dropout=0.1",
    "dougong train vit-folder --data photos/ --budget 3epochs learning_rate=3e-5 layer_decay=0.8",
    "dougong train --config run.yaml",
)
def train(
    model: Models = None,
    data: Data = None,
    task: Annotated[str | None, typer.Option(help="What to learn; read off the data by default.")] = None,
    budget: Budget = "10epochs",
    split: Split = None,
    seed: Seed = 0,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="The run's folder; runs/TIME-NAME by default.")
    ] = None,
    scratch: Annotated[bool, typer.Option("--scratch", help="Random weights, where MODEL is a trained one.")] = False,
    *,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Train a model on a data set under a budget.

    MODEL is a size, whose weights begin at random; or a run or a model's folder, whose weights are taken and trained
    further: all of them, or those of the head only (tune=head).

    Settings are key=value: batch_size, optimizer, learning_rate, weight_decay, schedule, warmup, clip, augment, ...
    and model.ARGUMENT for the model's own.
    """
    from dougong.cli.naming import chosen, one

    name = one(model or [], "train")
    if data is None:
        raise UserError("--data", "is missing", "name the data, as in --data digits")
    wanted = chosen(name, settings.pop("model", {}), scratch)
    settings.setdefault("name", wanted.name)
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
