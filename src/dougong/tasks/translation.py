"""Translation, and any other text written from a text: summaries, corrections, answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dougong.data.tagging import IGNORED
from dougong.figures import are
from dougong.heads.losses import cross_entropy, token_losses
from dougong.parts.output import Output
from dougong.tasks.scores import TranslationScores
from dougong.tasks.task import Batch, Prediction
from dougong.tasks.text_task import TextTask, given_texts, length_said, numbers, short
from dougong.tasks.texts import fit_text, longest, padded, tokenizer_for
from dougong.tasks.token_classification import WIDE

if TYPE_CHECKING:
    from dougong.data.texts import TextData, TextRow

Pair = tuple[list[int], list[int]]
BEAMS = 4
"""Partial texts that are kept where a trained model is asked or tested; validation takes the most probable tokens."""


class Translation(TextTask):
    """What a sample is, what is learnt from it, and how well.

    Source and target share a tokenizer, which puts its special tokens around the source. The target begins with the
    token that begins texts, or with padding where there is none (T5, Marian), and ends with the end token.

    Args:
        tokenizer: text to tokens.
        max_length: tokens that are read of a text, and written.
        data: None for a task that only predicts.
        notes: what was decided for the user.
    """

    name = "translation"
    primary = "bleu"
    higher_is_better = True
    limits = (0.0, 100.0)

    @classmethod
    def from_data(
        cls, data: TextData, *, tokenizer: str = "auto", vocab_size: int | None = None, max_length: int | None = None,
        most: int | None = None,
    ) -> Translation:  # fmt: skip
        """The task that pairs of texts pose; arguments as for `dougong.tasks.TextClassification.from_data`."""
        both = [text for row in data.splits["train"] for text in row.texts]
        made, line = tokenizer_for(tokenizer, both, vocab_size, "bpe")
        task = cls(made, 10**9, data, [line])
        lengths = [max(map(len, pair)) for pair in task.rows("train")]
        task.max_length = longest(lengths, most, max_length)
        cut = sum(length > task.max_length for length in lengths)
        if cut:
            task.notes.append(f"{cut} of {len(lengths)} training pairs {are(cut)} cut to {task.max_length} tokens")
        task._rows.clear()
        return task

    @property
    def end(self) -> int:
        """The token that ends a text."""
        roles = self.tokenizer.special_ids
        return roles.get("eos", roles.get("sep", self.fill))

    @property
    def start(self) -> int:
        """The token with which writing begins."""
        roles = self.tokenizer.special_ids
        return roles.get("bos", roles.get("cls", self.fill))

    def adapt(
        self, config: dict[str, Any], fixed: Collection[str] = (), trained: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """A model's configuration made to read these texts; see `dougong.tasks.texts.fit_text`."""
        fitted, lines = fit_text(
            config, "text-to-text", vocab_size=len(self.tokenizer), max_length=self.max_length + 1, n_classes=None,
            fixed=fixed, trained=trained,
        )  # fmt: skip
        return fitted, [*self.notes, *lines]

    def encoded(self, rows: Sequence[TextRow]) -> list[Pair]:
        """Source and target of each pair as tokens."""
        source = self._sources([row.texts[0] for row in rows])
        target = self.tokenizer.each([row.texts[1] for row in rows], special=False)
        ended = [[*list(one.ids)[: self.max_length - 1], self.end] for one in target]
        return list(zip(source, ended, strict=True))

    def lengths(self, split: str) -> list[int]:
        """Tokens of each pair, those of the longer side."""
        return [max(map(len, pair)) for pair in self.rows(split)]

    def batch(self, split: str, indices: Tensor, *, train: bool, epoch: int, seed: int) -> Batch:
        """Some pairs: source (B, S), target with the start token (B, L), lengths (B,) of both; what follows (B, L)."""
        chosen = numbers(indices)
        pairs, rows = self.rows(split), self.split(split)
        source, reads = padded([pairs[number][0] for number in chosen], self.fill)
        written = [pairs[number][1] for number in chosen]
        target, writes = padded([[self.start, *row[:-1]] for row in written], self.fill)
        where = [rows[number].where for number in chosen]
        truth = [] if train else [rows[number].texts[1] for number in chosen]
        return Batch((source, target, reads, writes), padded(written, IGNORED)[0], indices, where, truth)

    def loss(self, output: Output, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy in nats a token of the target."""
        assert batch.targets is not None
        return cross_entropy(output, batch.targets, IGNORED, label_smoothing)

    def write(self, model: nn.Module, batch: Batch, beams: int = BEAMS) -> list[str]:
        """What a model writes from the sources of a batch; up to twice as many tokens as the longest, and ten."""
        from dougong.runtime import generate

        source, lengths = batch.inputs[0], batch.inputs[1 if len(batch.inputs) == 2 else 2]
        rows = [row[:size].tolist() for row, size in zip(source.cpu(), lengths.tolist(), strict=True)]
        room = min(self.max_length, 2 * max(map(len, rows)) + 10)
        found = generate(
            model, rows, tokenizer=self.tokenizer, beams=beams, max_new_tokens=room, start=self.start, end=self.end
        )
        return [self.tokenizer.decode(one.tokens).strip() for one in found]

    def respond(self, model: nn.Module, batch: Batch) -> list[Prediction]:
        """What a model writes, as answers."""
        return [Prediction(text, 1.0, []) for text in self.write(model, batch)]

    def new_metrics(self) -> TranslationMetrics:
        """Sums that are still empty."""
        texts = "" if self.data is None else "".join(row.texts[1] for row in self.split("val")[:200])
        return TranslationMetrics("zh" if len(WIDE.findall(texts)) > len(texts) / 3 else "13a")

    def decode(self, output: Output, batch: Batch | None = None) -> list[Prediction]:
        """The most probable token at each place, as text: a glance; `respond` writes."""
        assert output.logits is not None
        return [Prediction(self.tokenizer.decode(row), 1.0, []) for row in output.logits.argmax(-1).tolist()]

    def keep(self, folder: Path) -> None:
        """Write what belongs beside a model of this task: its tokenizer, and the tokens that begin and end a text."""
        super().keep(folder)
        self.keep_roles(folder, decoder_start=self.start, eos=self.end, pad=self.fill)

    def describe(self) -> dict[str, Any]:
        """What a saved model needs to predict without its data; the tokenizer lies beside it."""
        return {"task": self.name, "max_length": self.max_length}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], folder: Path) -> Translation:
        """The task that ``describe`` described, with the tokenizer of its folder; it predicts, and has no splits.

        Raises:
            UserError: a value is missing or is none of its kind, or the tokenizer cannot be opened.
        """
        from dougong.data.tokenizing import Tokenizer

        return cls(Tokenizer.open(folder), length_said(description))

    def on(self, data: TextData) -> Translation:
        """The same task, with its tokenizer, on other pairs."""
        return Translation(self.tokenizer, self.max_length, data)

    def prepare(self, raw: Any) -> Batch:
        """A text or a list of texts, as sources.

        Raises:
            UserError: something else, or nothing at all.
        """
        texts = given_texts(raw)
        return Batch(
            padded(self._sources(texts), self.fill), None, torch.arange(len(texts)), [short(text) for text in texts]
        )

    def _sources(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts as the encoder reads them, with the special tokens that the tokenizer puts around a text."""
        most = self.max_length if self.max_length < 10**9 else None
        return [list(one.ids) or [self.end] for one in self.tokenizer.each(texts, max_length=most)]


class TranslationMetrics:
    """Loss a token, BLEU and chrF. Args: tokenize: of sacrebleu, see `dougong.tasks.scores.TranslationScores`."""

    def __init__(self, tokenize: str) -> None:
        self.scores, self.loss, self.tokens = TranslationScores(tokenize), 0.0, 0

    def update(self, output: Output, batch: Batch) -> None:
        """Add a batch: logits (B, L, V) with the true target read, and the tokens that follow (B, L)."""
        assert batch.targets is not None
        self.loss += float(token_losses(output, batch.targets, IGNORED).double().sum())
        self.tokens += int((batch.targets != IGNORED).sum())

    def written(self, texts: Sequence[str], batch: Batch) -> None:
        """Add what a model wrote for a batch."""
        self.scores.update(texts, batch.truth)

    def compute(self) -> dict[str, float]:
        """loss (nats a token), bleu and chrf (0 to 100)."""
        loss = self.loss / self.tokens if self.tokens else float("nan")
        found = self.scores.compute()
        return {"loss": loss, "bleu": found["bleu"], "chrf": found["chrf"]}

    def sample_scores(self) -> list[float]:
        """BLEU of each text by itself; their mean is not the corpus' BLEU, whose interval `interval` gives."""
        single = self.scores._single
        return [
            float(single.sentence_score(given, true).score)
            for given, true in zip(self.scores.given, self.scores.true, strict=True)
        ]

    def interval(self) -> tuple[float, float]:
        """The bootstrap interval of bleu over texts."""
        return self.scores.interval()

    def table(self) -> dict[str, Any]:
        """sacrebleu's signatures, and the texts written beside the true ones."""
        found = self.scores.compute()
        pairs = [[given, true[0]] for given, true in zip(self.scores.given, self.scores.true, strict=True)]
        return {
            "signatures": [found.get(f"{name}_signature", "") for name in ("bleu", "chrf")], "texts": pairs,
        }  # fmt: skip
