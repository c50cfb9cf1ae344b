"""What a token costs as the text grows to 8,000 tokens: each after the cache is full of those before it.

python benchmarks/long_texts.py [--longest 8192] [--rounds 5] [--threads 4] [--quick]

A Llama that sees everything should cost a constant plus what reading the keys costs, which grows linearly; a Mistral
with a window of 1024 should stay flat beyond it. "bend" is the cost at the longest over what the line through two
shorter ones says: 1 for a line. "tilt" is the cost at the longest over that at the window's length: 1 when it is flat.
"""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import Any

import torch
from common import options, prepared, say
from record import record

import dougong

STEPS = 16  # tokens that are written at each length
WINDOW = 1024
SIZES = {"d_model": 768, "n_layers": 12, "n_heads": 12, "d_ff": 2048, "vocab_size": 32000, "max_length": 16384}
SMALL = {"d_model": 64, "n_layers": 2, "n_heads": 2, "d_ff": 128, "vocab_size": 256, "max_length": 16384}


def seconds_a_token(model: Any, length: int, vocabulary: int) -> list[float]:
    """Of each token after a prompt of this length."""
    numbers = torch.Generator().manual_seed(length)
    prompt = torch.randint(0, vocabulary, (length,), generator=numbers).tolist()
    moments: list[float] = []
    dougong.generate(
        model, [prompt], max_new_tokens=STEPS + 1, end=(), show=lambda _: moments.append(time.perf_counter())
    )
    return [b - a for a, b in pairwise(moments)]


def main() -> None:
    """Measure, print, record."""
    given = options(__doc__, rounds=2, longest={"type": int, "default": 8192})
    sizes = SMALL if given.quick else SIZES
    window = 128 if given.quick else WINDOW
    longest = min(given.longest, 512) if given.quick else given.longest
    lengths = [length for length in (longest // 16, longest // 8, longest // 4, longest // 2, longest)]
    models = {
        "llama": prepared(dougong.build({"architecture": "llama", **sizes}, seed=0).eval(), "float32"),
        f"mistral, window {window}": prepared(
            dougong.build(
                {"architecture": "mistral", **sizes, "n_kv_heads": sizes["n_heads"], "window": window}, seed=0
            ).eval(),
            "float32",
        ),
    }
    taken: dict[str, dict[int, list[float]]] = {name: {length: [] for length in lengths} for name in models}
    for _ in range(given.rounds):
        for length in lengths:
            for name, model in models.items():
                taken[name][length] += seconds_a_token(model, length, sizes["vocab_size"])
    figures: dict[str, Any] = {"goal": "linear (bend near 1) and, with a window, flat (tilt near 1)"}
    for name, by_length in taken.items():
        medians = {length: statistics.median(seconds) for length, seconds in by_length.items()}
        told: dict[str, Any] = {f"ms_at_{length}": 1000 * each for length, each in medians.items()}
        first, middle = medians[lengths[0]], medians[lengths[3]]
        line = first + (middle - first) * (lengths[4] - lengths[0]) / (lengths[3] - lengths[0])
        told["bend"] = medians[lengths[4]] / line
        told["tilt"] = medians[lengths[4]] / medians[min(lengths, key=lambda length: abs(length - window))]
        figures[name] = told
        say(name, told)
    if not given.dry:
        record("long_texts", figures)


if __name__ == "__main__":
    main()
