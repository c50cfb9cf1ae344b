"""Text classification: one class a text, or several; of one text or of two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dougong.errors import UserError, unknown
from dougong.figures import are, many
from dougong.parts.output import Output
from dougong.tasks.metrics import ClassificationMetrics
from dougong.tasks.scores import LabelScores
from dougong.tasks.scores.kept import Kept
from dougong.tasks.task import Batch, Prediction
from dougong.tasks.text_task import TextTask, length_said, short
from dougong.tasks.texts import AT_ONCE, fit_text, longest, padded, tokenizer_for

if TYPE_CHECKING:
    from dougong.data.texts import TextData, TextRow
    from dougong.data.tokenizing import Encoding, Tokenizer

Text = tuple[str, ...]


class TextClassification(TextTask):
    """What a sample is, what is learnt from it, and how well.

    Args:
        classes: their names.
        tokenizer: text to tokens.
        max_length: tokens that are read of a text; the rest is cut.
        several: a text may have any number of classes, each scored by itself.
        data: None for a task that only predicts.
        notes: what was decided for the user.
    """

    name = "text-classification"
    higher_is_better = True
    limits = (0.0, 1.0)

    def __init__(
        self, classes: Sequence[str], tokenizer: Tokenizer, max_length: int, several: bool = False,
        data: TextData | None = None, notes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(tokenizer, max_length, data, notes)
        self.classes, self.several = tuple(classes), several
        self.primary = "micro_f1" if several else "accuracy"

    @classmethod
    def from_data(
        cls, data: TextData, *, tokenizer: str = "auto", vocab_size: int | None = None, max_length: int | None = None,
        most: int | None = None,
    ) -> TextClassification:  # fmt: skip
        """The task that a data set poses.

        Args:
            data: labelled texts.
            tokenizer: see `dougong.tasks.texts.tokenizer_for`.
            vocab_size: of one that is trained.
            max_length: tokens that are read; chosen by the data when None.
            most: tokens that the model takes.

        Raises:
            UserError: one class only, of texts that have one each.
        """
        if len(data.classes) < 2 and not data.several:
            what = f"has only one class, {data.classes[0]!r}, so there is nothing to tell apart"
            raise UserError(data.source, what, "give texts of at least two classes")
        made, line = tokenizer_for(tokenizer, data.splits["train"].texts(), vocab_size)
        task = cls(data.classes, made, 10**9, data.several, data, [line])
        lengths = np.asarray(task.lengths("train"))
        task.max_length = longest(lengths, most, max_length)
        cut = sum(
            int((part > task.max_length).sum()) for part in np.split(lengths, range(AT_ONCE, len(lengths), AT_ONCE))
        )
        if cut:
            task.notes.append(f"{cut} of {len(lengths)} training texts {are(cut)} cut to {task.max_length} tokens")
        task._rows.clear()
        return task

    def adapt(
        self, config: dict[str, Any], fixed: Collection[str] = (), trained: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """A model's configuration made to read these texts; see `dougong.tasks.texts.fit_text`."""
        fitted, lines = fit_text(
            config, "sequence", vocab_size=len(self.tokenizer), max_length=self.max_length,
            n_classes=len(self.classes), fixed=fixed, trained=trained,
        )  # fmt: skip
        return fitted, [*self.notes, *lines]

    def encoded(self, rows: Sequence[TextRow]) -> list[list[int]]:
        """The tokens of each text, or pair of texts."""
        return self._encoded([row.texts for row in rows])

    def batch(self, split: str, indices: Tensor, *, train: bool, epoch: int, seed: int) -> Batch:
        """Some samples of a split: tokens (B, L) with lengths (B,), targets (B,), or (B, C) for several classes."""
        part, rows, numbers = self.split(split), self.rows(split), indices.tolist()
        read = [part[number] for number in numbers]
        inputs = self._inputs([rows[number] for number in numbers])
        targets = self._targets([row.labels for row in read])
        return Batch(inputs, targets, indices, [row.where for row in read])

    def loss(self, output: Output, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy in nats; for several classes, the binary one, averaged over classes."""
        assert output.logits is not None and batch.targets is not None
        logits = output.logits.float()
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        if self.several:
            soft = batch.targets * (1 - label_smoothing) + label_smoothing / 2
            return F.binary_cross_entropy_with_logits(logits, soft, pos_weight=weights)
        return F.cross_entropy(logits, batch.targets, weights, label_smoothing=label_smoothing)

    def weight(self, batch: Batch) -> float:
        """What the mean of a batch is over."""
        return len(batch) if self.several else super().weight(batch)

    def counts(self) -> list[int]:
        """Training texts of each class; and of all, where a text may have several."""
        rows = self.split("train")
        found = Counter(label for row in rows for label in row.labels)
        return [found[number] for number in range(len(self.classes))] + ([len(rows)] if self.several else [])

    def new_metrics(self) -> Any:
        """Sums that are still empty."""
        return SeveralMetrics(self.classes) if self.several else ClassificationMetrics(self.classes)

    def decode(self, output: Output, batch: Batch | None = None) -> list[Prediction]:
        """Logits (B, C) to classes with their probabilities; of several, those above a half, joined by commas."""
        assert output.logits is not None
        logits = output.logits.detach().float().cpu()
        shares = logits.sigmoid() if self.several else logits.softmax(-1)
        found = []
        for row in shares.tolist():
            top = sorted(zip(self.classes, row, strict=True), key=lambda each: -each[1])
            chosen = [name for name, share in top if share > 0.5] if self.several else [top[0][0]]
            found.append(Prediction(", ".join(chosen), top[0][1], top))
        return found

    def describe(self) -> dict[str, Any]:
        """What a saved model needs to predict without its data; the tokenizer lies beside it."""
        return {
            "task": self.name, "classes": list(self.classes), "several": self.several, "max_length": self.max_length,
        }  # fmt: skip

    @classmethod
    def from_description(cls, description: Mapping[str, Any], folder: Path) -> TextClassification:
        """The task that ``describe`` described, with the tokenizer of its folder; it predicts, and has no splits.

        Raises:
            UserError: a value is missing or is none of its kind, or the tokenizer cannot be opened.
        """
        from dougong.data.tokenizing import Tokenizer

        classes, several = description.get("classes"), description.get("several")
        if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
            raise UserError("classes", f"{str(classes)[:60]!r} will not do", "write names")
        return cls(classes, Tokenizer.open(folder), length_said(description), bool(several))

    def on(self, data: TextData) -> TextClassification:
        """The same task, with its classes and its tokenizer, on other texts.

        Raises:
            UserError: the texts have a class that the task does not know, or may have several where it gives one.
        """
        if data.several != self.several:
            held, gives = ("several labels", "one") if data.several else ("one label", "any number")
            raise UserError(
                data.source, f"gives a text {held}, the model {gives}",
                "say --labels-split SIGN, or give lists" if self.several else "give one label a text",
            )  # fmt: skip
        for name in data.classes:
            if name not in self.classes:
                raise unknown(data.source, "class", name, self.classes)
        return TextClassification(
            self.classes, self.tokenizer, self.max_length, self.several, data.relabelled(self.classes)
        )

    def prepare(self, raw: Any) -> Batch:
        """A text, a pair of texts, or a list of these, as evaluation reads them.

        Raises:
            UserError: something else, or nothing at all.
        """
        inputs = list(raw) if isinstance(raw, list) else [raw]
        texts: list[Text] = []
        for number, each in enumerate(inputs):
            text = (each,) if isinstance(each, str) else tuple(each) if isinstance(each, tuple) else ()
            if not text or not all(isinstance(part, str) for part in text):
                raise UserError(f"input {number + 1}", "is no text", "give a text, or a pair of texts")
            texts.append(text)
        if not texts:
            raise UserError("inputs", "no text is given", "give at least one")
        odd = next((number for number, each in enumerate(texts) if len(each) != len(texts[0])), None)
        if odd is not None or len(texts[0]) > 2:
            what = f"holds {many(len(texts[odd or 0]), 'text')}" + (
                "" if odd is None else f", the first {len(texts[0])}"
            )
            raise UserError(f"input {(odd or 0) + 1}", what, "give one text each, or pairs")
        where = [short(text[0]) for text in texts]
        return Batch(self._inputs(self._encoded(texts)), None, torch.arange(len(texts)), where)

    def encodings(self, texts: Sequence[Text]) -> list[Encoding]:
        """What the model reads of each text or pair, with the characters that each token stands for."""
        return list(self._each(texts))

    def _each(self, texts: Sequence[Text]) -> Iterator[Encoding]:
        pair = [text[1] for text in texts] if texts and len(texts[0]) == 2 else None
        most = self.max_length if self.max_length < 10**9 else None
        return self.tokenizer.each([text[0] for text in texts], pair, max_length=most)

    def _encoded(self, texts: Sequence[Text]) -> list[list[int]]:
        return [list(one.ids) for one in self._each(texts)]

    def _inputs(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        return padded([row or [self.fill] for row in rows], self.fill)

    def _targets(self, labels: Sequence[Sequence[int]]) -> Tensor:
        if not self.several:
            return torch.tensor([row[0] for row in labels], dtype=torch.int64)
        targets = torch.zeros(len(labels), len(self.classes))
        for place, row in enumerate(labels):
            targets[place, list(row)] = 1
        return targets


class SeveralMetrics:
    """Loss, and scores of classes that stand side by side. Args: classes: their names."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.scores, self.loss, self.count = LabelScores(classes), 0.0, 0
        self._right = Kept(1)

    def update(self, output: Output, batch: Batch) -> None:
        """Add a batch: logits (B, C), targets (B, C)."""
        assert output.logits is not None and batch.targets is not None
        logits, targets = output.logits.detach().float(), batch.targets
        self.loss += float(F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1).sum())
        self.count += len(targets)
        self.scores.update(logits.cpu(), targets.cpu())
        self._right.add(((logits > 0) == (targets > 0.5)).all(1).tolist())

    def compute(self) -> dict[str, float]:
        """loss (binary cross-entropy, the mean over classes), and what `LabelScores.compute` gives."""
        return {"loss": self.loss / self.count if self.count else float("nan"), **self.scores.compute()}

    def sample_scores(self) -> list[float]:
        """1 for each text with all of its classes right, else 0."""
        return self._right.rows()[:, 0].tolist()

    def interval(self) -> tuple[float, float]:
        """The bootstrap interval of micro_f1 over texts."""
        return self.scores.interval()

    def table(self) -> dict[str, Any]:
        """Scores of each class."""
        return {"per_class": self.scores.table()}
