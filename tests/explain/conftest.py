"""Small trained models, made once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import dougong as dg

VIT = {"architecture": "vit", "image_size": 8, "patch_size": 2, "d_model": 24, "n_layers": 3, "n_heads": 4, "d_ff": 48,
       "n_classes": 10}  # fmt: skip
LSTM = {"architecture": "lstm", "image_size": 8, "d_model": 24, "n_classes": 10}
RESNET = {"architecture": "resnet", "image_size": 8, "layers": [1, 1], "width": 8, "block": "basic", "stem": "small",
          "n_classes": 10}  # fmt: skip


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits: pixels (1797, 3, 8, 8) of mean 0, and labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = torch.tensor(found.images, dtype=torch.float32)[:, None].repeat(1, 3, 1, 1) / 16
    return (pixels - pixels.mean()) / pixels.std(), torch.tensor(found.target)


def trained(config: dict, digits: tuple[Tensor, Tensor], epochs: int) -> nn.Module:
    """A model that knows most digits."""
    pixels, labels = digits
    model = dg.build(config, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for chosen in torch.randperm(1400, generator=generator).split(64):
            loss = nn.functional.cross_entropy(model(pixels[chosen]).logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def vit(digits: tuple[Tensor, Tensor]) -> nn.Module:
    return trained(VIT, digits, 8)


@pytest.fixture(scope="session")
def lstm(digits: tuple[Tensor, Tensor]) -> nn.Module:
    return trained(LSTM, digits, 6)


@pytest.fixture(scope="session")
def resnet(digits: tuple[Tensor, Tensor]) -> nn.Module:
    return trained(RESNET, digits, 3)
