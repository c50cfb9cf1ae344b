"""Detection from scratch with the reference library's DETR: the peer that our small detector is compared with.

The pictures, their boxes, how they are varied and how the answers are judged are ours, so that nothing differs but the
model, its loss and its optimizer's rate. It has as many parameters and as many seconds.
"""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dougong.data import open_data
from dougong.parts.output import Output
from dougong.tasks import task_for


def model_of(classes: int, image: tuple[int, int]) -> Any:
    """DETR of some two million parameters, all of which learn.

    Its library freezes the batch norms of the residual network, and that network itself, for weights that others have
    trained. From scratch the network must learn; its norms, which hold no statistics yet, leave maps as they are.
    """
    import transformers

    backbone = transformers.ResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 128, 256], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    config = transformers.DetrConfig(
        backbone_config=backbone, d_model=128, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=256, decoder_ffn_dim=256, num_queries=60, num_labels=classes,
        auxiliary_loss=True,
    )  # fmt: skip
    return transformers.DetrForObjectDetection(config).requires_grad_(True)


def labels_of(targets: Tensor) -> list[dict[str, Tensor]]:
    """Objects (B, M, 5) as the reference library wants them."""
    real = [row[row[:, 0] >= 0] for row in targets]
    return [{"class_labels": row[:, 0].long(), "boxes": row[:, 1:]} for row in real]


def detection(
    folder: str | Path, *, seconds: float, batch_size: int, learning_rate: float = 1e-4, ema: float = 0.99
) -> dict[str, Any]:
    """The row of a quality table: AP on the test split of the best moving average by the validation split.

    Args:
        folder: of the data.
        seconds: of training, evaluation left out.
        batch_size: pictures.
        learning_rate: at its highest; the paper's.
        ema: decay of the moving average.
    """
    torch.manual_seed(0)
    task: Any = task_for(open_data(folder))
    net = model_of(len(task.classes), task.image_size)
    average = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=1e-4)
    spent, step, best = 0.0, 0, (-1.0, {}, {})
    tests = 10
    while spent < seconds:
        began = time.perf_counter()
        for group in optimizer.param_groups:
            share = min(1.0, spent / seconds)
            group["lr"] = learning_rate * min(1.0, step / 100) * (0.5 + 0.5 * math.cos(math.pi * share))
        epoch, place = divmod(step * batch_size, task.size("train"))
        order = torch.randperm(task.size("train"), generator=torch.Generator().manual_seed(epoch))
        batch = task.batch("train", order[place : place + batch_size], train=True, epoch=epoch, seed=0)
        net.train()
        loss = net(batch.inputs[0], labels=labels_of(batch.targets)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.1)  # as the authors do
        optimizer.step()
        step += 1
        decay = min(ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), net.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        before, spent = spent, spent + time.perf_counter() - began
        if int(before / seconds * tests) != int(spent / seconds * tests):
            val, test = (measured(average, task, split) for split in ("val", "test"))
            best = max(best, (val["ap"], val, test), key=lambda one: one[0])
    _, val, test = best
    return {
        "model": "transformers' DETR", "scores": [test["ap"]], "mean": test["ap"], "also": test["ap50"],
        "val": [val["ap"]], "low": None, "high": None, "p_against_best": None,
        "parameters": sum(p.numel() for p in net.parameters()), "training_flops": None, "training_seconds": spent,
    }  # fmt: skip


@torch.no_grad()
def measured(net: Any, task: Any, split: str) -> dict[str, float]:
    """AP and its kin on a split, by the same rules as ours."""
    net.eval()
    metrics = task.new_metrics()
    for indices in torch.arange(task.size(split)).split(task.at_once):
        batch = task.batch(split, indices, train=False, epoch=0, seed=0)
        answer = net(batch.inputs[0])
        metrics.update(Output(logits=answer.logits, boxes=answer.pred_boxes), batch)
    found: dict[str, float] = metrics.compute()
    return found
