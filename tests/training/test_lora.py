"""LoRA: nothing changes at first, only the adapters learn, merged is the same; the package peft agrees both ways."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dougong as dg
from dougong.errors import UserError
from dougong.runtime.kernels import FastLinears
from dougong.training import lora
from dougong.training.adapters import CONFIG, WEIGHTS, load_adapter, save_adapter

SMALL: dict[str, dict[str, Any]] = {
    "gpt2": {"architecture": "gpt2", "vocab_size": 50, "max_length": 16, "d_model": 32, "n_layers": 2, "n_heads": 4},
    "llama": {
        **{"architecture": "llama", "vocab_size": 50, "max_length": 16, "d_model": 32, "n_layers": 2, "n_heads": 4},
        **{"n_kv_heads": 2, "d_ff": 48},
    },
    "bert": {
        **{"architecture": "bert", "vocab_size": 50, "max_length": 16, "d_model": 32, "n_layers": 2, "n_heads": 4},
        **{"d_ff": 48, "head": "sequence", "n_classes": 3},
    },
    "modernbert": {
        **{"architecture": "modernbert", "vocab_size": 50, "max_length": 16, "d_model": 32, "n_layers": 2},
        **{"n_heads": 4, "d_ff": 48},
    },
}
TOKENS = torch.randint(50, (3, 9), generator=torch.Generator().manual_seed(1))


def small(family: str) -> nn.Module:
    """A tiny model with random values everywhere, in evaluation mode."""
    model = dg.build(SMALL[family], seed=0)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    model.card = {"tokens": {"pad": 0}}  # type: ignore[assignment]
    return model.eval()


def stir(model: nn.Module) -> None:
    """Adapters as after training."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def answer(model: nn.Module) -> Tensor:
    with torch.no_grad():
        output = model(TOKENS)
    return output.hidden if output.logits is None else output.logits


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", SMALL)
def test_nothing_changes_until_it_learns_and_only_adapters_learn(family: str) -> None:
    model = small(family)
    before = answer(model)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    names = lora.apply(model, rank=3, dropout=0.1, targets="all")
    assert names and torch.equal(answer(model), before)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning == {f"{name}.lora_{side}" for name in names for side in ("down", "up")}
    model.train()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        output = model(TOKENS)
        (output.hidden if output.logits is None else output.logits).square().mean().backward()
        optimizer.step()
    model.eval()
    assert not close(answer(model), before)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in weights.items())


def test_the_layer_is_what_the_paper_says() -> None:
    base = nn.Linear(5, 4)
    layer = lora.Adapted(base, rank=2, alpha=6)
    with torch.no_grad():
        layer.lora_up.copy_(torch.randn(4, 2))
    x = torch.randn(3, 5)
    expected = x @ (base.weight + 3 * layer.lora_up @ layer.lora_down).T + base.bias
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_merged_unmerged_folded(dtype: torch.dtype) -> None:
    model = small("llama").to(dtype)
    weights = copy.deepcopy(model.state_dict())
    lora.apply(model, rank=4, targets=["query", "value", "down"])
    stir(model)
    apart, rounding = answer(model), 64 * torch.finfo(dtype).eps
    for _ in range(2):  # twice does no more than once
        lora.merge(model)
    assert torch.allclose(answer(model), apart, atol=rounding * float(apart.abs().max()))
    lora.unmerge(model)
    lora.unmerge(model)
    for name, value in weights.items():
        torch.testing.assert_close(model.state_dict()[name], value, atol=rounding, rtol=rounding)
    folded = copy.deepcopy(model)
    lora.fold(folded)
    assert set(folded.state_dict()) == set(weights) and not list(lora.adapted(folded))
    assert torch.allclose(answer(folded), apart, atol=rounding * float(apart.abs().max()))


def test_a_folded_model_is_saved_like_any_other(tmp_path: Path) -> None:
    model = small("gpt2")
    lora.apply(model)
    stir(model)
    apart = answer(model)
    lora.fold(model)
    dg.save(model, tmp_path)
    assert close(answer(dg.load(tmp_path)), apart)


def test_quick_kernels_pass_adapters_by() -> None:
    model = small("llama")
    lora.apply(model)
    stir(model)
    apart = answer(model)
    with FastLinears(model):
        assert close(answer(model), apart)


def transformers_model(family: str, folder: Path) -> nn.Module:
    import transformers

    kinds = {"bert": "AutoModelForSequenceClassification", "modernbert": "AutoModelForMaskedLM"}
    kind = getattr(transformers, kinds.get(family, "AutoModelForCausalLM"))
    return kind.from_pretrained(folder).eval()


def their_answer(model: nn.Module) -> Tensor:
    with torch.no_grad():
        output = model(TOKENS)
    return output.logits if hasattr(output, "logits") else output.last_hidden_state


