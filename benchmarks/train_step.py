"""A training step of vit-small beside the same model in Transformers: same sizes, same batch, in turns.

python benchmarks/train_step.py [--rounds 15] [--batch 8]
"""

from __future__ import annotations

import argparse

import torch
from record import in_turns, ratio, record

import dougong as dg


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()

    from transformers import ViTConfig, ViTForImageClassification

    ours = dg.build("vit-small", seed=0).train()
    config = ViTConfig(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536, num_labels=1000,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs = ViTForImageClassification(config).train()
    sizes = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
    assert sizes[0] == sizes[1], sizes
    pixels, labels = torch.randn(options.batch, 3, 224, 224), torch.randint(0, 1000, (options.batch,))

    def step(model: torch.nn.Module) -> object:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

        def run() -> None:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(pixels).logits, labels).backward()
            optimizer.step()

        return run

    seconds = in_turns({"dougong": step(ours), "transformers": step(theirs)}, options.rounds)  # type: ignore[dict-item]
    figures = {"model": "vit-small", "batch": options.batch, "rounds": options.rounds} | ratio(
        seconds, "dougong", "transformers"
    )
    figures["goal"] = "ratio at most 1.0"
    print(figures)
    record("train_step_vit_small", figures)


if __name__ == "__main__":
    main()
