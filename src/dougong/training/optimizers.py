"""Optimizers and schedules: torch's own, as the configuration says."""

from __future__ import annotations

import math
import re

import torch
from torch import nn

from dougong.training.config import TrainingConfig


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW or SGD. Weights with two or more dimensions decay; norms, biases and single vectors do not.

    With a layer decay each block has groups of its own, whose ``scale`` the schedule multiplies.
    """
    trained: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            trained.setdefault(scale_of(name, model, config.layer_decay), []).append(parameter)
    groups = [
        {"params": kept, "weight_decay": decay, "scale": scale}
        for scale, several in trained.items()
        for kept, decay in (
            ([p for p in several if p.dim() > 1], config.weight_decay),
            ([p for p in several if p.dim() <= 1], 0.0),
        )
        if kept
    ]
    rate = config.learning_rate or 0.0
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=config.momentum, nesterov=config.momentum > 0)
    return torch.optim.AdamW(groups, lr=rate, betas=config.betas, fused=True)


def scale_of(name: str, model: nn.Module, decay: float) -> float:
    """By how much a parameter's learning rate is multiplied: 1 after the last block, less the deeper it lies.

    Args:
        name: of the parameter.
        model: whose ``body`` has blocks.
        decay: from one block to the one before it; embeddings and positions count as a block before the first.
    """
    if decay == 1:
        return 1.0
    count = len(getattr(getattr(model, "body", None), "blocks", ()))
    match = re.match(r"body\.blocks\.(\d+)\.", name)
    if match:
        return decay ** (count - int(match[1]))
    before = name.startswith(("embedding.", "body.positions.", "body.before."))
    return decay ** (count + 1) if before else 1.0


def rate_at(progress: float, config: TrainingConfig) -> float:
    """The learning rate when a share ``progress`` in [0, 1] of the budget is spent.

    It rises linearly over the warm-up, then falls to zero as half a cosine (Loshchilov and Hutter 2017, section 3) or
    as a line, or stays.
    """
    peak = config.learning_rate or 0.0
    if config.warmup and progress < config.warmup:
        return peak * progress / config.warmup
    rest = min(1.0, (progress - config.warmup) / (1 - config.warmup))
    if config.schedule == "cosine":
        return peak * (1 + math.cos(math.pi * rest)) / 2
    return peak * (1 - rest) if config.schedule == "linear" else peak
