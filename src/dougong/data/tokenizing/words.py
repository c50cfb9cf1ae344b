"""Words to ids, each word by itself, so that every piece belongs to one word: for tagging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dougong.data.tokenizing.encoding import Encoding, kept
from dougong.errors import UserError

if TYPE_CHECKING:
    from dougong.data.tokenizing.tokenizer import Tokenizer


def encode_words(
    tokenizer: Tokenizer,
    words: Sequence[str],
    separator: str = " ",
    special: bool = True,
    max_length: int | None = None,
) -> Encoding:
    """A sentence of words as ids; ``words`` of the result numbers the word of each piece as given here.

    Words are encoded as they stand in running text, after a blank, but no piece reaches over a word's end: words that
    are single Chinese characters each get a piece of their own, whatever the vocabulary holds.

    Args:
        tokenizer: any.
        words: of one sentence. A word of which the tokenizer leaves nothing gets no piece.
        separator: what stands between words: " ", or "" in Chinese.
        special: whether special tokens are put where the model expects them.
        max_length: cut to this many ids, special tokens included.

    Raises:
        UserError: ``max_length`` leaves no room for a word.
    """
    from dougong.data.tokenizing.tokenizer import whole

    core, exchange = tokenizer.opened.core, tokenizer.opened.exchange
    spaced = [whole(separator + word if index else word) for index, word in enumerate(words)]
    raw = core.encode(spaced, is_pretokenized=True, add_special_tokens=special)
    if max_length is None:
        return Encoding(raw, exchange)
    added = core.num_special_tokens_to_add(False) if special else 0
    if max_length <= added:
        raise UserError("max_length", f"{max_length}, beside {added} special tokens", "ask for more")
    return Encoding(raw, exchange, kept(raw, max_length, added, tokenizer.settings.side("truncation_side", "right")))
