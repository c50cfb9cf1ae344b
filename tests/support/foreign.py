"""A family of ours against its reference in Transformers: load, compare, save, load there, and break it once.

Each family's test names a tiny random model of the reference library; nothing is downloaded.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import dougong
from dougong.interop.mapping import Foreign
from dougong.interop.names import rope
from dougong.parts.rope_scaling import scaling
from support.numbers import assert_equal_to_rounding, gap, shake

Run = Callable[[nn.Module], Tensor]


def saved(theirs: nn.Module, folder: Path, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    """The reference model with random values everywhere, written to a folder as its library writes it."""
    torch.manual_seed(seed)
    shake(theirs)
    theirs.to(dtype).eval()
    theirs.save_pretrained(folder)
    return theirs


def check_family(
    make: Callable[[], nn.Module], ours_of: Run, theirs_of: Run, folder: Path, **options: Any
) -> nn.Module:
    """Everything that a family promises of its exchange; the model of ours, in float32.

    Args:
        make: gives a tiny model of the reference library.
        ours_of: the output of our model to compare.
        theirs_of: the same output of theirs, of the same inputs.
        folder: empty.
        options: ``factor`` on the rounding allowed; ``gradients=False`` where there are none; ``control``, the name of
            a parameter of ours to permute instead of every one in turn.
    """
    factor = options.get("factor", 1.0)
    for dtype in (torch.float32, torch.float64):
        theirs_of = in_float64(theirs_of) if dtype == torch.float64 else theirs_of
        place = folder / str(dtype).removeprefix("torch.")
        theirs = reopened(type(saved(make(), place, dtype)), place)
        ours = dougong.load(place)
        assert next(ours.parameters()).dtype == dtype
        here, there = ours_of(ours), theirs_of(theirs)
        assert_equal_to_rounding(here, there, dtype, factor)
        if options.get("gradients", True):
            check_gradients(ours, theirs, ours_of, theirs_of, factor)
        check_round_trip(ours, theirs, place, theirs_of)
    check_control(ours, ours_of, there, options.get("control"))
    return dougong.load(folder / "float32")


def in_float64(theirs_of: Run) -> Run:
    """The same output, computed in float64 throughout."""

    def run(theirs: nn.Module) -> Tensor:
        exact_constants(theirs)
        with InFloat64():
            return theirs_of(theirs)

    return run


class InFloat64(TorchFunctionMode):
    """The reference library without its own rounding.

    It computes norms, softmaxes and angles in float32 whatever the model's type, so that a float64 rerun could not tell
    rounding from faults. Here a float64 tensor stays one.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        first = args[0] if args else None
        if isinstance(first, Tensor) and first.dtype == torch.float64:
            if func is Tensor.float:
                return first
            if func is Tensor.to and torch.float32 in (*args, kwargs.get("dtype")):
                return first
            if kwargs.get("dtype") == torch.float32:
                kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


def exact_constants(theirs: nn.Module) -> None:
    """Frequencies and scales that the reference library holds rounded to float32, in float64.

    Frequencies that are scaled are of our formula, which another test holds to theirs.
    """
    for module in theirs.modules():
        if hasattr(module, "inv_freq") and hasattr(module, "config"):
            width = 2 * len(module.inv_freq)
            parameters = {**module.config.rope_parameters, "partial_rotary_factor": None}  # width says it already
            found = rope(Foreign({"rope_parameters": parameters}, "the reference"))
            plain = found["rope_base"] ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
            module.inv_freq = scaling(found["rope_scaling"]).stretch(plain, found["rope_base"])
        for name in [name for name, _ in module.named_buffers(recurse=False) if name.endswith("_attention_inv_freq")]:
            plain = module.config.rope_parameters[name.removesuffix("_inv_freq")]["rope_theta"]
            width = 2 * len(getattr(module, name))
            setattr(module, name, plain ** -(torch.arange(0, width, 2, dtype=torch.float64) / width))
        if type(module).__name__ == "MarianSinusoidalPositionalEmbedding":
            rows, width = module.weight.shape
            angle = torch.arange(rows).double()[:, None] / 10000 ** (torch.arange(0, width, 2).double() / width)
            module.weight.data = torch.cat((angle.sin(), angle.cos()), 1)
        if hasattr(module, "scalar_embed_scale"):
            module.embed_scale = torch.tensor(module.scalar_embed_scale, dtype=torch.float64)


def check_gradients(ours: nn.Module, theirs: nn.Module, ours_of: Run, theirs_of: Run, factor: float) -> None:
    """The sum of squares of all gradients of a weighted sum of the output, tied weights once."""
    norms = []
    for model, run in ((ours, ours_of), (theirs, theirs_of)):
        model.zero_grad()
        output = run(model)
        output.mul(torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)).sum().backward()
        squares = [p.grad.double().pow(2).sum() for p in model.parameters() if p.grad is not None]
        norms.append(torch.stack(squares).sum().sqrt().to(output.dtype))
    assert_equal_to_rounding(norms[0] / norms[1], torch.ones_like(norms[1]), factor=10 * factor)


def check_round_trip(ours: nn.Module, theirs: nn.Module, place: Path, theirs_of: Run) -> None:
    """What we save opens in the reference library without a word about keys, and computes bit for bit the same."""
    back = place / "back"
    dougong.save(ours, back, layout="huggingface")
    again = reopened(type(theirs), back)
    assert torch.equal(theirs_of(again), theirs_of(reopened(type(theirs), place)))
    mine, first = dougong.load(back).state_dict(), ours.state_dict()
    assert mine.keys() == first.keys()
    assert all(torch.equal(mine[name], first[name]) for name in first)
    config = json.loads((back / "config.json").read_text())
    assert config["architectures"] == [type(theirs).__name__]


def reopened(kind: type, place: Path) -> Any:
    """A model of the reference library from a folder; missing or surplus keys are an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, said = kind.from_pretrained(place, output_loading_info=True, dtype="auto")  # type: ignore[attr-defined]
    assert not said["missing_keys"] and not said["unexpected_keys"] and not said["mismatched_keys"], said
    return model.eval()


def check_control(ours: nn.Module, ours_of: Run, right: Tensor, name: str | None = None) -> None:
    """A permuted parameter is seen, a hundred thousand times above rounding: each in turn, or the one that is named."""
    assert right.dtype == torch.float64
    seen = 0
    for each, weight in ours.named_parameters():
        if (name is not None and each != name) or weight.dim() < 2 or min(weight.shape) < 2:
            continue
        before = weight.detach().clone()
        with torch.no_grad():
            weight.copy_(weight.roll(1, 0))
        assert gap(ours_of(ours), right) > 1e-6, f"a permuted {each} is not seen"
        with torch.no_grad():
            weight.copy_(before)
        seen += 1
    assert seen, f"no parameter {name or ''} to permute"
