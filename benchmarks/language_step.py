"""A training step of a language model of GPT-2's shape beside the same model in Transformers: its speed and memory.

Both have the same weights, batch and optimizer, and their losses are compared. Speed is measured in turns in one
process; memory in a process for each, as the highest resident memory of three steps less what stood before them.

python benchmarks/language_step.py [--modes float32 ...] [--layers 6 --width 512 --batch 8 --length 256 --rounds 3]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from record import in_turns, ratio, record

MODES = ("float32", "bfloat16", "float32 compiled", "bfloat16 compiled")
BOTH = ("dougong", "transformers")
THIRD = "x-transformers"
"""A decoder of the same sizes with weights of its own, where it is installed: its speed alone is compared."""


def weights(options: argparse.Namespace, folder: str) -> None:
    """Write a model of these sizes with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=options.vocabulary, n_layer=options.layers, n_embd=options.width, n_head=max(1, options.width // 64),
        n_positions=options.length, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)


def trainer(who: str, mode: str, folder: str, options: argparse.Namespace) -> Callable[[], float]:
    """A step of one of the two, which gives the loss before it."""
    numbers = torch.Generator().manual_seed(1)
    text = torch.randint(0, options.vocabulary, (options.batch, options.length + 1), generator=numbers)
    tokens, targets = text[:, :-1].contiguous(), text[:, 1:].contiguous()
    if who == "transformers":
        from transformers import GPT2LMHeadModel

        model: Any = GPT2LMHeadModel.from_pretrained(folder).train()

        def loss_of() -> torch.Tensor:
            return model(tokens, labels=targets, shift_labels=targets, use_cache=False).loss
    elif who == THIRD:
        from x_transformers import Decoder, TransformerWrapper

        layers = Decoder(dim=options.width, depth=options.layers, heads=max(1, options.width // 64), attn_flash=True)
        model = TransformerWrapper(
            num_tokens=options.vocabulary, max_seq_len=options.length, attn_layers=layers
        ).train()

        def loss_of() -> torch.Tensor:
            return torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1).float(), targets.flatten())
    else:
        import dougong
        from dougong.heads.losses import cross_entropy
        from dougong.parts.output import deferring
        from dougong.runtime.preparing import compile_blocks

        model = dougong.load(folder).train()
        if mode.endswith("compiled"):  # as a training with compile=true does
            compile_blocks(model)

        def loss_of() -> torch.Tensor:
            with deferring():
                output = model(tokens)
            return cross_entropy(output, targets)

    theirs = who != "dougong" and mode.endswith("compiled")
    loss = torch.compile(loss_of) if theirs else loss_of
    products = quickest(model, mode) if who == "dougong" else contextlib.nullcontext()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> float:
        optimizer.zero_grad()
        half = mode.startswith("bfloat16")
        with products:
            with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
                found = loss()
            found.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(found.detach())

    return step


def quickest(model: Any, mode: str) -> Any:
    """What a training of ours enters for a step: the products that are quicker on this machine."""
    from dougong.training.arithmetic import choose_products, products_of
    from dougong.training.config import TrainingConfig

    half, compiled = mode.startswith("bfloat16"), mode.endswith("compiled")
    config = TrainingConfig(model={}, name="", data="", precision="bfloat16" if half else "float32", compile=compiled)
    return products_of(choose_products(config, model)[0], model)


def megabytes() -> tuple[float, float]:
    """The memory that this process holds now, and the most that it ever held."""
    status = Path("/proc/self/status")
    if not status.exists():  # without it only the highest is known, that of the parent included
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
        return highest, highest
    held = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return tuple(int(held[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def memory(who: str, mode: str, folder: str, options: argparse.Namespace) -> None:
    """Print what three steps take."""
    step = trainer(who, mode, folder, options)
    before = megabytes()[0]
    for _ in range(3):
        step()
    highest = megabytes()[1]
    print(json.dumps({"step": highest - before, "process": highest}))


def measured(mode: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    """Speed, losses and memory of both in a mode."""
    steps = {who: trainer(who, mode, folder, options) for who in BOTH}
    losses = {who: [step() for _ in range(3)] for who, step in steps.items()}
    apart = max(abs(a - b) / abs(b) for a, b in zip(losses["dougong"], losses["transformers"], strict=True))
    assert apart < (0.01 if mode.startswith("bfloat16") else 1e-4), losses
    if importlib.util.find_spec("x_transformers"):
        steps[THIRD] = trainer(THIRD, mode, folder, options)
        steps[THIRD]()
    seconds = in_turns(dict(steps), options.rounds, warmup=0)
    found = ratio(seconds, *BOTH)
    tokens = options.batch * options.length
    figures: dict[str, Any] = {f"{who}_tokens_per_second": tokens / found[f"{who}_seconds"] for who in BOTH}
    figures |= {
        "speedup": 1 / found["ratio"], "speedup_low": 1 / found["ratio_high"], "speedup_high": 1 / found["ratio_low"],
        "losses_apart": apart,
    }  # fmt: skip
    if THIRD in seconds:
        third = ratio(seconds, "dougong", THIRD)
        figures[f"{THIRD}_tokens_per_second"] = tokens / third[f"{THIRD}_seconds"]
        figures |= {f"times_{THIRD}": 1 / third["ratio"], f"times_{THIRD}_low": 1 / third["ratio_high"],
                    f"times_{THIRD}_high": 1 / third["ratio_low"]}  # fmt: skip
    for who in BOTH:
        command = [sys.executable, __file__, "--memory", who, mode, folder, *given(options)]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        figures[f"{who}_megabytes"], figures[f"{who}_process_megabytes"] = said["step"], said["process"]
    figures["memory_ratio"] = figures["dougong_megabytes"] / figures["transformers_megabytes"]
    figures["process_memory_ratio"] = figures["dougong_process_megabytes"] / figures["transformers_process_megabytes"]
    return figures


SIZES = {"layers": 6, "width": 512, "vocabulary": 50257, "batch": 8, "length": 256, "rounds": 3}


def given(options: argparse.Namespace) -> list[str]:
    """The sizes as arguments."""
    return [word for name in SIZES for word in (f"--{name}", str(getattr(options, name)))]


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    import transformers

    transformers.logging.set_verbosity_error()
    if options.memory:
        return memory(*options.memory, options)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        weights(options, folder)
        for mode in options.modes:
            torch._dynamo.reset()
            figures[mode] = measured(mode, folder, options)
            print(mode, json.dumps({key: round(value, 7) for key, value in figures[mode].items()}), flush=True)
    sizes = {name: getattr(options, name) for name in SIZES}
    if not options.dry:
        record("language_step", {**sizes, "goal": "speedup at least 1.8 and 1.6, memory_ratio at most 0.6", **figures})


if __name__ == "__main__":
    main()
