"""Random inputs for a certificate: of every kind that a model reads, whole and with padding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dougong.parts.experts import Experts
from dougong.parts.output import Output

LENGTH = 12
MOST_ROWS = 64


@dataclass(frozen=True)
class Samples:
    """A batch of inputs.

    Args:
        kind: the model's ``input_kind``.
        inputs: what the model reads, in its order.
        lengths: (B,) real tokens of each row, for each input that has tokens or vectors; empty where all are real.
        pad: the token that fills rows up.
    """

    kind: str
    inputs: tuple[Tensor, ...]
    lengths: tuple[Tensor, ...] = ()
    pad: int = 0

    @property
    def sequences(self) -> tuple[int, ...]:
        """Which of the inputs have lengths."""
        return {"image": (), "image_text": (1,), "tokens_pair": (0, 1), "vectors_pair": (0, 1)}.get(self.kind, (0,))

    def run(self, model: nn.Module) -> Output:
        """The model's output."""
        return model(*self.inputs, *self.lengths)

    def row(self, index: int) -> Samples:
        """One row by itself, without padding."""
        parts = [each[index : index + 1] for each in self.inputs]
        for place, lengths in zip(self.sequences, self.lengths, strict=False):
            parts[place] = parts[place][:, : int(lengths[index])]
        return replace(self, inputs=tuple(parts), lengths=())

    def double(self) -> Samples:
        """The same values in float64."""
        return replace(self, inputs=tuple(each.double() if each.is_floating_point() else each for each in self.inputs))

    def foreign(self) -> dict[str, Tensor]:
        """The same as Transformers names it."""
        names = {
            "image": ("pixel_values",), "image_text": ("pixel_values", "input_ids"),
            "tokens_pair": ("input_ids", "decoder_input_ids"),
        }.get(self.kind, ("input_ids",))  # fmt: skip
        found = dict(zip(names, self.inputs, strict=True))
        masks = {"input_ids": "attention_mask", "decoder_input_ids": "decoder_attention_mask"}
        for place, lengths in zip(self.sequences, self.lengths, strict=False):
            real = torch.arange(self.inputs[place].shape[1]) < lengths[:, None]
            found[masks[names[place]]] = real.long()
        return found


def padded(samples: Samples, fill: int | None = None) -> Samples:
    """The same batch with rows cut to unequal lengths and filled up; ``fill`` other than with the pad token."""
    if not samples.sequences:
        return samples
    parts, found = list(samples.inputs), []
    for place in samples.sequences:
        n_rows, length = parts[place].shape[:2]
        lengths = torch.tensor([max(1, length - 3 * (row % 3) - place) for row in range(n_rows)])
        outside = torch.arange(length) >= lengths[:, None]
        held = parts[place]
        if held.is_floating_point():
            parts[place] = held.masked_fill(outside[..., None], 0.0 if fill is None else float(fill))
        else:
            value = samples.pad if fill is None else fill
            last = held[:, -1:].clone()
            parts[place] = held.masked_fill(outside, value)
            if samples.kind == "image_text":  # a text keeps the token that ends it
                parts[place].scatter_(1, lengths[:, None] - 1, last)
        found.append(lengths)
    return replace(samples, inputs=tuple(parts), lengths=tuple(found))


def draw(model: nn.Module, seed: int) -> Samples:
    """Two random rows of what a model takes; more, where a mixture of experts needs them to reach every expert."""
    n_rows = 2
    experts = [module for module in model.modules() if isinstance(module, Experts)]
    while True:
        found = _draw(model, seed, n_rows)
        if not experts or n_rows >= MOST_ROWS or not unreached(model, found):
            return found
        n_rows *= 2


@torch.no_grad()
def unreached(model: nn.Module, samples: Samples) -> int:
    """How many experts, in all layers, no token of a batch chooses."""
    reached: dict[Experts, set[int]] = {module: set() for module in model.modules() if isinstance(module, Experts)}

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        assert isinstance(module, Experts)
        reached[module].update(module.choose(given[0].reshape(-1, given[0].shape[-1]))[1].flatten().tolist())

    hooks = [module.register_forward_pre_hook(note) for module in reached]
    try:
        samples.run(model)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(len(module.gate) - len(chosen) for module, chosen in reached.items())


def _draw(model: nn.Module, seed: int, n_rows: int) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    config: dict[str, Any] = model.config  # type: ignore[assignment]
    kind = str(model.input_kind)
    length = min(LENGTH, int(config.get("max_length") or LENGTH))
    example = model.example_inputs  # type: ignore[operator]
    shapes = example(n_rows) if kind == "image" else example(n_rows, length)  # type: ignore[operator]
    most = int(config.get("vocab_size") or 2)
    card: dict[str, Any] = getattr(model, "card", None) or {}
    pad = int((card.get("tokens") or {}).get("pad") or 0)
    pad = pad if 0 <= pad < most else 0
    inputs = []
    for each in shapes:
        if each.is_floating_point():
            inputs.append(torch.randn(each.shape, generator=generator))
            continue
        tokens = torch.randint(min(3, most - 1), most, each.shape, generator=generator)
        other = (pad + 1) % most
        tokens[tokens == pad] = other if other != 0 or most < 3 else 2  # some libraries see padding in the token itself
        if kind == "image_text":
            end = getattr(model, "end", None)
            end = most - 1 if end is None else int(end)
            tokens[tokens == end] = 1 if pad != 1 and end != 1 else 2
            tokens[:, -1] = end
        inputs.append(tokens)
    return Samples(kind, tuple(inputs), pad=pad)
