"""What a model writes, token for token as Transformers writes it, and in a batch of unequal prompts as alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.writers import KINDS, PROMPTS, READERS, pair, written_by

import dougong


@pytest.mark.parametrize("varied", [False, True], ids=["plain", "no runs"])
@pytest.mark.parametrize("name", KINDS)
def test_a_hundred_tokens_as_transformers_writes_them(name: str, varied: bool, tmp_path: Path) -> None:
    theirs, ours = pair(name, tmp_path)
    size = 3 if varied else 0  # small random models repeat themselves unless they may not
    found = dougong.generate(ours, PROMPTS, max_new_tokens=100, end=(), no_repeat_ngram=size)
    for prompt, one in zip(PROMPTS, found, strict=True):
        expected = written_by(theirs, prompt, do_sample=False, max_new_tokens=100, no_repeat_ngram_size=size)
        assert [list(one.tokens)] == expected
        assert list(one.prompt) == prompt and one.reason == "length" and len(set(one.tokens)) > (5 if varied else 0)
    assert dougong.generate(ours, PROMPTS[2], max_new_tokens=100, end=(), no_repeat_ngram=size) == found[2]


@pytest.mark.parametrize("name", KINDS)
def test_a_hundred_tokens_with_beams(name: str, tmp_path: Path) -> None:
    theirs, ours = pair(name, tmp_path)
    rules: dict[str, Any] = {"max_new_tokens": 100, "end": (), "no_repeat_ngram": 3}
    found = dougong.generate(ours, PROMPTS, beams=3, **rules)
    for prompt, one in zip(PROMPTS, found, strict=True):
        settings = {"do_sample": False, "num_beams": 3, "max_new_tokens": 100, "no_repeat_ngram_size": 3}
        assert [list(one.tokens)] == written_by(theirs, prompt, **settings)
    greedy = dougong.generate(ours, PROMPTS, **rules)
    assert any(one.tokens != other.tokens for one, other in zip(found, greedy, strict=True))


RULES: dict[str, dict[str, Any]] = {
    "beams": {"num_beams": 3},
    "beams, longer favoured": {"num_beams": 3, "length_penalty": 2.0},
    "beams, shorter favoured": {"num_beams": 4, "length_penalty": -1.0},
    "beams, until full": {"num_beams": 3, "early_stopping": True},
    "beams, to the end": {"num_beams": 3, "early_stopping": "never", "length_penalty": 1.5},
    "several beams": {"num_beams": 4, "num_return_sequences": 3},
    "repetition": {"repetition_penalty": 1.7},
    "repetition, beams": {"repetition_penalty": 1.3, "num_beams": 2},
    "no runs": {"no_repeat_ngram_size": 2},
    "not too short": {"min_new_tokens": 9},
}
OURS = {
    "num_beams": "beams", "num_return_sequences": "samples", "no_repeat_ngram_size": "no_repeat_ngram",
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["gpt2", "mistral", "t5", "marian"])
def test_texts_that_end_by_every_rule(name: str, rule: str, tmp_path: Path) -> None:
    theirs, ours = pair(name, tmp_path)
    settings = RULES[rule]
    ends = [2, 17, 33, 40]  # several, so that texts end at different times
    found = dougong.generate(
        ours,
        PROMPTS,
        max_new_tokens=24,
        end=ends,
        banned=[60],
        **{OURS.get(key, key): settings[key] for key in settings},
    )
    for prompt, several in zip(PROMPTS, found, strict=True):
        expected = written_by(
            theirs, prompt, do_sample=False, max_new_tokens=24, eos_token_id=ends, bad_words_ids=[[60]], **settings
        )
        assert [list(one.tokens) for one in (several if isinstance(several, list) else [several])] == expected
    if rule != "several beams":
        assert {one.reason for one in found} <= {"end", "length"}


@pytest.mark.parametrize("name", READERS)
def test_what_the_files_say_is_followed(name: str, tmp_path: Path) -> None:
    theirs, _ = pair(name, tmp_path)
    said = theirs.generation_config
    said.forced_bos_token_id, said.forced_eos_token_id, said.eos_token_id = 9, 5, [5, 33]
    said.decoder_start_token_id, said.bad_words_ids = 7, [[12], [50]]
    theirs.save_pretrained(tmp_path)
    ours = dougong.load(tmp_path)
    for count in (1, 3):
        found = dougong.generate(ours, PROMPTS, max_new_tokens=12, beams=count)
        for prompt, one in zip(PROMPTS, found, strict=True):
            expected = written_by(theirs, prompt, do_sample=False, max_new_tokens=12, num_beams=count)[0]
            assert list(one.tokens) == expected and one.tokens[0] == 9 and one.tokens[-1] in (5, 33)
            assert not {12, 50} & set(one.tokens)


def test_control_another_cache_writes_another_text(tmp_path: Path) -> None:
    theirs, ours = pair("gpt2", tmp_path)
    with torch.no_grad():
        table = next(part for key, part in ours.body.positions.named_parameters())
        table.copy_(table[torch.arange(len(table)).roll(1)])
    found = dougong.generate(ours, PROMPTS, max_new_tokens=20, end=())
    expected = [written_by(theirs, prompt, do_sample=False, max_new_tokens=20)[0] for prompt in PROMPTS]
    assert [list(one.tokens) for one in found] != expected
