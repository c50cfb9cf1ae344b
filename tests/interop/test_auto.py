"""A folder that we saved opens with Transformers' Auto classes, tokenizer and all, without a warning about keys."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import dougong

WORDS = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "the", "beam", "holds", "roof"]
TEXT = "the beam holds the roof"


def checkpoint(kind: str, folder: Path) -> str:
    """A tiny model with a tokenizer and a generation config; the Auto class that opens it."""
    import transformers
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": len(WORDS), "hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 20,
        "num_hidden_layers": 2,
    }  # fmt: skip
    models: dict[str, tuple[str, Any, Any]] = {
        "gpt2": ("AutoModelForCausalLM", transformers.GPT2LMHeadModel,
                 transformers.GPT2Config(vocab_size=len(WORDS), n_embd=12, n_layer=2, n_head=3, n_positions=16)),
        "bert": ("AutoModelForMaskedLM", transformers.BertForMaskedLM, transformers.BertConfig(**sizes)),
        "llama": ("AutoModelForCausalLM", transformers.LlamaForCausalLM,
                  transformers.LlamaConfig(**{**sizes, "num_attention_heads": 2, "num_key_value_heads": 1})),
    }  # fmt: skip
    auto, make, config = models[kind]
    make(config).save_pretrained(folder)
    core = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    core.pre_tokenizer = Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(
        folder
    )
    (folder / "generation_config.json").write_text(json.dumps({"max_length": 9, "do_sample": False}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 8}))
    (folder / "secret.txt").write_text("stays")
    return auto


@pytest.mark.parametrize("kind", ["gpt2", "bert", "llama"])
def test_auto_classes_open_it(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import transformers

    first, middle, last = tmp_path / "first", tmp_path / "middle", tmp_path / "last"
    auto = checkpoint(kind, first)
    dougong.save(dougong.load(first), middle, layout="dougong")  # the files travel through our layout too
    dougong.save(dougong.load(middle), last, layout="huggingface")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, said = getattr(transformers, auto).from_pretrained(last, output_loading_info=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(last)
    assert not any(said[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert not [record for record in caplog.records if "weights" in record.message or "key" in record.message]
    tokens = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    assert tokens.tolist() == [[WORDS.index(word) for word in TEXT.split()]]
    reference = getattr(transformers, auto).from_pretrained(first).eval()
    assert torch.equal(model.eval()(tokens).logits, reference(tokens).logits)
    for name in ("tokenizer.json", "generation_config.json", "preprocessor_config.json"):
        assert (last / name).read_bytes() == (first / name).read_bytes()
    assert not (last / "secret.txt").exists()


def test_a_source_that_is_gone_is_no_fault(tmp_path: Path) -> None:
    import shutil

    checkpoint("gpt2", tmp_path / "first")
    model = dougong.load(tmp_path / "first")
    shutil.rmtree(tmp_path / "first")
    dougong.save(model, tmp_path / "second")
    assert not (tmp_path / "second" / "tokenizer.json").exists()
    dougong.save(dougong.load(tmp_path / "second"), tmp_path / "second")  # onto itself
    assert dougong.load(tmp_path / "second")
