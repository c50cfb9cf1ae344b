"""Ids back to text, with the habits of each family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dougong.errors import UserError

if TYPE_CHECKING:
    from dougong.data.tokenizing.tokenizer import Tokenizer

# BERT's English: text that was split into words and signs is joined again, in this order.
_JOINED = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def joins(tokenizer: Tokenizer) -> bool:
    """Whether spaces before signs are taken away over the whole text, as clean_up_tokenization_spaces asks.

    Never for pair merging, which keeps the spaces of the text itself (as Transformers 5 has it).
    """
    asked = bool(tokenizer.settings.flag("clean_up_tokenization_spaces", False))
    return asked and type(tokenizer.opened.core.model).__name__ != "BPE"


def decode(tokenizer: Tokenizer, ids: list[int], skip_special: bool) -> str:
    """See `Tokenizer.decode`."""
    if ids and min(ids) < 0:
        raise UserError("decode", f"{min(ids)} is no id", f"ids are 0 to {tokenizer.vocab_size - 1}")
    if ids and max(ids) >= tokenizer.vocab_size:  # rows that a model has beyond the vocabulary
        ids = [index for index in ids if index < tokenizer.vocab_size]
    if tokenizer.opened.pieces is not None:
        from dougong.data.tokenizing.marian import decode_pieces

        text = decode_pieces(tokenizer, ids, skip_special)
    else:
        text = tokenizer.opened.core.decode(ids, skip_special_tokens=skip_special)
        if tokenizer.settings.family == "CLIPTokenizer":
            text = text.replace("</w>", " ").strip()
    if joins(tokenizer):
        for apart, joined in _JOINED:
            text = text.replace(apart, joined)
    return text
