"""What all verbs share: common options, settings, one-line errors and exit codes.

Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json as jsonlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from dougong import __version__, console
from dougong.cli.settings import is_setting, merge, parse_settings, read_yaml
from dougong.errors import FailureError, UserError, nearest, unknown

VERBS = (
    "models",
    "cost",
    "check",
    "train",
    "resume",
    "evaluate",
    "predict",
    "explain",
    "generate",
    "compare",
    "convert",
    "bench",
)

COLUMNS = ("text", "label", "labels_split")
"""Which columns of a table are what: options that may be written as settings, too, as text=review."""

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL [KEY=VALUE]...", help="A size, a run, a folder, or a {configuration}; then settings."
    ),
]


@dataclass(frozen=True)
class Outcome:
    """What a verb returns when its exit code is not 0."""

    value: dict[str, Any]
    code: int


class _ReaderGoneError(Exception):
    """Whoever read stdout has stopped reading, as head does. Typer would call it a failure."""


class _Verbs(TyperGroup):
    """Lists the verbs in the order of VERBS."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=VERBS.index)


class _Verb(TyperCommand):
    """A verb whose options may come from a YAML file, and whose settings may be written ``--a.b value``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = _undot(args)
        file = _value_of("--config", args)
        if file is not None:
            self._read(ctx, file)
        return super().parse_args(ctx, args)

    def _read(self, ctx: Any, file: str) -> None:
        options: dict[str, Any] = {
            str(param.name): param for param in self.params if param.name not in ("config", "json", "debug")
        }
        takes_settings = getattr(self.callback, "takes_settings", False)
        rest: dict[str, Any] = {}
        ctx.default_map = {}
        for key, value in read_yaml(file).items():
            if key not in options and key + "s" in options:  # model: for compare's several
                key += "s"
            if key not in options:
                if not takes_settings:
                    raise unknown(str(file), "key", key, [name for name in options if name != "help"])
                rest[key] = value
            elif value is not None:
                param = options[key]
                many = param.nargs == -1 or getattr(param, "multiple", False)
                if isinstance(value, dict | list) and not many:
                    raise UserError(f"{file}: {key}", "holds several values", "give one")
                words = [_word(item) for item in value] if isinstance(value, list) else [_word(value)]
                ready = words if many else words[0]
                try:
                    param.process_value(ctx, ready)
                except typer.TyperException as error:
                    raise UserError(f"{file}: {key}", _sentence(error), "change the value") from None
                ctx.default_map[key] = ready
        ctx.meta["dougong.settings"] = rest


def _word(value: Any) -> Any:
    """A value of a file as it would be written on the command line; a mapping as a {configuration}."""
    if isinstance(value, str | bool):
        return value
    return jsonlib.dumps(value)


def _undot(args: list[str]) -> list[str]:
    """``--model.dropout 0.1`` and ``--model.dropout=0.1`` as ``model.dropout=0.1``."""
    found, rest = [], list(args)
    while rest:
        word = rest.pop(0)
        match = re.fullmatch(r"--([A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)+)(=.*)?", word, re.DOTALL)
        if match and (match[2] is not None or rest):
            word = match[1] + (match[2] if match[2] is not None else "=" + rest.pop(0))
        found.append(word)
    return found


def _value_of(option: str, args: list[str]) -> str | None:
    for i, word in enumerate(args):
        if word == option and i + 1 < len(args):
            return args[i + 1]
        if word.startswith(option + "="):
            return word[len(option) + 1 :]
    return None


app = typer.Typer(
    name="dougong",
    cls=_Verbs,
    help="Assemble, cost, train, compare and explain large-model architectures made of one set of parts.",
    epilog="Start with: dougong models; dougong train vit-micro --data digits. Each verb has --help with an example.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        console.say(f"dougong {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        console.say(ctx.get_help())


def verb(*examples: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the verb of its name, with the options that every verb has.

    The function returns what ``--json`` prints, or an Outcome. A parameter ``settings`` gets the
    ``key=value`` words that stand among its parameter ``model`` or ``models``, and those of ``--config``.

    Args:
        examples: command lines for the help; they must run.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(function, eval_str=True)
        takes_settings = "settings" in own.parameters
        names = next((name for name in ("model", "models") if name in own.parameters), None)

        @functools.wraps(function)
        def run(ctx: typer.Context, json: bool, config: str | None, debug: bool, **given: Any) -> None:
            console.configure(json=json)
            with contextlib.ExitStack() as stack:
                if json:  # whatever a library prints must not mix with the object
                    stack.enter_context(contextlib.redirect_stdout(sys.stderr))
                if not debug:
                    _hush()
                if takes_settings:
                    _settle(ctx, given, names or "")
                try:
                    result = function(**given)
                except KeyboardInterrupt:
                    raise typer.Abort from None
                except BrokenPipeError:
                    raise _ReaderGoneError from None
            code = result.code if isinstance(result, Outcome) else 0
            if json:
                console.emit(result.value if isinstance(result, Outcome) else result)
            raise typer.Exit(code)

        common = {
            "ctx": (typer.Context, inspect.Parameter.empty),
            "config": (
                Annotated[str | None, typer.Option(metavar="FILE.yaml", help="Read these options from a YAML file.")],
                None,
            ),
            "json": (Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")], False),
            "debug": (Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")], False),
        }
        parameters = [p.replace(kind=p.KEYWORD_ONLY) for name, p in own.parameters.items() if name != "settings"]
        for name, (kind, default) in common.items():
            parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind))
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        del run.__wrapped__  # type: ignore[attr-defined]  # its signature would be read instead
        run.takes_settings = takes_settings  # type: ignore[attr-defined]
        shown = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples)
        app.command(function.__name__, cls=_Verb, epilog=shown)(run)
        return function

    return register


def _settle(ctx: typer.Context, given: dict[str, Any], names: str) -> None:
    """Part the words into names of models and settings; the command line wins over the file."""
    words = [str(word) for word in given[names] or []]
    settings = parse_settings([word for word in words if is_setting(word)])
    given[names] = [word for word in words if not is_setting(word)] or list((ctx.default_map or {}).get(names, []))
    for key, value in settings.items():
        if key in COLUMNS and key in given:
            if getattr(ctx.get_parameter_source(key), "name", "") == "COMMANDLINE":
                raise UserError(f"{key}=...", "is given twice", f"leave out one of {key}=... and {_option(key)}")
            given[key] = None  # the command line wins over the file
        elif key in given and key != names and not isinstance(value, dict):  # model.d_model=64 is one of the model's
            raise UserError(f"{key}=...", "is an option of this command", f"write {_option(key)} instead")
    given["settings"] = merge(ctx.meta.get("dougong.settings", {}), settings)


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _hush() -> None:
    """Keep other libraries' warnings off the screen."""
    import warnings

    warnings.simplefilter("ignore")


