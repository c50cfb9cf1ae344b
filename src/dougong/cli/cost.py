"""``dougong cost``: what a model costs, before anything is allocated."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dougong import console
from dougong.cli.app import Models, verb
from dougong.figures import size


@verb(
    "dougong cost vit-base --batch 8",
    "dougong cost gpt3-175b --length 2048 --json",
    "dougong cost resnet-50 --train --batch 32 --precision bfloat16 n_classes=10",
)
def cost(
    model: Models = None,
    batch: Annotated[int, typer.Option(help="Samples at once.", min=1)] = 1,
    length: Annotated[int | None, typer.Option(help="Tokens or vectors a sample.", min=1)] = None,
    train: Annotated[bool, typer.Option("--train", help="Training instead of inference.")] = False,
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    optimizer: Annotated[str, typer.Option(help="For --train: adamw or sgd.")] = "adamw",
    device: Annotated[str, typer.Option(help="Whose rates the time is estimated from.")] = "auto",
    *,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Parameters, FLOPs, memory and time of a model.

    The real model is traced without allocating it, so even the largest takes a moment. Settings are the model's
    arguments.
    """
    from dougong.cli.naming import configuration, one
    from dougong.cost import cost as reckon

    config = configuration(one(model or [], "cost"), settings)
    sheet = reckon(
        config, batch=batch, length=length, train=train, precision=precision, optimizer=optimizer, device=device
    )
    for title, columns, rows in sheet.sections():
        console.table(title, columns, rows)
        console.say()
    if sheet.cache_per_token:
        console.say(f"cache: {size(sheet.cache_per_token)} a token of one sequence")
    for line in sheet.assumptions:
        console.say(f"- {line}")
    return sheet.to_dict()
