"""A sentencepiece model read from its bytes: pieces with scores and kinds, and how it was trained.

The file is one Protocol Buffers message (sentencepiece_model.proto of google/sentencepiece). Only its wire format is
read here, the fields that tokenizing needs, every length checked, so that neither generated code nor the sentencepiece
library is asked, and a file that is something else is told apart at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dougong.errors import UserError

# The kinds of a piece, as the format numbers them.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
MODELS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}

Value = int | bytes


@dataclass(frozen=True)
class Piece:
    """One entry of a sentencepiece vocabulary: its text (a space is U+2581), its log probability, its kind."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class SentencePiece:
    """What a sentencepiece .model says.

    Attributes:
        pieces: the vocabulary; a piece's id is its place.
        model: "unigram" or "bpe" ("word" and "char" exist; no published model of ours uses them).
        byte_fallback: a character that no piece covers is written as its UTF-8 bytes.
        charsmap: the precompiled normalisation (NFKC and the like), empty when there is none.
        unk_id, bos_id, eos_id, pad_id: -1 where there is none.
        unk_piece: how the unknown piece is written.
    """

    pieces: tuple[Piece, ...]
    model: str
    byte_fallback: bool
    charsmap: bytes
    unk_id: int
    bos_id: int
    eos_id: int
    pad_id: int
    unk_piece: str


class _BrokenError(ValueError):
    """The bytes are no message."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _BrokenError("a number runs past the end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of each field: a number for varints and fixed widths, bytes for what has a length."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not number:
            raise _BrokenError("a field without a number")
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            width, at = _varint(data, at)
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
        else:
            raise _BrokenError(f"a field of kind {kind}")
        if at + width > end:
            raise _BrokenError("a field runs past the end")
        yield number, data[at : at + width]
        at += width


def _signed(value: Value, number: int) -> int:
    if not isinstance(value, int):
        raise _BrokenError(f"field {number} is no number")
    return value - (1 << 64) if value >= 1 << 63 else value


def _bytes(value: Value, number: int) -> bytes:
    if not isinstance(value, bytes):
        raise _BrokenError(f"field {number} is no text")
    return value


def _piece(data: bytes) -> Piece:
    text, score, kind = "", 0.0, NORMAL
    for number, value in _fields(data):
        if number == 1:
            text = _bytes(value, number).decode("utf-8")
        elif number == 2:
            (score,) = struct.unpack("<f", _bytes(value, number))
        elif number == 3:
            kind = _signed(value, number)
    return Piece(text, score, kind)


def parse(data: bytes, where: str) -> SentencePiece:
    """The model in these bytes.

    Args:
        data: the whole file.
        where: named in errors.

    Raises:
        UserError: the bytes are no sentencepiece model, or one without pieces, or with a piece twice.
    """
    pieces: list[Piece] = []
    # The defaults are the format's own, for what a file leaves out.
    settings = {3: 1, 35: 0, 40: 0, 41: 1, 42: 2, 43: -1}
    unk_piece, charsmap = "<unk>", b""
    try:
        for number, value in _fields(data):
            if number == 1:
                pieces.append(_piece(_bytes(value, number)))
            elif number == 2:
                for inner, setting in _fields(_bytes(value, number)):
                    if inner in settings:
                        settings[inner] = _signed(setting, inner)
                    elif inner == 45:
                        unk_piece = _bytes(setting, inner).decode("utf-8")
            elif number == 3:
                for inner, setting in _fields(_bytes(value, number)):
                    if inner == 2:
                        charsmap = _bytes(setting, inner)
        # As a signed 32-bit number: -1 is written as 64 bits by some writers and as 32 by others.
        ids = {key: value - (1 << 32) if value >= 1 << 31 else value for key, value in settings.items()}
    except (_BrokenError, UnicodeDecodeError, struct.error) as fault:
        raise UserError(
            where, f"not a sentencepiece model, or cut off ({fault})", "copy the file again from its source"
        ) from None
    if not pieces:
        raise UserError(where, "a sentencepiece model without pieces", "copy the file again from its source")
    seen: dict[str, int] = {}
    for index, piece in enumerate(pieces):
        if piece.text in seen:
            raise UserError(
                where,
                f"the piece {piece.text!r} stands twice, as {seen[piece.text]} and {index}",
                "copy the file again from its source",
            )
        seen[piece.text] = index
    if not 0 <= ids[40] < len(pieces):
        raise UserError(
            where, f"the unknown piece has id {ids[40]} of {len(pieces)} pieces", "copy the file again from its source"
        )
    return SentencePiece(
        pieces=tuple(pieces),
        model=MODELS.get(ids[3], str(ids[3])),
        byte_fallback=bool(ids[35]),
        charsmap=charsmap,
        unk_id=ids[40],
        bos_id=ids[41],
        eos_id=ids[42],
        pad_id=ids[43],
        unk_piece=unk_piece,
    )


def read(path: Path) -> SentencePiece:
    """The sentencepiece model in a file; see `parse`."""
    return parse(path.read_bytes(), str(path))
