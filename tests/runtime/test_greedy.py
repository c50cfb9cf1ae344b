"""Greedy generation, token for token as Transformers does it, and in a batch as alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import dougong
from dougong.errors import UserError

SMALL: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 24, "intermediate_size": 28, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHead", {}),
    "llama": ("LlamaForCausalLM", {}),
    "mistral": ("MistralForCausalLM", {"sliding_window": 5}),
    "mixtral": ("MixtralForCausalLM", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 6}),
    "gemma2": (
        "Gemma2ForCausalLM",
        {"head_dim": 6, "sliding_window": 4, "query_pre_attn_scalar": 5, "tie_word_embeddings": False},
    ),
}
PROMPTS = [[5, 9, 11], [7], [8, 3, 4, 20, 33, 12, 6], [10, 30, 50]]


def pair(name: str, folder: Path) -> tuple[Any, Any]:
    """Their model and ours with the same weights, large enough that no two scores are close."""
    import transformers

    torch.manual_seed(3)
    if name == "gpt2":
        config = transformers.GPT2Config(vocab_size=61, n_embd=24, n_layer=2, n_head=4, n_positions=128)
        theirs: Any = transformers.GPT2LMHeadModel(config)
    else:
        kind, changes = KINDS[name]
        config = getattr(transformers, kind.replace("ForCausalLM", "Config"))(**{**SMALL, **changes})
        theirs = getattr(transformers, kind)(config)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3 if weight.dim() > 1 else weight)
    theirs.eval().save_pretrained(folder)
    return theirs, dougong.load(folder)


@pytest.mark.parametrize("name", KINDS)
def test_a_hundred_tokens_as_transformers_writes_them(name: str, tmp_path: Path) -> None:
    theirs, ours = pair(name, tmp_path)
    theirs.generation_config.eos_token_id = None
    found = dougong.generate(ours, PROMPTS, max_new_tokens=100, end=())
    for prompt, one in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([prompt])
        expected = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=100, pad_token_id=0
        )
        assert list(one.prompt + one.tokens) == expected[0].tolist()
        assert one.reason == "length" and len(set(one.tokens)) > 1


def test_rows_that_end_leave_the_others_as_they_are(tmp_path: Path) -> None:
    _, ours = pair("llama", tmp_path)
    free = dougong.generate(ours, PROMPTS, max_new_tokens=30, end=())
    end = free[0].tokens[4]
    ended = dougong.generate(ours, PROMPTS, max_new_tokens=30, end=end)
    assert ended == [dougong.generate(ours, [prompt], max_new_tokens=30, end=end)[0] for prompt in PROMPTS]
    assert ended[0].reason == "end" and ended[0].tokens[-1] == end and ended[0].tokens != free[0].tokens
    for whole, cut in zip(free, ended, strict=True):
        assert whole.tokens[: len(cut.tokens)] == cut.tokens


@pytest.mark.parametrize(("prompts", "count"), [([[]], 5), ([[61]], 5), ([[-1]], 5), ([[1]], 0)])
def test_bad_input_is_refused(prompts: list[list[int]], count: int, tmp_path: Path) -> None:
    _, ours = pair("llama", tmp_path)
    with pytest.raises(UserError):
        dougong.generate(ours, prompts, max_new_tokens=count)
