"""The cost of a model: traced on the meta device, so that nothing is allocated and nothing drifts from the model."""

from __future__ import annotations

import functools
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dougong.cost.asking import DRAWN, ITEMS, SOFTMAX
from dougong.cost.devices import Rates, parse, rates
from dougong.cost.parallel import per_device
from dougong.cost.parts import part_rows
from dougong.cost.passes import trace
from dougong.cost.preparing import nn_bytes, prepare
from dougong.cost.sheet import CostSheet, Flops, Memory, Seconds, Uncounted
from dougong.cost.tracing import Call
from dougong.errors import UserError, unknown
from dougong.frames.towers import Towers
from dougong.parts.attention import Attention
from dougong.parts.masks import Causal, reach

PRECISIONS = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
# Optimizers by the states of a parameter's size that they keep, and the bytes that a step moves, in sizes of the
# parameters: torch's fused kernel for Adam, which reads weight, gradient and both states and writes three of them back;
# one operation after another for SGD.
OPTIMIZERS = {"adamw": (2, 7), "adam": (2, 7), "sgd": (1, 8), "sgd-plain": (0, 3), "none": (0, 0)}

ASSUMPTIONS = [
    "1 multiply-add is 2 FLOPs; attention counts every key for every query, also under a causal mask",
    "the loss is the mean cross-entropy of the logits, where a model gives logits",
    "memory is what tensors hold; a library's scratch space, the allocator's slack and the program itself come on top",
    "the gradients are freed before each forward pass (zero_grad sets them to None)",
]


