"""Configurations fitted to pictures: whatever comes out builds, runs and learns; what was set is never changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dougong.architectures import build, resolve
from dougong.errors import UserError
from dougong.tasks.fitting import best_patch, fit_config

SIZES = ("vit-micro", "resnet-20", "resnet-18", "resnet-50", "rnn-micro", "gru-micro", "lstm-micro")
PICTURES = ((8, 8), (32, 32), (17, 23), (12, 10), (30, 7), (224, 224), (1, 9), (97, 97))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("picture", [(8, 8), (32, 32), (17, 23), (12, 10), (30, 7), (3, 5)])
def test_what_is_fitted_runs_and_has_gradients(size: str, picture: tuple[int, int]) -> None:
    config, lines = fit_config(resolve(size), 3, picture)
    model = build(config, seed=0)
    output = model(torch.randn(2, 3, *picture))
    assert output.logits.shape == (2, 3)
    output.logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert any("n_classes" in line and "the data has 3 classes" in line for line in lines)


@settings(max_examples=100)
@given(st.sampled_from(SIZES), st.integers(1, 300), st.integers(1, 300), st.integers(2, 50))
def test_any_picture_fits_any_family(size: str, height: int, width: int, classes: int) -> None:
    given_ = resolve(size)
    before = dict(given_)
    config, lines = fit_config(given_, classes, (height, width))
    assert given_ == before
    changed = {key for key in config if config[key] != given_[key]}
    assert changed == {line.split(":")[0].removeprefix("model.") for line in lines}
    assert fit_config(config, classes, (height, width)) == (config, [])  # once fitted, it stays


@pytest.mark.parametrize(
    ("size", "fixed", "picture", "said"),
    [
        ("vit-micro", {"patch_size": 5}, (12, 12), "model.patch_size=5: it does not divide 12x12; leave it out, or"),
        ("vit-micro", {"patch_size": [3, 5]}, (12, 12), "model.patch_size=3x5: it does not divide 12x12"),
        ("vit-micro", {"n_classes": 7}, (12, 12), "model.n_classes=7: the data has 3 classes; leave it out, or set 3"),
        ("resnet-20", {"image_size": 32}, (12, 10), "model.image_size=32: the pictures are read at 12x10"),
        ("resnet-20", {"layers": [1, 1, 1, 1, 1]}, (8, 8), "model.layers=[1,1,1,1,1]: the maps of 5 stages"),
        ("lstm-micro", {"patch_size": 5}, (12, 12), "model.patch_size=5: it does not divide 12x12"),
        ("lstm-micro", {"vocab_size": 100, "image_size": None}, (12, 12), "model.vocab_size=100: it reads pictures"),
        ("gpt2-small", {}, (12, 12), "gpt2: reads no pictures; choose vit, resnet"),
    ],
)  # fmt: skip
def test_what_was_set_is_refused_rather_than_changed(
    size: str, fixed: dict[str, Any], picture: tuple[int, int], said: str
) -> None:
    config = {**resolve(size), **fixed}
    with pytest.raises(UserError) as caught:
        fit_config(config, 3, picture, set(fixed))
    assert said in str(caught.value)


def test_what_was_set_and_fits_is_kept() -> None:
    config = resolve("vit-micro", patch_size=3, image_size=12, n_classes=3)
    assert fit_config(config, 3, (12, 12), {"patch_size", "image_size", "n_classes"}) == (config, [])
    config, lines = fit_config(resolve("vit-micro", patch_size=3), 3, (12, 12), {"patch_size"})
    assert config["patch_size"] == 3 and not any("patch_size" in line for line in lines)


@settings(max_examples=30)
@given(st.sampled_from(("vit-micro", "resnet-20", "lstm-micro")), st.integers(1, 24), st.integers(1, 24))
def test_any_small_picture_is_read(size: str, height: int, width: int) -> None:
    config, _ = fit_config(resolve(size), 5, (height, width))
    assert build(config)(torch.randn(2, 3, height, width)).logits.shape == (2, 5)


@given(st.integers(1, 400), st.integers(1, 400))
def test_the_best_patch_divides(height: int, width: int) -> None:
    patch = best_patch((height, width))
    assert height % patch[0] == 0 and width % patch[1] == 0


def test_small_pictures_keep_their_pixels() -> None:
    config, _ = fit_config(resolve("resnet-18"), 10, (32, 32))
    assert config["stem"] == "small"
    config, _ = fit_config(resolve("resnet-18"), 10, (224, 224))
    assert config["stem"] == "imagenet"
    for picture in PICTURES:
        config, _ = fit_config(resolve("resnet-18"), 10, picture)
        if min(picture) < 64:
            assert config["stem"] == "small" and 2 ** (len(config["layers"]) - 1) <= max(1, min(picture))
