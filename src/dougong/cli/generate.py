"""``dougong generate``: a model goes on from a prompt, on the terminal while it writes."""

from __future__ import annotations

import json as jsonlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dougong import console
from dougong.cli.app import verb
from dougong.cli.sharing import Precision
from dougong.errors import UserError
from dougong.figures import many

if TYPE_CHECKING:
    from dougong.runtime import Generation

SETTINGS = (
    "max_new_tokens", "min_new_tokens", "temperature", "top_k", "top_p", "min_p", "seed", "samples",
    "repetition_penalty", "no_repeat_ngram", "beams", "length_penalty", "lookup",
)  # fmt: skip
"""Options that are handed on as they are."""


@verb(
    'dougong generate gpt2-folder --prompt "Once upon a time"',
    'dougong generate gpt2-folder --prompt "Once upon a time" --top-p 0.9 --samples 3 --seed 1',
    'dougong generate gpt2-folder --prompt "Once upon a time" --draft small-gpt2-folder',
    'dougong generate t5-folder --prompt "translate English to German: The house is old." --beams 4 --json',
)
def generate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a folder with a model, or a hub id.")],
    prompt: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="What to go on from; may be repeated.")
    ] = None,
    file: Annotated[str | None, typer.Option(metavar="FILE", help="A prompt a line; - for standard input.")] = None,
    chat: Annotated[bool, typer.Option(help="Each prompt is a user's message: the chat template is used.")] = False,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="With --chat: the system's message.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Tokens to write at most; 128 by default.")] = None,
    min_new_tokens: Annotated[int | None, typer.Option(help="No end before these are written.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Draw tokens; 1 as they are probable, less is safer.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw from this many best tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the best tokens of this probability together.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Draw from tokens with this share of the best one's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of what is drawn.")] = None,
    samples: Annotated[int | None, typer.Option(help="Texts for each prompt.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1 makes repeated tokens rarer.")] = None,
    no_repeat_ngram: Annotated[int | None, typer.Option(help="No run of this many tokens comes twice.")] = None,
    beams: Annotated[int | None, typer.Option(help="Keep this many best partial texts.")] = None,
    length_penalty: Annotated[float | None, typer.Option(help="With beams: above 1 favours longer texts.")] = None,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End here; may be repeated.")] = None,
    draft: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A smaller model that guesses tokens; the texts stay the same.")
    ] = None,
    lookup: Annotated[
        int | None, typer.Option(help="Guess what followed the last time that these newest tokens stood in the text.")
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="FILE.jsonl", help="Write a line for each text.")] = None,
    precision: Precision = None,
) -> dict[str, Any]:
    """Write on from a prompt.

    Without further options each step takes the most probable token. One text is shown while it is written; several
    are shown when they are done. Only new text goes to standard output.
    """
    prompts = _prompts(prompt or [], file)
    _writable(out)
    if system is not None and not chat:
        raise UserError("--system", "is for a conversation", "add --chat")
    given = locals()
    settings = {name: given[name] for name in SETTINGS if given[name] is not None} | ({"stop": stop} if stop else {})
    from dougong.interop import load
    from dougong.runtime import Settings
    from dougong.runtime import generate as write
    from dougong.runtime.preparing import prepared

    wanted = Settings.of(**settings)  # a mistake in them is said before the model is read
    if draft is not None and wanted.guesses:
        raise UserError("--draft", "and --lookup both guess", "leave one of them out")
    if draft is not None and wanted.beams > 1:
        raise UserError("--beams", "do not go with --draft", "leave one of them out")
    opened = prepared(load(model), precision)
    if draft is not None:
        settings["draft"] = prepared(load(draft), precision)
    asked: list[Any] = [_talk(one, system) if chat else one for one in prompts]
    began = time.perf_counter()
    several: list[list[Generation]]
    if len(asked) == 1 and wanted.beams == 1 and wanted.samples == 1 and out is None and not console.is_json():
        several, shown = [[_streamed(opened, asked[0], settings)]], True
    else:
        shown = False
        total = len(asked) * wanted.samples * (wanted.max_new_tokens or 0) if wanted.beams == 1 else 0
        with console.progress(total or None, "writing", unit="tokens") as bar:
            found = write(opened, asked, show=bar.advance, **settings)
        several = [one if isinstance(one, list) else [one] for one in found]
    seconds = time.perf_counter() - began
    rows: list[dict[str, Any]] = [
        {
            "prompt": text,
            "text": one.text,
            "tokens": list(one.tokens),
            "reason": one.reason,
            "score": one.score,
            "read": one.read,
            "proposed": one.proposed,
            "accepted": one.accepted,
        }
        for text, group in zip(prompts, several, strict=True)
        for one in group
    ]
    count = sum(len(row["tokens"]) for row in rows)
    if out is not None:
        _write(Path(out), rows)
        console.say(f"{many(len(rows), 'text')}: {out}")
    elif not shown:
        for row in rows:
            console.say(f"> {row['prompt']}" + (f"   [{row['score']:.3f}]" if row["score"] is not None else ""))
            console.say(f"{row['text']}\n")
    rate = count / seconds if seconds else 0.0
    ended = f"; ended by {rows[0]['reason']}" if len(rows) == 1 else ""
    console.note(f"{count} tokens in {seconds:.1f} s, {rate:.1f} tokens/s{ended}{_saved(several)}")
    return {"model": model, "seconds": seconds, "tokens_per_second": rate, "out": out, "generations": rows}


