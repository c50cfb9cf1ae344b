"""What we save opens in Transformers with the same behaviour, and in dougong again."""

from __future__ import annotations

import json
import logging
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest

from dougong.data.tokenizing import Tokenizer

ALL = ["bert-uncased", "bert-cased", "gpt2", "roberta", "qwen2", "clip", "t5", "xlm-roberta", "llama", "gemma"]


def transformers(folder: Path) -> Any:
    from transformers import AutoTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return AutoTokenizer.from_pretrained(folder)


def behaviour(tokenizer: Any, texts: list[str]) -> list[Any]:
    found = [tokenizer(text, text[:20], verbose=False, return_offsets_mapping=True) for text in texts]
    return [[sorted(one), one["input_ids"], one["offset_mapping"], tokenizer.decode(one["input_ids"])] for one in found]


@pytest.mark.parametrize("family", ALL)
def test_transformers_opens_it(
    family: str, layouts: Path, texts: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Tokenizer.open(layouts / family)
    files = first.save(tmp_path)
    assert {path.name for path in files} == {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    assert sorted(tmp_path.iterdir()) == sorted(files)
    with caplog.at_level(logging.WARNING):
        saved = transformers(tmp_path)
    assert caplog.records == []
    original = transformers(layouts / family)
    short = [text[:400] for text in texts]
    same = behaviour(saved, short) == behaviour(original, short)
    assert same
    for name in ("special_tokens_map", "padding_side", "model_input_names", "model_max_length"):
        assert getattr(saved, name) == getattr(original, name) or name == "model_max_length"
    assert sorted(saved.all_special_tokens) == sorted(original.all_special_tokens)
    assert repr(saved.added_tokens_decoder) == repr(original.added_tokens_decoder)
    again = Tokenizer.open(tmp_path)
    assert all(first.encode(text).ids == again.encode(text).ids for text in texts)
    assert {**first.describe(), "source": ""} == {**again.describe(), "source": "", "family": first.settings.family}


def test_another_tokenizer_is_noticed(layouts: Path, texts: list[str], tmp_path: Path) -> None:
    """The comparison above can fail."""
    Tokenizer.open(layouts / "bert-cased").save(tmp_path)
    other = transformers(layouts / "bert-uncased")
    assert behaviour(transformers(tmp_path), texts[:20]) != behaviour(other, texts[:20])


def test_chat_templates_and_flags_survive(layouts: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    Tokenizer.open(layouts / "gpt2").save(source)
    config = json.loads((source / "tokenizer_config.json").read_text())
    config |= {
        "chat_template": [
            {"name": "default", "template": "{{ messages[0].content }}é"},
            {"name": "tool_use", "template": "T"},
        ]
    }
    config |= {"extra_special_tokens": {"image_token": "<image>"}, "truncation_side": "left", "model_max_length": 77}
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.open(source)
    tokenizer.save(tmp_path / "saved")
    again, other = Tokenizer.open(tmp_path / "saved"), transformers(tmp_path / "saved")
    assert again.templates == tokenizer.templates == other.chat_template
    assert again.special["image"] == "<image>" == other.image_token and again.max_length == 77 == other.model_max_length
    assert other.truncation_side == "left" and again.encode("two<image>", special=False).ids[-1] == again.id("<image>")
    assert other("two<image>")["input_ids"] == again.encode("two<image>").ids


def test_marian_keeps_its_files(layouts: Path, texts: list[str], tmp_path: Path) -> None:
    first = Tokenizer.open(layouts / "marian")
    first.save(tmp_path)
    again = Tokenizer.open(tmp_path)
    assert all(first.encode(text).ids == again.encode(text).ids for text in texts)
    from transformers import AutoTokenizer

    other = AutoTokenizer.from_pretrained(tmp_path)
    assert all(sorted(other(text, verbose=False)["input_ids"]) == sorted(first.encode(text).ids) for text in texts)


def test_it_goes_to_another_process(layouts: Path, texts: list[str]) -> None:
    for family in (*ALL, "marian"):
        first = Tokenizer.open(layouts / family)
        again = pickle.loads(pickle.dumps(first))
        assert all(first.encode(text).ids == again.encode(text).ids for text in texts[::7])
