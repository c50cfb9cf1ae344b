"""``dougong compare``: several models, one data set, one budget, several seeds."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dougong import console
from dougong.cli.app import Models, verb
from dougong.cli.sharing import Budget, Data, LabelColumns, LabelsSplit, Split, Task, TextColumns, columns
from dougong.errors import UserError


@verb(
    "dougong compare vit-micro resnet-20 lstm-micro --data digits --budget 2epochs --seeds 2",
    "dougong compare vit-micro resnet-20 --data photos/ --budget 1e15flops --out runs/fair",
)
def compare(
    models: Models = None,
    data: Data = None,
    task: Task = None,
    text: TextColumns = None,
    label: LabelColumns = None,
    labels_split: LabelsSplit = None,
    budget: Budget = "10epochs",
    seeds: Annotated[int, typer.Option(help="Runs of each model.", min=1)] = 3,
    split: Split = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where it is kept; runs/TIME-compare by default.")
    ] = None,
    *,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Train several models on equal terms and compare them.

    Every model gets the same split, the same budget and the same seeds. Settings are key=value, as for train.
    """
    from dougong.cli.naming import chosen

    if not models:
        raise UserError(
            "MODEL", "is missing", "name at least one, as in: dougong compare vit-micro resnet-20 --data digits"
        )
    if data is None:
        raise UserError("--data", "is missing", "name the data, as in --data digits")
    settings = {**columns(text, label, labels_split), **settings}
    changes = settings.pop("model", {})
    settings.pop("name", None)  # of a run's config.yaml
    wanted = [chosen(name, changes) for name in models]
    names = [each.name for each in wanted]
    for name in names:
        if names.count(name) > 1:
            raise UserError(name, "is named twice", "name each model once; --seeds repeats it")
    from dougong.report import write_comparison_report
    from dougong.training import compare as run_comparison

    comparison = run_comparison(
        {each.name: each.config for each in wanted},
        data,
        fixed=set().union(*(each.fixed for each in wanted)),
        budget=budget,
        seeds=seeds,
        task=task,
        split=split,
        out=out,
        **settings,
    )
    page = write_comparison_report(comparison)
    head, rows = comparison.table()
    console.table(f"{data}, {budget} each, {seeds} seed{'' if seeds == 1 else 's'}", head, rows)
    console.say()
    console.say(f"report: {page}")
    return {**comparison.to_dict(), "report": str(page)}
