"""Proof that a model of ours computes what its counterpart in another library computes, layer by layer."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dougong.errors import UserError
from dougong.frames.stack import Stack
from dougong.interop.files import read_json
from dougong.parts.cache import Cache

TOLERANCE = 1e-5
"""Largest difference allowed in float32, as a share of the largest value."""

Captured = dict[str, Tensor]


def certify(model: nn.Module, folder: str | Path, *, reference: bool = True, seed: int = 0) -> dict[str, Any]:
    """Compare a model with the checkpoint in a folder, and say how far apart they are.

    Where Transformers is installed and has the model's family, it opens the folder and both run in float32 on the same
    random inputs without padding. Otherwise the model is held to itself: batch against single, cache against none,
    float32 against float64.

    Args:
        model: of ours.
        folder: that it was loaded from or saved to; its files are named with their SHA-256.
        reference: False leaves Transformers out.
        seed: of the inputs.

    Returns:
        ``passed``, ``checks`` (each with its name, largest error, tolerance and whether it passed), ``versions``,
        ``files``, ``against`` ("transformers" or "itself"), ``inputs`` (their shapes).
    """
    folder = Path(folder)
    ours = copy.deepcopy(model).float().eval()
    inputs = _inputs(ours, seed)
    config = read_json(folder / "config.json")
    foreign = "model_type" in config and importlib.util.find_spec("transformers") is not None
    if reference and foreign:
        checks = _against_transformers(ours, folder, config, inputs)
    else:
        checks = _against_itself(ours, inputs)
    return {
        "passed": bool(checks) and all(check["passed"] for check in checks),
        "against": "transformers" if reference and foreign else "itself",
        "architecture": config.get("model_type", config.get("architecture")),
        "checks": checks,
        "inputs": [list(each.shape) for each in inputs],
        "seed": seed,
        "versions": _versions(),
        "files": {file.name: _sha256(file) for file in sorted(folder.iterdir()) if _counts(file)},
    }


def write(certificate: dict[str, Any], folder: Path) -> Path:
    """Write certificate.json into a folder, whole or not at all."""
    half = folder / "certificate.json.part"
    half.write_text(json.dumps(certificate, indent=2) + "\n", encoding="utf-8")
    os.replace(half, folder / "certificate.json")
    return folder / "certificate.json"


def _inputs(model: nn.Module, seed: int) -> tuple[Tensor, ...]:
    """Two random rows of what the model takes."""
    generator = torch.Generator().manual_seed(seed)
    config: dict[str, Any] = model.config  # type: ignore[assignment]
    length = min(12, int(config.get("max_length") or 12))
    example = model.example_inputs  # type: ignore[operator]
    kind = str(model.input_kind)
    shapes = example(2) if kind == "image" else example(2, length)  # type: ignore[operator]
    most = int(config.get("vocab_size") or 2)
    return tuple(
        torch.randn(each.shape, generator=generator)
        if each.is_floating_point()
        else torch.randint(min(3, most - 1), most, each.shape, generator=generator)
        for each in shapes
    )


def _check(name: str, here: Tensor, there: Tensor, tolerance: float = TOLERANCE) -> dict[str, Any]:
    """The largest difference of two tensors; NaN, other shapes and nothing at all do not pass."""
    if here.shape != there.shape or not here.numel():
        return {"name": name, "error": None, "tolerance": tolerance, "passed": False,
                "note": f"shapes {tuple(here.shape)} and {tuple(there.shape)}"}  # fmt: skip
    there = there.double()
    error = float((here.double() - there).abs().max())
    allowed = tolerance * float(there.abs().max())  # small values are held to small errors
    finite = error == error and error != float("inf")
    return {"name": name, "error": error if finite else None, "tolerance": allowed, "passed": error <= allowed}


def _capture(model: nn.Module, blocks: list[list[nn.Module]], run: Any) -> tuple[Any, Captured]:
    """What each block gives while ``run`` runs, and what that gives."""
    found: Captured = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            found[name] = first.detach()

        return hook

    hooks = [
        block.register_forward_hook(keep(f"stack {s}, layer {i}"))
        for s, stack in enumerate(blocks)
        for i, block in enumerate(stack)
    ]
    try:
        with torch.no_grad():
            return run(), found
    finally:
        for hook in hooks:
            hook.remove()


def _ours(model: nn.Module) -> list[list[nn.Module]]:
    return [list(module.blocks) for module in model.modules() if isinstance(module, Stack)]


def _theirs(model: nn.Module, wanted: list[int]) -> list[list[nn.Module]]:
    """Their lists of layers, outermost, in order; none where they do not have as many layers as ours."""
    found: list[list[nn.Module]] = []
    inside: set[int] = set()
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and id(module) not in inside:
            inside |= {id(each) for each in module.modules()}
            found.append(list(module))
    return found if [len(each) for each in found] == wanted else []


def _against_transformers(
    model: nn.Module, folder: Path, config: dict[str, Any], inputs: tuple[Tensor, ...]
) -> list[dict[str, Any]]:
    import transformers

    named = config.get("architectures") or []
    kind = getattr(transformers, named[0], None) if named else transformers.AutoModel
    if kind is None:
        raise UserError(str(folder / "config.json"), f"Transformers has no {named[0]}", "certify without it")
    transformers.utils.logging.disable_progress_bar()
    try:
        theirs, said = kind.from_pretrained(
            folder, output_loading_info=True, dtype=torch.float32, attn_implementation="eager"
        )
    except Exception as error:  # their own refusals have no common kind
        raise UserError(str(folder), f"Transformers cannot open it ({error})", "certify without it") from None
    theirs.eval()
    lost = sorted([*said["missing_keys"], *said["unexpected_keys"], *said["mismatched_keys"]], key=str)
    keys = {"image": ("pixel_values",), "tokens_pair": ("input_ids", "decoder_input_ids")}
    names = keys.get(str(model.input_kind), ("input_ids",))
    ours_of = _ours(model)
    theirs_of = _theirs(theirs, [len(each) for each in ours_of])
    output, here = _capture(model, ours_of, lambda: model(*inputs))
    answer, there = _capture(theirs, theirs_of, lambda: theirs(**dict(zip(names, inputs, strict=True))))
    checks = [{"name": "keys", "error": float(len(lost)), "tolerance": 0.0, "passed": not lost}]
    if lost:
        checks[0]["note"] = ", ".join(map(str, lost[:5]))
    checks += [_check(name, here[name], there[name]) for name in there if name in here]
    final = output.logits if output.logits is not None else output.hidden
    return [*checks, _check("output", final, _answer(answer, output.logits is not None))]


def _answer(answer: Any, head: bool) -> Tensor:
    """Their output that ours is held to."""
    if getattr(answer, "start_logits", None) is not None:
        return torch.stack((answer.start_logits, answer.end_logits), -1)
    if getattr(answer, "logits", None) is not None:
        return answer.logits
    if head and getattr(answer, "pooler_output", None) is not None:
        return answer.pooler_output
    return answer.last_hidden_state


@torch.no_grad()
def _against_itself(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[dict[str, Any]]:
    """What any model must fulfil, whoever trained it."""

    def final(output: Any) -> Tensor:
        return output.logits if output.logits is not None else output.hidden

    whole, layers = _capture(model, _ours(model), lambda: final(model(*inputs)))
    single = torch.cat([final(model(*[each[row : row + 1] for each in inputs])) for row in range(len(inputs[0]))])
    checks = [_check("batch against single", single, whole)]
    if _causal(model, inputs):
        cache = Cache(inputs[0].shape[1])
        steps = [final(model(inputs[0][:, t : t + 1], cache=cache)) for t in range(inputs[0].shape[1])]
        checks.append(_check("cache on against off", torch.cat(steps, 1), whole))
    exact = copy.deepcopy(model).double()
    wide = tuple(each.double() if each.is_floating_point() else each for each in inputs)
    output, exact_layers = _capture(exact, _ours(exact), lambda: final(exact(*wide)))
    checks += [_check(f"float32 against float64, {name}", layers[name], exact_layers[name]) for name in layers]
    return [*checks, _check("float32 against float64, output", whole, output)]


def _causal(model: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Whether the model can go token by token: what comes later does not change what came before."""
    if str(model.input_kind) != "tokens" or inputs[0].shape[1] < 2:
        return False
    cut = inputs[0][:, :-1]
    long, short = model(*inputs).hidden, model(cut).hidden
    return bool(torch.allclose(long[:, :-1], short, atol=1e-4))


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("dougong", "transformers", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _counts(file: Path) -> bool:
    """Whether what the model computes depends on a file."""
    return file.suffix in (".safetensors", ".bin") or file.name in ("config.json", "model.safetensors.index.json")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
