"""What tokenizer_config.json, special_tokens_map.json and added_tokens.json say, put together as Transformers does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dougong.data.tokenizing.files import AGAIN, json_of, present
from dougong.errors import UserError

# In the order in which Transformers adds missing ones to a vocabulary.
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")

# Longer than any text: what configurations write for "no limit" (1e30 and the like).
NO_LIMIT = int(1e18)

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True)
class Added:
    """A token that is found in the text before the model splits the rest.

    Attributes:
        content: the token.
        single_word: only where no letter or digit touches it.
        lstrip, rstrip: it takes the blanks before, after it along.
        normalized: looked for in the normalised text rather than in the text as written.
        special: left out by `Tokenizer.decode` and counted in the special-token mask.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = True

    def built(self) -> Any:
        """The same for the tokenizers library."""
        from tokenizers import AddedToken

        return AddedToken(self.content, **{flag: getattr(self, flag) for flag in _FLAGS})


@dataclass
class Settings:
    """The settings of one tokenizer.

    Attributes:
        where: the folder, for errors.
        config: tokenizer_config.json as read.
        family: the class named there, without "Fast"; empty when none is named.
        roles: token by role ("bos", "eos", "unk", "sep", "pad", "cls", "mask"); only those stated.
        named: further roles of the model's own, as "image_token".
        extra: special tokens without a role.
        added: added tokens with their declared id (None where none is declared), in the order of their ids.
    """

    where: str
    config: dict[str, Any] = field(default_factory=dict)
    family: str = ""
    roles: dict[str, Added] = field(default_factory=dict)
    named: dict[str, Added] = field(default_factory=dict)
    extra: list[Added] = field(default_factory=list)
    added: list[tuple[int | None, Added]] = field(default_factory=list)

    def flag(self, name: str, default: bool | None) -> bool | None:
        """A yes or no of the configuration; null is the default.

        Raises:
            UserError: something else stands there.
        """
        value = self.config.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise UserError(self.where, f"{name} is {value!r}", "write true or false")
        return value

    def number(self, name: str) -> int | None:
        """A whole number of the configuration, None where there is none or where it means "no limit".

        Raises:
            UserError: something else stands there.
        """
        value = self.config.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 1:
            raise UserError(self.where, f"{name} is {value!r}", "write a whole number above 0")
        return None if value >= NO_LIMIT else int(value)

    def side(self, name: str, default: str) -> str:
        """ "left" or "right".

        Raises:
            UserError: something else stands there.
        """
        value = self.config.get(name, default)
        if value not in ("left", "right"):
            raise UserError(self.where, f"{name} is {value!r}", "write left or right")
        return value

    def all_special(self) -> list[Added]:
        """Every special token once: by role, then named, then extra."""
        found: dict[str, Added] = {}
        for token in (*(self.roles[role] for role in ROLES if role in self.roles), *self.named.values(), *self.extra):
            found.setdefault(token.content, token)
        return list(found.values())


def token(value: Any, where: str, what: str, *, special: bool | None = None) -> Added:
    """A token written as text, or as an object with its flags.

    Raises:
        UserError: neither, or a flag that does not exist or is no yes or no.
    """
    if isinstance(value, str):
        token = Added(value)
    elif isinstance(value, dict) and isinstance(value.get("content"), str):
        flags = {key: flag for key, flag in value.items() if key not in ("content", "__type", "id")}
        strange = [key for key, flag in flags.items() if key not in _FLAGS or not isinstance(flag, bool)]
        if strange:
            raise UserError(where, f"{what}: {strange[0]} = {flags[strange[0]]!r}", f"known, true or false: {_FLAGS}")
        is_special = flags.get("special", False) if special is None else special
        # As in the tokenizers library: looked for in the normalised text unless special.
        token = Added(value["content"], **{"normalized": not is_special, **flags, "special": is_special})
    else:
        raise UserError(where, f"{what} is {value!r:.60}", "write the token as text or as an object with its content")
    if not token.content:
        raise UserError(where, f"{what} is empty", "write the token, or null where there is none")
    return token


