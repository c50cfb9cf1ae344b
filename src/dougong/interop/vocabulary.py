"""The tokenizer beside a model: whether its ids fit the embedding."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dougong.errors import UserError

if TYPE_CHECKING:
    from dougong.data.tokenizing import Tokenizer

FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


def check_vocabulary(folder: Path, vocab_size: int) -> None:
    """Make sure that every id of the tokenizer in a model's folder has a row in the embedding.

    A tokenizer that cannot be read is none of the model's business: it is refused when it is used.

    Args:
        folder: of the model; without a tokenizer it passes.
        vocab_size: rows of the embedding. More than there are ids is fine: many are padded.

    Raises:
        UserError: an id has no row.
    """
    found = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if found is None or _fits(found, vocab_size):
        return
    from dougong.data.tokenizing import Tokenizer

    try:
        tokenizer = Tokenizer.open(folder)
    except UserError:
        return
    tokenizer.check(vocab_size, str(folder))


def _fits(file: Path, vocab_size: int) -> bool:
    """Whether plain text says that all ids fit: opening a tokenizer takes as long as placing the weights."""
    try:
        if file.suffix == ".txt":
            with file.open("rb") as lines:
                return sum(1 for _ in lines) <= vocab_size and _highest(_added(file.parent)) < vocab_size
        if file.suffix != ".json":
            return False
        held = json.loads(file.read_bytes())
        if file.name == "vocab.json":
            return max(_highest(held), _highest(_added(file.parent))) < vocab_size
        words = held["model"]["vocab"]
        highest = len(words) - 1 if isinstance(words, list) else _highest(words)
        return max(highest, *(int(token["id"]) for token in held.get("added_tokens", [])), -1) < vocab_size
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError):
        return False


def _added(folder: Path) -> Any:
    file = folder / "added_tokens.json"
    return json.loads(file.read_bytes()) if file.is_file() else {}


def _highest(ids: Any) -> int:
    return max(ids.values(), default=-1)


def in_lower_case(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer for texts in lower case; special tokens in them are found as they are written."""
    from tokenizers import Tokenizer as Core
    from tokenizers import normalizers

    core: Any = Core.from_str(tokenizer.opened.core.to_str())
    before = [] if core.normalizer is None else [core.normalizer]
    core.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])
    return replace(tokenizer, opened=replace(tokenizer.opened, core=core))