def cost(
    model: str | dict[str, Any] | nn.Module,
    *,
    batch: int = 1,
    length: int | None = None,
    train: bool = False,
    precision: str = "float32",
    device: str = "auto",
    devices: str | None = None,
    optimizer: str = "adamw",
    inputs: tuple[Any, ...] | None = None,
    name: str | None = None,
) -> CostSheet:
    """What a model takes: parameters, FLOPs, memory, bytes moved and time, in total and by part.

    Nothing is allocated: the real model is traced on the meta device, forward and backward.

    Args:
        model: the name of a size or family, a configuration, or a module.
        batch: samples in one pass, on all devices together.
        length: tokens of each sample.
        train: whether ``sheet.memory`` and ``sheet.seconds`` are those of a training step; both are always there.
        precision: "float32", "bfloat16", "float16" or "float64". In training, weights, gradients and the optimizer's
            state stay float32 where this is narrower.
        device: "auto" (this machine), "cpu", "cuda", or a name of the table such as "h100".
        devices: several of a kind, "8xh100", instead of ``device``.
        optimizer: "adamw", "adam", "sgd" (with momentum), "sgd-plain" or "none".
        inputs: what the model is called with, for a module that has no ``example_inputs``.
        name: of the model, in the sheet.

    Raises:
        UserError: an unknown model, device, precision or optimizer, or sizes that do not fit.
    """
    count, device = parse(devices) if devices is not None else (1, device)
    for where, word, known in (("precision", precision, PRECISIONS), ("optimizer", optimizer, OPTIMIZERS)):
        if word not in known:
            raise unknown(where, where, word, known)
    if batch < 1 or (length is not None and length < 1):
        raise UserError("batch" if batch < 1 else "length", "must be at least 1", "give a whole number from 1 on")
    if batch % count:
        raise UserError("batch", f"{batch} does not divide among {count} devices", f"give a multiple of {count}")
    speed = rates(device, precision)
    label, module, example = prepare(model, batch // count, length, inputs)
    kind = getattr(module, "input_kind", None)
    if length is not None and kind == "image":
        raise UserError("length", f"{name or label} reads pictures, which have none", "leave it out")
    if kind is not None and kind != "image":
        length = max(value.shape[1] for value in example if isinstance(value, Tensor) and value.dim() > 1)
    return _sheet(
        name or label, module, example, speed, count=count, batch=batch, length=length, train=train,
        precision=precision, optimizer=optimizer,
    )  # fmt: skip


def _sheet(
    name: str, model: nn.Module, inputs: tuple[Any, ...], speed: Rates, *, count: int, batch: int, length: int | None,
    train: bool, precision: str, optimizer: str,
) -> CostSheet:  # fmt: skip
    dtype = getattr(torch, precision)
    parameters = list(model.parameters())
    stored = nn_bytes(model)
    if dtype != torch.float32:
        model = model.to(dtype)
        inputs = tuple(v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for v in inputs)
    narrow = stored if dtype == torch.float32 else nn_bytes(model)
    try:
        forward = trace(model, inputs, train=False, kernels=speed.kind)
        training = trace(model, inputs, train=True, kernels=speed.kind)
    except ValueError as error:
        raise UserError("length" if length else name, str(error), "give sizes that the model takes") from None
    mixed = PRECISIONS[precision] < 4
    learned = sum(p.numel() * (4 if mixed else PRECISIONS[precision]) for p in parameters if p.requires_grad)
    n_learned = sum(p.numel() for p in parameters if p.requires_grad)
    states, step_bytes = OPTIMIZERS[optimizer]
    own = -(-n_learned // count)  # each device updates its share
    moved = step_bytes * learned // count
    step = Call("(optimizer)", True, f"step of {optimizer}", None, moved, 0, own, torch.float32)
    training_calls = {**training.calls, step: 1.0} if step_bytes else training.calls
    training = replace(training, calls=training_calls)
    weights = max(stored, narrow) + (narrow if mixed else 0)
    wide = 2 if mixed else 1  # gradients are traced in the narrow precision and kept in float32
    per_token = cache_per_token(model, PRECISIONS[precision])
    tokens = next((v.shape[1] for v in reversed(inputs) if isinstance(v, Tensor) and v.dim() > 1), 0)
    source = next((v.shape[1] for v in inputs if isinstance(v, Tensor) and v.dim() > 1), 0)
    own_batch, held = batch // count, cache_bytes(model, PRECISIONS[precision], tokens, source)
    inference_memory = Memory(
        weights=narrow, activations=forward.peak, cache=own_batch * held, peak=narrow + forward.peak
    )
    training_memory = Memory(
        weights=weights, gradients=learned, optimizer=states * learned,
        activations=training.peak_live, saved=sum(training.saved.values()),
        peak=weights + states * learned + training.peak + (wide - 1) * training.peak_gradients,
    )  # fmt: skip
    seconds = {"forward": _band(forward.seconds(speed), speed), "training": _band(training.seconds(speed), speed)}
    parts = part_rows(model, forward, training, speed, count)
    assumptions = list(ASSUMPTIONS)
    if mixed:
        assumptions.append(
            f"training in {precision}: float32 weights, gradients and optimizer state, a {precision} copy of the "
            f"weights, and all activations in {precision}"
        )
    if per_token:
        assumptions.append("the cache is what generation holds for batch and length; a plain forward pass has none")
    if (getattr(model, "config", None) or {}).get("head") in ITEMS:
        assumptions.append(
            "of a catalogue, an answer scores all items at the last place; training tells the true item from all "
            f"others, or from {DRAWN:,} drawn items where there are more than {SOFTMAX:,}"
        )
    if count > 1:
        largest = max((sum(p.numel() for p in child.parameters()) for child in units(model)), default=0)
        scale = PRECISIONS[precision] * largest
        inference_memory, training_memory, seconds, said = per_device(
            inference_memory, training_memory, seconds, speed, count=count, largest=scale,
            exchanged=sum(p.numel() for p in parameters) * PRECISIONS[precision],
        )  # fmt: skip
        assumptions += said
    assumptions.append(f"time: {speed.basis}")
    missing: Counter[str] = Counter()
    touched: Counter[str] = Counter()
    for call, times in (training if train else forward).calls.items():
        if call.flops is None:
            missing[call.name] += round(times) * count
            touched[call.name] += round(times * call.elements) * count
    return CostSheet(
        model=name, device=speed.name, devices=count, batch=batch, length=length, train=train, precision=precision,
        optimizer=optimizer, parameters=sum(p.numel() for p in parameters),
        flops=Flops(forward.flops * count, training.flops * count),
        inference=inference_memory, training=training_memory,
        bytes_moved={"forward": forward.bytes_moved * count, "training": training.bytes_moved * count},
        forward_seconds=seconds["forward"], training_seconds=seconds["training"], parts=parts,
        uncounted=[Uncounted(name, missing[name], touched[name]) for name in sorted(missing)],
        cache_per_token=per_token, device_memory=speed.memory, assumptions=assumptions,
    )  # fmt: skip


def _band(estimate: float, speed: Rates) -> Seconds:
    return Seconds(estimate, estimate * speed.low, estimate * speed.high, speed.basis)


def units(model: nn.Module) -> list[nn.Module]:
    """What is gathered at once when weights are sharded: a block, or a part beside the blocks."""
    found: list[nn.Module] = []
    for child in model.children():
        found += [module for module in child.children()] if isinstance(child, nn.ModuleList) else [child]
    deeper = [unit for module in found for unit in module.children() if isinstance(unit, nn.ModuleList)]
    return [block for blocks in deeper for block in blocks] or found


def cached_layers(model: nn.Module, element_size: int) -> list[tuple[int, int | None]]:
    """For each self-attention of a model that writes: bytes of a token's keys and values, and how far back it sees."""
    if isinstance(model, Towers):  # its text tower reads forwards, and never writes
        return []
    found = []
    for module in model.modules():
        causal = isinstance(module, Attention) and any(isinstance(part, Causal) for part in module.mask.parts())
        if isinstance(module, Attention) and causal and not module.cross:
            width = sum(width_out(side) for side in (module.key, module.value))
            found.append((element_size * width, reach(module.mask)))
    return found


def cache_per_token(model: nn.Module, element_size: int) -> int:
    """Bytes of keys and values that one token of one sequence leaves in a decoder's cache; 0 for other models."""
    return sum(size for size, _ in cached_layers(model, element_size))


def cache_bytes(model: nn.Module, element_size: int, tokens: int, source: int) -> int:
    """Bytes of the whole cache of one sequence, as `dougong.parts.cache.Cache` holds it.

    Args:
        model: of any kind.
        element_size: bytes of a number.
        tokens: that are written, those read before them included.
        source: tokens that an encoder has read, whose keys and values cross-attention keeps.
    """
    own = sum(
        size * (tokens if back is None else min(tokens, 2 * (back + 1)))
        for size, back in cached_layers(model, element_size)
    )
    if not own:
        return 0
    crosses = [part for part in model.modules() if isinstance(part, Attention) and part.cross]
    return own + source * element_size * sum(width_out(side) for part in crosses for side in (part.key, part.value))


def width_out(module: nn.Module) -> int:
    """The width of what a projection gives: that of its last weight."""
    widths = [p.shape[0] for p in module.parameters() if p.dim() == 2]
    return int(widths[-1]) if widths else 0


@functools.lru_cache(maxsize=256)
def _flops(config: str, batch: int, length: int | None, train: bool) -> int:
    _, model, inputs = prepare(json.loads(config), batch, length, None)
    return trace(model, inputs, train=train, whole=True).flops


def _key(model: str | dict[str, Any]) -> str:
    return json.dumps(model, sort_keys=True)


def forward_flops(model: str | dict[str, Any], batch: int = 1, length: int | None = None) -> int:
    """FLOPs of one forward pass, without gradients; 1 multiply-add is 2 FLOPs. Cached."""
    return _flops(_key(model), batch, length, False)


def training_flops(model: str | dict[str, Any], batch: int = 1, length: int | None = None) -> int:
    """FLOPs of one training step, forward and backward; 1 multiply-add is 2 FLOPs. Cached."""
    return _flops(_key(model), batch, length, True)


__all__ = ["cost", "forward_flops", "training_flops"]
