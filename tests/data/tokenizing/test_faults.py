"""Files that cannot be used: one line each, with the file, what is wrong, and what to do."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dougong.data.tokenizing import Tokenizer
from dougong.errors import UserError


def edit(path: Path, change: Callable[[dict], object]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def cut(path: Path, keep: float = 0.6) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def config(**changes: object) -> Callable[[Path], object]:
    return lambda folder: edit(folder / "tokenizer_config.json", lambda value: value.update(changes))


FAULTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "vocab.json cut off": ("gpt2", lambda f: cut(f / "vocab.json"), "vocab.json:1: not JSON"),
    "configuration cut off": ("gpt2", lambda f: cut(f / "tokenizer_config.json"), "tokenizer_config.json:1: not JSON"),
    "configuration a list": ("gpt2", lambda f: (f / "tokenizer_config.json").write_text("[1]"), "not an object"),
    "nested without end": ("gpt2", lambda f: (f / "vocab.json").write_text("[" * 99999), "vocab.json"),
    "a hole": ("gpt2", lambda f: edit(f / "vocab.json", lambda v: v.pop("he")), "is missing"),
    "an id twice": ("gpt2", lambda f: edit(f / "vocab.json", lambda v: v.update({"he": 7})), "share id 7"),
    "a key twice": ("gpt2", lambda f: (f / "vocab.json").write_text('{"a": 0, "a": 1}'), "'a' stands twice"),
    "an id below 0": ("gpt2", lambda f: edit(f / "vocab.json", lambda v: v.update({"he": -1})), "has id -1"),
    "an id of text": ("gpt2", lambda f: edit(f / "vocab.json", lambda v: v.update({"he": "x"})), "has id 'x'"),
    "no merges": ("gpt2", lambda f: (f / "merges.txt").unlink(), "without merges.txt"),
    "a merge of the unknown": ("gpt2", lambda f: append(f / "merges.txt", "qq zz\n"), "merges.txt:3"),
    "a merge of three": ("gpt2", lambda f: append(f / "merges.txt", "a b c\n"), "'a b c' is no pair"),
    "vocab.txt with a line twice": (
        "bert-cased",
        lambda f: append(f / "vocab.txt", "a\n"),
        ": 'a' stands here and in line",
    ),
    "vocab.txt of bytes": ("bert-cased", lambda f: (f / "vocab.txt").write_bytes(b"a\n\xff\xfe"), "not UTF-8"),
    "vocab.txt empty": ("bert-cased", lambda f: (f / "vocab.txt").write_text(""), "empty vocabulary"),
    ".model cut off": ("llama", lambda f: cut(f / "tokenizer.model"), "not a sentencepiece model, or cut off"),
    ".model of text": (
        "llama",
        lambda f: (f / "tokenizer.model").write_text("hello " * 99),
        "not a sentencepiece model",
    ),
    ".model empty": ("llama", lambda f: (f / "tokenizer.model").write_bytes(b""), "without pieces"),
    ".model with a lying length": (
        "t5",
        lambda f: (f / "spiece.model").write_bytes(b"\x0a\xff\xff\xff\x7fab"),
        "past the end",
    ),
    "another family's class": ("llama", config(tokenizer_class="BertTokenizer"), "holds no such vocabulary"),
    "an unknown class": ("llama", config(tokenizer_class="OddTokenizer"), "'OddTokenizer' is not known"),
    "a class of code": ("llama", config(tokenizer_class=["x"]), "tokenizer_class is"),
    "a flag of text": ("llama", config(add_bos_token="yes"), "add_bos_token is 'yes'"),
    "a length of text": ("llama", config(model_max_length="long"), "model_max_length is 'long'"),
    "a side": ("llama", config(padding_side="top"), "padding_side is 'top'"),
    "a role of numbers": ("llama", config(bos_token=7), "bos_token is 7"),
    "an empty token": ("llama", config(pad_token=""), "pad_token is empty"),
    "no unknown token": ("bert-cased", config(unk_token=None), "unk_token is null"),
    "an odd flag of a token": ("llama", config(bos_token={"content": "<s>", "strip": True}), "strip = True"),
    "an added token with another id": ("gpt2", config(added_tokens_decoder={"9999": {"content": "new"}}), "id 9999"),
    "added tokens as a list": ("gpt2", config(added_tokens_decoder=["new"]), "added_tokens_decoder is no object"),
    "extra ids without end": ("t5", config(extra_ids=10**12), "extra_ids is 1000000000000"),
    "Marian without vocab.json": ("marian", lambda f: (f / "vocab.json").unlink(), "source.spm without vocab.json"),
    "Marian without source.spm": ("marian", lambda f: (f / "source.spm").unlink(), "vocab.json"),
    "a link outside": (
        "gpt2",
        lambda f: [(f / "vocab.json").unlink(), (f / "vocab.json").symlink_to("/etc/passwd")],
        "leads outside",
    ),
    "a folder for a file": (
        "gpt2",
        lambda f: [(f / "merges.txt").unlink(), (f / "merges.txt").mkdir()],
        "without merges.txt",
    ),
    "added_tokens.json of text": (
        "gpt2",
        lambda f: (f / "added_tokens.json").write_text('{"a": "b"}'),
        "no whole number",
    ),
    "tokenizer.json of something": (
        "gpt2",
        lambda f: (f / "tokenizer.json").write_text('{"a": 1}'),
        "not a tokenizer of the",
    ),
    "tokenizer.json cut off": (
        "gpt2",
        lambda f: (f / "tokenizer.json").write_text('{"version": "1.0",'),
        "tokenizer.json:1: not JSON",
    ),
    "empty folder": ("gpt2", lambda f: [path.unlink() for path in f.iterdir()], "holds no tokenizer"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(name: str, layouts: Path, tmp_path: Path) -> None:
    family, spoil, said = FAULTS[name]
    folder = Path(shutil.copytree(layouts / family, tmp_path / "broken"))
    Tokenizer.open(folder).describe()  # it is the fault that is refused
    spoil(folder)
    with pytest.raises(UserError) as caught:
        tokenizer = Tokenizer.open(folder)
        tokenizer.describe()
    line = str(caught.value)
    assert said in line and "\n" not in line and str(folder) in line and len(line) < 500


def test_an_id_twice_in_tokenizer_json(layouts: Path, tmp_path: Path) -> None:
    Tokenizer.open(layouts / "gpt2").save(tmp_path)
    edit(tmp_path / "tokenizer.json", lambda value: value["model"]["vocab"].update({"odd": 300}))
    with pytest.raises(UserError, match="share id 300"):
        Tokenizer.open(tmp_path)
    Tokenizer.open(layouts / "gpt2").save(tmp_path)
    edit(tmp_path / "tokenizer.json", lambda value: value["model"]["vocab"].update({"odd": 9000}))
    size = Tokenizer.open(layouts / "gpt2").vocab_size
    tokenizer = Tokenizer.open(tmp_path)  # a hole harms nothing here: told, not refused
    assert tokenizer.vocab_size == 9001 and f"{9000 - size} ids below the highest" in tokenizer.describe()["notes"][0]


def test_a_link_within_a_hub_cache_is_fine(layouts: Path, tmp_path: Path) -> None:
    """The cache of huggingface_hub keeps files in blobs/ and links to them from snapshots/REVISION/."""
    home, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    home.mkdir(parents=True)
    shutil.copytree(layouts / "gpt2", blobs)
    for path in blobs.iterdir():
        (home / path.name).symlink_to(f"../../blobs/{path.name}")
    assert Tokenizer.open(home).vocabulary.keys() == Tokenizer.open(layouts / "gpt2").vocabulary.keys()


def test_a_tokenizer_that_does_not_fit(layouts: Path) -> None:
    tokenizer = Tokenizer.open(layouts / "bert-cased")
    size = tokenizer.vocab_size
    tokenizer.check(size, "model/")
    tokenizer.check(tokenizer.vocab_size + 64, "model/")
    with pytest.raises(UserError, match=rf"^model/: the model has {size - 1} embeddings, .* ids up to {size - 1}"):
        tokenizer.check(tokenizer.vocab_size - 1, "model/")


def test_wrong_calls(layouts: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.open(layouts / "bert-cased")
    for call in (
        lambda: tokenizer.encode(["a", 3]),
        lambda: tokenizer.encode(None),
        lambda: tokenizer.encode("a", ["b"]),
        lambda: tokenizer.encode(["a"], ["b", "c"]),
        lambda: tokenizer.encode("a", max_length=2),
        lambda: tokenizer.encode("a", max_length=-5),
        lambda: tokenizer.batch([]),
        lambda: tokenizer.batch(["a"], side="top"),
        lambda: tokenizer.decode([-1]),
        lambda: Tokenizer.open(tmp_path / "missing"),
        lambda: tokenizer.save("/proc/nowhere"),
    ):
        with pytest.raises(UserError) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert tokenizer.decode([5, 10**6]) == tokenizer.decode([5])
    assert tokenizer.encode([]) == []


def test_threads_do_not_disturb_each_other(layouts: Path, texts: list[str]) -> None:
    tokenizer = Tokenizer.open(layouts / "gpt2")
    whole = [one.ids for one in tokenizer.encode(texts)]
    wrong: list[int] = []

    def work(length: int | None) -> None:
        for _ in range(20):
            found = [one.ids for one in tokenizer.encode(texts, max_length=length)]
            wrong.append(sum(a != b[:length] for a, b in zip(found, whole, strict=True)))

    threads = [threading.Thread(target=work, args=(length,)) for length in (None, 3, 9, None)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 80 and sum(wrong) == 0