def main(args: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    words = list(sys.argv[1:] if args is None else args)
    sys.exit(execute(words))


def execute(words: list[str]) -> int:
    """Run one command line; the exit code. Every failure is one line on stderr."""
    debug, as_json = "--debug" in words, "--json" in words
    try:
        for name in VERBS:
            importlib.import_module(f"dougong.cli.{name}")
        code = app(words, prog_name="dougong", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except UserError as error:
        if debug:
            raise
        return _end(str(error), 2, as_json)
    except typer.TyperException as error:
        return _end(_usage(error), error.exit_code, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _end("stopped", 130, as_json)
    except (_ReaderGoneError, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        if debug:
            raise
        said = " ".join(str(error).split()) or "no message"
        if isinstance(error, FailureError):
            return _end(said, 1, as_json)
        line = f"dougong: {type(error).__name__}: {said[:300]}; run it again with --debug to see where"
        return _end(line, 1, as_json)
    finally:
        console.configure()


def _end(line: str, code: int, as_json: bool) -> int:
    print(line, file=sys.stderr)
    if as_json:
        console.emit({"error": line, "exit_code": code})
    return code


def _usage(error: typer.TyperException) -> str:
    """A mistake in the command line itself, in one line, with the nearest option or verb."""
    ctx = getattr(error, "ctx", None)
    command = ctx.command_path if ctx else "dougong"
    hint = f"see {command} --help"
    option = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and ctx and option:
        known = [name for param in ctx.command.params for name in param.opts] + ["--help"]
        guess = nearest(option, known)
        return f"{command}: unknown option {option!r}; {f'did you mean {guess!r}? ' if guess else ''}{hint}"
    match = re.fullmatch(r"No such command '(.*?)'\..*", error.format_message(), re.DOTALL)
    if match:
        guess = nearest(match[1], VERBS)
        return f"dougong: unknown verb {match[1]!r}; {f'did you mean {guess!r}? ' if guess else ''}{hint}"
    return f"{command}: {_sentence(error)}; {hint}"


def _sentence(error: typer.TyperException) -> str:
    said = " ".join(error.format_message().split()).rstrip(".")
    return said[:1].lower() + said[1:]
