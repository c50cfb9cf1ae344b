"""Tokenizers of every family, trained here on real text and laid out as the published ones are."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# Enough of three languages to train on where no data sets are at hand.
PLAIN = [
    "Two young, White males are outside near many bushes.",
    "A little girl climbing into a wooden playhouse isn't afraid; she'll stay there!",
    "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
    "Ein kleines Mädchen klettert über 25 Stufen in ein Spielhaus aus Holz – schön.",
    "距离川沙公路较近,但是公交指示不对,如果是\"蔡陆线\"的话,会非常麻烦.建议用别的路线.房间较为简单.",
    "商务大床房，房间很大，床有2M宽，整体感觉经济实惠不错!",
    "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.",
] * 40  # fmt: skip

# What real text holds now and then: emoji with joiners and flags, combining marks, control characters, other scripts,
# blanks of every kind, broken text, words without end, text that looks like special tokens.
NASTY = [
    "",
    " ",
    "  two  spaces   three ",
    "\n\n\t tab\r\nline\rend",
    "naïve café — “quotes” … ½ ﬁ Å Å e\u0301 e\u0301\u0301 n\u0303o",
    "👩‍👩‍👧‍👦 🇩🇪🇨🇳 👍🏽 ☺️ #️⃣ \U0001f9ff",
    "zero\u200bwidth \u200djoin \ufeffbom soft\u00adhyphen \u2028line \u2029para \u0085nel",
    "nbsp\u00a0here ideographic\u3000space narrow\u202fspace",
    "ctrl\x00null \x01\x02\x07bell \x1besc \x7fdel \x80\x9fc1",
    "\ufffd replacement \uffff nonchar \U0010ffff last",
    "Привет мир שלום עולם مرحبا नमस्ते สวัสดี 안녕하세요 こんにちは ｆｕｌｌｗｉｄｔｈ １２３",
    "İstanbul ıspanak ẞtraße ǅ ŒUVRE ΣΊΣΥΦΟΣ",
    "很" * 3000,
    "don't can't I'm we've they're he'd it's O'Neill 'quoted'",
    "a" * 5000,  # not beside the other: of two long texts the library keeps every pair of the pieces cut off
    "3.14159 1,000,000 12345678901234567890 0x1F x²+y²=z² 50% $5 €7",
    "https://example.org/a?b=c&d=%20 user@host.de #tag @name C++ f(x)->y {}[]<>|\\",
    "<s> hello </s> <unk> <pad> [CLS] [SEP] [MASK] <mask> <|endoftext|> <bos><eos> <extra_id_0> <0x41>",
    "<s>", "</s>text", "text<pad>", "▁ already ▁▁ there▁", " leading", "trailing ",
    "мiхed 中文English混合 deutsch漢字ß \u1100\u1161\u11a8 \u0e33 ক্ষ",
    "\u0301\u0302 starts with marks", "\u202ertl\u202c \u2066iso\u2069",
]  # fmt: skip


def data_folder() -> Path | None:
    """The folder of real data sets, where there is one."""
    named = os.environ.get("DOUGONG_DATA")
    return Path(named) if named and Path(named).is_dir() else None


def _column(path: Path, limit: int) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row, _ in zip(csv.DictReader(file), range(limit), strict=False)]


def real_texts(limit: int) -> list[str]:
    """English, German and Chinese sentences, posts with emoji and odd names, and verse."""
    folder = data_folder()
    if folder is None:
        return PLAIN
    tweets, words = [], []
    for line in (folder / "wnut17/dev.conll").read_text(encoding="utf-8").split("\n"):
        if line.strip():
            words.append(line.split("\t")[0])
        elif words:
            tweets.append(" ".join(words))
            words = []
    verse = (folder / "tinyshakespeare/input.txt").read_text(encoding="utf-8").split("\n\n")
    return [
        *(folder / "multi30k/train.en").read_text(encoding="utf-8").split("\n")[:limit],
        *(folder / "multi30k/train.de").read_text(encoding="utf-8").split("\n")[:limit],
        *_column(folder / "sst2/train.csv", limit),
        *_column(folder / "chnsenticorp/train.csv", limit // 2),
        *tweets[:limit],
        *verse[:limit],
    ]


def _write(folder: Path, **files: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        stem, _, kind = name.rpartition("_")
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        (folder / f"{stem}.{kind}").write_text(text, encoding="utf-8")
    return folder


def wordpiece(folder: Path, texts: list[str], lower: bool) -> Path:
    """BERT: vocab.txt."""
    from tokenizers import BertWordPieceTokenizer

    trained = BertWordPieceTokenizer(lowercase=lower, strip_accents=None)
    trained.train_from_iterator(texts, vocab_size=4000, show_progress=False)
    ids = trained.get_vocab()
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": lower, "model_max_length": 512}
    return _write(folder, vocab_txt="\n".join(sorted(ids, key=ids.__getitem__)) + "\n", tokenizer_config_json=config)


def byte_level(folder: Path, texts: list[str], family: str, special: list[str], **config: Any) -> Path:
    """GPT-2, RoBERTa, Qwen2: vocab.json and merges.txt."""
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, vocab_size=4000, special_tokens=special, show_progress=False)
    folder.mkdir(parents=True)
    trained.save_model(str(folder))
    return _write(folder, tokenizer_config_json={"tokenizer_class": family, **config})


def clip(folder: Path, texts: list[str]) -> Path:
    """CLIP: its pieces end in </w>."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    trained.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\s+"), "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=3000,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True)
    trained.model.save(str(folder))
    return _write(folder, tokenizer_config_json={"tokenizer_class": "CLIPTokenizer"})


