"""Training and writing on a GPU, in bf16, beside Transformers as it is and compiled; said plainly where there is none.

python benchmarks/on_gpu.py [--models gpt2-small gpt2-medium bert-base] [--batch 16] [--length 1024] [--rounds 5]

Training: tokens a second of whole steps (forward, backward, AdamW) and the share of the GPU's measured matrix rate that
the model's FLOPs make of it (MFU). Writing: GPT-2's tokens a second for 1 and 64 texts, and the share of the measured
memory bandwidth that reading the weights once a step makes of it. All have the same random weights, and losses and
written tokens are compared. --device cpu --quick shows that it works.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import apart, beside, options, peer, prepared, random_weights, say
from record import in_turns, record

import dougong

MODELS = ("gpt2-small", "gpt2-medium", "bert-base")
TEXTS = (1, 64)
PROMPT, NEW = 32, 128
GOAL = "as near to the GPU's own limits as can be, and above Transformers, compiled too"


def waiting(run: Callable[[], Any], device: str) -> Callable[[], Any]:
    """A run that is over when the GPU is done."""

    def done() -> Any:
        found = run()
        if device == "cuda":
            torch.cuda.synchronize()
        return found

    return done


def theirs_of(name: str, transformers: Any, quick: bool) -> Any:
    """The same model in Transformers, with random weights."""
    small = {"n_layer": 2, "n_embd": 64, "n_head": 2, "vocab_size": 512, "n_positions": 256}
    medium = {"n_layer": 24, "n_embd": 1024, "n_head": 16}
    if name == "bert-base":
        tiny = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
        given = {**(tiny if quick else {}), "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        return random_weights(transformers.BertForMaskedLM(transformers.BertConfig(**given)), 0.02)
    given = small if quick else medium if name == "gpt2-medium" else {}
    free = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return random_weights(transformers.GPT2LMHeadModel(transformers.GPT2Config(**given, **free)), 0.02)


def step_of(model: Any, loss_of: Callable[[], torch.Tensor], device: str) -> Callable[[], float]:
    """A training step, bf16 by autocast; it gives the loss before it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16):
            found = loss_of()
        found.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(found.detach())

    return step


def trained(name: str, folder: Path, given: Any, transformers: Any, limit: float | None) -> dict[str, Any]:
    """One model's training in all ways."""
    from dougong.cost import training_flops
    from dougong.heads.losses import cross_entropy
    from dougong.parts.output import deferring
    from dougong.runtime.preparing import compile_blocks

    theirs_of(name, transformers, given.quick).save_pretrained(folder)
    kind = transformers.BertForMaskedLM if name == "bert-base" else transformers.GPT2LMHeadModel
    length = min(given.length, 512) if name == "bert-base" else given.length
    config = dict(dougong.load(folder).config)
    numbers = torch.Generator().manual_seed(1)
    text = torch.randint(0, config["vocab_size"], (given.batch, length + 1), generator=numbers).to(given.device)
    tokens, targets = text[:, :-1].contiguous(), text[:, 1:].contiguous()

    def ours(compiled: bool) -> Callable[[], float]:
        model = dougong.load(folder, device=given.device).train()
        if compiled:
            compile_blocks(model)

        def loss() -> torch.Tensor:
            with deferring():
                output = model(tokens)
            return cross_entropy(output, targets)

        return step_of(model, loss, given.device)

    def other(compiled: bool) -> Callable[[], float]:
        model = kind.from_pretrained(folder, attn_implementation="sdpa").to(given.device).train()
        run = torch.compile(model) if compiled else model
        extra = {} if name == "bert-base" else {"use_cache": False}

        def loss() -> torch.Tensor:
            logits = run(tokens, **extra).logits
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

        return step_of(model, loss, given.device)

    made = {
        "dougong": lambda: ours(True), "dougong_plain": lambda: ours(False),
        "transformers": lambda: other(False), "transformers_compiled": lambda: other(True),
    }  # fmt: skip
    steps = {who: waiting(make(), given.device) for who, make in made.items()}
    losses = {who: [step() for _ in range(3)] for who, step in steps.items()}
    furthest = max(apart(found, losses["transformers"]) for found in losses.values())
    if furthest > 0.05:
        raise SystemExit(f"{name}: losses are {furthest:.2e} apart: {losses}")
    told: dict[str, Any] = {"batch": given.batch, "length": length, "losses_apart": furthest}
    told |= beside(in_turns(steps, given.rounds, warmup=1), given.batch * length, "tokens")
    flops = training_flops(config, given.batch, length) / (given.batch * length)
    for who in made:
        told[f"{who}_mfu"] = told[f"{who}_tokens_per_second"] * flops / limit if limit else None
    return told


