"""Entities as tags: the schemes in which files write them, read, named, converted; and words against pieces.

Every scheme writes an entity as a letter for the place in it and a type, ``B-person``; ``O`` lies outside. The letters
differ: BIO (IOB2) begins each entity with B; IOB1 only one that touches another of its type (Ramshaw and Marcus 1995);
IOBES, BILOU and BMES also mark ends and entities of one word. Segmented Chinese has the letter alone, ``B``: its type
is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from dougong.errors import UserError, unknown

T = TypeVar("T")
Span = tuple[int, int, str]
"""First word, the one after the last, type."""

IGNORED = -100
"""The label that a loss passes over."""

# scheme -> its letters for: begin, inside, end, alone
LETTERS = {"BIO": "BIIB", "IOB1": "BIII", "IOBES": "BIES", "BILOU": "BILU", "BMES": "BMES"}
_MEANING = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}


def _parted(tag: str) -> tuple[str, str] | None:
    """Meaning of the letter (B, I, E, S or O) and type; None where it is no tag of any scheme."""
    if tag == "O":
        return "O", ""
    letter, line, kind = tag.partition("-")
    return (_MEANING[letter], kind) if letter in _MEANING and bool(line) == bool(kind) else None


def _read(tags: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for tag in tags:
        one = _parted(tag)
        if one is None:
            known = "O, or one of B I E S M L U, a hyphen and a type"
            raise UserError(f"tag {tag!r}", "is written in no scheme that is known", f"write {known}")
        found.append(one)
    return found


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities of one sentence, in their order; any scheme, which need not be named.

    A broken sequence is read as the CoNLL 2000 script reads it: an entity that nothing began begins where it is found,
    one that nothing ended ends before the next or at O. `broken` names such places.

    Raises:
        UserError: something that is a tag in no scheme.
    """
    found: list[Span] = []
    start, held = -1, ""
    for index, (letter, kind) in enumerate([*_read(tags), ("O", "")]):
        if start >= 0 and (letter in "OBS" or kind != held):
            found.append((start, index, held))
            start = -1
        if letter != "O" and start < 0:
            start, held = index, kind
        if letter in "ES":
            found.append((start, index + 1, held))
            start = -1
    return found


def write(entities: Iterable[Span], length: int, scheme: str = "BIO") -> list[str]:
    """Entities as tags of a scheme; the inverse of `spans`.

    Args:
        entities: none over another.
        length: words of the sentence.
        scheme: "BIO", "IOB1", "IOBES", "BILOU" or "BMES".

    Raises:
        UserError: no such scheme.
        ValueError: an entity outside the sentence, empty, or over another.
    """
    begin, inside, end, alone = tuple(_letters(scheme))
    tags = ["O"] * length
    before: Span = (-1, -1, "")
    for start, stop, kind in sorted(entities):
        if not max(before[1], 0) <= start < stop <= length:
            raise ValueError(f"the entity {(start, stop, kind)} lies over {before} or outside 0..{length}")
        if scheme == "IOB1":
            letters = [begin if before[1:] == (start, kind) else inside, *inside * (stop - start - 1)]
        else:
            letters = [alone] if stop - start == 1 else [begin, *inside * (stop - start - 2), end]
        tags[start:stop] = [f"{letter}-{kind}" if kind else letter for letter in letters]
        before = (start, stop, kind)
    return tags


def convert(tags: Sequence[str], to: str, scheme: str = "auto") -> list[str]:
    """The tags of one sentence in another scheme, the same entities in it.

    Args:
        tags: of one sentence.
        to: the scheme wanted.
        scheme: that they are in; a letter of another one is then refused. "auto" takes any.

    Raises:
        UserError: no such scheme, or a tag that is none of it.
    """
    if scheme != "auto":
        strange = [tag for tag in tags if not _belongs(tag, scheme)]
        if strange:
            raise UserError(f"tag {strange[0]!r}", f"is none of {scheme}", "name another scheme, or auto")
    return write(spans(tags), len(tags), to)


def to_bio(tags: Sequence[str], scheme: str = "auto") -> list[str]:
    """The tags of one sentence as BIO; see `convert`."""
    return convert(tags, "BIO", scheme)


