"""Which texts a model reads in part only: nothing is cut without being counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dougong.data.tagging import pieceless
from dougong.tasks.task import Batch


def cut_of(task: Any, batch: Batch, texts: Sequence[tuple[str, ...]] = ()) -> int:
    """How many samples of a batch are longer than what the model reads of them.

    Only those that fill the model's length are looked at again, so that the rest costs nothing.

    Args:
        task: any; pictures are never cut.
        batch: made by it.
        texts: one text or two of each sample; of pairs for translation, source and target. Not needed for tags.
    """
    if not hasattr(task, "tokenizer"):
        return 0
    most = int(task.max_length)
    if task.name == "token-classification":
        return sum(len(one) >= most and bool(pieceless(one.words, len(one.row.texts))) for one in batch.truth)
    if task.name == "translation":  # the end of what is written stands for itself
        sides = list(zip(*texts, strict=True))
        over = [_over(task, side, most if not number else most - 1, not number) for number, side in enumerate(sides)]
        return sum(any(pair) for pair in zip(*over, strict=True))
    lengths = batch.inputs[1].tolist() if len(batch.inputs) > 1 else [batch.inputs[0].shape[1]] * len(texts)
    if task.name == "sentence-embedding":  # the texts of a pair are rows of their own
        found: set[int] = set()
        for number, side in enumerate(zip(*texts, strict=True)):
            filled = [place for place in range(len(side)) if lengths[number * len(side) + place] >= most]
            longer = _over(task, [side[place] for place in filled], most, True)
            found.update(place for place, more in zip(filled, longer, strict=True) if more)
        return len(found)
    full = [each for each, length in zip(texts, lengths, strict=True) if length >= most]
    pair = [each[1] for each in full] if full and len(full[0]) == 2 else None
    return sum(_over(task, [each[0] for each in full], most, task.name != "causal-language", pair))


def _over(task: Any, texts: Sequence[str], most: int, special: bool, pair: Sequence[str] | None = None) -> list[bool]:
    """Of each text whether it has more tokens."""
    return [len(one.ids) > most for one in task.tokenizer.each(texts, pair, special=special)]
