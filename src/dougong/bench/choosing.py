"""Which workloads are measured: of one model, or the usual ones."""

from __future__ import annotations

from typing import Any

from dougong.architectures import build, resolve
from dougong.bench.fitting import writes
from dougong.bench.workloads import NEW, PROMPT, Workload

LLAMA = {
    "architecture": "llama", "d_model": 768, "n_layers": 12, "n_heads": 12, "d_ff": 2048, "vocab_size": 32000,
    "max_length": 2048,
}  # fmt: skip
"""125M parameters, a common size for comparing libraries of inference."""

GPT2 = {"architecture": "gpt2", "d_model": 512, "n_layers": 6, "n_heads": 8, "max_length": 256}


def chosen(model: str | dict[str, Any] | None, device: str, name: str | None) -> list[Workload]:
    """What is measured on a device.

    Raises:
        UserError: an unknown model.
    """
    if model is None:
        return _usual(device)
    config = resolve(model)
    name = name or (model if isinstance(model, str) else str(config["architecture"]))
    built = build(config, device="meta")
    kind = str(getattr(built, "input_kind", ""))
    length = min(512, config.get("max_length") or 512) if kind == "tokens" else None
    found = [Workload("read", name, config, 8 if length is None else 1, length)]
    if writes(config) and (config.get("max_length") or PROMPT + NEW) >= PROMPT + NEW:
        found = [Workload("write", name, config, batch) for batch in _batches(device)] + found
    return [*found, Workload("train", name, config, 4, None if length is None else min(256, length))]


def _batches(device: str) -> tuple[int, int]:
    return (1, 64) if device == "cuda" else (1, 16)


def _usual(device: str) -> list[Workload]:
    llama, bert = resolve(LLAMA), resolve("bert-base")
    found = [Workload("write", "llama-125m", llama, batch) for batch in _batches(device)]
    found.append(Workload("read", "llama-125m", llama, 1, 512))
    if device == "cpu":
        return [
            *found,
            Workload("read", "bert-base", bert, 8, 128),
            Workload("train", "gpt2-6x512", resolve(GPT2), 8, 256),
        ]
    found.append(Workload("read", "bert-base", bert, 64, 128))
    for name in ("gpt2-small", "gpt2-medium"):
        found.append(Workload("train", name, resolve(name), 8, 1024))
    return [*found, Workload("train", "bert-base", bert, 32, 512)]