def _saved(several: list[list[Generation]]) -> str:
    """What need not be done: guesses that were right, and parts of prompts that were read once."""
    every = [one for group in several for one in group]
    proposed, accepted = sum(one.proposed for one in every), sum(one.accepted for one in every)
    given, read = sum(len(group[0].prompt) for group in several), sum(one.read for one in every)
    said = f"; {accepted} of {proposed} guessed tokens accepted" if proposed else ""
    return said + (f"; {read} of the prompts' {given} tokens read" if read < given else "")


def _streamed(model: Any, prompt: Any, settings: dict[str, Any]) -> Generation:
    """One text, shown while it is written."""
    from dougong.runtime import stream

    writing = stream(model, prompt, **settings)
    for piece in writing:
        _show(piece)
    _show("\n")
    assert writing.generation is not None
    return writing.generation


def _show(piece: str) -> None:
    """Written at once; on a terminal without the signs that would steer it."""
    if sys.stdout.isatty():
        piece = "".join(sign if sign.isprintable() or sign in "\n\t" else "\ufffd" for sign in piece)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(piece.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def _talk(message: str, system: str | None) -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system is not None else []
    return [*first, {"role": "user", "content": message}]


def _prompts(words: list[str], file: str | None) -> list[str]:
    """Those of the command line, then those of a file, a line each.

    Raises:
        UserError: there is none, or the file cannot be read.
    """
    found = list(words)
    if file == "-":
        found += [line for line in sys.stdin.read().splitlines() if line.strip()]
    elif file is not None:
        try:
            text = Path(file).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise UserError(file, f"cannot be read ({error.strerror})", "name a text file, a prompt a line") from None
        except UnicodeDecodeError as error:
            raise UserError(file, f"is not UTF-8 (byte {error.start})", "save it as UTF-8") from None
        found += [line for line in text.splitlines() if line.strip()]
    if not found:
        raise UserError("--prompt", "is missing", 'write --prompt "Once upon a time", or --file prompts.txt')
    return found


def _writable(out: str | None) -> None:
    if out is None:
        return
    if Path(out).suffix.lower() != ".jsonl":
        raise UserError(f"--out {out}", "is no JSON Lines file", "end it in .jsonl")
    if not Path(out).absolute().parent.is_dir():
        raise UserError(f"--out {out}", "lies in no folder that exists", "make the folder first")


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    half = file.with_name(file.name + ".part")
    half.write_text("".join(jsonlib.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    os.replace(half, file)
