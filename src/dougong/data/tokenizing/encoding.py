"""What a text became: ids and where each comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """One encoded text, or pair of texts. Nothing is copied before it is asked for.

    Attributes:
        raw: the encoding of the `tokenizers` library.
        exchange: makes the model's ids of it, where they are not the library's own.
    """

    raw: Any
    exchange: Callable[[Any], list[int]] | None = None

    @property
    def ids(self) -> list[int]:
        """The ids, L of them."""
        return self.raw.ids if self.exchange is None else self.exchange(self.raw)

    @property
    def tokens(self) -> list[str]:
        """The tokens as the vocabulary writes them."""
        return self.raw.tokens

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """First character and the one after the last, in the original text (of a pair: in its own text).

        A special token that was put there has (0, 0).
        """
        return self.raw.offsets

    @property
    def special_mask(self) -> list[bool]:
        """True where a special token was added."""
        return [bool(flag) for flag in self.raw.special_tokens_mask]

    @property
    def words(self) -> list[int | None]:
        """The number of the word that each token belongs to, None for special ones."""
        return self.raw.word_ids

    @property
    def type_ids(self) -> list[int]:
        """Which segment each token is counted to: of a BERT pair, 0 for the first and 1 for the second."""
        return self.raw.type_ids

    @property
    def texts(self) -> list[int | None]:
        """Which text each token comes from: 0 the first, 1 the pair, None for special ones."""
        return self.raw.sequence_ids

    def __len__(self) -> int:
        return len(self.raw)

    def __repr__(self) -> str:
        return f"Encoding({' '.join(self.tokens[:12])}{' ...' if len(self) > 12 else ''})"
