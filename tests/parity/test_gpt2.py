"""GPT-2 loaded from and saved to the Hugging Face layout."""

from __future__ import annotations

from pathlib import Path

import torch
from support.foreign import check_family
from torch import nn


def tiny() -> nn.Module:
    from transformers.models.gpt2 import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(vocab_size=23, n_positions=14, n_embd=12, n_layer=3, n_head=3, n_inner=20,
                   resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    )  # fmt: skip


def test_gpt2(tmp_path: Path) -> None:
    tokens = torch.randint(0, 23, (2, 11), generator=torch.Generator().manual_seed(1))
    check_family(tiny, lambda ours: ours(tokens).logits, lambda theirs: theirs(tokens).logits, tmp_path)
