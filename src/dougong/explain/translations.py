"""A text that was written from a text, as a translation: why a word stands there, by the words that were read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dougong.errors import UserError
from dougong.explain.places import At, Placed, chosen, only
from dougong.explain.subject import Grids
from dougong.explain.texts import TextSubject, read_passage
from dougong.parts.embeddings import Embedded
from dougong.parts.output import Output


class Writing(nn.Module):
    """An encoder-decoder in the middle of a text, as a model that reads the source and answers with the next token.

    Args:
        model: an `EncoderDecoder`.
        written: (1, L) tokens of the target so far, the one that begins it first.
    """

    def __init__(self, model: Any, written: Tensor) -> None:
        super().__init__()
        self.model, self.written = model, written
        self.embedding = _Source(model.source_embedding)  # a part of its own: source and target may share their table

    def forward(self, source: Tensor) -> Output:
        """Source (N, S) to an `Output` with the logits of the next token, (N, 1, V)."""
        memory = self.model.encoder(self.embedding(source).x)
        written = self.written.to(memory.device).expand(len(memory), -1)
        hidden = self.model.decoder(self.model.target_embedding(written).x, memory=memory)[:, -1:]
        return Output(logits=self.model.head(hidden, None), memory=memory)


class _Source(nn.Module):
    """The embedding of the source alone. Args: table: that may be the target's, too."""

    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self.table = table

    def forward(self, source: Tensor) -> Embedded:
        """Source (N, S) to `Embedded`."""
        return self.table(source)


@dataclass(frozen=True, eq=False)
class TranslationSubject(TextSubject):
    """A source, and the next token of what is written from it; scores refer to the source's words. Args: see
    `TextSubject`."""

    cross = "the token before the one that is asked about"

    def readout(self, grids: Grids | None = None) -> list[int]:
        """The last token that was written: it answers with the next."""
        return [-1]


def of_written_words(task: Any, model: nn.Module, text: Any, at: At) -> Placed:
    """A word of what was written from a text, at its first token.

    Args:
        task: "translation".
        model: writes, where ``text`` is the source alone.
        text: a source, or a source and its target.
        at: a word of the target, or its number from 1; the first when None.

    Raises:
        UserError: no text, a text without words, or a word that is not there.
    """
    given = text if isinstance(text, tuple) else (text,)
    source = only(given[0])
    batch = task.prepare(source)
    device = next(model.parameters()).device
    target = only(given[1]) if len(given) > 1 else task.write(model, batch.to(device))[0]
    if not target.strip():
        raise UserError("text", "the model writes nothing for it", "give a target to ask about by a second --text")
    encoded = task.tokenizer.encode([target], special=False)[0]
    whole = read_passage([target], encoded)
    word = 0 if at is None else chosen(at, list(whole.units().names))
    start, name = whole.words[word][1], whole.units().names[word]
    pieces = [place for place, owner in enumerate(whole.owner.tolist()) if owner == word]
    first = next(place for place in pieces if encoded.offsets[place][1] > start)  # a blank before it may be a token
    ids = list(encoded.ids)
    read = read_passage([source], task.tokenizer.encode([source], max_length=task.max_length)[0])
    whose = "given" if len(given) > 1 else "written"
    about = f"the word “{name}”" if len(pieces) == 1 else f"the beginning of “{name}”"
    return replace(
        Placed(batch.inputs[0], read, -1, about, ids[first]),
        subject=TranslationSubject,
        before=target[:start].rstrip(),
        reader=Writing(model, torch.tensor([[task.start, *ids[:first]]])),
        said=f"The text that was {whose}: “{target}”. What stands before “{name}” was read, too, and has no score.",
    )
