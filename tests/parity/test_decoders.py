"""Llama and the decoders after it, loaded from and saved to the Hugging Face layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.foreign import check_family
from torch import Tensor, nn

import dougong
from dougong.errors import UserError
from dougong.parts.rope_scaling import scaling

LENGTHS = torch.tensor([13, 6, 1])
TOKENS = torch.randint(1, 31, (3, 13), generator=torch.Generator().manual_seed(1))
REAL = torch.arange(13) < LENGTHS[:, None]
SMALL: dict[str, Any] = {
    "vocab_size": 31, "hidden_size": 20, "intermediate_size": 27, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 16}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"head_dim": 6}),
    "llama, tied, every head its own keys, biases": (
        "Llama",
        {"tie_word_embeddings": True, "num_key_value_heads": 4, "head_dim": 6, "attention_bias": True,
         "mlp_bias": True},
    ),
    "llama 3": ("Llama", {"head_dim": 6, "rms_norm_eps": 1e-3, "rope_parameters": LLAMA3}),
    "llama, linear": (
        "Llama", {"head_dim": 6, "rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 3.0}}
    ),
    "llama, yarn": ("Llama", {"head_dim": 6, "rope_parameters": YARN}),
    "mistral": ("Mistral", {"head_dim": 6, "sliding_window": 5}),
    "mistral, no window": ("Mistral", {"head_dim": 6, "sliding_window": None}),
    "qwen2": ("Qwen2", {"hidden_size": 24}),
    "qwen2, local above, tied": (
        "Qwen2",
        {"hidden_size": 24, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1,
         "tie_word_embeddings": True},
    ),
    "qwen3": ("Qwen3", {"head_dim": 6}),
    "qwen3, local above, biases": (
        "Qwen3",
        {"head_dim": 6, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2,
         "attention_bias": True},
    ),
    "mixtral": ("Mixtral", {"head_dim": 6, "intermediate_size": 28, "num_local_experts": 5, "num_experts_per_tok": 2}),
    "mixtral, one expert, window": ("Mixtral", {"num_local_experts": 3, "num_experts_per_tok": 1, "sliding_window": 4,
 "intermediate_size": 28,                                                "head_dim": 6}),
    "gemma2": ("Gemma2", {"head_dim": 6, "sliding_window": 4, "query_pre_attn_scalar": 5}),
    "gemma2, no caps, untied": (
        "Gemma2",
        {"head_dim": 6, "attn_logit_softcapping": None, "final_logit_softcapping": None, "tie_word_embeddings": False,
         "attention_bias": True, "sliding_window": 5},
    ),
}  # fmt: skip


def ours_of(model: nn.Module) -> Tensor:
    return model(TOKENS, LENGTHS).logits[REAL]


def theirs_of(model: Any) -> Tensor:
    if "Mixtral" in type(model).__name__:
        model.set_experts_implementation("eager")  # the default one knows no float64
    return model(TOKENS, attention_mask=REAL.long()).logits[REAL]


def tiny(name: str) -> nn.Module:
    import transformers

    kind, changes = VARIANTS[name]
    config = getattr(transformers, f"{kind}Config")(**{**SMALL, **changes})
    return getattr(transformers, f"{kind}ForCausalLM")(config)


@pytest.mark.parametrize("name", VARIANTS)
def test_decoder(name: str, tmp_path: Path) -> None:
    check_family(lambda: tiny(name), ours_of, theirs_of, tmp_path)


def test_a_configuration_of_transformers_4_reads_alike(tmp_path: Path) -> None:
    tiny("llama 3").save_pretrained(tmp_path)
    here = dougong.load(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    config["rope_scaling"] = parameters
    config["torch_dtype"] = config.pop("dtype")
    file.write_text(json.dumps(config))
    assert dougong.load(tmp_path).config == here.config
    assert here.config["rope_scaling"]["kind"] == "llama3"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rope_parameters": {"rope_type": "longrope", "factor": 2.0}}, "rope_type='longrope' is not supported"),
        ({"rope_parameters": {**YARN, "mscale": 2.0}}, "mscale=2.0"),
        ({"num_key_value_heads": 3}, "3 key heads do not divide 4 query heads"),
        ({"head_dim": 7}, "7 is odd"),
        ({"architectures": ["LlamaForQuestionAnswering"]}, "LlamaForQuestionAnswering"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps='small'"),
    ],
)
def test_what_we_do_not_build_is_refused_by_name(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    tiny("llama").save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UserError) as error:
        dougong.load(tmp_path)
    assert said in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("parameters", [LLAMA3, YARN, {**YARN, "truncate": False, "attention_factor": 1.5}])
def test_scaled_frequencies(parameters: dict[str, Any]) -> None:
    import transformers
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    from dougong.interop.mapping import Foreign
    from dougong.interop.names import rope

    config = transformers.LlamaConfig(**{**SMALL, "head_dim": 32, "rope_parameters": parameters})
    right, sharpening = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, torch.device("cpu"))
    found = rope(Foreign({"rope_parameters": parameters, "max_position_embeddings": 64}, "here"))
    base = found["rope_base"]
    plain = base ** -(torch.arange(0, 32, 2, dtype=torch.float64) / 32)
    ours = scaling(found["rope_scaling"])
    torch.testing.assert_close(ours.stretch(plain, base).float(), right, rtol=2e-6, atol=0)
    assert ours.sharpening == pytest.approx(sharpening)
    assert not torch.allclose(plain.float(), right, rtol=1e-2)
