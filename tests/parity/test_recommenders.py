"""Recommenders against their papers' formulas in plain torch, a user at a time, and BERT4Rec against BERT."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.numbers import assert_different, assert_equal_to_rounding, shake
from torch import Tensor, nn

import dougong

LENGTHS = torch.tensor([5, 9, 1])
V, D, LAYERS = 19, 6, 2


def histories() -> Tensor:
    return torch.randint(0, V, (3, 9), generator=torch.Generator().manual_seed(0))


def by_the_paper(model: nn.Module, items: Tensor, heads: int, normed_keys: bool = False) -> Tensor:
    """Kang and McAuley 2018, section 3, as the authors' code has it: scores of all items at each place, (L, V)."""
    table = model.embedding.weight
    x = table[items] * D**0.5 + model.body.positions["all"].weight[: len(items)]
    for block in model.body.blocks:
        attention = block.attention.body
        query = attention.query[0](x)
        seen = query if normed_keys else x
        q, k, v = attention.query[1](query), attention.key(seen), attention.value(seen)
        parts = []
        for head in range(heads):
            some = slice(head * D // heads, (head + 1) * D // heads)
            scores = q[:, some] @ k[:, some].T / (D / heads) ** 0.5
            blind = torch.ones_like(scores).triu(1).bool()
            parts.append(scores.masked_fill(blind, float("-inf")).softmax(-1) @ v[:, some])
        x = block.attention.after(query + torch.cat(parts, 1))
        network = block.feed_forward.body
        x = x + network.down(network.up(x).relu())
    return model.body.after(x) @ table.T


@pytest.mark.parametrize("heads", [1, 2])
def test_sasrec_is_the_papers(heads: int) -> None:
    model = shake(
        dougong.build("sasrec", vocab_size=V, max_length=9, d_model=D, n_layers=LAYERS, n_heads=heads)
    ).eval()  # fmt: skip
    items = histories()
    with torch.no_grad():
        found = model(items, LENGTHS).logits
        for row, length in enumerate(LENGTHS.tolist()):
            right = by_the_paper(model, items[row, :length], heads)
            assert_equal_to_rounding(found[row, :length], right)
            assert_different(found[row, :length], by_the_paper(model, items[row, :length], heads, normed_keys=True))


@pytest.mark.parametrize(("d_hidden", "tied"), [(None, True), (4, False)])
def test_gru4rec_is_torchs_own_gru_between_two_tables(d_hidden: int | None, tied: bool) -> None:
    width = d_hidden or D
    model = shake(
        dougong.build("gru4rec", vocab_size=V, d_model=D, d_hidden=d_hidden, n_layers=LAYERS, tied=tied)
    ).eval()  # fmt: skip
    reference = nn.GRU(D, width, LAYERS, batch_first=True)
    state = {}
    for index, block in enumerate(model.body.blocks):
        for name, tensor in block.recurrence.body.layer.state_dict().items():
            state[name.replace("_l0", f"_l{index}")] = tensor
    reference.load_state_dict(state)
    items = histories()
    with torch.no_grad():
        found = model(items, LENGTHS).logits
        for row, length in enumerate(LENGTHS.tolist()):
            hidden = model.body.after(reference(model.embedding.weight[items[row : row + 1, :length]])[0][0])
            table = model.embedding.weight if tied else model.head.linear.weight
            assert_equal_to_rounding(found[row, :length], F.linear(hidden, table))
            assert_different(found[row, :length], F.linear(hidden, table.roll(1, 0)))


def test_bert4rec_is_bert_without_types() -> None:
    sizes = {"vocab_size": V, "max_length": 9, "d_model": 8, "n_layers": LAYERS, "n_heads": 2, "d_ff": 12}
    model = shake(dougong.build("bert4rec", **sizes)).eval()
    bert = dougong.build("bert", **sizes, n_types=1).eval()  # which tests/parity/test_bert.py holds to Transformers
    bert.load_state_dict({**model.state_dict(), "embedding.types": torch.zeros(1, 8)})
    items = histories()
    with torch.no_grad():
        assert_equal_to_rounding(model(items, LENGTHS).logits, bert(items, LENGTHS).logits)
        bert.embedding.types += 1.0 * torch.arange(8)
        assert_different(model(items, LENGTHS).logits, bert(items, LENGTHS).logits)
