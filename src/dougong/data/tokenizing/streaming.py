"""Text while its ids arrive, never half a character."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dougong.data.tokenizing.decoding import decode, joins

if TYPE_CHECKING:
    from dougong.data.tokenizing.tokenizer import Tokenizer

_BROKEN = "\ufffd"
# Where signs are joined to words over the whole text, so many characters at the end may still change.
_HELD = 16


class Stream:
    """Gives text as ids are pushed.

    A character whose bytes are spread over several tokens comes out when the last of them is there. All that was given
    out, with `close`, is what `Tokenizer.decode` says of all ids together; only where the bytes are no UTF-8 at all
    may the two replace different bytes by U+FFFD.

    Only the last few tokens are decoded at each step, so a long text costs no more per token than a short one.

    Args:
        tokenizer: whose ids they are.
        skip_special: whether special tokens are left out.

    >>> stream = tokenizer.stream()                                     # doctest: +SKIP
    >>> for index in ids: print(stream.push(index), end="", flush=True)  # doctest: +SKIP
    >>> print(stream.close())                                           # doctest: +SKIP
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._whole = joins(tokenizer) or tokenizer.opened.pieces is not None or _strips(tokenizer)
        added = tokenizer.opened.core.get_added_tokens_decoder().values()
        self._dropped = {tokenizer.id(token.content) for token in added if token.special} if skip_special else set()
        self._skip = skip_special
        self._ids: list[int] = []
        self._start = 0  # the first id of the window that is decoded
        self._given = 0  # ids up to here have been given out
        self._sent = 0  # characters given out, where the whole text is decoded

    def push(self, index: int) -> str:
        """One more id; the text that became certain with it, often empty."""
        if index in self._dropped:
            return ""
        self._ids.append(int(index))
        return self._step(last=False)

    def close(self) -> str:
        """The rest: what was held back. The stream then starts anew."""
        rest = self._step(last=True)
        self._ids, self._start, self._given, self._sent = [], 0, 0, 0
        return rest

    def over(self, ids: Iterable[int]) -> Iterator[str]:
        """The pieces of text, none of them empty, for ids that arrive from a generator."""
        for index in ids:
            piece = self.push(index)
            if piece:
                yield piece
        piece = self.close()
        if piece:
            yield piece

    def _step(self, last: bool) -> str:
        if self._whole:
            return self._over_all(last)
        before = decode(self._tokenizer, self._ids[self._start : self._given], self._skip)
        now = decode(self._tokenizer, self._ids[self._start :], self._skip)
        if len(now) <= len(before) or (now.endswith(_BROKEN) and not last):
            return ""
        self._start, self._given = self._given, len(self._ids)
        return now[len(before) :]

    def _over_all(self, last: bool) -> str:
        text = decode(self._tokenizer, self._ids, self._skip)
        stop = len(text) if last else max(self._sent, len(text) - _HELD)
        piece, self._sent = text[self._sent : stop], stop
        return piece


def _strips(tokenizer: Tokenizer) -> bool:
    """Whether decoding takes blanks off the end of the text, which may be followed by more."""
    return tokenizer.settings.family == "CLIPTokenizer"
