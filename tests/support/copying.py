"""Weights of reference models under our names; every key of the reference must be used."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from dougong.architectures.storing import shared_names


def renamed(state: dict[str, Tensor], rules: dict[str, str], skip: str = r"$^") -> dict[str, Tensor]:
    """Each key by the first rule whose pattern it matches whole; keys that match ``skip`` are left out.

    Raises:
        AssertionError: a key matches no rule.
    """
    found = {}
    for key, tensor in state.items():
        if re.fullmatch(skip, key):
            continue
        for pattern, name in rules.items():
            if match := re.fullmatch(pattern, key):
                found[match.expand(name)] = tensor
                break
        else:
            raise AssertionError(f"no rule for {key}")
    return found


def put(model: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """Fill a model, each of its parameters and buffers exactly once (shared ones by their first name)."""
    first = {name: names[0] for names in shared_names(model).values() for name in names}
    given = [first[name] for name in tensors]
    assert sorted(given) == sorted(set(first.values())), set(given) ^ set(first.values())
    state = model.state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            assert state[name].shape == tensor.shape, name
            state[name].copy_(tensor)
    return model


def split_in_three(state: dict[str, Tensor], names: dict[str, tuple[str, str, str]]) -> dict[str, Tensor]:
    """Stacked projections (3 D, ...) as three keys. Args: names: pattern to the three names."""
    found = {}
    for key, tensor in state.items():
        for pattern, three in names.items():
            if match := re.fullmatch(pattern, key):
                found.update({match.expand(name): part for name, part in zip(three, tensor.chunk(3), strict=True)})
                break
        else:
            found[key] = tensor
    return found


def from_torch_layers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """torch.nn's encoder and decoder layers (those of nn.Transformer's stacks) under the names of our blocks."""
    sides = ("query", "key", "value")
    split = split_in_three(
        state,
        {
            r"(.*)self_attn\.in_proj_(weight|bias)": tuple(rf"\1attention.body.{side}.\2" for side in sides),
            r"(.*)multihead_attn\.in_proj_(weight|bias)": tuple(rf"\1cross_attention.body.{side}.\2" for side in sides),
        },
    )
    decoding = any("multihead_attn" in key for key in state)
    norms = {"1": "attention", "2": "cross_attention" if decoding else "feed_forward", "3": "feed_forward"}
    rules = {
        r"layers\.(\d+)\.(\w*attention)\.body\.(.*)": r"blocks.\1.\2.body.\3",
        r"layers\.(\d+)\.self_attn\.out_proj\.(.*)": r"blocks.\1.attention.body.output.\2",
        r"layers\.(\d+)\.multihead_attn\.out_proj\.(.*)": r"blocks.\1.cross_attention.body.output.\2",
        r"layers\.(\d+)\.linear1\.(.*)": r"blocks.\1.feed_forward.body.up.\2",
        r"layers\.(\d+)\.linear2\.(.*)": r"blocks.\1.feed_forward.body.down.\2",
        **{rf"layers\.(\d+)\.norm{n}\.(.*)": rf"blocks.\1.{branch}.after.\2" for n, branch in norms.items()},
    }
    return renamed(split, rules)


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every key with a prefix."""
    return {prefix + key: tensor for key, tensor in state.items()}
