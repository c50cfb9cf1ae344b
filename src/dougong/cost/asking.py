"""What is asked of a model in one pass: the whole answer, or, of a catalogue of items, what is used of it.

A recommender scores its catalogue at the last place of a history only, and learns from many items by telling the true
one from some that are drawn. Of a million items, the scores at all places would fill a memory that nobody needs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dougong.heads.losses import table_of
from dougong.parts.output import Pending, deferring

ITEMS = ("next-item", "masked-item")
"""Heads that score a catalogue."""
SOFTMAX, DRAWN = 20_000, 1_024
"""Items up to which training tells each true one from all others, and how many are drawn where there are more."""


def answer_of(model: nn.Module, inputs: tuple[Any, ...], train: bool) -> Any:
    """A forward pass as it is made.

    Args:
        model: that is asked.
        inputs: of the right shapes.
        train: for a loss; else for the answer to a user.
    """
    config = getattr(model, "config", {})
    if config.get("head") not in ITEMS or (train and config["vocab_size"] <= SOFTMAX):
        return model(*inputs)
    with deferring():
        output = model(*inputs)
    if train or not isinstance(output, Pending):
        return output
    assert output.hidden is not None
    return output.head(output.hidden[:, -1:], None)


def sampled_loss(output: Pending) -> Tensor | None:
    """The loss of a catalogue that is too large for all of its scores; None of a head that is no product."""
    assert output.hidden is not None
    table = table_of(output.head, output.hidden.flatten(0, -2))
    if table is None:
        return None
    places = torch.zeros(len(table.hidden), dtype=torch.long, device=table.hidden.device)
    drawn = torch.zeros(DRAWN, dtype=torch.long, device=table.hidden.device)
    right = (table.hidden * nn.functional.embedding(places, table.weight)).sum(1)
    scores = table.hidden @ table.weight[drawn].t()
    return (torch.cat((right[:, None], scores), 1).logsumexp(1) - right).mean()
