"""``dougong explain``: why a trained model gives one input its class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dougong import console
from dougong.cli.app import verb
from dougong.cli.sharing import RunFolder
from dougong.errors import UserError


@verb(
    "dougong explain runs/first picture.png --out why.png",
    "dougong explain runs/first picture.png --method rollout --target 7 --out why.html",
)
def explain(
    run: RunFolder,
    input: Annotated[str, typer.Argument(metavar="INPUT", help="A picture.")],
    method: Annotated[str, typer.Option(help="auto, attention, rollout or integrated-gradients.")] = "auto",
    target: Annotated[str | None, typer.Option(help="The class to explain; the predicted one by default.")] = None,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Where to draw it: .png, .html or .json.")] = None,
    seed: Annotated[int, typer.Option(help="Of the checks.")] = 0,
) -> dict[str, Any]:
    """Show which parts of an input made the model say so.

    Every explanation comes with checks of itself: can it be trusted?
    """
    from dougong.explain import explain as ask

    if out is not None:
        if Path(out).suffix.lower() not in (".png", ".html", ".json"):
            raise UserError(f"--out {out}", "is no kind of picture", "end it in .png, .html or .json")
        if not Path(out).absolute().parent.is_dir():
            raise UserError(f"--out {out}", "lies in no folder that exists", "make the folder first")
    if not Path(run).is_dir():
        raise UserError(run, "no such folder", "give a run's folder, or a model's")
    if not Path(input).is_file():
        raise UserError(input, "no such file", "give a picture")
    explanation = ask(run, input, method=method, target=target, seed=seed)
    found = explanation.to_dict()
    goal = explanation.target
    console.say(f"{input}: {goal.name} {console.percent(goal.probability)}, explained by {explanation.method}")
    best = ", ".join(f"{name} {console.number(score)}" for name, score in explanation.top(3))
    console.say(f"Scores: {explanation.meaning}. Highest: {best}.")
    console.say()
    for name, check in explanation.checks.items():
        console.say(f"{name}: {'passed' if check.passed else 'FAILED'}. {check.meaning}")
    failed = [name for name, check in explanation.checks.items() if not check.passed]
    trust = f"{', '.join(failed)} failed: do not lean on this explanation" if failed else "every check passed"
    console.say(trust)
    console.say()
    for line in explanation.notes:
        console.note(line)
    if out is not None:
        explanation.save(out)
        console.say(f"drawn: {out}")
    else:
        console.say("add --out why.png or --out why.html to draw it")
    return {"run": run, "input": input, "out": out, **found}
