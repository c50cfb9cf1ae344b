"""What a text became: ids and where each comes from; and how it is cut to a length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """One encoded text, or pair of texts. Nothing is copied before it is asked for.

    Attributes:
        raw: the encoding of the `tokenizers` library, whole.
        exchange: makes the model's ids of it, where they are not the library's own.
        parts: the stretches of it that were kept, where it was cut.
    """

    raw: Any
    exchange: Callable[[Any], list[int]] | None = None
    parts: tuple[slice, ...] | None = None

    def _kept(self, values: list[Any]) -> list[Any]:
        return values if self.parts is None else [value for part in self.parts for value in values[part]]

    @property
    def ids(self) -> list[int]:
        """The ids, L of them."""
        return self._kept(self.raw.ids if self.exchange is None else self.exchange(self.raw))

    @property
    def tokens(self) -> list[str]:
        """The tokens as the vocabulary writes them."""
        return self._kept(self.raw.tokens)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """First character and the one after the last, in the original text (of a pair: in its own text).

        A special token that was put there has (0, 0).
        """
        return self._kept(self.raw.offsets)

    @property
    def special_mask(self) -> list[bool]:
        """True where a special token was put."""
        return [bool(flag) for flag in self._kept(self.raw.special_tokens_mask)]

    @property
    def words(self) -> list[int | None]:
        """The number of the word that each token belongs to, None for special ones."""
        return self._kept(self.raw.word_ids)

    @property
    def type_ids(self) -> list[int]:
        """Which segment each token is counted to: of a BERT pair, 0 for the first and 1 for the second."""
        return self._kept(self.raw.type_ids)

    @property
    def texts(self) -> list[int | None]:
        """Which text each token comes from: 0 the first, 1 the pair, None for special ones."""
        return self._kept(self.raw.sequence_ids)

    def __len__(self) -> int:
        if self.parts is None:
            return len(self.raw)
        return sum(part.stop - part.start for part in self.parts)

    def __repr__(self) -> str:
        return f"Encoding({' '.join(self.tokens[:12])}{' ...' if len(self) > 12 else ''})"


def shares(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens each of two texts keeps: the longer one loses first, then both alike.

    >>> shares(3, 20, 10)
    (3, 7)
    >>> shares(20, 20, 9)
    (4, 5)
    """
    short, long = sorted((first, second))
    if short + long > room:
        short, long = (short, room - short) if 2 * short <= room else (room // 2, room - room // 2)
    return (short, long) if first <= second else (long, short)


def kept(raw: Any, max_length: int, added: int, side: str) -> tuple[slice, ...] | None:
    """The stretches of an encoding that stay when it is cut; None where it is short enough.

    Special tokens stay; each text loses its tokens at one end.

    Args:
        raw: the encoding.
        max_length: how many ids may stay.
        added: how many of them are special tokens that were put there.
        side: the end at which texts are cut, "right" or "left".
    """
    size = len(raw)
    if size <= max_length:
        return None
    of = raw.sequence_ids
    first, second = of.count(0), of.count(1)
    room = max_length - added
    keep = shares(first, second, room) if second else (min(first, room), 0)
    parts, at = [], 0
    for text, (count, stay) in enumerate(((first, keep[0]), (second, keep[1]))):
        if count > stay:
            start = of.index(text)
            cut = (start + stay, start + count) if side == "right" else (start, start + count - stay)
            parts.append(slice(at, cut[0]))
            at = cut[1]
    return (*parts, slice(at, size))
