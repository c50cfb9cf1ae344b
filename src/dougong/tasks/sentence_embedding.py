"""Sentence embedding: texts to vectors of length 1, near each other where the texts belong together."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dougong.errors import UserError, unknown
from dougong.figures import are
from dougong.heads.embed import POOLINGS
from dougong.parts.output import Output
from dougong.tasks.measures import KINDS, TEMPERATURE, EmbeddingMetrics, Measure, kind_of, range_of
from dougong.tasks.scores import likeness
from dougong.tasks.task import Batch, Prediction
from dougong.tasks.text_task import TextTask, given_texts, length_said, numbers, short
from dougong.tasks.texts import fit_text, longest, padded, tokenizer_for

if TYPE_CHECKING:
    from dougong.data.texts import TextData, TextRow
    from dougong.data.tokenizing import Tokenizer

SHORTEST = 3
"""Tokens that are read of a text at least."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """The samples of a split as tokens.

    Args:
        tokens: of both texts of each sample; of a single text, twice.
        ids: (N, 2) a number for each text, equal exactly where the model reads the same.
        scores: (N,) as cosines; empty where there are none.
    """

    tokens: list[tuple[list[int], list[int]]]
    ids: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.tokens)


class SentenceEmbedding(TextTask):
    """What a sample is, what is learnt from it, and how well.

    A sample is a pair of texts; a batch of B of them is read as 2 B rows, all first texts before all second ones. The
    vector of a text is its hidden states pooled and brought to length 1.

    Pairs: the second text is to be found among those of the batch, by cosine over a temperature (in-batch negatives:
    Henderson et al. 2017, section 4.1; van den Oord et al. 2018, section 2.3). Copies of a text are no negatives.
    Single texts: each is read twice, and only dropout tells the readings apart (Gao et al. 2021, section 3.1).
    Scored pairs: the squared distance of cosine and score (Reimers and Gurevych 2019, section 3).

    Args:
        tokenizer: text to tokens.
        max_length: tokens that are read of a text.
        measure: how texts become vectors and are compared.
        data: None for a task that only predicts.
        notes: what was decided for the user.
    """

    name = "sentence-embedding"
    rows_each = 2
    """Rows that the model reads for a sample."""

    def __init__(
        self, tokenizer: Tokenizer, max_length: int, measure: Measure, data: TextData | None = None,
        notes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(tokenizer, max_length, data, notes)
        self.measure = measure
        self.primary = {"pairs": "mrr", "scored": "spearman", "single": "loss"}[measure.learns]
        self.higher_is_better = measure.learns != "single"
        self.limits = {"pairs": (0.0, 1.0), "scored": (-1.0, 1.0), "single": (0.0, math.inf)}[measure.learns]

    @classmethod
    def from_data(
        cls, data: TextData, *, tokenizer: str = "auto", vocab_size: int | None = None, max_length: int | None = None,
        most: int | None = None, pooling: str | None = None, temperature: float | None = None,
        symmetric: bool | None = None, source: str | None = None,
    ) -> SentenceEmbedding:  # fmt: skip
        """The task that pairs, or single texts, pose.

        Args:
            data: of the kind "sentences".
            tokenizer, vocab_size, max_length, most: as for `dougong.tasks.TextClassification.from_data`.
            pooling: a way of `dougong.heads.embed.POOLINGS`, or "last"; that of ``source`` or the mean when None.
            temperature: of the contrastive loss; 0.05 when None.
            symmetric: whether pairs are found both ways; they are when None.
            source: the folder of a trained model that is gone on with. One of sentence-transformers keeps its pooling,
                its length, and its texts in lower case.

        Raises:
            UserError: an unknown way of pooling, or a temperature that is not above 0.
        """
        split = data.splits["train"]
        texts = [text for row in split for text in row.texts]
        made, line = tokenizer_for(tokenizer, texts, vocab_size)
        notes = [line]
        kept, size, lower = _kept(source)
        if kept is not None and size is None:  # where the tokenizer's files say it
            size = made.max_length
        if lower:
            from dougong.interop.vocabulary import in_lower_case

            made = in_lower_case(made)
        chosen = kept if pooling is None else ({"last": "lasttoken"}.get(pooling, pooling),)
        if chosen is not None and chosen[0] not in POOLINGS:
            raise unknown("pooling", "way of pooling", str(pooling), POOLINGS)
        if temperature is not None and not (math.isfinite(temperature) and temperature > 0):
            raise UserError("temperature", f"{temperature} is no number above 0", "set 0.05, for example")
        if max_length is not None and max_length < SHORTEST:
            raise UserError("max_length", f"{max_length} tokens are too few", f"set {SHORTEST} or more")
        learns = kind_of(split[0])
        low, high = range_of([float(row.tags[0]) for row in split]) if learns == "scored" else (0.0, 1.0)
        measure = Measure(chosen or ("mean",), temperature or TEMPERATURE, symmetric is not False, learns, low, high)
        task = cls(made, 10**9, measure, data, notes)
        lengths = [len(row) for pair in task.rows("train").tokens for row in pair]
        most = min((each for each in (most, size if max_length is None else None) if each), default=None)
        task.max_length = longest(lengths, most, max_length)
        cut = sum(length > task.max_length for length in lengths)
        if cut:
            task.notes.append(f"{cut} of {len(lengths)} training texts {are(cut)} cut to {task.max_length} tokens")
        task.notes.append(measure.said())
        task._rows.clear()
        return task

    @property
    def typical_length(self) -> int:
        """Tokens of a training text, on average."""
        tokens = self.rows("train").tokens
        return max(1, round(sum(len(row) for pair in tokens for row in pair) / max(1, 2 * len(tokens))))

    def lengths(self, split: str) -> list[int]:
        """The room that each sample takes in a batch: twice the tokens of its longer text."""
        return [2 * max(map(len, pair)) for pair in self.rows(split).tokens]

    @property
    def against_batch(self) -> bool:
        """Whether a sample's loss depends on the others of its batch, so that parts of a batch are not the same."""
        return self.measure.learns != "scored"

    def weight(self, batch: Batch) -> float:
        """What the mean of a batch is over: pairs."""
        return len(batch)

    def adapt(
        self, config: dict[str, Any], fixed: Collection[str] = (), trained: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """A model's configuration made to read these texts, without a head; see `dougong.tasks.texts.fit_text`.

        Raises:
            UserError: as `fit_text`; or single texts are to be learnt from by a model without dropout.
        """
        fitted, lines = fit_text(
            config, None, vocab_size=len(self.tokenizer), max_length=self.max_length, n_classes=None, fixed=fixed,
            trained=trained,
        )  # fmt: skip
        if self.measure.learns == "single" and not _drops(fitted):
            raise UserError(
                f"model {fitted['architecture']}",
                "has no dropout, by which alone two readings of one text would differ",
                "set model.dropout=0.1, take a family whose layers have one, or give pairs of texts",
            )
        return fitted, [*self.notes, *lines]

    def encoded(self, rows: Sequence[TextRow]) -> Pairs:
        """The tokens of both texts of each sample, a number for each different text, and scores as cosines."""
        sides = [self._encoded([row.texts[place] for row in rows]) for place in (0, -1)]
        known: dict[tuple[int, ...], int] = {}
        ids = [[known.setdefault(tuple(one), len(known)) for one in pair] for pair in zip(*sides, strict=True)]
        low, high = self.measure.low, self.measure.high
        scored = self.measure.learns == "scored"
        scores = [(float(row.tags[0]) - low) / (high - low) for row in rows] if scored else []
        tokens = list(zip(*sides, strict=True))
        return Pairs(tokens, torch.tensor(ids, dtype=torch.int64).reshape(-1, 2), torch.tensor(scores))

    def batch(self, split: str, indices: Tensor, *, train: bool, epoch: int, seed: int) -> Batch:
        """Some pairs: tokens (2 B, L) with lengths (2 B,), first texts before second ones.

        Targets are the texts' ids (B, 2), or the cosines (B,) that scores stand for.
        """
        chosen = numbers(indices)
        pairs, part = self.rows(split), self.split(split)
        rows = [pairs.tokens[number][side] for side in (0, 1) for number in chosen]
        targets = (pairs.scores if self.measure.learns == "scored" else pairs.ids)[indices]
        return Batch(padded(rows, self.fill), targets, indices, [part[number].where for number in chosen])

    def loss(self, output: Output, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Nats of finding each text among those of the batch; of scored pairs, the mean squared error of cosines.

        Raises:
            UserError: label smoothing for scored pairs, which have no classes.
        """
        assert batch.targets is not None
        first, second = self.measure.vectors(output, batch.inputs[1]).chunk(2)
        if self.measure.learns == "scored":
            if label_smoothing:
                raise UserError("label_smoothing", "scores are no classes to be smoothed", "leave it out")
            return F.mse_loss((first * second).sum(1), batch.targets)
        return likeness.both_ways(
            first, second, batch.targets, self.measure.temperature, self.measure.symmetric, label_smoothing
        ).mean()

    def new_metrics(self) -> EmbeddingMetrics:
        """Vectors that are still to come."""
        return EmbeddingMetrics(self.measure)

    def decode(self, output: Output, batch: Batch | None = None) -> list[Prediction]:
        """The vector of each text, as a JSON list; each number is the float32 of the model."""
        assert output.hidden is not None
        whole = torch.full((len(output.hidden),), output.hidden.shape[1], device=output.hidden.device)
        found = self.measure.vectors(output, whole if batch is None else batch.inputs[1]).detach().cpu()
        return [Prediction(json.dumps([float(f"{value:.9g}") for value in row]), 1.0, []) for row in found.tolist()]

    def records(self, output: Output, batch: Batch, split: str) -> list[dict[str, Any]]:
        """What `dougong evaluate --predictions` writes: where, text, text2, cosine, and the score if there is one."""
        first, second = self.measure.vectors(output, batch.inputs[1]).detach().cpu().chunk(2)
        part, found = self.split(split), []
        for number, cosine in zip(numbers(batch.indices), (first * second).sum(1).tolist(), strict=True):
            row = part[number]
            text = {"text": row.texts[0]} | ({"text2": row.texts[1]} if len(row.texts) > 1 else {})
            score = {"score": float(row.tags[0])} if row.tags else {}
            found.append({"where": row.where, **text, "cosine": cosine, **score})
        return found

    def keep(self, folder: Path) -> None:
        """Write what belongs beside the model: its tokenizer, and the files of sentence-transformers."""
        from dougong.architectures import build
        from dougong.interop.configuring import read_config
        from dougong.interop.pipeline import Pipeline, write_pipeline

        super().keep(folder)
        model: Any = build(read_config(folder), device="meta")
        pipeline = Pipeline(self.measure.pooling, True, self.max_length)
        write_pipeline(pipeline, folder, model.feature_info[-1].channels)

    def describe(self) -> dict[str, Any]:
        """What a saved model needs to predict without its data; the tokenizer lies beside it."""
        return {"task": self.name, "max_length": self.max_length, **self.measure.describe()}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], folder: Path) -> SentenceEmbedding:
        """The task that ``describe`` described, with the tokenizer of its folder; it predicts, and has no splits.

        Raises:
            UserError: a value is missing or is none of its kind, or the tokenizer cannot be opened.
        """
        from dougong.data.tokenizing import Tokenizer

        measure, most = Measure.of(description), length_said(description)
        return cls(Tokenizer.open(folder), most, measure)

    def on(self, data: TextData) -> SentenceEmbedding:
        """The same task, with its tokenizer and its way of pooling, on other texts.

        Raises:
            UserError: the texts have no pairs, or no scores, where the task's have.
        """
        here = kind_of(next(row for split in data.splits.values() for row in split))
        if here != self.measure.learns:
            what = f"holds {KINDS[here]}, and the model learnt from {KINDS[self.measure.learns]}"
            raise UserError(data.source, what, "give data of that kind; --text names columns")
        return SentenceEmbedding(self.tokenizer, self.max_length, self.measure, data)

    def prepare(self, raw: Any) -> Batch:
        """A text or a list of texts, as evaluation reads them: tokens (B, L) with lengths (B,).

        Raises:
            UserError: something else, or nothing at all.
        """
        texts = given_texts(raw)
        inputs = padded(self._encoded(texts), self.fill)
        return Batch(inputs, None, torch.arange(len(texts)), [short(text) for text in texts])

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        most = self.max_length if self.max_length < 10**9 else None
        return [list(one.ids) or [self.fill] for one in self.tokenizer.each(texts, max_length=most)]


def _kept(source: str | None) -> tuple[tuple[str, ...] | None, int | None, bool]:
    """The pooling, the length and whether texts are in lower case, of a folder of sentence-transformers."""
    if source is None or not (Path(source) / "modules.json").is_file():
        return None, None, False
    from dougong.interop.pipeline import read_pipeline

    found = read_pipeline(Path(source))[1]
    return (None, None, False) if found is None else (found.pooling, found.max_length, found.lower)


def _drops(config: dict[str, Any]) -> bool:
    """Whether two readings of a text differ in training."""
    from dougong.architectures import build

    return any(isinstance(part, nn.Dropout) and part.p > 0 for part in build(config, device="meta").modules())
