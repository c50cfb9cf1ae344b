"""New tokens as text while they arrive, up to a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dougong.data.tokenizing import Tokenizer


class Reader:
    """Turns the tokens of one text into pieces that may be shown: nothing in them is taken back later.

    Args:
        tokenizer: whose tokens they are.
        before: tokens that stand before the first new one, so that blanks between words are right.
        stops: texts at which the text ends; they are not part of it.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int] = (), stops: Sequence[str] = ()) -> None:
        self._stream, self._stops = tokenizer.stream(), tuple(stops)
        told = sum(len(self._stream.push(token)) for token in before)
        self._skip = len(tokenizer.decode(before)) - told if before else 0  # of the prompt, still to come
        self._held = ""
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """One more token: what may now be shown, often nothing."""
        return self._take(self._stream.push(token), last=False)

    def close(self) -> str:
        """No token follows: the rest."""
        return self._take(self._stream.close(), last=True)

    def _take(self, piece: str, last: bool) -> str:
        if self.stopped:
            return ""
        skipped = min(self._skip, len(piece))
        self._skip -= skipped
        self._held += piece[skipped:]
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
        else:
            keep = 0 if last else max((_overlap(self._held, stop) for stop in self._stops), default=0)
            shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        self.text += shown
        return shown


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text may be the beginning of a stop string."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
