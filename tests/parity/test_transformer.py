"""The original Transformer, and the five-argument class, against torch.nn's encoder and decoder with copied weights."""

from __future__ import annotations

import math

import pytest
import torch
from support.copying import from_torch_layers, prefixed, put
from support.numbers import assert_different, assert_equal_to_rounding, shake
from torch import Tensor, nn
from torch.nn import functional

import dougong

V, D, H, F, N = 23, 16, 4, 28, 2
SOURCES, TARGETS = torch.tensor([7, 3, 5]), torch.tensor([4, 6, 1])
SOURCE, TARGET = torch.randint(0, V, (3, 7)), torch.randint(0, V, (3, 6))


def wave(length: int) -> Tensor:
    """Section 3.5 in float64."""
    angles = [[p / 10000 ** (2 * (c // 2) / D) for c in range(D)] for p in range(length)]
    rows = [[math.sin(a) if c % 2 == 0 else math.cos(a) for c, a in enumerate(row)] for row in angles]
    return torch.tensor(rows, dtype=torch.float64)


def is_padding(lengths: Tensor, length: int) -> Tensor:
    """(B, length), True where torch's modules must not look."""
    return torch.arange(length)[None, :] >= lengths[:, None]


class Reference(nn.Module):
    """torch.nn's stacks, without the extra norms that nn.Transformer puts at their ends, and a table of tokens."""

    def __init__(self) -> None:
        super().__init__()
        arguments = {"dropout": 0.0, "batch_first": True, "activation": "relu"}
        encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(D, H, F, **arguments), N, enable_nested_tensor=False
        )  # fmt: skip
        decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(D, H, F, **arguments), N)
        self.stacks = nn.Transformer(D, H, custom_encoder=encoder, custom_decoder=decoder, batch_first=True)
        self.table = nn.Parameter(torch.randn(V, D))

    def forward(self, source: Tensor, target: Tensor, causal: bool = True) -> Tensor:
        def read(tokens: Tensor) -> Tensor:
            return self.table[tokens] * math.sqrt(D) + wave(tokens.shape[1]).to(self.table.dtype)

        hidden = self.stacks(
            read(source),
            read(target),
            tgt_mask=torch.ones(6, 6).triu(1).bool() if causal else None,
            src_key_padding_mask=is_padding(SOURCES, 7),
            tgt_key_padding_mask=is_padding(TARGETS, 6),
            memory_key_padding_mask=is_padding(SOURCES, 7),
        )
        return hidden @ self.table.T


def ours_of(reference: Reference) -> nn.Module:
    ours = dougong.build("transformer", vocab_size=V, d_model=D, n_heads=H, d_ff=F, n_layers=N, dropout=0.0)
    tensors = {
        **prefixed("encoder.", from_torch_layers(reference.stacks.encoder.state_dict())),
        **prefixed("decoder.", from_torch_layers(reference.stacks.decoder.state_dict())),
        "source_embedding.weight": reference.table,
    }
    return put(ours.to(reference.table.dtype), tensors)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_and_gradients_equal_torch(dtype: torch.dtype, training: bool) -> None:
    reference = shake(Reference()).to(dtype).train(training)
    ours = ours_of(reference).train(training)
    real = ~is_padding(TARGETS, 6)
    labels = torch.randint(0, V, (3, 6))
    answers = ours(SOURCE, TARGET, SOURCES, TARGETS).logits, reference(SOURCE, TARGET)
    assert_equal_to_rounding(answers[0][real], answers[1][real])
    if not training:
        assert_different(answers[0][real], reference(SOURCE, TARGET, causal=False)[real])
        return
    for logits in answers:
        functional.cross_entropy(logits[real], labels[real]).backward()
    gradients = {
        **prefixed("encoder.", from_torch_layers({k: p.grad for k, p in reference.stacks.encoder.named_parameters()})),
        **prefixed("decoder.", from_torch_layers({k: p.grad for k, p in reference.stacks.decoder.named_parameters()})),
        "source_embedding.weight": reference.table.grad,
    }
    found = dict(ours.named_parameters())
    assert found.keys() == gradients.keys()
    for name, parameter in found.items():
        assert_equal_to_rounding(parameter.grad, gradients[name], factor=5)


def test_control_permuted_heads_and_swapped_norms_are_seen() -> None:
    reference = shake(Reference()).eval()
    right = reference(SOURCE, TARGET)
    real = ~is_padding(TARGETS, 6)
    order = torch.arange(D).view(H, -1)[[1, 0, 2, 3]].flatten()
    for name in ("encoder.blocks.0.attention.body.key", "decoder.blocks.1.cross_attention.body.value"):
        ours = ours_of(reference).eval()
        layer = ours.get_submodule(name)
        with torch.no_grad():
            layer.weight.copy_(layer.weight[order].clone())
        assert_different(ours(SOURCE, TARGET, SOURCES, TARGETS).logits[real], right[real])
    ours = ours_of(reference).eval()
    block = ours.decoder.blocks[0]
    block.attention.after, block.cross_attention.after = block.cross_attention.after, block.attention.after
    assert_different(ours(SOURCE, TARGET, SOURCES, TARGETS).logits[real], right[real])


def test_decoding_step_by_step_equals_torch_on_the_whole() -> None:
    reference = shake(Reference()).eval()
    ours = ours_of(reference).eval()
    from dougong.parts.cache import Cache

    cache = Cache(6)
    with torch.no_grad():
        memory = ours.encode(SOURCE, SOURCES)
        pieces = [
            ours(None, TARGET[:, t : t + 1], SOURCES, memory=memory, cache=cache).logits for t in range(6)
        ]  # fmt: skip
        real = ~is_padding(TARGETS, 6)  # what stands behind a target's end is not seen by what is before
        assert_equal_to_rounding(torch.cat(pieces, 1)[real], reference(SOURCE, TARGET)[real])


# The five-argument class


def class_and_reference(decoder: bool = False) -> tuple[dougong.Transformer, nn.Module, nn.Module | None]:
    arguments = {"target_dim": 4} if decoder else {}
    ours = dougong.Transformer(5, 3, H, N, 0.0, d_model=D, d_ff=F, **arguments)
    shake(ours)
    layer = nn.TransformerEncoderLayer(D, H, F, dropout=0.0, batch_first=True)
    encoder = shake(nn.TransformerEncoder(layer, N, enable_nested_tensor=False))
    tensors = from_torch_layers(encoder.state_dict())
    if not decoder:
        ours.model.body.load_state_dict(tensors)
        return ours.eval(), encoder.eval(), None
    writer = shake(nn.TransformerDecoder(nn.TransformerDecoderLayer(D, H, F, dropout=0.0, batch_first=True), N))
    ours.model.encoder.load_state_dict(tensors)
    ours.model.decoder.load_state_dict(from_torch_layers(writer.state_dict()))
    return ours.eval(), encoder.eval(), writer.eval()


def read(embedding: nn.Module, x: Tensor) -> Tensor:
    """A linear layer and positions."""
    return x @ embedding.project.weight.T + embedding.project.bias + wave(x.shape[1]).float()


def head(ours: dougong.Transformer, hidden: Tensor) -> Tensor:
    return hidden @ ours.model.head.linear.weight.T + ours.model.head.linear.bias


X = torch.randn(3, 7, 5)
NEVER = torch.ones(7, 7).triu(1).bool()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("given", ["nothing", "lengths", "mask", "lengths and mask", "table"])
def test_the_class_equals_torch_encoder(given: str, causal: bool) -> None:
    ours, encoder, _ = class_and_reference()
    holes = torch.tensor([[1, 1, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 1, 1], [1, 0, 1, 0, 1, 1, 0]]).bool()
    table = (torch.rand(3, 7, 7) < 0.6) | torch.eye(7).bool()
    hidden = is_padding(SOURCES, 7) if "lengths" in given else torch.zeros(3, 7).bool()
    if "mask" in given:
        hidden = hidden | ~holes
    forbidden = (NEVER if causal else torch.zeros(7, 7).bool()).expand(3, 7, 7)
    if given == "table":
        forbidden = forbidden | ~table
    mask = (forbidden | hidden[:, None, :]).repeat_interleave(H, 0)
    arguments = {}
    if "lengths" in given:
        arguments["lengths"] = SOURCES
    if given == "table":
        arguments["mask"] = table
    elif "mask" in given:
        arguments["mask"] = holes
    y = ours(X, causal=causal, **arguments)
    assert y.shape == (3, 7, 3)
    right = head(ours, encoder(read(ours.model.embedding, X), mask=mask))
    real = ~is_padding(SOURCES, 7) if "lengths" in given else torch.ones(3, 7).bool()
    assert_equal_to_rounding(y[real], right[real])
    assert_different(ours(X, causal=not causal, **arguments)[real], right[real])


def test_the_class_takes_one_table_for_all_rows() -> None:
    ours, encoder, _ = class_and_reference()
    right = head(ours, encoder(read(ours.model.embedding, X), mask=NEVER))
    assert_equal_to_rounding(ours(X, mask=~NEVER[None]), right)


def test_left_padding_under_a_causal_mask_leaves_no_nan() -> None:
    ours, _, _ = class_and_reference()
    mask = torch.ones(3, 7).bool()
    mask[1, :3] = False
    y = ours(X, mask=mask, causal=True)
    assert y.isfinite().all()
    moved = X.clone()
    moved[1, :3] += 5
    assert_equal_to_rounding(ours(moved, mask=mask, causal=True)[1, 3:], y[1, 3:])


@pytest.mark.parametrize("given", ["nothing", "lengths", "mask"])
def test_the_class_with_a_target_equals_torch_decoder(given: str) -> None:
    ours, encoder, decoder = class_and_reference(decoder=True)
    target = torch.randn(3, 6, 4)
    arguments = {
        "nothing": {},
        "lengths": {"lengths": SOURCES, "target_lengths": TARGETS},
        "mask": {"mask": ~is_padding(SOURCES, 7)},
    }[given]
    hidden = is_padding(SOURCES, 7) if given != "nothing" else None
    memory = encoder(read(ours.model.source_embedding, X), src_key_padding_mask=hidden)
    right = decoder(
        read(ours.model.target_embedding, target), memory, tgt_mask=NEVER[:6, :6], memory_key_padding_mask=hidden
    )
    y = ours(X, target=target, **arguments)
    assert y.shape == (3, 6, 3)
    real = ~is_padding(TARGETS, 6) if given == "lengths" else torch.ones(3, 6).bool()
    assert_equal_to_rounding(y[real], head(ours, right)[real])
    if given != "nothing":
        assert_different(ours(X, target=target)[real], y[real])


def test_the_class_refuses_what_does_not_fit() -> None:
    ours, pair = class_and_reference()[0], class_and_reference(decoder=True)[0]
    for arguments, said in (
        ({"target": X}, "has no decoder"),
        ({"mask": torch.ones(3, 6).bool()}, "a mask is"),
        ({"mask": torch.ones(7, 7).bool()}, "a mask is"),
        ({"mask": torch.ones(3, 7, 6).bool()}, "a mask is"),
        ({"mask": torch.ones(2, 7, 7).bool()}, "a mask is"),
        ({"mask": torch.ones(3, 9, 9).bool()}, "a mask is"),
        ({"mask": torch.ones(3, 7)}, "must be bool"),
        ({"lengths": torch.tensor([7, 7])}, "2 lengths for 3"),
    ):
        with pytest.raises(ValueError, match=said):
            ours(X, **arguments)
    with pytest.raises(ValueError, match="give target="):
        pair(X)
    with pytest.raises(ValueError, match=r"expected vectors of shape \(B, L, 5\)"):
        ours(torch.randn(3, 7, 6))


def test_the_class_has_the_five_arguments_of_the_brief() -> None:
    model = dougong.Transformer(input_dim=16, output_dim=64, nhead=4, num_layers=2, dropout=0.1)
    assert model(torch.zeros(2, 10, 16)).shape == (2, 10, 64)
    assert model.feature_info[0].channels == 4 * 64
