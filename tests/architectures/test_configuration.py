"""A configuration is checked whole; whatever is wrong with it ends as one line that names the fault and the remedy."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dougong
from dougong.errors import UserError


def refused(*words: str):
    return pytest.raises(UserError, match="".join(f"(?=.*{word})" for word in words))


def test_resolving_gives_every_argument() -> None:
    config = dougong.resolve("vit-micro", n_classes=3)
    assert config == {
        "architecture": "vit", "image_size": 8, "patch_size": 2, "d_model": 64, "n_layers": 4, "n_heads": 4,
        "d_ff": 128, "n_classes": 3, "dropout": 0.0, "pool": "first", "pooler": None, "activation": "gelu", "eps": 1e-6,
    }  # fmt: skip
    assert dougong.resolve(config) == config and json.loads(json.dumps(config)) == config
    assert dougong.resolve("lstm", d_input=3)["architecture"] == "lstm" and "cell" not in dougong.resolve("lstm")


def test_resolving_leaves_the_table_and_the_given_dict_alone() -> None:
    given_config = {"architecture": "resnet", "layers": [1, 1]}
    resolved = dougong.resolve(given_config)
    resolved["layers"].append(7)
    assert given_config == {"architecture": "resnet", "layers": [1, 1]}
    dougong.resolve("resnet-18")["layers"].append(7)
    assert dougong.resolve("resnet-18")["layers"] == [2, 2, 2, 2]
    dougong.resolve("resnet")["layers"].append(7)
    assert dougong.resolve("resnet")["layers"] == [3, 4, 6, 3]


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        ("vit-bas", {}, ["unknown model 'vit-bas'", "did you mean 'vit-base'"]),
        ({"architecture": "vti"}, {}, ["unknown architecture 'vti'", "vit"]),
        ({"architecture": ["vit"]}, {}, ["unknown architecture"]),
        ({"d_model": 8}, {}, ["names no architecture", "gpt2"]),
        ("vit", {"d_modle": 8}, ["unknown argument of vit 'd_modle'", "did you mean 'd_model'"]),
        ("lstm", {"cell": "gru", "d_input": 3}, ["unknown argument of lstm 'cell'"]),
        ("vectors", {}, ["needs input_dim", "set input_dim="]),
        ("vit", {"d_model": "768"}, ["d_model='768' will not do"]),
        ("vit", {"d_model": 7.5}, ["d_model=7.5 will not do"]),
        ("vit", {"n_layers": 0}, ["n_layers=0 will not do"]),
        ("vit", {"n_layers": True}, ["n_layers=True will not do"]),
        ("vit", {"dropout": 1.0}, ["dropout=1.0 will not do"]),
        ("vit", {"dropout": float("nan")}, ["dropout=nan will not do"]),
        ("vit", {"pool": "last"}, ["pool='last' will not do", "first"]),
        ("vit", {"image_size": [8, 8, 8]}, ["image_size"]),
        ("resnet", {"layers": []}, ["layers=.. will not do"]),
        ("resnet", {"layers": [1, -1]}, ["layers"]),
        ("textcnn", {"vocab_size": 9, "widths": []}, ["widths=.. will not do"]),
    ],
)
def test_what_is_wrong_is_named(model: str | dict, changes: dict, words: list[str]) -> None:
    with refused(*(word.replace("[", r"\[") for word in words)):
        dougong.resolve(model, **changes)


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        ("vit-micro", {"patch_size": 3}, ["vit-micro", "patches of 3x3 do not divide 8x8"]),
        ("vit-micro", {"n_heads": 5}, ["width 64 does not divide into 5 heads"]),
        ("lstm", {}, ["give exactly one of vocab_size, d_input, image_size"]),
        ("textcnn", {"vocab_size": 3, "d_input": 3}, ["give exactly one of"]),
    ],
)
def test_sizes_that_do_not_fit_together_are_named(model: str, changes: dict, words: list[str]) -> None:
    for device in ("cpu", "meta"):
        with refused(*words):
            dougong.build(model, device=device, **changes)
    assert torch.get_default_dtype() == torch.float32


def test_sizes_of_pictures_may_be_tuples() -> None:
    assert dougong.resolve("vit", image_size=(8, 4), patch_size=(2, 4))["image_size"] == [8, 4]


def test_seed_type_and_device() -> None:
    before = torch.random.get_rng_state()
    a, b, c = (dougong.build("vit-micro", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before), "a seed is the model's own"
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["head.linear.weight"], c["head.linear.weight"])
    assert {p.dtype for p in dougong.build("vit-micro", dtype=torch.bfloat16).parameters()} == {torch.bfloat16}
    assert all(p.is_meta for p in dougong.build("gpt3-175b", device="meta").parameters())
    assert torch.get_default_dtype() == torch.float32


KEYS = st.sampled_from(["architecture", "d_model", "n_layers", "layers", "image_size", "dropout", "pool", "vocab_size"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.sampled_from(["", "vit", "lstm", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@given(st.dictionaries(KEYS | st.text(max_size=6), VALUES, max_size=5))
def test_any_configuration_is_resolved_or_refused_with_a_remedy(config: dict) -> None:
    try:
        resolved = dougong.resolve(config)
    except UserError as error:
        assert str(error).count("\n") == 0 and error.remedy
    else:
        assert dougong.resolve(json.loads(json.dumps(resolved))) == resolved
