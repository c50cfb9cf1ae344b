"""Token classification: a tag for each word, and so the entities of a sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dougong.data.tagging import IGNORED, label_pieces, pieceless, spans, word_values
from dougong.errors import UserError, unknown
from dougong.figures import many
from dougong.parts.output import Output
from dougong.tasks.scores import EntityScores
from dougong.tasks.scores.calibration import Calibration
from dougong.tasks.task import Batch, Prediction
from dougong.tasks.text_task import TextTask, length_said, numbers, short
from dougong.tasks.texts import fit_text, longest, padded, tokenizer_for

if TYPE_CHECKING:
    from dougong.data.texts import TextData, TextRow
    from dougong.data.tokenizing import Tokenizer

WORD = re.compile(r"https?://\S+|[@#]?\w+(?:['’.-]\w+)*|[^\w\s]")
"""Words of running text: links, names with a sign in front, words with points and hyphens inside; other signs alone."""
WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
"""Signs of scripts that are written without blanks, each of which is a word."""


class Sentence:
    """A sentence as a model reads it.

    Args:
        ids: of its pieces.
        words: the word of each piece, None for special ones.
        row: words, and tags where they are known.
    """

    __slots__ = ("ids", "row", "words")

    def __init__(self, ids: list[int], words: list[int | None], row: TextRow) -> None:
        self.ids, self.words, self.row = ids, words, row

    def __len__(self) -> int:
        return len(self.ids)


class TokenClassification(TextTask):
    """What a sample is, what is learnt from it, and how well.

    The first piece of each word is labelled; the others are passed over (Devlin et al. 2019, section 5.3).

    Args:
        classes: the tags, BIO, "O" first.
        tokenizer: words to pieces.
        max_length: pieces that are read of a sentence; words beyond are given O.
        separator: what stands between words: " ", or "" in Chinese.
        data: None for a task that only predicts.
        notes: what was decided for the user.
    """

    name = "token-classification"
    primary = "f1"
    higher_is_better = True
    limits = (0.0, 1.0)

    def __init__(
        self, classes: Sequence[str], tokenizer: Tokenizer, max_length: int, separator: str = " ",
        data: TextData | None = None, notes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(tokenizer, max_length, data, notes)
        self.classes, self.separator = tuple(classes), separator

    @classmethod
    def from_data(
        cls, data: TextData, *, tokenizer: str = "auto", vocab_size: int | None = None, max_length: int | None = None,
        most: int | None = None,
    ) -> TokenClassification:  # fmt: skip
        """The task that tagged sentences pose; arguments as for `dougong.tasks.TextClassification.from_data`."""
        words = [row.texts for row in data.splits["train"]]
        letters = "".join("".join(sentence) for sentence in words[:500])
        separator = "" if len(WIDE.findall(letters)) > len(letters) / 3 else " "
        made, line = tokenizer_for(tokenizer, [separator.join(sentence) for sentence in words], vocab_size)
        task = cls(data.classes, made, 10**9, separator, data, [line])
        lengths = task.lengths("train")
        task.max_length = longest(lengths, most, max_length)
        task._rows.clear()
        lost = [len(pieceless(one.words, len(one.row.texts))) for one in task.rows("train")]
        if any(lost):
            where = many(sum(map(bool, lost)), "training sentence")
            said = f"{many(sum(lost), 'word')} of {where} {'has' if sum(lost) == 1 else 'have'} no piece"
            task.notes.append(f"{said}: cut at {task.max_length}, or nothing that the tokenizer keeps")
        return task

    def adapt(
        self, config: dict[str, Any], fixed: Collection[str] = (), trained: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """A model's configuration made to read these texts; see `dougong.tasks.texts.fit_text`."""
        fitted, lines = fit_text(
            config, "tokens", vocab_size=len(self.tokenizer), max_length=self.max_length,
            n_classes=len(self.classes), fixed=fixed, trained=trained,
        )  # fmt: skip
        return fitted, [*self.notes, *lines]

    def encoded(self, rows: Sequence[TextRow]) -> list[Sentence]:
        """Sentences in pieces."""
        from dougong.data.tokenizing.words import encode_words

        most = self.max_length if self.max_length < 10**9 else None
        found = []
        for row in rows:
            one = encode_words(self.tokenizer, row.texts, self.separator, max_length=most)
            found.append(Sentence(list(one.ids), list(one.words), row))
        return found

    def batch(self, split: str, indices: Tensor, *, train: bool, epoch: int, seed: int) -> Batch:
        """Some sentences of a split: pieces (B, L) with lengths (B,), tags (B, L), `IGNORED` where none counts."""
        rows = self.rows(split)
        return self._batch([rows[number] for number in numbers(indices)], indices)

    def _batch(self, some: Sequence[Sentence], indices: Tensor, known: bool = True) -> Batch:
        inputs = padded([one.ids or [self.fill] for one in some], self.fill)
        targets = None
        if known:
            number = {name: place for place, name in enumerate(self.classes)}
            labels = [label_pieces(one.words, [number[tag] for tag in one.row.tags]) for one in some]
            targets = padded([row or [IGNORED] for row in labels], IGNORED)[0]
        return Batch(inputs, targets, indices, [one.row.where for one in some], list(some))

    def loss(self, output: Output, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy in nats, the mean over words."""
        assert output.logits is not None and batch.targets is not None
        logits = output.logits.float().flatten(0, 1)
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        return F.cross_entropy(
            logits, batch.targets.flatten(), weights, ignore_index=IGNORED, label_smoothing=label_smoothing
        )

    def counts(self) -> list[int]:
        """Training words of each tag."""
        found = Counter(tag for row in self.split("train") for tag in row.tags)
        return [found[name] for name in self.classes]

    def new_metrics(self) -> EntityMetrics:
        """Sums that are still empty."""
        return EntityMetrics(self)

    def tags(self, output: Output, batch: Batch) -> list[tuple[list[str], list[float]]]:
        """The tag of each word and its probability; O and 1 for words without a piece."""
        assert output.logits is not None
        shares, given = output.logits.detach().float().softmax(-1).max(-1)
        found = []
        for one, sure, chosen in zip(batch.truth, shares.cpu().tolist(), given.cpu().tolist(), strict=True):
            count, size = len(one.row.texts), len(one.words)
            names = word_values(one.words, [self.classes[each] for each in chosen[:size]], count, "O")
            found.append((names, word_values(one.words, sure[:size], count, 1.0)))
        return found

    def decode(self, output: Output, batch: Batch | None = None) -> list[Prediction]:
        """The entities of each sentence: type, words, first word and the one after the last, probability."""
        assert batch is not None
        found = []
        for one, (tags, sure) in zip(batch.truth, self.tags(output, batch), strict=True):
            words = one.row.texts
            entities = [
                {
                    "type": kind, "text": self.separator.join(words[start:stop]), "start": start, "end": stop,
                    "probability": min(sure[start:stop]),
                }
                for start, stop, kind in spans(tags)
            ]  # fmt: skip
            label = "; ".join(f"{each['type']}: {each['text']}" for each in entities) or "none"
            least = min((float(each["probability"]) for each in entities), default=min(sure, default=1.0))  # type: ignore[arg-type]
            found.append(Prediction(label, least, [], parts=entities))
        return found

    def describe(self) -> dict[str, Any]:
        """What a saved model needs to predict without its data; the tokenizer lies beside it."""
        return {
            "task": self.name, "classes": list(self.classes), "separator": self.separator,
            "max_length": self.max_length,
        }  # fmt: skip

    @classmethod
    def from_description(cls, description: Mapping[str, Any], folder: Path) -> TokenClassification:
        """The task that ``describe`` described, with the tokenizer of its folder; it predicts, and has no splits.

        Raises:
            UserError: a value is missing or is none of its kind, or the tokenizer cannot be opened.
        """
        from dougong.data.tokenizing import Tokenizer

        classes, separator = description.get("classes"), description.get("separator", " ")
        if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
            raise UserError("classes", f"{str(classes)[:60]!r} will not do", "write names")
        if separator not in ("", " "):
            raise UserError("separator", f"{separator!r} will not do", 'write "" or " "')
        return cls(classes, Tokenizer.open(folder), length_said(description), separator)

    def on(self, data: TextData) -> TokenClassification:
        """The same task, with its tags and its tokenizer, on other sentences.

        Raises:
            UserError: they have a tag that the task does not know.
        """
        for name in data.classes:
            if name not in self.classes:
                raise unknown(data.source, "tag", name, self.classes)
        return TokenClassification(self.classes, self.tokenizer, self.max_length, self.separator, data)

    def prepare(self, raw: Any) -> Batch:
        """A text, or a list of texts and lists of words, as a batch without tags; texts are cut into words.

        Raises:
            UserError: something else, or nothing at all.
        """
        from dougong.data.texts import TextRow

        many = list(raw) if isinstance(raw, list | tuple) else [raw]
        if not many:
            raise UserError("inputs", "no text is given", "give at least one")
        rows = []
        for number, each in enumerate(many):
            words = self._words(each) if isinstance(each, str) else each
            if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
                raise UserError(f"input {number + 1}", "is no text", "give a text, or a list of its words")
            said = each if isinstance(each, str) else self.separator.join(words)
            rows.append(TextRow(tuple(words), where=short(said)))
        return self._batch(self.encoded(rows), torch.arange(len(rows)), known=False)

    def _words(self, text: str) -> list[str]:
        """Words of running text; of scripts without blanks, each sign."""
        return WORD.findall(WIDE.sub(lambda sign: f" {sign[0]} ", text)) if self.separator == "" else WORD.findall(text)


class EntityMetrics:
    """Loss, and strict F1 of entities (see `dougong.tasks.scores.EntityScores`). Args: task: whose tags they are."""

    def __init__(self, task: TokenClassification) -> None:
        self.task, self.scores = task, EntityScores()
        self.loss, self.words, self.right = 0.0, 0, 0
        self._shares: list[float] = []
        self.calibration = Calibration()

    def update(self, output: Output, batch: Batch) -> None:
        """Add a batch: logits (B, L, C), tags (B, L); words that were cut off count as O."""
        assert output.logits is not None and batch.targets is not None
        logits = output.logits.detach().float().flatten(0, 1)
        targets = batch.targets.flatten()
        self.loss += float(F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum").double())
        known = targets != IGNORED
        self.words += int(known.sum())
        sure, given = logits[known].softmax(-1).max(-1)
        self.calibration.update(sure, given == targets[known])
        for one, (tags, _) in zip(batch.truth, self.task.tags(output, batch), strict=True):
            self.scores.update(one.row.tags, tags)
            right = sum(a == b for a, b in zip(one.row.tags, tags, strict=True))
            self._shares.append(right / max(1, len(tags)))

    def compute(self) -> dict[str, float]:
        """loss (nats a word), precision, recall, f1 (micro) and macro_f1 of entities, accuracy and ece of tags.

        The accuracy is the mean over sentences; the calibration error is over words that the model read.
        """
        accuracy = sum(self._shares) / len(self._shares) if self._shares else float("nan")
        loss = self.loss / self.words if self.words else float("nan")
        return {"loss": loss, **self.scores.compute(), "accuracy": accuracy, "ece": self.calibration.compute()}

    def sample_scores(self) -> list[float]:
        """The share of right tags of each sentence."""
        return self._shares

    def interval(self) -> tuple[float, float]:
        """The bootstrap interval of f1 over sentences."""
        return self.scores.interval()

    def table(self) -> dict[str, Any]:
        """Scores of each type of entity."""
        return {"per_class": self.scores.table()}
