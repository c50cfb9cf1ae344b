"""Starting weights, applied to a finished model by its architecture."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import nn

from dougong.parts.embeddings import TokenEmbedding


def real_modules(model: nn.Module) -> Iterator[nn.Module]:
    """Modules whose weights are real: on the meta device there is nothing to draw."""
    return (module for module in model.modules() if not any(p.is_meta for p in module.parameters(recurse=False)))


def normal(model: nn.Module, std: float = 0.02) -> None:
    """Linear and token embedding weights from a normal distribution cut at two deviations, biases zero (BERT, ViT)."""
    for module in real_modules(model):
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv1d):
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, TokenEmbedding):
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)


def xavier(model: nn.Module) -> None:
    """Linear weights uniform by fan-in and fan-out (Glorot and Bengio 2010, equation 16), biases zero."""
    for module in real_modules(model):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def he(model: nn.Module) -> None:
    """Convolution weights normal by fan-out (He et al. 2015, section 2.2), for networks of ReLUs; their biases zero."""
    for module in real_modules(model):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            back = isinstance(module, nn.ConvTranspose2d)
            outputs = (module.weight[0] if back else module.weight[:, 0]).numel()
            nn.init.normal_(module.weight, std=(2 * module.groups / outputs) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def rare(linear: nn.Linear, share: float = 0.01) -> None:
    """Scores of classes that start at a low probability, as most places hold nothing (Lin et al. 2017, section 4.1)."""
    if not linear.weight.is_meta:
        nn.init.constant_(linear.bias, math.log(share / (1 - share)))


def still(linear: nn.Linear) -> None:
    """A last layer that answers zero at first, so that what it corrects is left as it is."""
    if not linear.weight.is_meta:
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
