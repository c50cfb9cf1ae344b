"""Models that answer at each token: which of their answers is explained, and of which text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dougong.data.tokenizing.encoding import Encoding
from dougong.errors import UserError, unknown
from dougong.explain.texts import Passage, TextSubject, read_passage
from dougong.figures import many
from dougong.parts.output import deferring

At = int | str | None
"""A word, or its number from 1; chosen when None."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A text and the token at which its answer is read.

    Args:
        inputs: tokens (1, L).
        passage: their words.
        place: of the token; -1 for the last one, None for an answer of the whole.
        about: what the answer is about, in words.
        index: of the answer that is explained; the most probable one when None.
        reader: the model as one that reads the inputs and answers, where it is not one by itself.
        subject: what it makes of the text.
        name: of the answer, where it is none of the task's classes or tokens.
        before: the text that stands before an answer that is a token; see `in_place`.
        said: what else a reader should know, in a sentence.
    """

    inputs: Tensor
    passage: Passage
    place: int | None
    about: str
    index: int | None = None
    reader: nn.Module | None = None
    subject: type[TextSubject] = TextSubject
    name: str = ""
    before: str | None = None
    said: str = ""


def placed(task: Any, model: nn.Module, text: Any, at: At = None) -> Placed:
    """The place of a text that is asked about.

    Args:
        task: "token-classification", "causal-language", "masked-language", "translation", "sentence-embedding" or
            "next-item".
        model: asked where ``at`` is None: the surest tag that is not O, the first mask, or what follows the text.
        text: running text; for tags also a list of words; for translation also a source and its target; for sentence
            embedding two texts; for items a history.
        at: a word; for masked language the number of the mask; for translation a word of the target.

    Raises:
        UserError: no text, a text without words, or a word that is not there.
    """
    if isinstance(text, tuple) and len(text) == 1 and task.name != "next-item":
        text = text[0]
    return KINDS[task.name](task, model, text, at)


def of_tags(task: Any, model: nn.Module, text: Any, at: At) -> Placed:
    """The tag of a word, at its first piece."""
    batch = task.prepare([text])
    one = batch.truth[0]
    words, owner = list(one.row.texts), np.array([-1 if word is None else word for word in one.words])
    said = text if isinstance(text, str) else task.separator.join(words)
    read = sorted({int(word) for word in owner if word >= 0})
    if not read:
        raise UserError("text", "holds no word that the model reads", "give a text with words")
    if at is None:
        device = next(model.parameters()).device
        with torch.no_grad():
            shares = model(*(each.to(device) for each in batch.inputs)).logits[0].softmax(-1)
        first = [int(np.flatnonzero(owner == word)[0]) for word in read]
        word = read[int((1 - shares[first][:, task.classes.index("O")]).argmax())]
    else:
        word = chosen(at, words)
        if word not in read:
            raise UserError(f"at={at}", "is beyond the tokens that the model reads", "give a shorter text")
    names = np.full(len(words), -1)
    names[read] = np.arange(len(read))
    passage = Passage(
        (said,),
        tuple((0, *span) for number, span in enumerate(spans_of(words, said)) if number in set(read)),
        np.where(owner >= 0, names[owner], -1),
        len(words) - len(read),
    )
    return Placed(batch.inputs[0], passage, int(np.flatnonzero(owner == word)[0]), f"the tag of “{words[word]}”")


def of_what_follows(task: Any, model: nn.Module, text: Any, at: At) -> Placed:
    """The token that follows a text, or, with ``at``, the first token of one of its words."""
    encoded = task.tokenizer.encode([only(text)], special=False)[0]
    whole = read_passage([text], encoded)
    index, about, read, before = None, "what follows", text, text
    if at is not None:
        word = chosen(at, list(whole.units().names))
        start = whole.words[word][1]
        if not text[:start].strip():
            raise UserError(f"at={at}", "has no text before it", "ask about a later word")
        # blanks before a word may be tokens of their own: they are read, and the word itself is foreseen
        end = next(int(place) for place in np.flatnonzero(whole.owner == word) if encoded.offsets[place][1] > start)
        index, about, read = encoded.ids[end], f"the beginning of “{whole.units().names[word]}”", text[:start]
        before = read.rstrip()  # a token may hold the blank before a word
        encoded = Encoding(encoded.raw, encoded.exchange, (slice(0, end),))
    first = max(0, len(encoded) - task.max_length)
    if first:  # the last tokens that fit are read, as by predict
        encoded = Encoding(encoded.raw, encoded.exchange, (slice(first, len(encoded)),))
    passage = replace(read_passage([read], encoded), texts=(text,))  # later words are shown, and have no score
    return Placed(torch.tensor([list(encoded.ids)]), passage, -1, about, index, before=before)


def of_masks(task: Any, model: nn.Module, text: Any, at: At) -> Placed:
    """What stood at a mask."""
    batch = task.prepare(only(text))
    encoded = task.tokenizer.encode([text], max_length=task.max_length)[0]
    masks = (batch.inputs[0][0] == task.tokenizer.special_ids["mask"]).nonzero().flatten().tolist()
    number = 1 if at is None else at
    if not isinstance(number, int) or not 1 <= number <= len(masks):
        raise UserError(f"at={at}", f"the text has {many(len(masks), 'mask')}", "give a mask's number, from 1")
    about = "the mask" if len(masks) == 1 else f"mask {number}"
    place = masks[number - 1]
    before = text[: encoded.offsets[place][0]].rstrip()
    return Placed(batch.inputs[0], read_passage([text], encoded), place, about, before=before)


def of_written_words(task: Any, model: nn.Module, text: Any, at: At) -> Placed:
    """A word of a translation; see `dougong.explain.translations.of_written_words`."""
    from dougong.explain.translations import of_written_words as placed_word

    return placed_word(task, model, text, at)


def of_closeness(task: Any, model: nn.Module, texts: Any, at: At) -> Placed:
    """How close a text is to another; see `dougong.explain.closeness.of_pairs`."""
    from dougong.explain.closeness import of_pairs

    return of_pairs(task, model, texts, at)


def of_histories(task: Any, model: nn.Module, history: Any, at: At) -> Placed:
    """The item that comes after a history."""
    if at is not None:
        raise UserError(f"at={at}", "the item after the history is asked about", "leave it out, or name --target")
    batch = task.prepare(history)
    if len(batch.truth) != 1:
        raise UserError("inputs", f"{len(batch.truth)} histories at once", "explain one at a time")
    one = batch.truth[0]
    if one.cold:
        raise UserError("history", "holds no item that the model knows", "give names of items, oldest first")
    read = one.seen[-task.room :]
    names = [task.catalogue.names[item] for item in read]
    ends = np.cumsum([len(name) for name in names]) + len(BETWEEN) * np.arange(len(names))
    spans = tuple((0, int(end) - len(name), int(end)) for name, end in zip(names, ends, strict=True))
    length = int(batch.inputs[1][0])
    owner = np.where(np.arange(length) < len(read), np.arange(length), -1)  # a mask after the last item is nobody's
    unread = len(one.seen) - len(read) + len(one.unknown)
    device = next(model.parameters()).device
    with torch.no_grad(), deferring():
        best = task.decode(model(*(each.to(device) for each in batch.inputs)), batch)[0].label  # as predict says
    passage = Passage((BETWEEN.join(names),), spans, owner, unread, "item")
    return Placed(batch.inputs[0][:, :length], passage, length - 1, "the next item", task.catalogue.number[best])


KINDS = {
    "token-classification": of_tags,
    "causal-language": of_what_follows,
    "masked-language": of_masks,
    "translation": of_written_words,
    "sentence-embedding": of_closeness,
    "next-item": of_histories,
}
BETWEEN = " · "
"""Between the items of a history that is shown as a text."""


def answers(task: Any) -> tuple[str, ...]:
    """Names of what is answered: tags, or tokens; none where texts are compared."""
    if hasattr(task, "measure"):
        return ()
    if hasattr(task, "classes"):
        return tuple(map(str, task.classes))
    if hasattr(task, "catalogue"):
        return tuple(task.catalogue.names)
    return tuple(str(task.tokenizer.written(number)) for number in range(len(task.tokenizer)))


def in_place(name: str, before: str, names: Sequence[str]) -> str:
    """A token as it is shown after a text: without the blank that parts any two words, and with "…" where it goes on
    with a word although the vocabulary has it as the beginning of one, too.

    >>> in_place(" time", "a", ()), in_place(" time", "a ", ()), in_place("ime", "a t", ["ime", " ime"])
    ('time', ' time', '…ime')
    """
    if not before or before[-1].isspace() or not name.strip():
        return name
    if name.startswith(" "):
        return name[1:]
    return f"…{name}" if before[-1].isalnum() and name[0].isalnum() and f" {name}" in names else name


def answer_named(task: Any, target: int | str | None) -> int | str | None:
    """A target as a number where it is a word that is one token; as it is elsewhere.

    Raises:
        UserError: there are no answers to choose from.
    """
    if hasattr(task, "measure") and target is not None:
        raise UserError(f"target={target}", "texts are compared, and there is no class", "give the other text instead")
    if hasattr(task, "catalogue"):  # an item may be called 12
        return task.catalogue.number.get(target, target) if isinstance(target, str) else target
    if not isinstance(target, str) or hasattr(task, "classes"):
        return target
    for said in (target, " " + target):
        ids = list(task.tokenizer.encode([said], special=False)[0].ids)
        if len(ids) == 1:
            return int(ids[0])
    return target


def chosen(at: int | str, words: Sequence[str]) -> int:
    """The number, from 0, of a word that is named or numbered from 1.

    Raises:
        UserError: there is none.
    """
    if isinstance(at, str) and at in words:
        return list(words).index(at)
    if isinstance(at, str) and not at.isdecimal():
        raise unknown("at", "word", at, words)
    number = int(at)
    if not 1 <= number <= len(words):
        raise UserError(f"at={at}", f"the text has {many(len(words), 'word')}", f"give a word, or 1 to {len(words)}")
    return number - 1


def spans_of(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Where words stand in their text, in order."""
    found, start = [], 0
    for word in words:
        start = max(start, text.find(word, start))
        found.append((start, start + len(word)))
        start += len(word)
    return found


def only(text: Any) -> str:
    """A text.

    Raises:
        UserError: it is something else.
    """
    if not isinstance(text, str):
        raise UserError("inputs", f"{type(text).__name__} is no text", "give one text")
    return text