def _tokens(settings: Settings, source: dict[str, Any], where: str) -> None:
    """Roles, named and extra tokens of one file into the settings; a later file wins."""
    for key, value in source.items():
        if value is None:
            continue
        if key in ("additional_special_tokens", "extra_special_tokens"):
            if isinstance(value, dict):
                settings.named |= {name: token(item, where, f"{key}.{name}") for name, item in value.items()}
            elif isinstance(value, list):
                known = {item.content for item in settings.extra}
                fresh = [token(item, where, key, special=True) for item in value]
                settings.extra += [item for item in fresh if item.content not in known]
            else:
                raise UserError(where, f"{key} is {value!r:.60}", "write a list of tokens")
        elif key.endswith("_token") and key[:-6] in ROLES:
            settings.roles[key[:-6]] = token(value, where, key, special=True)
        elif (key.endswith("_token") and isinstance(value, str)) or (isinstance(value, dict) and "content" in value):
            settings.named[key] = token(value, where, key, special=True)


def _declared(table: Any, where: str) -> list[tuple[int | None, Added]]:
    """added_tokens_decoder: id to token."""
    if not isinstance(table, dict):
        raise UserError(where, "added_tokens_decoder is no object", AGAIN)
    found = {}
    for index, value in table.items():
        if not str(index).isdecimal():
            raise UserError(where, f"added_tokens_decoder names the id {index!r}", "ids are whole numbers from 0 on")
        found[int(index)] = token(value, where, f"added_tokens_decoder[{index}]")
    return sorted(found.items())


def read_settings(folder: Path) -> Settings:
    """The settings of the tokenizer in a folder; without any of the files, none.

    Raises:
        UserError: a file that cannot be used, named with what is wrong in it.
    """
    settings = Settings(where=str(folder))
    path = present(folder, "tokenizer_config.json")
    if path:
        settings.config, settings.where = json_of(path, unique=False), str(path)
        family = settings.config.get("tokenizer_class") or ""
        if not isinstance(family, str):
            raise UserError(str(path), f"tokenizer_class is {family!r:.60}", "write its name")
        settings.family = family
        _tokens(settings, settings.config, str(path))
    if not settings.family:
        settings.family = _family_of_model(folder)
    settings.family = settings.family.removesuffix("Fast")
    if "added_tokens_decoder" in settings.config:
        settings.added = _declared(settings.config["added_tokens_decoder"], settings.where)
    else:
        # The files of older versions, read only where the newer one is silent.
        path = present(folder, "special_tokens_map.json")
        if path:
            _tokens(settings, json_of(path, unique=False), str(path))
        path = present(folder, "added_tokens.json")
        if path:
            special = {item.content for item in settings.all_special()}
            ids = json_of(path)
            if not all(type(index) is int and index >= 0 for index in ids.values()):
                raise UserError(str(path), "an id that is no whole number from 0 on", AGAIN)
            settings.added = [
                (index, Added(name, normalized=name not in special, special=name in special))
                for name, index in sorted(ids.items(), key=lambda item: item[1])
            ]
    # A role written as plain text takes the flags under which the token was added.
    flags = {item.content: item for _, item in settings.added}
    settings.roles = {role: flags.get(item.content, item) for role, item in settings.roles.items()}
    return settings


def _family_of_model(folder: Path) -> str:
    """The class that the model's own configuration asks for, where the tokenizer's names none."""
    path = present(folder, "config.json")
    if not path:
        return ""
    config = json_of(path, unique=False)
    named = config.get("tokenizer_class")
    return named if isinstance(named, str) and named else MODEL_TYPES.get(str(config.get("model_type")), "")


# Which tokenizer a model of this type has, for folders whose tokenizer_config.json names none.
MODEL_TYPES = {
    **dict.fromkeys(("bert", "electra"), "BertTokenizer"),
    "distilbert": "DistilBertTokenizer",
    **dict.fromkeys(("roberta", "bart"), "RobertaTokenizer"),
    "gpt2": "GPT2Tokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "t5": "T5Tokenizer",
    "llama": "LlamaTokenizer",
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), "GemmaTokenizer"),
    **dict.fromkeys(("qwen2", "qwen3", "qwen2_moe", "qwen3_moe"), "Qwen2Tokenizer"),
    "clip": "CLIPTokenizer",
    "marian": "MarianTokenizer",
}