def sentencepiece(path: Path, texts: list[str], **options: Any) -> None:
    """A sentencepiece .model."""
    from sentencepiece import SentencePieceTrainer

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=file,
            minloglevel=2,
            num_threads=1,
            **{"hard_vocab_limit": False, "vocab_size": 3000, "character_coverage": 0.98, **options},
        )


def t5(folder: Path, texts: list[str]) -> Path:
    sentencepiece(folder / "spiece.model", texts, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    return _write(folder, tokenizer_config_json={"tokenizer_class": "T5Tokenizer", "extra_ids": 20})


def xlm_roberta(folder: Path, texts: list[str]) -> Path:
    sentencepiece(folder / "sentencepiece.bpe.model", texts)
    return _write(folder, tokenizer_config_json={"tokenizer_class": "XLMRobertaTokenizer"})


def llama(folder: Path, texts: list[str], **config: Any) -> Path:
    sentencepiece(
        folder / "tokenizer.model",
        texts,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
    )
    config = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, **config}
    return _write(folder, tokenizer_config_json=config)


def gemma(folder: Path, texts: list[str]) -> Path:
    sentencepiece(
        folder / "tokenizer.model",
        texts,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        **{"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3},
        **{"bos_piece": "<bos>", "eos_piece": "<eos>"},
        user_defined_symbols=["<start_of_turn>", "<end_of_turn>", "\n\n"],
    )
    return _write(folder, tokenizer_config_json={"tokenizer_class": "GemmaTokenizer", "add_bos_token": True})


def marian(folder: Path, texts: list[str]) -> Path:
    """Two models and one list of ids, in an order of its own, some pieces missing."""
    from sentencepiece import SentencePieceProcessor

    texts, middle = sorted(texts), len(texts) // 2
    pieces: dict[str, None] = {"</s>": None, "<unk>": None}
    for name, part in (("source", texts[:middle]), ("target", texts[middle:])):
        path = folder / f"{name}.spm"
        sentencepiece(path, part, vocab_size=1500)
        model = SentencePieceProcessor(model_file=str(path))
        kept = [model.id_to_piece(index) for index in range(3, model.get_piece_size()) if index % 50]
        pieces |= dict.fromkeys(reversed(kept))
    pieces |= {">>deu<<": None, ">>zho<<": None, "<pad>": None}
    ids = {piece: index for index, piece in enumerate(pieces)}
    config = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de"}
    return _write(folder, vocab_json=ids, tokenizer_config_json=config)


ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def build(root: Path) -> None:
    """Every layout, a folder each."""
    texts = [text.replace("\n", " ") for text in real_texts(600)]
    lines = [text[:2000] for text in texts if text.strip()]
    wordpiece(root / "bert-uncased", texts, lower=True)
    wordpiece(root / "bert-cased", texts, lower=False)
    byte_level(root / "gpt2", texts, "GPT2Tokenizer", ["<|endoftext|>"])
    byte_level(root / "roberta", texts, "RobertaTokenizer", ROBERTA)
    byte_level(root / "qwen2", texts, "Qwen2Tokenizer", ["<|endoftext|>"])
    clip(root / "clip", texts)
    t5(root / "t5", lines)
    xlm_roberta(root / "xlm-roberta", lines)
    llama(root / "llama", lines)
    gemma(root / "gemma", lines)
    marian(root / "marian", lines)


@pytest.fixture(scope="session")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all layouts; with several workers, one of them trains."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    root = shared / "tokenizers"
    with FileLock(f"{root}.lock"):
        if not (root / "done").exists():
            build(root)
            (root / "done").touch()
    return root


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Real sentences in three languages, and what is odd."""
    return [*real_texts(60), *NASTY]
