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
from dougong.interop.samples import Samples, draw, padded, unreached
from dougong.parts.cache import Cache
from dougong.parts.experts import Experts

TOLERANCE = 1e-5
"""Largest difference allowed in float32, as a share of the largest value."""

Captured = dict[str, Tensor]


def certify(model: nn.Module, folder: str | Path, *, reference: bool = True, seed: int = 0) -> dict[str, Any]:
    """Compare a model with the checkpoint in a folder, and say how far apart they are.

    Where Transformers is installed and has the model's family, it opens the folder and both run in float32 on the same
    random inputs, whole and with padding; layers are compared one by one. Otherwise the model is held to itself: batch
    against single, cache against none, one padding against another, float32 against float64. A mixture of experts gets
    as many inputs as it takes to reach every expert; if some are not, the certificate does not pass.

    Args:
        model: of ours.
        folder: that it was loaded from or saved to; its files are named with their SHA-256.
        reference: False leaves Transformers out.
        seed: of the inputs.

    Returns:
        ``passed``, ``checks`` (each with its name, largest error, tolerance and whether it passed), ``versions``,
        ``files``, ``against`` ("transformers" or "itself"), ``inputs`` (their shapes) and ``lengths`` (where padded).
    """
    folder = Path(folder)
    ours = copy.deepcopy(model).float().eval()
    samples = draw(ours, seed)
    config = read_json(folder / "config.json")
    foreign = "model_type" in config and importlib.util.find_spec("transformers") is not None
    if reference and foreign:
        checks = _against_transformers(ours, folder, config, samples)
    else:
        checks = _against_itself(ours, samples)
    if any(isinstance(module, Experts) for module in ours.modules()):
        left = unreached(ours, samples)
        checks.append({"name": "experts not reached", "error": float(left), "tolerance": 0.0, "passed": not left})
    return {
        "passed": bool(checks) and all(check["passed"] for check in checks),
        "against": "transformers" if reference and foreign else "itself",
        "architecture": config.get("model_type", config.get("architecture")),
        "checks": checks,
        "inputs": [list(each.shape) for each in samples.inputs],
        "lengths": [each.tolist() for each in padded(samples).lengths],
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
    """Their lists of layers, outermost, pictures first, else in order; of a pyramid, whose outermost list holds stages,
    those in it; none where they are not as long as ours."""
    outer = sorted(_lists(model), key=lambda pair: "vision" not in pair[0])
    inner = [pair for _, each in outer for layer in each for pair in _lists(layer)]
    for found in (outer, inner):
        if [len(each) for _, each in found] == wanted:
            return [list(each) for _, each in found]
    return []


def _lists(model: nn.Module) -> list[tuple[str, nn.ModuleList]]:
    """The outermost lists of layers, with their names."""
    found: list[tuple[str, nn.ModuleList]] = []
    inside: set[int] = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and id(module) not in inside:
            inside |= {id(each) for each in module.modules()}
            found.append((name, module))
    return found


def _final(output: Any) -> Tensor:
    """What a model answers: vectors of pictures and texts side by side, logits, masks, or hidden states."""
    if output.images is not None:
        return torch.cat((output.images, output.texts), 1)
    return next(each for each in (output.logits, output.masks, output.hidden) if each is not None)


def _answer(answer: Any, ours: Any) -> Tensor:
    """Their output that ours is held to."""
    if ours.images is not None:
        return torch.cat((_unit(answer.image_embeds), _unit(answer.text_embeds)), 1)
    if getattr(answer, "start_logits", None) is not None:
        return torch.stack((answer.start_logits, answer.end_logits), -1)
    for name in ("logits", "prediction_logits"):
        if getattr(answer, name, None) is not None:
            return getattr(answer, name)
    if ours.logits is not None and getattr(answer, "pooler_output", None) is not None:
        return answer.pooler_output
    return answer.last_hidden_state


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)


def _real(tensor: Tensor, samples: Samples, stack: int = -1) -> Tensor:
    """What a tensor holds at real tokens, (T, ...); the whole where it has no axis of tokens, or is (T, ...) already.

    Args:
        tensor: (B, L, ...), (T, ...) or of another kind.
        samples: that it was made of.
        stack: of which it comes; an encoder's tokens are those of the first input.
    """
    if not samples.lengths or (samples.kind == "image_text" and stack in (-1, 0)):
        return tensor
    place = samples.sequences[min(stack, len(samples.sequences) - 1)]
    lengths = samples.lengths[samples.sequences.index(place)]
    real = torch.arange(samples.inputs[place].shape[1]) < lengths[:, None]
    return tensor[real] if tensor.dim() > 2 and tensor.shape[:2] == real.shape else tensor


def _stack_of(name: str) -> int:
    return int(name.split(",")[0].removeprefix("stack "))


