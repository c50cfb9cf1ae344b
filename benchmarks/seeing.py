"""Classifying pictures with ViT-B/16, beside Transformers.

python benchmarks/seeing.py [--batch 8] [--precisions float32 bf16] [--rounds 5] [--threads 4] [--quick]

Both have the same random weights; the logits of every picture are compared.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from common import CLOSE, apart, beside, options, peer, prepared, say
from record import in_turns, record

import dougong

PRECISIONS = ("float32", "bf16")


def main() -> None:
    """Measure, print, record."""
    given = options(
        __doc__,
        compile={"action": "store_true", "help": "compile our model's blocks"},
        batch={"type": int, "default": 8},
        precisions={"nargs": "+", "default": PRECISIONS, "choices": PRECISIONS},
    )
    transformers = peer("transformers")
    if transformers is None:
        raise SystemExit("nothing to compare with")
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    torch.manual_seed(0)
    config = transformers.ViTConfig(**(sizes if given.quick else {}), num_labels=1000)
    theirs = transformers.ViTForImageClassification(config).eval()
    figures: dict[str, Any] = {"batch": given.batch, "compiled": given.compile}
    figures["goal"] = "float32: 2 times Transformers"
    pixels = torch.randn(given.batch, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        theirs.save_pretrained(folder)
        reference = theirs(pixels).logits
        for precision in given.precisions:
            dtype = torch.float32 if precision == "float32" else torch.bfloat16
            ours, other, seen = (
                prepared(dougong.load(folder), precision, compile=given.compile),
                theirs.to(dtype),
                pixels.to(dtype),
            )
            found = apart(ours(seen).logits, reference)
            if found > (CLOSE if precision == "float32" else 0.05 * float(reference.abs().max())):
                raise SystemExit(f"{precision}: logits are {found:.2e} apart")
            runs = {"dougong": lambda m=ours, x=seen: m(x), "transformers": lambda m=other, x=seen: m(x)}
            told: dict[str, Any] = {"dougong_apart": found}
            told |= beside(in_turns(runs, given.rounds, warmup=1), given.batch, "pictures")
            figures[precision] = told
            say(precision, told)
            if not given.dry:
                record("seeing", figures)


if __name__ == "__main__":
    main()
