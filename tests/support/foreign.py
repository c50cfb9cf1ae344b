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
            a parameter of ours to permute instead of every one in turn; ``exact``, what lets theirs compute in
            float64.
    """
    factor = options.get("factor", 1.0)
    for dtype in (torch.float32, torch.float64):
        place = folder / str(dtype).removeprefix("torch.")
        theirs = saved(make(), place, dtype)
        ours = dougong.load(place)
        assert next(ours.parameters()).dtype == dtype
        if dtype == torch.float64 and "exact" in options:
            options["exact"](theirs)
        here, there = ours_of(ours), theirs_of(theirs)
        assert_equal_to_rounding(here, there, dtype, factor)
        if options.get("gradients", True):
            check_gradients(ours, theirs, ours_of, theirs_of, factor)
        check_round_trip(ours, theirs, place, theirs_of)
    check_control(ours, ours_of, there, options.get("control"))
    return dougong.load(folder / "float32")


def exact(theirs: nn.Module) -> None:
    """Let the reference library compute root-mean-square norms and rotary angles in float64.

    It rounds both to float32, whatever the model's type, so that a float64 rerun could not tell rounding from faults.
    Frequencies that it stores rounded and scaled are taken from our formula, which another test holds to theirs.
    """
    for module in theirs.modules():
        kind = type(module).__name__
        if kind.endswith("RMSNorm") or kind == "T5LayerNorm":
            eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
            offset = 1.0 if kind.startswith("Gemma") else 0.0

            def norm(x: Tensor, module: Any = module, eps: Any = eps, offset: float = offset) -> Tensor:
                return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * (module.weight + offset)

            module.forward = norm  # type: ignore[method-assign]
        elif kind.endswith("RotaryEmbedding"):
            parameters = module.config.rope_parameters
            width = 2 * len(module.inv_freq)
            frequency = parameters["rope_theta"] ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
            found = rope(Foreign({"rope_parameters": parameters}, "the reference"))
            frequency = scaling(found["rope_scaling"]).stretch(frequency, found["rope_base"])

            def rotary(
                x: Tensor, position_ids: Tensor, *_: Any, module: Any = module, frequency: Tensor = frequency
            ) -> Any:
                angle = position_ids[..., None].double() * frequency
                both = torch.cat((angle, angle), -1)
                return both.cos() * module.attention_scaling, both.sin() * module.attention_scaling

            module.forward = rotary  # type: ignore[method-assign]


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
