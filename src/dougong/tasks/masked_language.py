"""Masked language modelling: hidden tokens of a text from all others (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dougong.data.batching import mix
from dougong.data.tagging import IGNORED
from dougong.errors import UserError
from dougong.parts.output import Output
from dougong.tasks.language import CausalLanguage, Windows, documents
from dougong.tasks.stored import StoredDocuments
from dougong.tasks.task import Batch, Prediction
from dougong.tasks.text_task import given_texts, numbers, short
from dougong.tasks.texts import fit_text, padded, tokenizer_for

if TYPE_CHECKING:
    from dougong.data.texts import TextData, TextRow
    from dougong.data.texts.stored import StoredSplit

HIDDEN = 0.15
"""Share of the tokens that are to be found; of these 80 % are masked, 10 % replaced by a random token, 10 % left."""


class MaskedLanguage(CausalLanguage):
    """What a sample is, what is learnt from it, and how well.

    A sample is a window of a document between the special tokens that the tokenizer puts around a text. Which tokens
    are hidden is drawn anew in each epoch (Liu et al. 2019, section 4.1); in evaluation it is always the same.

    Args:
        tokenizer: text to tokens, with a mask token.
        max_length: tokens of a window, special ones included.
        data: None for a task that only predicts.
        notes: what was decided for the user.
    """

    name = "masked-language"

    @classmethod
    def from_data(
        cls, data: TextData, *, tokenizer: str = "auto", vocab_size: int | None = None, max_length: int | None = None,
        most: int | None = None,
    ) -> MaskedLanguage:  # fmt: skip
        """The task that a corpus poses; arguments as for `CausalLanguage.from_data`, word pieces when it is "auto".

        Raises:
            UserError: as `CausalLanguage.from_data`, or a tokenizer without a mask token.
        """
        length = cls.room(max_length, most)
        made, line = tokenizer_for(tokenizer, data.splits["train"].texts(), vocab_size)
        if "mask" not in made.special_ids:
            raise UserError("tokenizer", "has no mask token", "take wordpiece, or that of a masked language model")
        task = cls(made, length, data, [line])
        task.check(data)
        return task

    def adapt(
        self, config: dict[str, Any], fixed: Collection[str] = (), trained: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """A model's configuration made to read these texts; see `dougong.tasks.texts.fit_text`."""
        fitted, lines = fit_text(
            config, "masked-language", vocab_size=len(self.tokenizer), max_length=self.max_length, n_classes=None,
            fixed=fixed, trained=trained,
        )  # fmt: skip
        return fitted, [*self.notes, *lines]

    def encoded(self, rows: Sequence[TextRow]) -> Windows:
        """Documents in windows, which overlap by a token."""
        return Windows(documents(self.tokenizer, rows), self.inside())

    def stored(self, part: StoredSplit) -> Windows:
        """Documents on disk in such windows."""
        return Windows(StoredDocuments.of(part, self.tokenizer), self.inside())

    def inside(self) -> int:
        """Tokens of a text that are foreseen at once."""
        before, after = self.around()
        return max(1, self.max_length - len(before) - len(after) - 1)

    def around(self) -> tuple[list[int], list[int]]:
        """The special tokens that stand before and after a text."""
        one = self.tokenizer.encode("a")
        places = [number for number, special in enumerate(one.special_mask) if not special]
        first, last = (places[0], places[-1]) if places else (len(one.ids), len(one.ids))
        return list(one.ids[:first]), list(one.ids[last + 1 :])

    def batch(self, split: str, indices: Tensor, *, train: bool, epoch: int, seed: int) -> Batch:
        """Some windows with tokens hidden, (B, L), their lengths (B,), and the hidden tokens, `IGNORED` elsewhere."""
        windows, chosen = self.rows(split), numbers(indices)
        before, after = self.around()
        places = [windows.place(index) for index in chosen]
        inputs, targets = [], []
        for index, (one, start, stop) in zip(chosen, places, strict=True):
            drawn = mix("mask", seed, epoch, index) if train else mix("mask", split, index)
            read, wanted = self.hide(one.ids[start : stop + 1].long(), torch.Generator().manual_seed(drawn))
            inputs.append([*before, *read.tolist(), *after])
            targets.append([*[IGNORED] * len(before), *wanted.tolist(), *[IGNORED] * len(after)])
        where = [f"{one.where}, token {start}" for one, start, _ in places]
        return Batch(padded(inputs, self.fill), padded(targets, IGNORED)[0], indices, where, [""] * len(chosen))

    def hide(self, ids: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Some tokens hidden, at least one: (n,) as they are read, and (n,) those hidden, `IGNORED` elsewhere."""
        chosen = torch.rand(len(ids), generator=generator) < HIDDEN
        if not chosen.any():
            chosen[int(torch.randint(len(ids), (1,), generator=generator))] = True
        how = torch.rand(len(ids), generator=generator)
        others = torch.randint(len(self.tokenizer), (len(ids),), generator=generator)
        read = torch.where(chosen & (how < 0.8), self.tokenizer.special_ids["mask"], ids)
        read = torch.where(chosen & (how >= 0.8) & (how < 0.9), others, read)
        return read, torch.where(chosen, ids, IGNORED)

    def keep(self, folder: Path) -> None:
        """Write what belongs beside a model of this task: its tokenizer."""
        self.tokenizer.save(folder)

    @classmethod
    def from_description(cls, description: Mapping[str, Any], folder: Path) -> MaskedLanguage:
        """The task that ``describe`` described; see `CausalLanguage.from_description`."""
        found = super().from_description(description, folder)
        assert isinstance(found, cls)
        return found

    def prepare(self, raw: Any) -> Batch:
        """A text or a list of texts with the mask token in them, as ``The capital of France is [MASK].``

        Raises:
            UserError: something else, nothing at all, or a text without a mask.
        """
        texts, mask = given_texts(raw), self.tokenizer.special["mask"]
        rows = [list(one.ids) for one in self.tokenizer.encode(texts, max_length=self.max_length)]
        for text, row in zip(texts, rows, strict=True):
            if self.tokenizer.special_ids["mask"] not in row:
                raise UserError(short(text), f"holds no {mask}", f"write {mask} where a word is to be found")
        return Batch(padded(rows, self.fill), None, torch.arange(len(texts)), [short(text) for text in texts])

    def decode(self, output: Output, batch: Batch | None = None) -> list[Prediction]:
        """Each text with its masks filled; the probability and the others are of the first mask."""
        assert output.logits is not None and batch is not None
        found = []
        mask = self.tokenizer.special_ids["mask"]
        for row, logits in zip(batch.inputs[0].cpu(), output.logits.detach().float().cpu(), strict=True):
            places = (row == mask).nonzero().flatten()
            filled = row.clone()
            filled[places] = logits[places].argmax(-1)
            shares, tokens = logits[places[0]].softmax(-1).topk(min(10, logits.shape[-1]))
            top = [
                (str(self.tokenizer.written(token)), share)
                for token, share in zip(tokens.tolist(), shares.tolist(), strict=True)
            ]
            found.append(Prediction(self.tokenizer.decode(filled), top[0][1], top))
        return found