@torch.no_grad()
def _against_transformers(
    model: nn.Module, folder: Path, config: dict[str, Any], samples: Samples
) -> list[dict[str, Any]]:
    theirs, lost = _reference(folder, config)
    ours_of = _ours(model)
    theirs_of = _theirs(theirs, [len(each) for each in ours_of])
    checks = [{"name": "keys", "error": float(len(lost)), "tolerance": 0.0, "passed": not lost}]
    if lost:
        checks[0]["note"] = ", ".join(map(str, lost[:5]))
    for batch in (samples, padded(samples)):
        words = " with padding" if batch.lengths else ""
        output, here = _capture(model, ours_of, lambda batch=batch: batch.run(model))
        answer, there = _capture(theirs, theirs_of, lambda batch=batch: theirs(**batch.foreign()))
        for name in there:
            if name in here:
                stack = _stack_of(name)
                checks.append(_check(name + words, _real(here[name], batch, stack), _real(there[name], batch, stack)))
        checks.append(_check(f"output{words}", _real(_final(output), batch), _real(_answer(answer, output), batch)))
        if output.images is not None:
            checks.append(_check(f"scores of pairs{words}", output.logits, answer.logits_per_image))
        if not samples.sequences:
            break
    return checks


def _reference(folder: Path, config: dict[str, Any]) -> tuple[nn.Module, list[Any]]:
    """Their model, and the keys that it missed or did not know.

    Raises:
        UserError: they cannot open the folder.
    """
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
    lost = [*said["missing_keys"], *said["unexpected_keys"], *said["mismatched_keys"]]
    return theirs.eval(), sorted(lost, key=str)


@torch.no_grad()
def _against_itself(model: nn.Module, samples: Samples) -> list[dict[str, Any]]:
    """What any model must fulfil, whoever trained it."""
    checks = []
    short = padded(samples)
    for batch in (samples, short) if samples.sequences else (samples,):
        words = " with padding" if batch.lengths else ""
        rows = range(len(batch.inputs[0]))
        whole = _real(_final(batch.run(model)), batch)
        alone = [_final(batch.row(row).run(model)) for row in rows]
        single = torch.cat([each.flatten(0, 1) if each.dim() > 2 and batch.lengths else each for each in alone])
        checks.append(_check(f"batch against single{words}", single, whole))
        if (steps := _by_steps(model, batch)) is not None:
            checks.append(_check(f"cache on against off{words}", *steps))
    if samples.sequences:
        other = padded(samples, fill=1 if samples.pad != 1 else 0)
        here, there = (_real(_final(each.run(model)), each) for each in (other, short))
        checks.append(_check("what stands in the padding changes nothing", here, there))
    exact = copy.deepcopy(model).double()
    for batch in (samples, short) if samples.sequences else (samples,):
        words = " with padding" if batch.lengths else ""
        output, layers = _capture(model, _ours(model), lambda batch=batch: batch.run(model))
        answer, exact_layers = _capture(exact, _ours(exact), lambda batch=batch: batch.double().run(exact))
        if not batch.lengths:
            checks += [_check(f"float32 against float64, {name}", layers[name], exact_layers[name]) for name in layers]
        here, there = (_real(_final(each), batch) for each in (output, answer))
        checks.append(_check(f"float32 against float64, output{words}", here, there))
    return checks


def _by_steps(model: nn.Module, samples: Samples) -> tuple[Tensor, Tensor] | None:
    """The answer token by token with a cache, and at once; None for a model that does not go token by token."""
    if samples.kind == "tokens_pair":
        source, target = samples.inputs
        lengths = samples.lengths[0] if samples.lengths else None
        cache = Cache(target.shape[1])
        steps = [
            model(source if t == 0 else None, target[:, t : t + 1], lengths if t == 0 else None, cache=cache)
            for t in range(target.shape[1])
        ]
        return torch.cat([_final(step) for step in steps], 1), _final(model(source, target, lengths))
    if samples.lengths or not _causal(model, samples):
        return None
    tokens = samples.inputs[0]
    cache = Cache(tokens.shape[1])
    steps = [model(tokens[:, t : t + 1], cache=cache) for t in range(tokens.shape[1])]
    return torch.cat([_final(step) for step in steps], 1), _final(model(tokens))


def _causal(model: nn.Module, samples: Samples) -> bool:
    """Whether the model can go token by token: what comes later does not change what came before."""
    if samples.kind != "tokens" or samples.inputs[0].shape[1] < 2:
        return False
    tokens = samples.inputs[0]
    long, short = model(tokens), model(tokens[:, :-1])
    per_token = _final(long).dim() > 2
    return per_token and bool(torch.allclose(long.hidden[:, :-1], short.hidden, atol=1e-4))


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
