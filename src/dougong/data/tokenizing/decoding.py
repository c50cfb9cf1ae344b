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


def _byte_signs() -> dict[str, int]:
    """The byte that each sign of a byte-level vocabulary stands for (Radford et al. 2019): those that can be seen stand
    for themselves, the others for the signs from U+0100 on, so that a blank is written as Ġ."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + number): byte for number, byte in enumerate(hidden)}


BYTES = _byte_signs()


def written(tokenizer: Tokenizer, index: int) -> str | None:
    """See `Tokenizer.written`."""
    token = tokenizer.token(index)
    if token is None or token in tokenizer.special.values():
        return token
    if tokenizer.opened.pieces is None and "ByteLevel" in repr(tokenizer.opened.core.decoder):
        if not all(sign in BYTES for sign in token):  # one that was added as it is
            return token
        held = bytes(BYTES[sign] for sign in token)
        try:
            return held.decode("utf-8")
        except UnicodeDecodeError:  # part of a character
            return "".join(f"<0x{byte:02X}>" for byte in held)
    return token.replace("\u2581", " ")


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
