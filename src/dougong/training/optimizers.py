"""Optimizers and schedules: torch's own, as the configuration says."""

from __future__ import annotations

import math

import torch
from torch import nn

from dougong.training.config import TrainingConfig


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW or SGD. Weights with two or more dimensions decay; norms, biases and single vectors do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    rate = config.learning_rate or 0.0
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=config.momentum, nesterov=config.momentum > 0)
    return torch.optim.AdamW(groups, lr=rate, betas=config.betas, fused=True)


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
