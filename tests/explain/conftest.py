"""Small trained models, made once."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dougong as dg
from dougong.data.texts import TextData
from dougong.data.texts.rows import TextRow, TextSplit
from dougong.tasks import TextClassification, task_for

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


GOOD, BAD = ("marvellous", "delightful", "splendid"), ("dreadful", "tedious", "horrid")
TEXT_MODELS: dict[str, dict[str, Any]] = {
    "textcnn": {"architecture": "textcnn", "d_model": 24, "n_filters": 16},
    "lstm": {"architecture": "lstm", "d_model": 24, "n_layers": 1},
    "bert": {"architecture": "bert", "d_model": 24, "n_layers": 2, "n_heads": 2, "d_ff": 32, "dropout": 0.0,
             "attention_dropout": 0.0},
}  # fmt: skip


@pytest.fixture(scope="session")
def opinions() -> TextClassification:
    """Sentences in which one word alone says the class, at any place among words that say nothing."""
    generator = random.Random(0)
    rows = []
    for number in range(240):
        label = number % 3
        words = generator.choices(("the", "film", "was", "a", "story", "of", "people", "here", "that", "we"), k=8)
        if label < 2:  # the third class has no such word, so that no class is given for want of another
            words.insert(generator.randrange(9), generator.choice(BAD if label else GOOD))
        rows.append(TextRow((" ".join(words),), (label,), (), f"made:{number}"))
    split = TextSplit.of(rows)
    splits = {"train": split, "val": split[:20], "test": split[:40]}
    data = TextData("made", "made", "texts", ("good", "bad", "neither"), False, splits, {}, "", 0)
    return task_for(data, vocab_size=75)  # type: ignore[return-value]  # few, so that words are several pieces


@pytest.fixture(scope="session")
def readers(opinions: TextClassification) -> dict[str, nn.Module]:
    """One model of each family that has learnt the opinions."""
    found = {}
    for name, config in TEXT_MODELS.items():
        model = dg.build(opinions.adapt(dg.resolve(config))[0], seed=0)
        if name == "bert":  # so small a one learns nothing in time from vectors of 0.02
            with torch.no_grad():
                model.embedding.weight.mul_(20)  # type: ignore[operator, union-attr]
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2 if name == "bert" else 5e-3)
        for step in range(60 if name == "bert" else 120):
            chosen = torch.randperm(240, generator=torch.Generator().manual_seed(step))[:32]
            batch = opinions.batch("train", chosen, train=True, epoch=0, seed=0)
            loss = opinions.loss(model(*batch.inputs), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert float(loss.detach()) < 0.1, name
        found[name] = model.eval()
    return found
