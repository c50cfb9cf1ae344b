"""``dougong cost``: what a model costs, before anything is allocated."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from dougong import console
from dougong.cli.app import Models, verb


@verb(
    "dougong cost vit-base --batch 8",
    "dougong cost gpt3-175b --length 2048 --devices 64xh100 --precision bfloat16",
    "dougong cost resnet-50 --verify",
)
def cost(
    model: Models = None,
    batch: Annotated[
        int | None, typer.Option(help="Samples at once, on all devices together; one a device if not given.", min=1)
    ] = None,
    length: Annotated[int | None, typer.Option(help="Tokens or vectors a sample.", min=1)] = None,
    train: Annotated[
        bool, typer.Option("--train", help="The parts of a training step, not of a forward pass.")
    ] = False,
    precision: Annotated[str, typer.Option(help="float32, bfloat16, float16 or float64.")] = "float32",
    optimizer: Annotated[str, typer.Option(help="Of a training step: adamw, adam, sgd, sgd-plain or none.")] = "adamw",
    devices: Annotated[
        str, typer.Option("--devices", "--device", help="auto (this machine), cpu, cuda, h100, 8xh100, ...")
    ] = "auto",
    verify: Annotated[
        bool, typer.Option("--verify", help="Run a shrunken model too, and compare what was predicted.")
    ] = False,
    *,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Parameters, FLOPs, memory and time of a model.

    The real model is traced without allocating it, so even the largest takes a moment. Settings are the model's
    arguments.
    """
    with _without_collecting():
        from dougong.cli.naming import configuration, one
        from dougong.cost import cost as reckon
        from dougong.cost.devices import parse

        word = one(model or [], "cost")
        config = configuration(word, settings)
        name = label_of(word, config)
        count, _ = parse(devices)
        sheet = reckon(
            config, batch=batch or count, length=length, train=train, precision=precision, optimizer=optimizer,
            devices=devices, name=name,
        )  # fmt: skip
    _show(sheet.sections(), sheet.notes())
    if not verify:
        return sheet.to_dict()
    from dougong.cost import verify as try_out

    console.say()
    here = devices if devices in ("cpu", "cuda") else "auto"
    tried = try_out(config, length=length, device=here, name=name)
    small = [f"{key} {value}" for key, value in (tried.config or {}).items() if value != config.get(key)]
    said = f"what was run is a smaller {name}: {', '.join(small)}" if small else f"what was run is {name} as it is"
    _show(tried.sections(), [said, *tried.notes()])
    return {**sheet.to_dict(), "verification": tried.to_dict()}


@contextmanager
def _without_collecting() -> Iterator[None]:
    """No search for garbage while torch is imported and the model traced: a tenth of the time, and little is found."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def label_of(word: str, config: dict[str, Any]) -> str:
    """What a model is called in a table: a folder by its own name."""
    if word.lstrip().startswith("{"):
        return str(config["architecture"])
    return Path(word).resolve().name if Path(word).is_dir() else word


def _show(sections: Sequence[tuple[str, list[str], list[list[Any]]]], notes: Sequence[str]) -> None:
    for index, (title, columns, rows) in enumerate(sections):
        if index:
            console.say()
        console.table(title, columns, rows)
    if notes:
        console.say()
    for line in notes:
        console.say(f"- {line}")