def recognise(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme of tagged sentences: "BIO", "IOB1", "IOBES", "BILOU", "BMES"; "plain" for labels in no scheme.

    Letters decide; where B and I alone are used, it is IOB1 if entities begin with I and no B stands where IOB1 has
    none. Sentences that fit several schemes, as those without entities, are BIO.
    """
    letters: set[str] = set()
    begun_inside, free_begin = False, False  # an I that begins; a B that touches no entity of its type
    for tags in sentences:
        before = ("O", "")
        for tag in tags:
            one = _parted(tag)
            if one is None:
                return "plain"
            letters.add(tag[0])
            touches = before[0] in "BI" and before[1] == one[1]
            begun_inside |= one[0] == "I" and not touches
            free_begin |= one[0] == "B" and not touches
            before = one
    if "M" in letters:
        return "BMES"
    if letters & {"L", "U"}:
        return "BILOU"
    if letters & {"E", "S"}:
        return "IOBES" if "I" in letters or letters <= {"O", "S"} else "BMES"
    return "IOB1" if begun_inside and not free_begin else "BIO"


@dataclass(frozen=True)
class Break:
    """A place where tags say what their scheme does not allow.

    Attributes:
        index: of the word.
        tag: there.
        what: is wrong, as a phrase that follows the tag.
    """

    index: int
    tag: str
    what: str


def broken(tags: Sequence[str], scheme: str = "BIO") -> list[Break]:
    """Where the tags of one sentence break their scheme.

    Raises:
        UserError: no such scheme.
    """
    closed = len(set(_letters(scheme))) == 4  # it marks ends
    found: list[Break] = []
    before = ("O", "")
    for index, tag in enumerate(tags):
        if not _belongs(tag, scheme):
            found.append(Break(index, tag, f"is no tag of {scheme}"))
            before = ("O", "")
            continue
        letter, kind = now = _parted(tag) or before
        continues = before[0] in "BI" and before[1] == kind
        if scheme == "IOB1":
            if letter == "B" and not continues:
                found.append(Break(index, tag, "begins an entity that touches none of its type"))
        elif letter in "IE" and not continues:
            found.append(Break(index, tag, f"goes on with an entity that {_last(index, tags)} does not begin"))
        elif closed and before[0] in "BI" and letter in "OBS":
            found.append(Break(index, tag, f"follows {tags[index - 1]}, whose entity has no end"))
        before = now
    if closed and before[0] in "BI":
        found.append(Break(len(tags) - 1, tags[-1], "is the last tag, and its entity has no end"))
    return found


def _last(index: int, tags: Sequence[str]) -> str:
    return f"{tags[index - 1]} before it" if index else "the start of the sentence"


def _letters(scheme: str) -> str:
    if scheme not in LETTERS:
        raise unknown("scheme", "scheme", scheme, LETTERS)
    return LETTERS[scheme]


def _belongs(tag: str, scheme: str) -> bool:
    return _parted(tag) is not None and (tag == "O" or tag[0] in _letters(scheme))


# Words against pieces.


def joined(words: Sequence[str], separator: str = " ") -> tuple[str, list[tuple[int, int]]]:
    """Words as one text, and the first character of each in it and the one after its last."""
    places, at = [], 0
    for word in words:
        places.append((at, at + len(word)))
        at += len(word) + len(separator)
    return separator.join(words), places


def piece_words(offsets: Iterable[tuple[int, int]], places: Sequence[tuple[int, int]]) -> list[int | None]:
    """The word that each piece belongs to, from where both stand in the text: None for special pieces and for blanks.

    Args:
        offsets: of the pieces, `Encoding.offsets`.
        places: of the words, from `joined`.

    A piece over several words counts to the first of them; the others are then among those that `pieceless` counts.
    (`dougong.data.tokenizing.words.encode_words` makes no such pieces.)
    """
    import bisect

    ends = [end for _, end in places]
    found: list[int | None] = []
    for start, end in offsets:
        word = bisect.bisect_right(ends, start)  # the first word that ends after the piece begins
        found.append(word if start < end and word < len(places) and places[word][0] < end else None)
    return found


def label_pieces(
    words: Sequence[int | None], labels: Sequence[int], every: bool = False, inside: Sequence[int] | None = None
) -> list[int]:
    """Labels of words as labels of pieces.

    Args:
        words: the word of each piece, None for special ones.
        labels: one a word.
        every: label all pieces of a word; else the first alone, and the others are `IGNORED`.
        inside: with ``every``, the label that stands for label i on later pieces: of B-person, I-person.

    Raises:
        ValueError: a piece of a word that has no label.
    """
    found, before = [], None
    for word in words:
        if word is None:
            found.append(IGNORED)
        elif word >= len(labels):
            raise ValueError(f"a piece of word {word}, but {len(labels)} labels")
        elif word != before:
            found.append(labels[word])
        elif every:
            found.append(labels[word] if inside is None else inside[labels[word]])
        else:
            found.append(IGNORED)
        before = word
    return found


def word_values(words: Sequence[int | None], values: Sequence[T], count: int, default: T) -> list[T]:
    """What pieces say as what words say: each word takes the value of its first piece.

    Args:
        words: the word of each piece, None for special ones.
        values: one a piece.
        count: words there are.
        default: for words without a piece: those cut off, or that the tokenizer leaves nothing of.

    Raises:
        ValueError: not as many values as pieces.
    """
    found: list[T] = [default] * count
    for word, value in reversed(list(zip(words, values, strict=True))):
        if word is not None:
            found[word] = value
    return found


def pieceless(words: Sequence[int | None], count: int) -> list[int]:
    """The words that no piece belongs to; they are neither learnt from nor predicted, so they have to be counted."""
    return sorted(set(range(count)) - set(words))
