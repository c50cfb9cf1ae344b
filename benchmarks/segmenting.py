"""SegFormer-b0 beside the same model in Transformers: a training step, and masks of a batch of pictures.

Both have the same weights, pictures, masks and optimizer, and their losses and answers are compared. Speed is measured
in turns in one process.

python benchmarks/segmenting.py [--size 180 240 --batch 4 --classes 11 --rounds 7]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import torch
from record import in_turns, ratio, record

BOTH = ("dougong", "transformers")


def models(folder: str, classes: int) -> dict[str, Any]:
    """The two with the same random weights; what training leaves to chance is off, so that losses can be compared."""
    from transformers import SegformerForSemanticSegmentation

    import dougong

    ours = dougong.build("segformer-b0", n_classes=classes, skipped=0.0, head_dropout=0.0)
    dougong.save(ours, folder, layout="huggingface")
    return {"dougong": dougong.load(folder), "transformers": SegformerForSemanticSegmentation.from_pretrained(folder)}


def steps(both: dict[str, Any], pixels: torch.Tensor, truth: torch.Tensor) -> dict[str, Callable[[], float]]:
    """A training step of each, which gives the loss before it."""
    from dougong.heads.segment import pixel_loss

    def trainer(who: str) -> Callable[[], float]:
        model = both[who].train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

        def step() -> float:
            optimizer.zero_grad()
            if who == "dougong":
                loss = pixel_loss(model(pixels).masks, truth)
            else:
                loss = model(pixel_values=pixels, labels=truth).loss
            loss.backward()
            optimizer.step()
            return float(loss.detach())

        return step

    return {who: trainer(who) for who in BOTH}


def answers(both: dict[str, Any], pixels: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    """The class of each pixel, by each."""
    from dougong.heads.segment import enlarged
    from dougong.runtime.convolving import FastPictures

    def asked(who: str) -> Callable[[], torch.Tensor]:
        model = both[who].eval()
        fast: Any = FastPictures(model) if who == "dougong" else contextlib.nullcontext()  # as `dougong predict`

        def ask() -> torch.Tensor:
            with torch.inference_mode(), fast:
                scores = model(pixels).masks if who == "dougong" else model(pixel_values=pixels).logits
                return enlarged(scores, pixels.shape[2:]).argmax(1)

        return ask

    return {who: asked(who) for who in BOTH}


def speed(seconds: dict[str, list[float]], pictures: int) -> dict[str, float]:
    """Pictures a second of both, and how many times as many are ours."""
    found = ratio(seconds, *BOTH)
    figures = {f"{who}_pictures_per_second": pictures / found[f"{who}_seconds"] for who in BOTH}
    turned = {"speedup": "ratio", "speedup_low": "ratio_high", "speedup_high": "ratio_low"}
    return figures | {name: 1 / found[key] for name, key in turned.items()}


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=[180, 240])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    pixels = torch.randn(options.batch, 3, *options.size)
    truth = torch.randint(0, options.classes, (options.batch, *options.size))
    truth[:, :10] = 255
    with tempfile.TemporaryDirectory() as folder:
        both = models(folder, options.classes)
    asked = answers(both, pixels)
    agree = float((asked["dougong"]() == asked["transformers"]()).float().mean())
    assert agree > 0.999, agree
    figures: dict[str, Any] = {"inference": speed(in_turns(asked, options.rounds), options.batch)}
    trained = steps(both, pixels, truth)
    losses = {who: [step() for _ in range(3)] for who, step in trained.items()}
    apart = max(abs(a - b) / abs(b) for a, b in zip(losses["dougong"], losses["transformers"], strict=True))
    assert apart < 1e-3, losses
    figures["training_step"] = {**speed(in_turns(trained, options.rounds), options.batch), "losses_apart": apart}
    print(json.dumps(figures, indent=1))
    if not options.dry:
        sizes = {"model": "segformer-b0", "size": options.size, "batch": options.batch, "classes": options.classes}
        record("segmenting", {**sizes, "goal": "speedup at least 1, goal 1.3", **figures})


if __name__ == "__main__":
    main()
