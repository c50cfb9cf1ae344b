"""DETR beside the reference library's: a training step and inference, with the same weights, in turns.

python benchmarks/detecting.py [--batch 2] [--rounds 5] [--height 256] [--width 320] [--layers 2 2 2 2]

A training step is the forward pass, the losses of all layers with their matching, the backward pass and AdamW. Both
models hold the same weights; their answers are compared before anything is timed. Ours looks at pictures as `dougong
predict` and `evaluate` do, with convolutions prepared once ("inference"), and as a plain call ("plain call").
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from record import in_turns, ratio, record

import dougong as dg
from dougong.heads.matching import SetLoss
from dougong.runtime.convolving import FastPictures

CLASSES, OBJECTS = 20, 8


def reference(layers: list[int]) -> Any:
    """DETR with its own residual network, all of which learns."""
    import transformers

    backbone = transformers.ResNetConfig(
        depths=layers, layer_type="basic", hidden_sizes=[64, 128, 256, 512], out_features=["stage4"]
    )
    config = transformers.DetrConfig(
        backbone_config=backbone, encoder_layers=3, decoder_layers=3, encoder_ffn_dim=1024, decoder_ffn_dim=1024,
        num_labels=CLASSES,
    )  # fmt: skip
    return transformers.DetrForObjectDetection(config).requires_grad_(True)


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--dry", action="store_true", help="print only")
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 2, 2, 2])
    options = parser.parse_args()
    torch.manual_seed(0)
    theirs = reference(options.layers)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(Path(folder))
        ours = dg.load(folder)
    pixels = torch.randn(options.batch, 3, options.height, options.width)
    targets = torch.rand(options.batch, OBJECTS, 5) * 0.4 + 0.2
    targets[..., 0] = torch.randint(0, CLASSES, targets.shape[:2])
    labels = [{"class_labels": row[:, 0].long(), "boxes": row[:, 1:]} for row in targets]
    for net in (ours, theirs):
        net.eval()
    fast = FastPictures(ours)
    with torch.no_grad():
        right = theirs(pixels).logits
        gap = float((ours(pixels).logits - right).abs().max())
        with fast:
            gap = max(gap, float((ours(pixels).logits - right).abs().max()))
    if gap > 1e-3:
        raise SystemExit(f"the answers differ by {gap:.1e}: nothing to compare")
    loss = SetLoss(CLASSES)

    def infer(net: Any) -> Any:
        with torch.no_grad():
            return net(pixels)

    def prepared() -> Any:
        with fast:
            return infer(ours)

    results: dict[str, Any] = {
        "batch": options.batch, "picture": f"{options.height}x{options.width}",
        "goal": "ratio at most 1, goal 0.77",
        "parameters": sum(p.numel() for p in ours.parameters()), "largest_gap": gap,
    }  # fmt: skip
    looking = {"ours": prepared, "plain": lambda: infer(ours), "transformers": lambda: infer(theirs)}
    seconds = in_turns(looking, 3 * options.rounds)
    results["inference"] = ratio(seconds, "ours", "transformers")
    results["plain call"] = ratio(seconds, "plain", "transformers")
    theirs.config.auxiliary_loss = True
    optimizers = {
        name: torch.optim.AdamW(net.parameters(), lr=1e-5, fused=True) for name, net in (("a", ours), ("b", theirs))
    }
    for net in (ours, theirs):
        net.train()

    def step(name: str) -> None:
        optimizers[name].zero_grad()
        total = loss(ours(pixels), targets) if name == "a" else theirs(pixels, labels=labels).loss
        total.backward()
        optimizers[name].step()

    seconds = in_turns({"ours": lambda: step("a"), "transformers": lambda: step("b")}, options.rounds)
    results["training step"] = ratio(seconds, "ours", "transformers")
    for name in ("inference", "plain call", "training step"):
        found = results[name]
        print(f"{name}: {found['ratio']:.3f} of their time ({found['ratio_low']:.3f} to {found['ratio_high']:.3f})")
    if not options.dry:
        record("detecting", results)


if __name__ == "__main__":
    main()
