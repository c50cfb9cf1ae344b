"""Chat templates: Jinja from a downloaded file, rendered where it can reach nothing and cannot run on for ever."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.data.tokenizing.files import inside, present, text_of
from dougong.data.tokenizing.settings import Settings
from dougong.errors import UserError, unknown

if TYPE_CHECKING:
    from dougong.data.tokenizing.tokenizer import Tokenizer

FOLDER = "additional_chat_templates"  # where Transformers keeps those with a name
ROUNDS = 1_000_000  # loop rounds that one rendering may take
CHARACTERS = 16 << 20  # that one rendering, or one repeated string in it, may have

# Names under which a message's reasoning is written; templates differ in which they read.
_REASONING = ("reasoning_content", "thinking", "reasoning")


def read_templates(folder: Path, settings: Settings) -> dict[str, str]:
    """The chat templates of a folder: its .jinja files, else what tokenizer_config.json says.

    Raises:
        UserError: a template that is no text, or a list of templates without names.
    """
    found: dict[str, str] = {}
    path = present(folder, "chat_template.jinja")
    if path:
        found["default"] = text_of(path)
    more = inside(folder, FOLDER)
    if more.is_dir():
        for path in sorted(more.glob("*.jinja")):
            found[path.name.removesuffix(".jinja")] = text_of(inside(folder, f"{FOLDER}/{path.name}"))
    if found:
        return found
    stated = settings.config.get("chat_template")
    if stated is None:
        return {}
    if isinstance(stated, str):
        return {"default": stated}
    try:
        found = dict(stated) if isinstance(stated, dict) else {item["name"]: item["template"] for item in stated}
    except (TypeError, KeyError):
        found = {"": ""}
    if not all(isinstance(name, str) and name and isinstance(text, str) for name, text in found.items()):
        raise UserError(
            settings.where, "chat_template is neither text nor a list of names with templates", "write text"
        )
    return found


class _Budget:
    """What one rendering has used of its rounds."""

    def __init__(self) -> None:
        self.rounds = 0

    def counted(self, items: Any) -> Any:
        """The same items, each counted as it is taken; with a length as long as they have one."""
        from jinja2 import Undefined
        from jinja2.exceptions import SecurityError

        def each(source: Iterable[Any]) -> Iterator[Any]:
            for item in source:
                self.rounds += 1
                if self.rounds > ROUNDS:
                    raise SecurityError(f"more than {ROUNDS} rounds of loops")
                yield item

        return items if isinstance(items, Undefined) else each(items)


def _plain(value: Any) -> Any:
    """The value made of plain JSON types alone: a template may call methods, and these have none that do harm."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind.__str__(value) if kind is str else kind(value)  # a subclass may carry methods of its own
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value) if type(value) in (list, tuple) else [*map(_plain, value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if callable(getattr(value, "model_dump", None)):  # pydantic
        return _plain(value.model_dump())
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:  # a number of numpy's
        return _plain(value.item())
    return f"<{type(value).__name__}>"


def _bounded(value: Any) -> Any:
    from jinja2.exceptions import SecurityError

    if isinstance(value, str | list | tuple) and len(value) > CHARACTERS:
        raise SecurityError(f"more than {CHARACTERS} characters")
    return value


@functools.lru_cache(maxsize=32)
def _compiled(source: str) -> tuple[Any, str]:
    """The template as Transformers' templates expect it: trimmed blocks, loop controls, a generation block.

    With it the name under which it calls the counter of its rounds: one that no template can know and set anew.
    """
    from jinja2 import nodes
    from jinja2.exceptions import SecurityError, TemplateError
    from jinja2.ext import Extension
    from jinja2.ext import loopcontrols as loop_controls
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    rounds = f"rounds_{secrets.token_hex(12)}"

    class Generation(Extension):
        """``{% generation %}...{% endgeneration %}`` marks what the model wrote; its text is kept as it is."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            # A scope of its own, so that what is set inside stays inside.
            return nodes.CallBlock(self.call_method("_kept"), [], [], body).set_lineno(line)

        def _kept(self, caller: Any) -> str:
            return caller()

    class Sandbox(ImmutableSandboxedEnvironment):
        """Refuses what makes a number or a text without bounds, and counts the rounds of loops."""

        intercepted_binops = frozenset(("*", "**", "+", "%"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "+":
                return _bounded(left + right)
            if operator == "%":
                if isinstance(left, str) and re.search(r"\d{6}|\*", left):
                    raise SecurityError("a width above 99999")
                return left % right
            if operator == "**":
                if not (isinstance(left, int | float) and isinstance(right, int | float) and abs(right) <= 64):
                    raise SecurityError("a power above 64")
                return left**right
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(other, int) and len(one) * other > CHARACTERS:
                    raise SecurityError(f"a repetition beyond {CHARACTERS} characters")
            return left * right

        def call(self, context: Any, function: Any, *values: Any, **named: Any) -> Any:  # type: ignore[override]
            if any(type(value) is int and abs(value) > CHARACTERS for value in values):
                raise SecurityError(f"a call with a number above {CHARACTERS}")
            text = getattr(function, "__self__", None)
            if isinstance(text, str) and re.search(r":[^}]*\d{6}", text):
                raise SecurityError("a width above 99999")
            return _bounded(super().call(context, function, *values, **named))

        def _parse(self, source: str, name: str | None, filename: str | None) -> Any:
            tree = super()._parse(source, name, filename)
            for loop in list(tree.find_all(nodes.For)):
                counter = nodes.Name(rounds, "load")
                loop.iter = nodes.Call(counter, [loop.iter], [], None, None).set_lineno(loop.lineno)
            return tree

    class Shelf(Namespace):
        """A namespace without names that start with an underscore."""

        def __init__(*args: Any, **named: Any) -> None:
            self, *rest = args
            for name in dict(*rest, **named):
                Shelf._check(name)
            Namespace.__init__(self, *rest, **named)

        def __setitem__(self, name: str, value: Any) -> None:
            Shelf._check(name)
            Namespace.__setitem__(self, name, value)

        @staticmethod
        def _check(name: Any) -> None:
            if isinstance(name, str) and name.startswith("_"):
                raise SecurityError(f"the name {name!r} on a namespace")

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def to_json(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        # Jinja's own escapes for HTML, which no model was trained on.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loop_controls])
    environment.filters["tojson"] = to_json
    environment.globals.update(
        raise_exception=refuse, strftime_now=lambda form: datetime.now().strftime(form), namespace=Shelf
    )
    return environment.from_string(source), rounds


def _chosen(tokenizer: Tokenizer, name: str | None, tools: Any) -> tuple[str, str]:
    """Name and text of the template to use."""
    templates, where = tokenizer.templates, str(tokenizer.source.parent)
    if not templates:
        raise UserError(where, "the tokenizer has no chat template", "put a chat_template.jinja into its folder")
    if name is None:
        name = "tool_use" if tools is not None and "tool_use" in templates else "default"
        if name not in templates:
            raise UserError(where, "no chat template is the default", f"name one of: {', '.join(sorted(templates))}")
    if name not in templates:
        raise unknown(where, "chat template", name, templates)
    return name, templates[name]


def _message(message: Any, number: int) -> dict[str, Any]:
    plain = _plain(message)
    if not isinstance(plain, dict):
        raise UserError(f"message {number}", f"a {type(message).__name__}", 'write {"role": ..., "content": ...}')
    # What APIs write as null, templates expect to be missing.
    plain = {key: value for key, value in plain.items() if value is not None}
    reasoning = next((plain[key] for key in _REASONING if key in plain), None)
    return plain if reasoning is None else {"thinking": reasoning, **plain, "reasoning_content": reasoning}


def render(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    add_generation_prompt: bool,
    tools: Sequence[Mapping[str, Any]] | None,
    name: str | None,
    variables: Mapping[str, Any],
) -> str:
    """The conversation as text, by Jinja in its immutable sandbox, as Transformers' apply_chat_template renders it.

    The template sees messages, tools, documents, add_generation_prompt, the special tokens as bos_token and so on,
    and what ``variables`` adds; all of it as plain JSON types. Loops, repetitions and the text itself are bounded.

    Raises:
        UserError: see `Tokenizer.chat`.
    """
    from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError

    name, source = _chosen(tokenizer, name, tools)
    where = f"{tokenizer.source.parent}: chat template {name!r}"
    if not messages or isinstance(messages, str | Mapping):
        raise UserError("messages", "no messages", 'give a list of {"role": ..., "content": ...}')
    tokens = {role if role.endswith("_token") else f"{role}_token": token for role, token in tokenizer.special.items()}
    seen: dict[str, Any] = {
        **tokens,
        "documents": None,
        **{key: _plain(value) for key, value in variables.items()},
        "messages": [_message(message, number) for number, message in enumerate(messages, 1)],
        "tools": None if tools is None else [_plain(tool) for tool in tools],
        "add_generation_prompt": add_generation_prompt,
    }
    try:
        template, rounds = _compiled(source)
        seen[rounds] = _Budget().counted
        text, pieces = 0, []
        for piece in template.generate(seen):
            text += len(piece)
            if text > CHARACTERS:
                raise SecurityError(f"more than {CHARACTERS} characters")
            pieces.append(piece)
    except TemplateSyntaxError as fault:
        raise UserError(where, f"line {fault.lineno}: {fault.message}", "repair the template") from None
    except SecurityError as fault:
        raise UserError(where, f"does what a template must not ({fault})", "use a template that you trust") from None
    except TemplateError as fault:
        raise UserError(where, f"refuses these messages: {fault}", "change the messages or their order") from None
    except (RecursionError, MemoryError) as fault:
        raise UserError(where, f"never ends ({type(fault).__name__})", "use a template that you trust") from None
    except Exception as fault:  # a template is a program: whatever it stumbles over is its fault or the messages'
        raise UserError(
            where,
            f"stumbles over these messages: {type(fault).__name__}: {fault}",
            "change the messages or the template",
        ) from None
    return "".join(pieces)
