"""Settings as a user writes them: ``key=value`` words and YAML files, checked, with nothing but plain values inside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.errors import UserError

if TYPE_CHECKING:
    import yaml

_SETTING = re.compile(r"([A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*)=(.*)", re.DOTALL)
SIGNS = "|>,#&*!%@`-?:"
"""Signs that YAML takes for the beginning of something else; alone they are themselves, as in labels_split=|."""
_LIKE_SETTING = re.compile(r"[\w.-]*=")


def is_setting(word: str) -> bool:
    """Whether a word of the command line is meant as ``key=value`` rather than as a name or a file."""
    return bool(_LIKE_SETTING.match(word)) and not Path(word).exists()


def parse_settings(words: list[str]) -> dict[str, Any]:
    """``["learning_rate=1e-3", "model.dropout=0.1"]`` as ``{"learning_rate": 0.001, "model": {"dropout": 0.1}}``.

    Values are read as YAML: numbers, true and false, null, [lists], text.

    Raises:
        UserError: a word that is not ``key=value``, a value that is no YAML, or a key that is given twice.
    """
    settings: dict[str, Any] = {}
    for word in words:
        match = _SETTING.fullmatch(word)
        if not match:
            raise UserError(_short(word), "is not a setting", "write key=value, for example learning_rate=1e-3")
        path = match[1].replace("-", "_").split(".")
        try:
            put(settings, path, parse_value(match[2], where=match[1]))
        except KeyError:
            raise UserError(match[1], "is given twice", "give it once") from None
    return settings


def put(settings: dict[str, Any], path: list[str], value: Any) -> None:
    """Set ``settings[a][b][c]``; KeyError when something is there already."""
    inner = settings
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            raise KeyError(key)
    if path[-1] in inner:
        raise KeyError(path[-1])
    inner[path[-1]] = value


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both, at every depth; ``above`` wins."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def parse_value(text: str, *, where: str) -> Any:
    """One YAML value.

    Raises:
        UserError: the text is no YAML.
    """
    if len(text) == 1 and text in SIGNS:  # what would begin a comment, an alias, a block ... with nothing in it
        return text
    return _load(text, where, 'put the value in quotes: key="..."', rows=False)


def read_yaml(file: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: it cannot be read, is no YAML, or holds no mapping; with the line.
    """
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(str(file), "is not UTF-8 text", "give a YAML file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        what = getattr(error, "strerror", None) or str(error)
        raise UserError(str(file), f"cannot be read ({what})", "give a YAML file") from None
    found = _load(text, str(file), "write one 'key: value' in a line")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UserError(str(file), "holds no mapping", "write one 'key: value' in a line")
    return {key.replace("-", "_"): value for key, value in found.items()}


def _load(text: str, where: str, remedy: str, *, rows: bool = True) -> Any:
    import yaml

    try:
        return _loader()(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        row = f":{mark.line + 1}" if mark and rows else ""
        raise UserError(f"{where}{row}", f"is no YAML ({error.problem})", remedy) from None
    except yaml.YAMLError as error:  # a character that YAML forbids
        raise UserError(where, f"is no YAML ({_short(str(error))})", remedy) from None
    except (ValueError, RecursionError) as error:  # brackets nested too deep
        raise UserError(where, f"cannot be read ({_short(str(error))})", remedy) from None


_LOADER: type[yaml.SafeLoader] | None = None


def _loader() -> Any:
    """YAML with the numbers of its version 1.2 (1e-3 is one, 010 is ten), no dates, no aliases and no double keys."""
    global _LOADER
    if _LOADER is not None:
        return _LOADER
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.composer.ComposerError(None, None, "aliases are not allowed", self.peek_event().start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if key.tag != "tag:yaml.org,2002:str":
                    raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key.start_mark)
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} stands here twice", key.start_mark
                    )
                seen.add(key.value)
            return super().construct_mapping(node, deep)

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            kind = node.tag.removeprefix("tag:yaml.org,2002:")
            if kind not in ("null", "bool", "int", "float", "str", "seq", "map"):
                raise yaml.constructor.ConstructorError(None, None, f"{kind} is not allowed", node.start_mark)
            try:
                return super().construct_object(node, deep)
            except (ValueError, KeyError, IndexError):  # "!!bool maybe", or a number of thousands of digits
                raise yaml.constructor.ConstructorError(None, None, f"this is no {kind}", node.start_mark) from None

        def construct_yaml_int(self, node: Any) -> int:
            return int(self.construct_scalar(node))

        def construct_yaml_str(self, node: Any) -> str:
            # JSON writes what lies beyond 16 bits as two halves, which YAML does not join
            halves = str(self.construct_scalar(node)).encode("utf-16", "surrogatepass")
            return halves.decode("utf-16", "replace")

    prefix = "tag:yaml.org,2002:"
    Loader.yaml_implicit_resolvers = {}
    for tag, pattern, first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("int", r"[-+]?[0-9]+", "-+0123456789"),
        (
            "float",
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
            "-+.0123456789",
        ),
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ):
        Loader.add_implicit_resolver(prefix + tag, re.compile(rf"(?:{pattern})\Z"), list(first))
    Loader.add_constructor(prefix + "int", Loader.construct_yaml_int)
    Loader.add_constructor(prefix + "str", Loader.construct_yaml_str)
    _LOADER = Loader
    return Loader


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:77] + "..."
