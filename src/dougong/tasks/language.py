"""Causal language modelling: each next token of a text from those before it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dougong.data.batching import mix
from dougong.data.tagging import IGNORED
from dougong.errors import UserError
from dougong.heads.losses import cross_entropy, token_losses
from dougong.parts.output import Output
from dougong.tasks.scores import LanguageScores
from dougong.tasks.stored import StoredDocument, StoredDocuments, windows_of
from dougong.tasks.task import Batch, Prediction
from dougong.tasks.text_task import TextTask, given_texts, length_said, numbers, short
from dougong.tasks.texts import fit_text, padded, tokenizer_for

if TYPE_CHECKING:
    from dougong.data.texts import TextData, TextRow
    from dougong.data.texts.stored import StoredSplit
    from dougong.data.tokenizing import Tokenizer

CONTEXT = 256
"""Tokens that are read at once, unless the user or the model says how many."""


class Document:
    """A document as a model reads it.

    Args:
        ids: (n,) of its tokens, int32, since a corpus may be large; with the end token, where the tokenizer has one.
        ends: (n,) of each token the character after its last.
        text: of it.
        where: it lies.
    """

    def __init__(self, ids: Tensor, ends: Tensor, text: str, where: str) -> None:
        self.ids, self.ends, self.text, self.where = ids, ends, text, where


class Windows:
    """The samples of a split: each document in windows of ``length`` tokens that are foreseen, none over two documents.

    Args:
        documents: of two tokens or more.
        length: L.
    """

    def __init__(self, documents: Sequence[Document] | StoredDocuments, length: int) -> None:
        self.documents, self.length = documents, length
        if isinstance(documents, StoredDocuments):
            self._sizes = documents.sizes
            self.firsts, self._lengths = documents.windows(length)
        else:
            self._sizes = np.array([len(one.ids) for one in documents], np.int32)
            self.firsts, self._lengths = windows_of(self._sizes, length)

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def lengths(self) -> np.ndarray:
        """Tokens that are foreseen in each window, (n,) int32."""
        return self._lengths

    def place(self, index: int, shift: int = 0) -> tuple[Document | StoredDocument, int, int]:
        """Document, first token read and last token foreseen of a window.

        Args:
            index: of the window.
            shift: tokens by which windows are moved along, so that epochs cut documents at other places; those that
                would end behind the document end with it.
        """
        number = int(np.searchsorted(self.firsts, index, "right")) - 1
        one, last = self.documents[number], int(self._sizes[number]) - 1
        start = (index - int(self.firsts[number])) * self.length
        if shift and last > self.length:
            start = min(start + shift, last - self.length)
        return one, start, min(start + self.length, last)


def documents(tokenizer: Tokenizer, rows: Sequence[TextRow], end: int | None = None) -> list[Document]:
    """Documents of two tokens or more.

    Args:
        tokenizer: text to tokens.
        rows: their texts.
        end: a token that is put after each.
    """
    found = []
    texts = [row.texts[0] for row in rows]
    for row, one in zip(rows, tokenizer.each(texts, special=False), strict=True):
        ids, ends = list(one.ids), [stop for _, stop in one.offsets]
        if end is not None:
            ids, ends = [*ids, end], [*ends, len(row.texts[0])]
        if len(ids) > 1:
            both = (torch.tensor(ids, dtype=torch.int32), torch.tensor(ends, dtype=torch.int32))
            found.append(Document(*both, row.texts[0], row.where))
    return found


class CausalLanguage(TextTask):
    """What a sample is, what is learnt from it, and how well.

    A sample is a window of a document. No window reaches over two documents, and a batch of windows of unequal length
    is computed without its padding, so documents are packed side by side without seeing each other. In each epoch the
    windows are moved along by another number of tokens.

    Args:
        tokenizer: text to tokens.
        max_length: tokens of a window.
        data: None for a task that only predicts.
        notes: what was decided for the user.
    """

    name = "causal-language"
    primary = "loss"
    higher_is_better = False
    limits = (0.0, float("inf"))

    @classmethod
    def from_data(
        cls, data: TextData, *, tokenizer: str = "auto", vocab_size: int | None = None, max_length: int | None = None,
        most: int | None = None,
    ) -> CausalLanguage:  # fmt: skip
        """The task that a corpus poses.

        Args:
            data: plain documents.
            tokenizer: see `dougong.tasks.texts.tokenizer_for`; byte pairs when it is "auto".
            vocab_size: of one that is trained.
            max_length: tokens that are read at once; 256, or what the model takes, when None.
            most: tokens that the model takes.

        Raises:
            UserError: more tokens are asked for than the model takes, or a split without a window.
        """
        length = cls.room(max_length, most)
        made, line = tokenizer_for(tokenizer, data.splits["train"].texts(), vocab_size, "bpe", "none")
        task = cls(made, length, data, [line])
        task.check(data)
        return task

    @staticmethod
    def room(asked: int | None, most: int | None) -> int:
        """Tokens of a window. Args: asked: by the user; most: that the model takes.

        Raises:
            UserError: more are asked for than the model takes.
        """
        if asked is not None and most is not None and asked > most:
            raise UserError("max_length", f"{asked} is more than the {most} places of the model", f"set it to {most}")
        return asked or min(most or CONTEXT, CONTEXT)

    def check(self, data: TextData) -> None:
        """Make sure that each split holds a window.

        Raises:
            UserError: one does not.
        """
        for split in data.splits:
            if not len(self.rows(split)):
                raise UserError(data.source, f"has no two tokens in {split}", "give more text")

    def adapt(
        self, config: dict[str, Any], fixed: Collection[str] = (), trained: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """A model's configuration made to read these texts; see `dougong.tasks.texts.fit_text`."""
        fitted, lines = fit_text(
            config, "causal-language", vocab_size=len(self.tokenizer), max_length=self.max_length, n_classes=None,
            fixed=fixed, trained=trained,
        )  # fmt: skip
        return fitted, [*self.notes, *lines]

    def encoded(self, rows: Sequence[TextRow]) -> Windows:
        """Documents in windows."""
        return Windows(documents(self.tokenizer, rows, self.tokenizer.special_ids.get("eos")), self.max_length)

    def stored(self, part: StoredSplit) -> Windows:
        """Documents on disk in windows."""
        end = self.tokenizer.special_ids.get("eos")
        return Windows(StoredDocuments.of(part, self.tokenizer, end), self.max_length)

    def size(self, split: str) -> int:
        """Windows in a split."""
        return len(self.rows(split))

    def lengths(self, split: str) -> np.ndarray:
        """Tokens of each window, (n,) int32."""
        return self.rows(split).lengths()

    def batch(self, split: str, indices: Tensor, *, train: bool, epoch: int, seed: int) -> Batch:
        """Some windows: tokens (B, L), with lengths (B,) where they are unequal, and the tokens that follow, (B, L)."""
        windows = self.rows(split)
        shift = mix("windows", seed, epoch) % windows.length if train and epoch else 0
        places = [windows.place(index, shift) for index in numbers(indices)]
        read = [one.ids[start:stop].long() for one, start, stop in places]
        inputs, targets = (
            _inputs(read, self.fill),
            [one.ids[start + 1 : stop + 1].long() for one, start, stop in places],
        )
        ends = [(int(one.ends[start]), int(one.ends[stop])) for one, start, stop in places]
        truth = [one.text[a:b] for (one, _, _), (a, b) in zip(places, ends, strict=True)] if not train else []
        where = [f"{one.where}, token {start}" for one, start, _ in places]
        return Batch(inputs, padded([row.tolist() for row in targets], IGNORED)[0], indices, where, truth)

    def loss(self, output: Output, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy in nats a token; logits that are `Pending` are never held for all of them."""
        assert batch.targets is not None
        return cross_entropy(output, batch.targets, IGNORED, label_smoothing)

    def new_metrics(self) -> LanguageMetrics:
        """Sums that are still empty."""
        return LanguageMetrics()

    def decode(self, output: Output, batch: Batch | None = None) -> list[Prediction]:
        """How well each text was foreseen, and the tokens that are most probable after it."""
        assert output.logits is not None and batch is not None
        found = []
        for row, logits in enumerate(output.logits.detach().float().cpu()):
            size = len(logits) if len(batch.inputs) < 2 else int(batch.inputs[1][row])
            shares, tokens = logits[size - 1].softmax(-1).topk(min(10, logits.shape[-1]))
            top = [
                (self.tokenizer.decode([token], skip_special=False), share)
                for token, share in zip(tokens.tolist(), shares.tolist(), strict=True)
            ]
            found.append(Prediction(top[0][0], top[0][1], top))
        return found

    def keep(self, folder: Path) -> None:
        """Write what belongs beside a model of this task: its tokenizer, and the tokens that begin and end a text."""
        super().keep(folder)
        held = self.tokenizer.special_ids
        self.keep_roles(folder, **{role: held[role] for role in ("bos", "eos", "pad") if role in held})

    def describe(self) -> dict[str, Any]:
        """What a saved model needs to predict without its data; the tokenizer lies beside it."""
        return {"task": self.name, "max_length": self.max_length}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], folder: Path) -> CausalLanguage:
        """The task that ``describe`` described, with the tokenizer of its folder; it predicts, and has no splits.

        Raises:
            UserError: a value is missing or is none of its kind, or the tokenizer cannot be opened.
        """
        from dougong.data.tokenizing import Tokenizer

        return cls(Tokenizer.open(folder), length_said(description))

    def on(self, data: TextData) -> CausalLanguage:
        """The same task, with its tokenizer, on other documents."""
        return type(self)(self.tokenizer, self.max_length, data)

    def prepare(self, raw: Any) -> Batch:
        """A text or a list of texts, of which the last tokens that fit are read.

        Raises:
            UserError: something else, or nothing at all.
        """
        texts = given_texts(raw)
        rows = [list(one.ids)[-self.max_length :] for one in self.tokenizer.encode(texts, special=False)]
        read = [torch.tensor(row or [self.fill]) for row in rows]
        return Batch(_inputs(read, self.fill), None, torch.arange(len(texts)), [short(text) for text in texts])


def _inputs(rows: Sequence[Tensor], fill: int) -> tuple[Tensor, ...]:
    """Rows of tokens as (B, L), and their lengths (B,) where they differ."""
    if all(len(row) == len(rows[0]) for row in rows):
        return (torch.stack(list(rows)),)
    return padded([row.tolist() for row in rows], fill)


class LanguageMetrics:
    """Loss and perplexity a token, bits a character and a byte; see `dougong.tasks.scores.LanguageScores`."""

    def __init__(self) -> None:
        self.scores = LanguageScores()

    def update(self, output: Output, batch: Batch) -> None:
        """Add a batch: logits (B, L, V), the tokens that came (B, L), and the text that they stand for."""
        assert batch.targets is not None
        counted = batch.targets != IGNORED
        losses = token_losses(output, batch.targets, IGNORED)
        for row, kept, text in zip(losses, counted, batch.truth, strict=True):
            self.scores.update(row, kept, len(text), len(text.encode("utf-8", "surrogatepass")))

    def compute(self) -> dict[str, float]:
        """loss (nats a token), perplexity, bits_per_character, bits_per_byte."""
        return self.scores.compute()

    def sample_scores(self) -> list[float]:
        """The loss of each window, nats a token."""
        sums = self.scores.statistics()
        return (sums[:, 0] / sums[:, 1].clamp_min(1)).tolist()

    def interval(self) -> tuple[float, float]:
        """The bootstrap interval of the loss over windows."""
        return self.scores.interval()

    def table(self) -> dict[str, Any]:
        """Nothing beside the numbers."""
        return {}
