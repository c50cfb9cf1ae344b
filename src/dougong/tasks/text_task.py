"""What every task on texts has: a tokenizer, splits, and rows of tokens that are made once."""

from __future__ import annotations

import abc
import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dougong.data.texts.stored import StoredSplit
from dougong.errors import UserError
from dougong.tasks.class_weights import counted
from dougong.tasks.stored import StoredTokens
from dougong.tasks.task import Batch

if TYPE_CHECKING:
    from dougong.data.texts import TextData, TextRow, TextSplit
    from dougong.data.tokenizing import Tokenizer


UNCUT = 10**9
"""The length at which nothing is cut."""


class TextTask(abc.ABC):
    """The ground that tasks on texts stand on.

    Args:
        tokenizer: text to tokens.
        max_length: tokens that a model reads at once.
        data: None for a task that only predicts.
        notes: what was decided for the user.
    """

    name: str
    class_weights: torch.Tensor | None = None
    """What a sample of each class counts for in the loss, (C,); all the same when None."""

    def __init__(
        self, tokenizer: Tokenizer, max_length: int, data: TextData | None = None, notes: Sequence[str] = ()
    ) -> None:
        self.tokenizer, self.max_length, self.data, self.notes = tokenizer, max_length, data, list(notes)
        self._rows: dict[str, Any] = {}

    @property
    def typical_length(self) -> int:
        """Tokens of a training sample, on average."""
        lengths = np.asarray(self.lengths("train"))
        return max(1, round(float(lengths.mean()))) if len(lengths) else 1

    def size(self, split: str) -> int:
        """Samples in a split."""
        return len(self.split(split))

    def rows(self, split: str) -> Any:
        """The samples of a split as tokens, made once."""
        if split not in self._rows:
            part = self.split(split)
            self._rows[split] = self.stored(part) if isinstance(part, StoredSplit) else self.encoded(list(part))
        return self._rows[split]

    def stored(self, part: StoredSplit) -> Any:
        """Samples that lie on disk as tokens that do. For tasks whose samples are tokens alone."""
        if self.max_length >= UNCUT:
            return StoredTokens.of(part, self.tokenizer, None, self.encoded)
        uncut = copy.copy(self)
        uncut.max_length = UNCUT
        whole = StoredTokens.of(part, self.tokenizer, None, uncut.encoded)
        single = len(part) > 0 and len(part[0].texts) == 1
        cut = self.tokenizer.cutter(self.max_length) if single else None
        return StoredTokens.of(part, self.tokenizer, self.max_length, self.encoded, whole, cut)

    @abc.abstractmethod
    def encoded(self, rows: Sequence[TextRow]) -> Any:
        """Samples as tokens."""

    def lengths(self, split: str) -> list[int] | np.ndarray:
        """Tokens of each sample."""
        rows = self.rows(split)
        return rows.sizes if isinstance(rows, StoredTokens) else [len(row) for row in rows]

    def weight(self, batch: Batch) -> float:
        """What the mean of a batch is over: targets that count."""
        assert batch.targets is not None
        return counted(batch.targets, self.class_weights)

    def keep(self, folder: Path) -> None:
        """Write what belongs beside a model of this task: its tokenizer."""
        self.tokenizer.save(folder)

    def keep_roles(self, folder: Path, **roles: int) -> None:
        """Write with which tokens texts begin and end, for those who let the model write: generation_config.json.

        Args:
            folder: of the model; what it says already stays.
            roles: ids, as ``eos=2``.
        """
        file = folder / "generation_config.json"
        said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        said |= {f"{role}_token_id": index for role, index in roles.items()}
        file.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")

    @property
    def fill(self) -> int:
        """The id of padding."""
        return self.tokenizer.special_ids.get("pad", 0)

    def split(self, name: str) -> TextSplit:
        """The samples of a split.

        Raises:
            UserError: the task has no data, or no such split.
        """
        if self.data is None:
            raise UserError("data", "this model was opened without its data", "give data=..., or use predict")
        if name not in self.data.splits:
            raise UserError(f"split {name}", "is not there", f"choose from {', '.join(self.data.splits)}")
        return self.data.splits[name]


def given_texts(raw: Any) -> list[str]:
    """A text, or a list of texts, as a list.

    Raises:
        UserError: something else, or nothing at all.
    """
    many = list(raw) if isinstance(raw, list | tuple) else [raw]
    for number, text in enumerate(many):
        if not isinstance(text, str):
            raise UserError(f"input {number + 1}", "is no text", "give texts")
    if not many:
        raise UserError("inputs", "no text is given", "give at least one")
    return many


def short(text: str) -> str:
    """A text for a table."""
    return text if len(text) <= 60 else text[:57] + "..."


def numbers(indices: torch.Tensor) -> list[int]:
    """Indices as plain numbers."""
    return [int(index) for index in indices.tolist()]


def length_said(description: Any) -> int:
    """``max_length`` of a task.json.

    Raises:
        UserError: it is no number of tokens.
    """
    most = description.get("max_length")
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise UserError("max_length", f"{most!r} will not do", "write a number of tokens")
    return most
