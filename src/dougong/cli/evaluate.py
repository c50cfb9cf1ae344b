"""``dougong evaluate``: the metrics of a trained model on one split of a data set."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dougong import console
from dougong.cli.app import verb
from dougong.cli.sharing import Data, RunFolder


@verb("dougong evaluate runs/first", "dougong evaluate runs/first --data photos/ --split test")
def evaluate(
    run: RunFolder,
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
) -> dict[str, Any]:
    """Measure a trained model on a split of a data set.

    It is the data that the model was trained with, unless --data names other.
    """
    from dougong.training import evaluate as measure

    found = dict(measure(run, data, split=split))
    numbers = {k: v for k, v in found.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    console.table(f"{run}, {split}", ["metric", "value"], list(numbers.items()))
    return {"run": run, "data": data, "split": split, **found}
