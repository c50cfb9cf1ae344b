"""ONNX: a model's graph in a folder, held to the model in onnxruntime before it is handed over."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dougong.architectures.weights import inside
from dougong.errors import FailureError, UserError
from dougong.interop.files import travel
from dougong.interop.onnx_graph import Port, answers, graph, longest, ports, twin

NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4
"""Largest difference allowed, as a share of the largest value of the output."""
CASES = ((1, 1), (3, 5), (2, 17), (5, 33), (2, 131))
"""Batches and lengths that the file is tried on, none of which it was made with."""
BESIDE = ("config.json", "task.json")


def export(
    model: nn.Module, target: str | Path, *, tolerance: float = TOLERANCE, opset: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Write a model as an ONNX graph, once onnxruntime has shown that it computes the same.

    The graph is in float32 and has no cache. Its batch and lengths are open:

    - pictures: ``pixels`` (B, 3, h, w);
    - sequences: ``tokens`` (B, L) or ``vectors`` (B, L, d_input), and ``lengths`` (B,); with ``types`` (B, L) where the
      model tells kinds of token apart;
    - encoder-decoders: ``source``, ``target``, ``source_lengths``, ``target_lengths``;
    - pictures and texts, as many of each as you like: ``pixels``, and ``tokens`` with ``lengths``.

    It gives ``logits`` or ``masks``, where the model has a head, and ``hidden``; of detectors ``boxes``, too; of
    pictures and texts the scores of all pairs as ``logits``, and the vectors ``images`` and ``texts``. What it gives at
    padding means nothing.

    Args:
        model: made by `dougong.build` or `dougong.load`.
        target: a new or empty folder, which gets ``model.onnx``, ``onnx.json`` (what was compared), ``config.json``,
            and the tokenizer, preprocessor and task that belong to the model; or a file ``*.onnx``, for the graph
            alone. Where the weights are too many for one file, they lie beside it in ``*.onnx.data``.
        tolerance: largest difference allowed, as a share of the largest value of the output.
        opset: version of ONNX's operators; torch's default.
        seed: of the inputs that are compared.

    Returns:
        What onnx.json holds: ``checks`` (batch, length, output, error, allowed), ``largest`` (as a share, like the
        tolerance), ``inputs`` and ``outputs`` (name, type, shape with the names of open axes), ``longest`` row that the
        model takes, ``opset``, ``versions``.

    Raises:
        UserError: a package is missing, the target is not empty, this is no model of ours, or torch cannot write the
            version of the operators that is asked for.
        FailureError: torch cannot export it, or the two differ by more than the tolerance. Nothing is written then.
    """
    require()
    target = Path(target)
    alone = target.suffix == ".onnx" and not target.is_dir()
    refuse(target)
    model = twin(model)
    program = graph(model, opset)
    target.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        file = half / (target.name if alone else "model.onnx")
        program.save(file)
        del program
        report = _report(model, file, tolerance, seed)
        if alone:
            for each in sorted(half.iterdir(), reverse=True):  # the weights first
                os.replace(each, target.parent / each.name)
        else:
            _accompany(model, half)
            (half / "onnx.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
            half.chmod(0o777 & ~_umask())
            if target.exists():
                target.rmdir()  # empty
            os.replace(half, target)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return report


def require() -> None:
    """Raises: UserError: a package that the export needs is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError("onnx", f"not installed: {', '.join(missing)}", 'pip install "dougong[onnx]"')


def refuse(target: Path) -> None:
    """Raises: UserError: the target is there already and no empty folder."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(str(target), "is there already and not an empty folder", "name a new folder")


def compare(model: nn.Module, file: str | Path, *, tolerance: float = TOLERANCE, seed: int = 0) -> list[dict[str, Any]]:
    """What onnxruntime makes of a file against what the model gives, on several batches and lengths with padding.

    Args:
        model: of ours.
        file: its graph, from `export`.
        tolerance: largest difference allowed, as a share of the largest value of the output.
        seed: of the inputs.

    Returns:
        For each case and output: ``batch``, ``length`` (``[source, target]`` for encoder-decoders, None for pictures),
        ``output``, ``error``, ``allowed``, ``passed``.
    """
    require()
    return _compare(twin(model), _session(Path(file)), tolerance, seed)


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


@torch.no_grad()
def _compare(model: nn.Module, session: Any, tolerance: float, seed: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)
    read, most = ports(model), longest(model)
    checks = []
    for batch, length in dict.fromkeys((b, min(size, most or size)) for b, size in CASES):
        short = max(1, length - 2)
        sizes = {"batch": batch, "length": length, "source_length": length, "target_length": short}
        sizes |= {"pictures": batch + 1, "texts": batch}
        inputs = tuple(_random(port, sizes, generator) for port in read)
        ours = answers(model, inputs)
        theirs = session.run(list(ours), {p.name: each.numpy() for p, each in zip(read, inputs, strict=True)})
        counts = {port.name: each for port, each in zip(read, inputs, strict=True) if port.kind == "lengths"}
        real = counts.get("target_lengths", counts.get("lengths"))
        size: Any = None if real is None else [length, short] if len(counts) > 1 else length
        for (name, here), there in zip(ours.items(), theirs, strict=True):
            place = {"batch": batch, "length": size, "output": name}
            checks.append({**place, **_difference(here, torch.from_numpy(there), real, tolerance)})
    return checks


def _random(port: Port, sizes: dict[str, int], generator: torch.Generator) -> Tensor:
    """Random values; rows of all lengths, one of them whole."""
    shape = [sizes[port.axes[axis]] if size is None else size for axis, size in enumerate(port.shape)]
    if port.kind == "float":
        return torch.randn(shape, generator=generator)
    if port.kind == "integer":
        return torch.randint(port.bound, shape, generator=generator)
    most = sizes[{"source_lengths": "source_length", "target_lengths": "target_length"}.get(port.name, "length")]
    lengths = torch.randint(1, most + 1, shape, generator=generator)
    lengths[-1] = most
    return lengths


def _difference(here: Tensor, there: Tensor, lengths: Tensor | None, tolerance: float) -> dict[str, Any]:
    """The largest difference at real tokens; NaN and other shapes do not pass."""
    if here.shape != there.shape:
        note = f"shapes {tuple(here.shape)} and {tuple(there.shape)}"
        return {"error": None, "allowed": None, "passed": False, "note": note}
    if lengths is not None and here.dim() == 3:
        real = torch.arange(here.shape[1]) < lengths[:, None]
        here, there = here[real], there[real]
    error = float((here.double() - there.double()).abs().max())
    allowed = tolerance * float(here.double().abs().max())
    finite = error == error and error != float("inf")
    return {"error": error if finite else None, "allowed": allowed, "passed": finite and error <= allowed}


def _report(model: nn.Module, file: Path, tolerance: float, seed: int) -> dict[str, Any]:
    """What the file is, and what was compared.

    Raises:
        FailureError: something differs.
    """
    session = _session(file)
    checks = _compare(model, session, tolerance, seed)
    wrong = [check for check in checks if not check["passed"]]
    if wrong:
        worst = max(wrong, key=lambda check: float("inf") if check["error"] is None else check["error"])
        found = worst.get("note") or ("is not finite" if worst["error"] is None else f"differ by {worst['error']:.1e}")
        allowed = "" if worst["error"] is None else f", {worst['allowed']:.1e} is allowed"
        raise FailureError(
            f"the ONNX graph and the model are not equal: {worst['output']} for {worst['batch']} rows of length "
            f"{worst['length']}: {found}{allowed}; nothing is written"
        )
    import onnx

    held = onnx.load(str(file), load_external_data=False)
    config: dict[str, Any] = getattr(model, "config", None) or {}
    return {
        "file": file.name,
        "architecture": config.get("architecture"),
        "opset": next(each.version for each in held.opset_import if not each.domain),
        "inputs": [_described(each) for each in session.get_inputs()],
        "outputs": [_described(each) for each in session.get_outputs()],
        "longest": longest(model),
        "tolerance": tolerance,
        "largest": max(check["error"] / (check["allowed"] / tolerance or 1) for check in checks),
        "checks": checks,
        "seed": seed,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "dougong": version("dougong")}
        | {name: version(name) for name in NEEDED},
    }


def _described(port: Any) -> dict[str, Any]:
    """An input or output as onnxruntime sees it."""
    axes = {str(axis): size for axis, size in enumerate(port.shape) if isinstance(size, str)}
    return {"name": port.name, "type": port.type, "shape": list(port.shape), "dynamic": axes}


def _accompany(model: nn.Module, folder: Path) -> None:
    """What belongs to the model: config.json as it lay there, or ours; tokenizer, preprocessor, task."""
    source = (getattr(model, "card", None) or {}).get("folder")
    held = Path(source) if source else None
    if held is not None:
        travel(held, folder)
        for name in BESIDE:
            if (held / name).is_file():
                shutil.copyfile(inside(held / name, held), folder / name)
    config = getattr(model, "config", None)
    if config and not (folder / "config.json").is_file():
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
