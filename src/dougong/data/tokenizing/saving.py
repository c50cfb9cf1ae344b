"""A tokenizer written so that Transformers opens it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.data.tokenizing.chat import FOLDER
from dougong.data.tokenizing.settings import NO_LIMIT, ROLES, Added
from dougong.errors import UserError

if TYPE_CHECKING:
    from dougong.data.tokenizing.tokenizer import Tokenizer

# Settings that Transformers' generic class reads, kept as they were.
_KEPT = (
    "clean_up_tokenization_spaces",
    "split_special_tokens",
    "truncation_side",
    "model_input_names",
    "response_template",
    "chat_control_tokens",
)


def _flags(token: Added) -> dict[str, Any]:
    names = ("content", "lstrip", "normalized", "rstrip", "single_word")
    return {name: getattr(token, name) for name in names}


def _config(tokenizer: Tokenizer) -> dict[str, Any]:
    """tokenizer_config.json for Transformers' generic class, which takes tokenizer.json as it stands."""
    settings, family = tokenizer.settings, tokenizer.opened.family
    config: dict[str, Any] = {name: settings.config[name] for name in _KEPT if settings.config.get(name) is not None}
    if "model_input_names" not in config:
        config["model_input_names"] = list(family.inputs if family else _inputs(tokenizer))
    config.setdefault("clean_up_tokenization_spaces", False)
    config["padding_side"] = tokenizer.padding_side
    config["model_max_length"] = tokenizer.max_length or NO_LIMIT
    for role in ROLES:
        if role in settings.roles:
            config[f"{role}_token"] = settings.roles[role].content
    if settings.named:
        config["extra_special_tokens"] = {name: token.content for name, token in settings.named.items()}
    elif settings.extra:
        config["extra_special_tokens"] = [token.content for token in settings.extra]
    # Every token with its flags, the extra ones of a model with named ones among them.
    config["added_tokens_decoder"] = {
        str(index): {
            **{name: getattr(token, name) for name in ("content", "lstrip", "normalized", "rstrip", "single_word")},
            "special": token.special,
        }
        for index, token in sorted(tokenizer.opened.core.get_added_tokens_decoder().items())
    }
    # CLIP's class knows that "</w>" is a space, which the generic one would leave in decoded text.
    config["tokenizer_class"] = "CLIPTokenizer" if settings.family == "CLIPTokenizer" else "PreTrainedTokenizerFast"
    return dict(sorted(config.items()))


def _inputs(tokenizer: Tokenizer) -> tuple[str, ...]:
    """What a model of unknown family takes: Transformers' generic class names the types of tokens too."""
    return ("input_ids", "token_type_ids", "attention_mask")


def _write(path: Path, text: str) -> Path:
    """Written beside and renamed, so that no half file is ever seen."""
    half = path.with_name(path.name + ".part")
    half.write_text(text, encoding="utf-8")
    os.replace(half, path)
    return path


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def save(tokenizer: Tokenizer, folder: Path) -> list[Path]:
    """See `Tokenizer.save`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if tokenizer.opened.carried:
            return _carry(tokenizer, folder)
        settings = tokenizer.settings
        stray = [name for name in tokenizer.templates if Path(name).name != name or name in (".", "..")]
        if stray:
            raise UserError(str(folder), f"the chat template {stray[0]!r} leads outside", "rename the template")
        written = [
            _write(folder / "tokenizer.json", tokenizer.opened.core.to_str(pretty=True)),
            _write(folder / "tokenizer_config.json", _json(_config(tokenizer))),
        ]
        roles: dict[str, Any] = {
            f"{role}_token": _flags(settings.roles[role]) for role in ROLES if role in settings.roles
        }
        if settings.extra and not settings.named:
            roles["additional_special_tokens"] = [token.content for token in settings.extra]
        written.append(_write(folder / "special_tokens_map.json", _json(roles)))
        for name, text in tokenizer.templates.items():
            if name != "default":
                (folder / FOLDER).mkdir(exist_ok=True)
            path = "chat_template.jinja" if name == "default" else f"{FOLDER}/{name}.jinja"
            written.append(_write(folder / path, text))
        return written
    except OSError as fault:
        raise UserError(str(folder), f"cannot be written ({fault.strerror})", "choose another folder") from None


def _carry(tokenizer: Tokenizer, folder: Path) -> list[Path]:
    """A tokenizer whose class keeps its own files: they are copied."""
    written = []
    for source in tokenizer.opened.carried:
        target = folder / source.name
        if not (target.exists() and target.samefile(source)):
            shutil.copyfile(source, target)
        written.append(target)
    return written
