"""``dougong bench``: this machine's own limits, and what models reach of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dougong import console
from dougong.cli.app import Models, Outcome, verb
from dougong.errors import UserError


@verb(
    "dougong bench",
    "dougong bench gpt2-small --precision bf16",
    "dougong bench --limits --again --json",
)
def bench(
    model: Models = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="float32, bf16, int8 or int4; may be repeated. float32 and bf16 by default."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu or cuda.")] = "auto",
    limits: Annotated[bool, typer.Option("--limits", help="The machine's limits alone.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Measure limits anew that are known already.")] = False,
    threads: Annotated[
        int | None, typer.Option(help="That work at once; as many as torch takes by default.", min=1)
    ] = None,
    *,
    settings: dict[str, Any],
) -> Outcome:
    """This machine's limits, and what models reach of them.

    How fast memory is read and matrices are multiplied is measured once for each machine and kept. Then models with
    random weights write, read and are trained. Ctrl-C ends it early; what was measured until then is shown.
    """
    from dougong.bench import bench as measure
    from dougong.bench.benching import steps
    from dougong.cli.cost import label_of
    from dougong.cli.naming import configuration, one

    if limits and (model or settings):
        raise UserError("--limits", "measures no model", "leave out the model, or --limits")
    word = one(model, "bench") if model else None
    if word is None and settings:
        raise UserError(f"{next(iter(settings))}=...", "belongs to a model", "name it, as in: dougong bench gpt2-small")
    config = None if word is None else configuration(word, settings)
    name = None if word is None or config is None else label_of(word, config)
    precisions = precision or ["float32", "bf16"]
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    with console.progress(steps(config, precisions, device, not limits), "measuring") as bar:
        found = measure(
            config, precisions, device=device, workloads=not limits, again=again, name=name,
            show=lambda _: bar.advance(1),
        )  # fmt: skip
    for title, columns, rows in found.sections():
        console.table(title, columns, rows)
        console.say()
    for line in found.notes:
        console.note(line)
    if found.interrupted:
        console.note("stopped; what stands above was measured, and the limits are kept")
    return Outcome(found.to_dict(), 130 if found.interrupted else 0)
