"""What tasks on text share: texts to tokens, rows of unequal length to one batch, and a model made to read them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import torch
from torch import Tensor

from dougong.architectures import families
from dougong.errors import UserError

if TYPE_CHECKING:
    from dougong.data.tokenizing import Tokenizer

KINDS = ("bpe", "wordpiece", "unigram", "characters")
VOCABULARY = 8000
"""Tokens of a tokenizer that is trained on the data, unless the user says how many."""
LONGEST = 512
"""Tokens of a text at most, unless the user says how many, or the model takes fewer."""
AT_ONCE = 2**18
"""Texts whose lengths are counted at once."""
PATIENT = 0.995
"""Share of the training texts that are read whole; the longest few are cut, so that they do not set the pace."""


def tokenizer_for(
    choice: str,
    texts: Collection[str],
    vocab_size: int | None = None,
    default: str = "wordpiece",
    ends: str | None = None,
) -> tuple[Tokenizer, str]:
    """The tokenizer that a user wants, and a line that says which.

    Args:
        choice: the folder of one; a kind that is trained on the texts ("bpe", "wordpiece", "unigram", "characters"); or
            "auto", the task's own kind.
        texts: of the training split.
        vocab_size: tokens of one that is trained.
        default: the kind of "auto".
        ends: special tokens that one that is trained puts around texts, see
            `dougong.data.tokenizing.training.train_tokenizer`.

    Raises:
        UserError: neither a folder nor a kind, or a tokenizer that cannot be used.
    """
    from dougong.data.tokenizing import Tokenizer

    kind = default if choice == "auto" else choice
    if kind in KINDS:
        from dougong.data.tokenizing.training import train_tokenizer

        made = train_tokenizer(texts, cast(Any, kind), vocab_size or VOCABULARY, ends=cast(Any, ends))
        return made, f"tokenizer: {kind}, trained on {len(texts)} texts, {len(made)} tokens"
    if not Path(choice).is_dir():
        raise UserError(
            "tokenizer", f"{choice!r} is neither a folder nor a kind", f"say {', '.join(KINDS)}, or a folder"
        )
    opened = Tokenizer.open(choice)
    return opened, f"tokenizer: that of {choice}, {len(opened)} tokens"


def longest(lengths: Sequence[int] | np.ndarray, most: int | None, asked: int | None = None) -> int:
    """How many tokens of a text are read: what nearly all texts have, a multiple of 8, or what the user asks for.

    Args:
        lengths: tokens of each training text.
        most: that the model takes; None where nothing bounds it.
        asked: by the user.

    Raises:
        UserError: more is asked for than the model takes.
    """
    if asked is not None:
        if most is not None and asked > most:
            raise UserError("max_length", f"{asked} is more than the {most} places of the model", f"set it to {most}")
        return asked
    counts = np.zeros(LONGEST + 1, np.int64)  # of texts by their tokens; more than the longest is as good as that
    for start in range(0, len(lengths), AT_ONCE):
        some = np.minimum(np.asarray(lengths[start : start + AT_ONCE]), LONGEST)
        counts += np.bincount(some, minlength=LONGEST + 1)
    place = min(len(lengths) - 1, int(PATIENT * len(lengths)))
    enough = int(np.searchsorted(counts.cumsum(), place, "right")) if len(lengths) else 8
    return min(-(-max(enough, 8) // 8) * 8, most or LONGEST, LONGEST)


def padded(rows: Sequence[Sequence[int]], fill: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of tokens as (B, L), filled up on the right, and their lengths (B,)."""
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows]), lengths


def fit_text(
    config: dict[str, Any], head: str | None, *, vocab_size: int, max_length: int, n_classes: int | None,
    fixed: Collection[str] = (), trained: bool = False,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    """A whole configuration changed to read tokens and give what a head gives, and a line for each change.

    Args:
        config: as ``resolve`` gives it; left as it is.
        head: "sequence", "tokens", "causal-language", "masked-language", or "text-to-text" of an encoder and a decoder;
            None for the hidden states alone.
        vocab_size: ids that the tokenizer has.
        max_length: tokens of the longest text.
        n_classes: C, where the head tells classes apart.
        fixed: keys that the user set; never changed.
        trained: the model has weights already: its sizes stay, and only the head may change.

    Raises:
        UserError: the family does not read tokens, or has no such head, or a fixed value does not fit.
    """
    family = str(config["architecture"])
    arguments = families()[family].arguments
    fitted, lines = dict(config), []

    def change(key: str, value: Any, why: str) -> None:
        if fitted.get(key) == value:
            return
        if key in fixed and fitted.get(key) is not None:
            raise UserError(f"model.{key}={fitted[key]}", why, f"leave it out, or set {value}")
        lines.append(f"model.{key}: {_said(fitted.get(key))} -> {_said(value)}, {why}")
        fitted[key] = value

    if "vocab_size" not in arguments:
        raise UserError(family, "reads no text", "choose bert, gpt2, lstm, textcnn, or another of dougong models")
    if (family in TRANSLATORS) != (head == "text-to-text"):
        what = "reads a text and writes another" if family in TRANSLATORS else "does not write one text from another"
        raise UserError(family, what, f"choose {', '.join(TRANSLATORS)} for that")
    if "head" not in arguments and head != "text-to-text":
        what = f"has no head for {head or 'vectors of texts'}"
        raise UserError(family, what, "choose another family; dougong models NAME shows its heads")
    for key in ("image_size", "patch_size", "d_input"):
        if config.get(key) is not None:
            change(key, None, "it reads text")
    if trained:
        if vocab_size > int(config["vocab_size"]):
            raise UserError("tokenizer", f"has {vocab_size} tokens, the model {config['vocab_size']}", "use its own")
    else:
        change("vocab_size", vocab_size, "the tokenizer has so many tokens")
        if "max_length" in arguments and "max_length" not in fixed:
            change("max_length", max_length, "texts are read up to so many tokens")
    if "head" in arguments:
        bare = head is None and type(None) not in get_args(families()[family].checker.model_fields["head"].annotation)
        if bare:  # a family that is without a head where it has no classes
            change("n_classes", None, "the task asks for hidden states")
        if head is not None and head not in _heads(family):
            able = [name for name in families() if name not in TRANSLATORS and head in _heads(name)]
            what = f"has no head for {head.replace('-', ' ')}" if "language" in head else f"has no head for {head}"
            raise UserError(family, what, f"choose {', '.join(able)} for that")
        change("head", "sequence" if bare else head, "the task asks for it")
    if head == "causal-language" and fitted.get("bidirectional") and not trained:
        change("bidirectional", False, "what is foreseen must not be read")
    if n_classes is not None:
        change("n_classes", n_classes, f"the data has {n_classes} classes")
    return fitted, lines


def _heads(family: str) -> set[str]:
    """The names of a family's heads."""
    fields = families()[family].checker.model_fields
    held, found = [fields["head"].annotation] if "head" in fields else [], set()
    while held:
        each = held.pop()
        found |= {each} if isinstance(each, str) else set()
        held += get_args(each)
    return found


TRANSLATORS = ("transformer", "t5", "bart", "marian")
"""Families of an encoder and a decoder."""


def _said(value: Any) -> str:
    return "none" if value is None else str(value)
