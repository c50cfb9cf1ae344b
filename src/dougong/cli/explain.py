"""``dougong explain``: why a trained model gives one input its class."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dougong import console
from dougong.cli.app import verb
from dougong.cli.sharing import RunFolder
from dougong.errors import UserError

if TYPE_CHECKING:
    from dougong.explain import Explanation

ENDINGS = (".png", ".html", ".json")


@verb(
    "dougong explain runs/first picture.png --out why.png",
    "dougong explain runs/first picture.png --method rollout --target 7 --out why.html",
    "dougong explain runs/cells picture.png --at 2 --out why.png",
    'dougong explain runs/reviews "The room was clean." --out why.html',
    'dougong explain runs/vectors --text "A man sleeps." --text "Nobody is awake."',
    "dougong explain runs/reviews --out why.html",
    "dougong explain runs/games 6393,13504,14087,15116,13755 --out why.html",
)
def explain(
    run: RunFolder,
    input: Annotated[
        str | None,
        typer.Argument(
            metavar="[INPUT]",
            help="A picture, a text, a .txt file that holds one, or a history as a,b,c; test samples without.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A text; twice for a pair, or for two to compare.")
    ] = None,
    method: Annotated[str, typer.Option(help="auto, attention, rollout, integrated-gradients or occlusion.")] = "auto",
    target: Annotated[str | None, typer.Option(help="The class to explain; the predicted one by default.")] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="WORD", help="Of tags, language, translations: the word, or its number; of boxes which."),
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Where to draw it: .png, .html or .json.")] = None,
    seed: Annotated[int, typer.Option(help="Of the checks.")] = 0,
) -> dict[str, Any]:
    """Show which parts of an input made the model say so.

    Every explanation comes with checks of itself: can it be trusted? Without an input, a few test samples of the
    run are explained, right and wrong ones.
    """
    check_out(out)
    if not Path(run).is_dir():
        raise UserError(run, "no such folder", "give a run's folder, or a model's")
    if input is not None and text:
        raise UserError("--text", "stands beside INPUT", "give one of them")
    asked: dict[str, Any] = {"method": method, "target": target, "seed": seed}
    if input is None and not text:
        if at is not None:
            raise UserError("--at", "is asked of one text", "give the text")
        return samples(run, out, asked)
    sample = what_is_meant(run, input, text)
    from dougong.explain import explain as ask

    explanation = ask(run, sample, at=int(at) if at is not None and at.isdecimal() else at, **asked)
    show(explanation, " / ".join(sample) if isinstance(sample, tuple) else sample)
    if out is not None:
        explanation.save(out)
        console.say(f"drawn: {out}")
    else:
        console.say("add --out why.png or --out why.html to draw it")
    return {"run": run, "input": input if input is not None else text, "out": out, **explanation.to_dict()}


def check_out(out: str | None) -> None:
    """Refuse a file that cannot be written before any work is done."""
    if out is None:
        return
    if Path(out).suffix.lower() not in ENDINGS:
        raise UserError(f"--out {out}", "is no kind of picture", "end it in .png, .html or .json")
    if not Path(out).absolute().parent.is_dir():
        raise UserError(f"--out {out}", "lies in no folder that exists", "make the folder first")


def what_is_meant(run: str, input: str | None, text: list[str] | None) -> str | tuple[str, ...]:
    """The picture's path, the texts, or a history of items.

    Raises:
        UserError: a model of pictures and a text, a file that is not there, or one that holds several texts.
    """
    from dougong.tasks import load_task

    described = any((Path(run) / place / "task.json").is_file() for place in ("", "model"))
    task = load_task(run) if described else None
    if task is not None and task.name == "next-item" and input is not None:
        return input
    reads_texts = hasattr(task, "tokenizer")
    if reads_texts and text:
        return tuple(text)
    if text:
        raise UserError("--text", f"{run} reads no text", "give a picture")
    assert input is not None
    if not reads_texts:
        if not Path(input).is_file():
            raise UserError(input, "no such file", "give a picture")
        return input
    if Path(input).suffix.lower() != ".txt" or not Path(input).is_file():
        return (input,)
    from dougong.data.texts.plain import lines_of

    found = [line for line in lines_of(Path(input)) if line.strip()]
    if not found:
        raise UserError(input, "holds no text", "write one into it, or give one in quotes")
    if len(found) > 1:
        raise UserError(input, f"holds {len(found)} texts, one a line", "give one of them in quotes")
    return (found[0],)


def samples(run: str, out: str | None, asked: dict[str, Any]) -> dict[str, Any]:
    """Some test samples of a run: right and wrong ones.

    Raises:
        UserError: no run but a model without its data, or a drawing of several.
    """
    from dougong.explain import explain as ask
    from dougong.explain.opening import BOXES, class_names
    from dougong.explain.page import page_of
    from dougong.report.answers import QUESTIONS
    from dougong.training import Run

    if not (Path(run) / "config.yaml").is_file():
        raise UserError(run, "is a model without its data", "say what to explain: a picture or a text")
    if out is not None and Path(out).suffix.lower() == ".png":
        raise UserError(f"--out {out}", "is one drawing, for several samples", "end it in .html or .json")
    opened = Run.open(Path(run))
    task = opened.task()
    class_names(task)  # refuses what has no classes before the model is asked
    if task.name == BOXES:
        raise UserError("INPUT", "is missing", "give a picture, and --at 2 for its second most probable box")
    model = opened.model()
    explained: dict[str, Explanation] = {}
    rows = []
    chosen = _at_tokens if task.data.kind in QUESTIONS else _of_classes
    for sample, at, why, true, where in chosen(model, task):
        try:
            found = ask(model, sample, task=task, at=at, **asked)
        except UserError as error:  # as a model that hides words, and is given none hidden
            console.note(f"{where}: {error.what}")
            continue
        title = f"{why} {where}" + (f", is {true}" if true else "")
        console.say(f"* {title}")
        show(found, " / ".join(found.texts) or where)
        explained[title] = found
        rows.append({"where": where, "label": true, "why": why, **found.to_dict()})
    if out is None:
        console.say("add --out why.html to draw them")
    elif Path(out).suffix.lower() == ".html":
        Path(out).write_text(page_of(f"Explanations of {run}", explained), encoding="utf-8")
    else:
        Path(out).write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    if out is not None:
        console.say(f"drawn: {out}")
    return {"run": run, "out": out, "samples": rows}


Asked = tuple[Any, int | str | None, str, str | None, str]
"""A sample, the word that is asked about, why it was chosen, the truth where it is known, and the place."""


def _of_classes(model: Any, task: Any) -> Iterator[Asked]:
    """Test samples with one answer each: right and wrong ones."""
    from dougong.report.examples import choose, sample_of
    from dougong.report.predictions import looked_at, predict_split

    task, _ = looked_at(task)
    predictions = predict_split(model, task)
    for number, why in choose([predictions]).items():
        true, where = predictions.name_true(number), predictions.where[number]
        yield sample_of(task, "test", number), None, why, true, where


def _at_tokens(model: Any, task: Any) -> Iterator[Asked]:
    """Words of test samples, of a model that answers at each."""
    from dougong.report.answers import questions

    for one in questions({"": model}, task):
        yield one.text, one.at, f"{one.why}:", None, one.where


def show(explanation: Explanation, name: str) -> None:
    """One explanation: the class, the coloured text, the highest scores and the checks, in lines."""
    goal = explanation.target
    short = name if len(name) <= 60 else f"{name[:57]}..."
    if goal.measure == "cosine":
        answer = f"its cosine with “{printable(console.visible(goal.name))}” is {goal.probability:.2f}"
    else:
        about = f"{goal.about} is " if goal.about else ""
        name = goal.name if goal.name.strip() else f"“{goal.name}”"  # a blank would not be seen
        answer = f"{about}{printable(console.visible(name))} {console.percent(goal.probability)}"
    console.say(f"{printable(short)}: {answer}, explained by {explanation.method}")
    if explanation.texts:
        coloured(explanation)
        from dougong.explain.passages import strongest

        console.say(f"Scores: {explanation.meaning}.")
        for side, words in strongest(explanation).items():
            said = ", ".join(f"{printable(word)} {console.number(score)}" for word, score in words) or "no word"
            console.say(f"{side}: {said}")
    else:
        best = ", ".join(f"{unit} {console.number(score)}" for unit, score in explanation.top(3))
        console.say(f"Scores: {explanation.meaning}. Highest: {best}.")
    console.say()
    for check, found in explanation.checks.items():
        console.say(f"{check}: {'passed' if found.passed else 'FAILED'}. {found.meaning}")
    failed = [check for check, found in explanation.checks.items() if not found.passed]
    console.say(f"{', '.join(failed)} failed: do not lean on this explanation" if failed else "every check passed")
    console.say()
    for line in explanation.notes:
        console.note(line)


def coloured(explanation: Explanation) -> None:
    """The text in colours with their key, where there is a terminal; elsewhere the lines of words say it."""
    if console.is_json() or not sys.stdout.isatty():
        return
    from rich.console import Console

    from dougong.explain.passages import key, terminal

    drawn = Console(highlight=False)
    drawn.print()
    few = drawn.color_system == "standard"
    drawn.print(terminal(explanation, few))
    drawn.print()
    drawn.print(key(explanation, few))


def printable(text: str) -> str:
    """A text in one line, without characters that would change the terminal."""
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "\ufffd" for letter in text)
