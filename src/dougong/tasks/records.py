"""What a model said of each sample beside what is true: the rows that `evaluate` writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F

from dougong.data.tagging import IGNORED
from dougong.errors import UserError
from dougong.parts.output import Output
from dougong.tasks.task import Batch

Row = dict[str, Any]


class Records:
    """Rows of a split, made batch by batch; every row of a task has the same keys.

    A task of another kind gives its own by a method ``records(output, batch, split)``.

    Args:
        task: with its data.
        split: "train", "val" or "test".

    Raises:
        UserError: nothing is known to be written for this task.
    """

    def __init__(self, task: Any, split: str) -> None:
        self.task, self.split = task, split
        own = getattr(task, "records", None)
        if own is None and task.name not in KINDS:
            raise UserError("--predictions", f"are not known for {task.name}", "leave it out")
        self._own: Callable[[Output, Batch, str], list[Row]] | None = own
        self._sentence: Callable[[str, str], float] | None = None
        if task.name == "translation":
            self._sentence = task.new_metrics().scores.sentence

    def __call__(self, output: Output, batch: Batch, written: Sequence[str] | None = None) -> list[Row]:
        """The rows of a batch.

        Args:
            output: of the model.
            batch: of the split, with targets.
            written: what the model wrote, for tasks that are judged by it.
        """
        if self._own is not None:
            return self._own(output, batch, self.split)
        return KINDS[self.task.name](self, output, batch, written)

    def of_classes(self, output: Output, batch: Batch, written: Sequence[str] | None) -> list[Row]:
        """where, text (text2 of a pair) of texts, gold, predicted, probability, probability_of_gold, correct."""
        if getattr(self.task, "several", False):
            return self.of_several(output, batch)
        assert output.logits is not None and batch.targets is not None
        shares = output.logits.detach().float().softmax(-1).cpu()
        sure, given = shares.max(-1)
        found = []
        for place, true in enumerate(batch.targets.cpu().tolist()):
            predicted = int(given[place])
            found.append(
                {
                    **self._sample(batch, place),
                    "gold": self.task.classes[true], "predicted": self.task.classes[predicted],
                    "probability": float(sure[place]), "probability_of_gold": float(shares[place, true]),
                    "correct": predicted == true,
                }
            )  # fmt: skip
        return found

    def of_several(self, output: Output, batch: Batch) -> list[Row]:
        """where, text, gold and predicted (lists), probabilities (of every class), correct (all of them right)."""
        assert output.logits is not None and batch.targets is not None
        shares, targets = output.logits.detach().float().sigmoid().cpu().tolist(), batch.targets.cpu().tolist()
        found = []
        for place, (share, true) in enumerate(zip(shares, targets, strict=True)):
            gold = [name for name, each in zip(self.task.classes, true, strict=True) if each > 0.5]
            predicted = [name for name, each in zip(self.task.classes, share, strict=True) if each > 0.5]
            probabilities = dict(zip(self.task.classes, share, strict=True))
            found.append(
                {
                    **self._sample(batch, place),
                    "gold": gold, "predicted": predicted, "probabilities": probabilities, "correct": gold == predicted,
                }
            )  # fmt: skip
        return found

    def _sample(self, batch: Batch, place: int) -> Row:
        """Where a sample lies, and its text, or texts; a picture's place is its file or its row."""
        if self.task.name == "image-classification":
            return {"where": batch.where[place]}
        texts = self.task.split(self.split)[int(batch.indices[place])].texts
        return {"where": batch.where[place], "text": texts[0], **({"text2": texts[1]} if len(texts) > 1 else {})}

    def of_tags(self, output: Output, batch: Batch, written: Sequence[str] | None) -> list[Row]:
        """where, tokens, gold and predicted (a tag a token), correct (all of them right)."""
        found = []
        for one, (tags, _) in zip(batch.truth, self.task.tags(output, batch), strict=True):
            row = one.row
            gold = list(row.tags)
            found.append(
                {
                    "where": row.where,
                    "tokens": list(row.texts),
                    "gold": gold,
                    "predicted": tags,
                    "correct": gold == tags,
                }
            )
        return found

    def of_language(self, output: Output, batch: Batch, written: Sequence[str] | None) -> list[Row]:
        """Of each window: where, tokens, characters and bytes foreseen, nats, bits_per_character and bits_per_byte."""
        found = []
        for (nats, tokens), where, text in zip(_losses(output, batch), batch.where, batch.truth, strict=True):
            bits, octets = nats / math.log(2), len(text.encode("utf-8", "surrogatepass"))
            found.append(
                {
                    "where": where, "tokens": tokens, "characters": len(text), "bytes": octets, "nats": nats,
                    "bits_per_character": bits / len(text) if text else None,
                    "bits_per_byte": bits / octets if octets else None,
                }
            )  # fmt: skip
        return found

    def of_masks(self, output: Output, batch: Batch, written: Sequence[str] | None) -> list[Row]:
        """Of each window: where, how many tokens were hidden, how many of them were found, nats of all of them."""
        assert output.logits is not None and batch.targets is not None
        right = ((output.logits.argmax(-1) == batch.targets) & (batch.targets != IGNORED)).sum(1).tolist()
        return [
            {"where": where, "hidden": tokens, "found": int(known), "nats": nats}
            for (nats, tokens), where, known in zip(_losses(output, batch), batch.where, right, strict=True)
        ]

    def of_pairs(self, output: Output, batch: Batch, written: Sequence[str] | None) -> list[Row]:
        """where, source, reference, written, and its sentence BLEU (0 to 100, effective order)."""
        assert written is not None and self._sentence is not None
        rows = self.task.split(self.split)
        return [
            {
                "where": where, "source": rows[int(index)].texts[0], "reference": true, "written": given,
                "bleu": self._sentence(given, true),
            }
            for where, index, true, given in zip(batch.where, batch.indices, batch.truth, written, strict=True)
        ]  # fmt: skip


def _losses(output: Output, batch: Batch) -> list[tuple[float, int]]:
    """Of each row the nats of all that was to be foreseen, and how many tokens that was."""
    assert output.logits is not None and batch.targets is not None
    found = []
    for logits, targets in zip(output.logits, batch.targets, strict=True):
        losses = F.cross_entropy(logits.detach().float(), targets, ignore_index=IGNORED, reduction="none")
        found.append((float(losses.double().sum()), int((targets != IGNORED).sum())))
    return found


KINDS: dict[str, Callable[..., list[Row]]] = {
    "image-classification": Records.of_classes,
    "text-classification": Records.of_classes,
    "token-classification": Records.of_tags,
    "causal-language": Records.of_language,
    "masked-language": Records.of_masks,
    "translation": Records.of_pairs,
}