WAYS = [
    ("gpt2", ["query", "value"]),
    ("gpt2", ["query", "key", "value", "output", "up", "down"]),
    ("llama", ["query", "value"]),
    ("llama", ["all"]),
    ("bert", ["query", "value"]),
    ("modernbert", ["all"]),
]


@pytest.mark.parametrize(("family", "targets"), WAYS)
def test_peft_opens_ours(family: str, targets: list[str], tmp_path: Path) -> None:
    from peft import PeftModel

    model = small(family)
    dg.save(model, tmp_path / "base", layout="huggingface")
    plain = answer(model)
    lora.apply(model, rank=3, alpha=4, targets=targets, also=["head"] if family == "bert" else [])
    stir(model)
    if family == "bert":
        with torch.no_grad():
            model.head.linear.weight += 1  # type: ignore[union-attr, operator]
    save_adapter(model, tmp_path / "adapter", base="somebody/base")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        theirs = PeftModel.from_pretrained(transformers_model(family, tmp_path / "base"), str(tmp_path / "adapter"))
    assert close(their_answer(theirs.eval()), answer(model)) and not close(answer(model), plain)
    again = dg.load(tmp_path / "base")
    load_adapter(again, tmp_path / "adapter")
    assert close(answer(again), answer(model))
    save_adapter(again, tmp_path / "again")
    third = dg.load(tmp_path / "base")
    load_adapter(third, tmp_path / "again")
    assert close(answer(third), answer(model))


THEIRS = {
    "gpt2": {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True},
    "llama": {"target_modules": ["q_proj", "gate_proj"], "rank_pattern": {"q_proj": 5}, "alpha_pattern": {"q_proj": 7}},
    "bert": {"target_modules": ["query", "dense"], "modules_to_save": ["classifier"], "use_rslora": True},
    "modernbert": {"target_modules": "all-linear"},
}


@pytest.mark.parametrize("family", THEIRS)
def test_ours_opens_theirs(family: str, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    dg.save(small(family), tmp_path / "base", layout="huggingface")
    config = LoraConfig(r=3, lora_alpha=4, **THEIRS[family])
    theirs = get_peft_model(transformers_model(family, tmp_path / "base"), config).eval()
    stir(theirs)
    if family == "bert":
        with torch.no_grad():
            theirs.base_model.model.classifier.modules_to_save["default"].weight += 1
    theirs.save_pretrained(str(tmp_path / "adapter"))
    ours = dg.load(tmp_path / "base")
    plain = answer(ours)
    load_adapter(ours, tmp_path / "adapter")
    assert close(answer(ours), their_answer(theirs)) and not close(answer(ours), plain)
    learning = {name for name, parameter in ours.named_parameters() if parameter.requires_grad}
    whole = {name for name in learning if "lora_" not in name}
    assert whole == ({"head.linear.weight", "head.linear.bias"} if family == "bert" else set())
    assert len(learning - whole) == 2 * len(list(lora.adapted(ours)))
    save_adapter(ours, tmp_path / "ours")
    again = dg.load(tmp_path / "base")
    load_adapter(again, tmp_path / "ours")
    assert close(answer(again), their_answer(theirs))


def test_a_changed_adapter_is_seen(tmp_path: Path) -> None:
    """The comparisons above can fail."""
    from safetensors.torch import load_file, save_file

    model = small("gpt2")
    lora.apply(model)
    stir(model)
    save_adapter(model, tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    name = sorted(tensors)[1]
    save_file({**tensors, name: tensors[name].flip(0).contiguous()}, tmp_path / WEIGHTS)
    other = small("gpt2")
    load_adapter(other, tmp_path)
    assert not close(answer(other), answer(model))


def test_refused(tmp_path: Path) -> None:
    model = small("gpt2")
    with pytest.raises(UserError, match=r"'qery' is no linear layer.*query"):
        lora.apply(model, targets=["qery"])
    with pytest.raises(UserError, match="rank 0"):
        lora.apply(model, rank=0)
    with pytest.raises(UserError, match="no 'heat' that could learn"):
        lora.apply(model, also=["heat"])
    with pytest.raises(UserError, match="no adapters"):
        save_adapter(model, tmp_path)
    lora.apply(model)
    with pytest.raises(UserError, match="adapted already"):
        lora.apply(model)
    save_adapter(model, tmp_path)
    with pytest.raises(UserError, match="adapted already"):
        load_adapter(model, tmp_path)
    with pytest.raises(UserError, match="is no layer of this model"):
        load_adapter(small("llama"), tmp_path)
    wider = dg.build({**SMALL["gpt2"], "d_model": 64}, seed=0)
    with pytest.raises(UserError, match="another size"):
        load_adapter(wider, tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    for change in ({"use_dora": True}, {"peft_type": "IA3"}, {"bias": "all"}):
        (tmp_path / CONFIG).write_text(json.dumps({**config, **change}))
        with pytest.raises(UserError, match="can be opened"):
            load_adapter(small("gpt2"), tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps(config))
    (tmp_path / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        load_adapter(small("gpt2"), tmp_path)
