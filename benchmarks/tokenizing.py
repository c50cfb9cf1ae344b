"""Encoding 20,000 sentences, all at once and one by one, against Transformers' fast tokenizers in the same run.

Both read the same files: a WordPiece vocabulary and a byte-level one, trained here on the sentences (of
``$DOUGONG_DATA/multi30k`` where it is there). What is timed ends with lists of ids, which is what both hand to a model.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

from record import in_turns, ratio, record

COUNT, SINGLE = 20_000, 2_000


def sentences() -> list[str]:
    """20,000 English and German sentences; without the data set, made-up ones."""
    folder = Path(os.environ.get("DOUGONG_DATA", "")) / "multi30k"
    if folder.is_dir():
        halves = [(folder / f"train.{part}").read_text(encoding="utf-8").split("\n") for part in ("en", "de")]
        return [*halves[0][: COUNT // 2], *halves[1][: COUNT // 2]]
    return [f"Sentence number {number}: two men are outside near many bushes." for number in range(COUNT)]


def trained(folder: Path, texts: list[str]) -> dict[str, Path]:
    """Folders in the layouts of BERT and GPT-2."""
    from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer

    found = {}
    for name, maker, config in (
        ("wordpiece", BertWordPieceTokenizer(), {"tokenizer_class": "BertTokenizer"}),
        ("bytes", ByteLevelBPETokenizer(), {"tokenizer_class": "GPT2Tokenizer"}),
    ):
        maker.train_from_iterator(texts, vocab_size=10_000, show_progress=False)
        if name == "bytes":
            maker.add_special_tokens(["<|endoftext|>"])
        found[name] = folder / name
        found[name].mkdir()
        maker.save_model(str(found[name]))
        (found[name] / "tokenizer_config.json").write_text(json.dumps(config))
    return found


def measure(folder: Path, texts: list[str]) -> dict[str, Any]:
    """Seconds of both on one tokenizer, and their ratio."""
    from transformers import AutoTokenizer

    from dougong.data.tokenizing import Tokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = AutoTokenizer.from_pretrained(folder)
    ours = Tokenizer.open(folder)
    if [one.ids for one in ours.encode(texts)] != theirs(texts)["input_ids"]:
        raise SystemExit("the ids differ: nothing to compare")
    some = texts[:SINGLE]
    tasks: dict[str, dict[str, Any]] = {
        "batch": {
            "dougong": lambda: [one.ids for one in ours.encode(texts)],
            "transformers": lambda: theirs(texts)["input_ids"],
        },
        "single": {
            "dougong": lambda: [ours.encode(text).ids for text in some],
            "transformers": lambda: [theirs(text)["input_ids"] for text in some],
        },
        "cut": {
            "dougong": lambda: [one.ids for one in ours.encode(texts, max_length=12)],
            "transformers": lambda: theirs(texts, truncation=True, max_length=12)["input_ids"],
        },
        "offsets": {
            "dougong": lambda: [(one.ids, one.offsets) for one in ours.encode(texts)],
            "transformers": lambda: theirs(texts, return_offsets_mapping=True)["offset_mapping"],
        },
        "open": {
            "dougong": lambda: Tokenizer.open(folder),
            "transformers": lambda: AutoTokenizer.from_pretrained(folder),
        },
    }
    if theirs.pad_token is not None:
        tasks["tensors"] = {
            "dougong": lambda: ours.batch(texts),
            "transformers": lambda: theirs(texts, padding=True, return_tensors="pt"),
        }
    return {name: ratio(in_turns(pair, rounds=7), "dougong", "transformers") for name, pair in tasks.items()}


def main() -> None:
    """Measure, print, record."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    texts = sentences()
    with tempfile.TemporaryDirectory() as scratch:
        figures = {name: measure(folder, texts) for name, folder in trained(Path(scratch), texts).items()}
    for name, tasks in figures.items():
        for task, found in tasks.items():
            print(
                f"{name:10} {task:8} dougong {found['dougong_seconds'] * 1e3:8.1f} ms   transformers "
                f"{found['transformers_seconds'] * 1e3:8.1f} ms   ratio {found['ratio']:.2f} "
                f"({found['ratio_low']:.2f} to {found['ratio_high']:.2f})"
            )
    record("tokenizing", {"sentences": COUNT, "sentences_one_by_one": SINGLE, "bound": 1.0, **figures})


if __name__ == "__main__":
    main()
