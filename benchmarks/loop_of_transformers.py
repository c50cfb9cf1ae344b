"""Fine-tuning for sentiment as Transformers' users write it: the peer that ours is compared with.

Padding to the longest of a batch, AdamW, linear warm-up and cosine fall, the gradient clipped at 1, the best epoch by
the validation split: the same settings as ours in everything.
"""

from __future__ import annotations

import csv
import statistics
import time
from pathlib import Path
from typing import Any

import torch

Rows = list[tuple[str, int]]


def read(folder: str | Path, split: str) -> Rows:
    """Texts and labels of a split of sst2."""
    with (Path(folder) / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], int(row["label"] == "positive")) for row in csv.DictReader(file)]


def sentiment(
    model: str,
    folder: str,
    *,
    seeds: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float = 0.05,
) -> dict[str, Any]:
    """The row of a quality table. Args: model: a checkpoint; folder: of sst2; the others as ours."""
    found = [once(model, folder, seed, epochs, batch_size, learning_rate, weight_decay) for seed in range(seeds)]
    scores = [one["test"] for one in found]
    return {
        "model": "transformers' loop", "scores": scores, "mean": statistics.mean(scores), "also": None,
        "val": [one["val"] for one in found], "low": None, "high": None, "p_against_best": None,
        "parameters": found[0]["parameters"], "training_flops": None,
        "training_seconds": statistics.mean(one["seconds"] for one in found),
    }  # fmt: skip


def once(
    model: str, folder: str, seed: int, epochs: int, batch_size: int, learning_rate: float, weight_decay: float
) -> dict[str, Any]:
    """One training, and its accuracy on val and test after the epoch that is best on val."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_cosine_schedule_with_warmup

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model)
    net = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2)
    rows = read(folder, "train")
    steps = epochs * (len(rows) // batch_size)
    decayed = [p for p in net.parameters() if p.dim() > 1]
    rest = [p for p in net.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(0.05 * steps), steps)
    best: tuple[float, float] = (-1.0, 0.0)
    began = time.perf_counter()
    for _ in range(epochs):
        net.train()
        order = torch.randperm(len(rows))
        for part in order[: len(rows) // batch_size * batch_size].split(batch_size):
            inputs = tokenizer([rows[i][0] for i in part], padding=True, truncation=True, return_tensors="pt")
            loss = net(**inputs, labels=torch.tensor([rows[i][1] for i in part])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        val, test = (accuracy(net, tokenizer, read(folder, split)) for split in ("dev", "test"))
        best = max(best, (val, test), key=lambda pair: pair[0])
    size = sum(p.numel() for p in net.parameters())
    return {"val": best[0], "test": best[1], "seconds": time.perf_counter() - began, "parameters": size}


@torch.no_grad()
def accuracy(net: Any, tokenizer: Any, rows: Rows) -> float:
    """The share of texts with the right class."""
    net.eval()
    right = 0
    for start in range(0, len(rows), 64):
        part = rows[start : start + 64]
        inputs = tokenizer([text for text, _ in part], padding=True, truncation=True, return_tensors="pt")
        right += int((net(**inputs).logits.argmax(-1) == torch.tensor([label for _, label in part])).sum())
    return right / len(rows)