def written(folder: Path, given: Any, transformers: Any, bandwidth: float | None) -> dict[str, Any]:
    """GPT-2 of 124M parameters, writing in bf16."""
    theirs_of("gpt2-small", transformers, given.quick).save_pretrained(folder)
    new = 8 if given.quick else NEW
    theirs = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=torch.bfloat16).to(given.device).eval()
    theirs.generation_config.eos_token_id = None
    ours = prepared(dougong.load(folder, device=given.device), "bf16")
    n_bytes = 2 * sum(weight.numel() for weight in theirs.parameters())
    numbers, told = torch.Generator().manual_seed(1), {}
    for count in TEXTS:
        rows = torch.randint(0, theirs.config.vocab_size, (count, PROMPT), generator=numbers)
        ids = rows.to(given.device)

        def other(ids: torch.Tensor = ids, **how: Any) -> Any:
            return theirs.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new, pad_token_id=0, **how
            )[:, PROMPT:].tolist()

        def own(rows: torch.Tensor = rows) -> list[list[int]]:
            return [list(one.tokens) for one in dougong.generate(ours, rows.tolist(), max_new_tokens=new, end=())]

        runs = {"dougong": own, "transformers": other}
        with contextlib.suppress(Exception):  # a version that cannot compile its steps is measured without
            other(cache_implementation="static")
            runs["transformers_compiled"] = lambda ids=ids: other(ids, cache_implementation="static")
        texts = {who: run() for who, run in runs.items()}
        # in bf16 two libraries part where scores are near each other: the first tokens must agree
        first = [[row[0] for row in text] for text in (texts["dougong"], texts["transformers"])]
        agree = sum(a == b for a, b in zip(*first, strict=True)) / count
        if agree < 0.9:
            raise SystemExit(f"{count} texts: only {agree:.0%} of the first tokens agree")
        case: dict[str, Any] = {"first_tokens_agree": agree}
        waited = {who: waiting(run, given.device) for who, run in runs.items()}
        case |= beside(in_turns(waited, given.rounds, warmup=1), count * new, "tokens")
        for who in runs:
            steps = case[f"{who}_tokens_per_second"] / count
            case[f"{who}_share_of_memory"] = steps * n_bytes / bandwidth if bandwidth else None
        told[f"writing, {count}"] = case
        say(f"writing, {count}", case)
    return told


def main() -> None:
    """Measure, print, record."""
    given = options(
        __doc__,
        device={"default": "cuda", "choices": ("cuda", "cpu")},
        models={"nargs": "+", "default": MODELS, "choices": MODELS},
        batch={"type": int, "default": 16},
        length={"type": int, "default": 1024},
    )
    if given.device == "cuda" and not torch.cuda.is_available():
        print("not run: there is no GPU here")
        if not given.dry:
            record("on_gpu", {"goal": GOAL, "not_run": "there was no GPU"})
        return
    transformers = peer("transformers")
    if transformers is None:
        raise SystemExit("nothing to compare with")
    if given.quick:
        given.batch, given.length = 2, 64
    from dougong.cost.limits import limits

    found = limits(given.device)
    name = torch.cuda.get_device_name() if given.device == "cuda" else "cpu"
    figures: dict[str, Any] = {"device": name, "goal": GOAL, "bandwidth": found.bandwidth}
    figures["matrix_rate"] = found.matrix("bf16")
    for model in given.models:
        with tempfile.TemporaryDirectory() as folder:
            figures[f"training, {model}"] = trained(model, Path(folder), given, transformers, found.matrix("bf16"))
        say(f"training, {model}", figures[f"training, {model}"])
        if not given.dry:
            record("on_gpu", figures)
    with tempfile.TemporaryDirectory() as folder:
        figures |= written(Path(folder), given, transformers, found.bandwidth)
    if not given.dry:
        record("on_gpu", figures)


if __name__ == "__main__":
    main()
