"""Recurrent networks and the convolutional network for sentences against plain torch, read sentence by sentence."""

from __future__ import annotations

import pytest
import torch
from support.numbers import assert_different, assert_equal_to_rounding, shake
from torch import Tensor, nn
from torch.nn import functional

import dougong

LENGTHS = torch.tensor([5, 9, 1])
V, D = 19, 6


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_recurrent_classifier_equals_torch(cell: str, bidirectional: bool) -> None:
    ours = shake(
        dougong.build(cell, vocab_size=V, d_model=D, n_layers=2, bidirectional=bidirectional, n_classes=4)
    ).eval()  # fmt: skip
    kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
    reference = kind(D, D, 2, batch_first=True, bidirectional=bidirectional)
    state = {}
    for index, block in enumerate(ours.body.blocks):
        for name, tensor in block.recurrence.body.layer.state_dict().items():
            state[name.replace("_l0", f"_l{index}")] = tensor
    reference.load_state_dict(state)
    tokens = torch.randint(0, V, (3, 9))
    answer = ours(tokens, LENGTHS)
    with torch.no_grad():
        for row, length in enumerate(LENGTHS.tolist()):
            hidden, last = reference(ours.embedding.weight[tokens[row : row + 1, :length]])
            assert_equal_to_rounding(answer.hidden[row, :length], hidden[0])
            state = last[0] if cell == "lstm" else last
            final = torch.cat((state[-2, 0], state[-1, 0])) if bidirectional else state[-1, 0]
            right = ours.head.linear.weight @ final + ours.head.linear.bias
            assert_equal_to_rounding(answer.logits[row], right)
            if bidirectional and length > 1:  # where the second direction starts matters
                other = ours.head.linear.weight @ hidden[0, -1] + ours.head.linear.bias
                assert_different(answer.logits[row], other)


def test_a_picture_is_read_row_by_row() -> None:
    ours = shake(dougong.build("lstm", image_size=[4, 5], d_model=D, n_classes=3)).eval()
    pixels = torch.randn(2, 3, 4, 5)
    cell = ours.body.blocks[0].recurrence.body.layer
    with torch.no_grad():
        weight = ours.embedding.project.weight.flatten(1)
        rows = pixels.permute(0, 2, 1, 3).flatten(2) @ weight.T + ours.embedding.project.bias
        right = cell(rows)[0][:, -1] @ ours.head.linear.weight.T + ours.head.linear.bias
    assert_equal_to_rounding(ours(pixels).logits, right)
    assert ours.feature_info[0].stride == (1, 5)


def kim(model: nn.Module, vectors: Tensor) -> Tensor:
    """One sentence (L, D) through Kim's network (2014, section 2): c_i = f(w . x_{i:i+h-1} + b), the largest."""
    pooled = []
    for convolution in model.body.blocks[0].convolution.body.bodies:
        weight, bias = convolution.filters.weight, convolution.filters.bias
        size = weight.shape[-1]
        zeros = [vectors.new_zeros((n, vectors.shape[1])) for n in ((size - 1) - size // 2, size // 2)]
        longer = torch.cat((zeros[0], vectors, zeros[1]))
        features = [
            ((longer[i : i + size].T[None] * weight).sum((1, 2)) + bias).relu() for i in range(len(vectors))
        ]  # fmt: skip
        pooled.append(torch.stack(features).amax(0))
    return model.head.linear.weight @ torch.cat(pooled) + model.head.linear.bias


@pytest.mark.parametrize("widths", [[3, 4, 5], [1, 2], [7]])
def test_textcnn_equals_kims_network_sentence_by_sentence(widths: list[int]) -> None:
    ours = shake(dougong.build("textcnn", vocab_size=V, d_model=D, n_filters=4, widths=widths, n_classes=3)).eval()
    tokens = torch.randint(0, V, (3, 9))
    answer = ours(tokens, LENGTHS).logits
    with torch.no_grad():
        for row, length in enumerate(LENGTHS.tolist()):
            vectors = ours.embedding.weight[tokens[row, :length]]
            assert_equal_to_rounding(answer[row], kim(ours, vectors))
            if length > 1:
                assert_different(answer[row], kim(ours, vectors.flip(0)))
        assert_different(answer[0], kim(ours, ours.embedding.weight[tokens[0]]))  # as if padding were words


def test_textcnn_drops_before_the_linear_layer_only() -> None:
    ours = dougong.build("textcnn", vocab_size=V, d_model=D, dropout=0.5).train()
    tokens = torch.randint(0, V, (2, 9))
    assert torch.equal(ours(tokens).hidden, ours(tokens).hidden)
    assert_different(ours(tokens).logits, ours(tokens).logits)
    assert functional.relu(ours(tokens).hidden).equal(ours(tokens).hidden)
