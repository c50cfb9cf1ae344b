"""``model.embed`` against the library whose layout it reads, for every way of pooling; and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.numbers import shake
from torch import Tensor

import dougong
from dougong.data.tokenizing import Tokenizer
from dougong.errors import UserError
from dougong.interop.sentences import POOLINGS, Embedder

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat dog sat ran Query : query passage on mat . , ##s Cat".split()
TEXTS = ["the cat sat on the mat .", "a dog", "dogs ran , a cat ran , the dogs sat on a mat . " * 3, "[MASK] Cat Dog",
         "", "\u0130 \u03a3\u03a3 cat", "the the the the"]  # fmt: skip
PROMPTS = {"query": "query: ", "passage": "the passage : ", "empty": ""}


def base(folder: Path, lower: bool = False) -> Path:
    """A small random BERT with a tokenizer."""
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=24, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
        max_position_embeddings=40,
    )  # fmt: skip
    shake(transformers.BertModel(config)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    transformers.BertTokenizer(str(folder / "vocab.txt"), do_lower_case=lower).save_pretrained(folder)
    return folder


def reference(folder: Path, pooling: Any = "mean", normalise: bool = True, **settings: Any) -> Any:
    """A model of sentence-transformers, saved to the folder and opened again."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    first = Transformer(str(base(folder / "base")), max_seq_length=settings.pop("max_length", 16))
    steps = [first, Pooling(12, pooling, include_prompt=settings.pop("include_prompt", True))]
    made = SentenceTransformer(modules=[*steps, *([Normalize()] if normalise else [])], device="cpu", **settings)
    made.save_pretrained(str(folder / "model"))
    return SentenceTransformer(str(folder / "model"), device="cpu")


def theirs(model: Any, texts: list[str], **settings: Any) -> Tensor:
    return model.encode(texts, convert_to_tensor=True, **settings)


def close(here: Tensor, there: Tensor) -> bool:
    return here.shape == there.shape and float((here - there).abs().max()) < 1e-5


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("pooling", [*POOLINGS, ("mean", "cls"), ("max", "lasttoken", "weightedmean")])
def test_each_pooling_as_the_library_does(pooling: Any, normalise: bool, tmp_path: Path) -> None:
    made = reference(tmp_path, pooling, normalise)
    ours = dougong.load(tmp_path / "model")
    expected = theirs(made, TEXTS)
    found = ours.embed(TEXTS, batch_size=3)
    assert close(found, expected)
    assert not close(found.roll(1, 0), expected)  # the control: the order matters
    assert close(ours.embed(TEXTS[0]), expected[0])
    again = tmp_path / "again"
    dougong.save(ours, again)
    opened = type(made)(str(again), device="cpu")
    assert close(theirs(opened, TEXTS), expected)
    assert torch.equal(dougong.load(again).embed(TEXTS, batch_size=3), found)
    assert opened[0].max_seq_length == 16 == dougong.load(again).embed.max_length


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls", "weightedmean", "lasttoken", "max"])
def test_prompts(pooling: str, include: bool, tmp_path: Path) -> None:
    made = reference(tmp_path, pooling, include_prompt=include, prompts=PROMPTS, default_prompt_name="passage")
    ours = dougong.load(tmp_path / "model")
    texts = [text for text in TEXTS if text]
    assert close(ours.embed(texts), theirs(made, texts))
    for name in PROMPTS:
        assert close(ours.embed(texts, prompt_name=name), theirs(made, texts, prompt_name=name))
    assert close(ours.embed(texts, prompt="a cat : "), theirs(made, texts, prompt="a cat : "))
    assert not close(ours.embed(texts, prompt_name="query"), ours.embed(texts, prompt_name="empty"))
    with pytest.raises(UserError, match="did you mean 'query'"):
        ours.embed(texts, prompt_name="quer")
    dougong.save(ours, tmp_path / "again")
    assert torch.equal(dougong.load(tmp_path / "again").embed(texts), ours.embed(texts))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["Qwen3", "Mistral", "Roberta", "DistilBert", "ModernBert"])
def test_other_families(kind: str, tied: bool, tmp_path: Path) -> None:
    """Decoders that embed by their last token, whose checkpoints have no language head; and other encoders."""
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    folder = base(tmp_path / "base")
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
    sizes: dict[str, Any] = {"vocab_size": 24, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    if kind == "DistilBert":
        sizes |= {"dim": 12, "n_layers": 2, "n_heads": 3, "hidden_dim": 20, "max_position_embeddings": 40}
    else:
        sizes |= {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
                  "max_position_embeddings": 40}  # fmt: skip
    if kind in ("Qwen3", "Mistral"):
        sizes |= {"num_key_value_heads": 1, "head_dim": 4, "tie_word_embeddings": tied}
    elif not tied:
        return
    if kind == "ModernBert":
        sizes |= {"cls_token_id": 2, "sep_token_id": 3, "hidden_size": 24}
    torch.manual_seed(1)
    made = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**sizes))
    shake(made).save_pretrained(folder)
    pooling = Pooling(24 if kind == "ModernBert" else 12, "lasttoken" if kind in ("Qwen3", "Mistral") else "mean")
    made = SentenceTransformer(modules=[Transformer(str(folder), max_seq_length=20), pooling], device="cpu")
    made.save_pretrained(str(tmp_path / "model"))
    ours = dougong.load(tmp_path / "model")
    expected = theirs(made, TEXTS)
    assert close(ours.embed(TEXTS), expected) and not close(ours.embed(TEXTS).roll(1, 0), expected)
    dougong.save(ours, tmp_path / "again")
    assert torch.equal(dougong.load(tmp_path / "again").embed(TEXTS), ours.embed(TEXTS))
    assert close(theirs(SentenceTransformer(str(tmp_path / "again"), device="cpu"), TEXTS), expected)


def test_lower_case_leaves_special_tokens(tmp_path: Path) -> None:
    reference(tmp_path)
    file = tmp_path / "model" / "sentence_bert_config.json"
    plain = dougong.load(tmp_path / "model").embed(TEXTS)
    file.write_text(json.dumps({**json.loads(file.read_text()), "do_lower_case": True}))
    from sentence_transformers import SentenceTransformer

    expected = theirs(SentenceTransformer(str(tmp_path / "model"), device="cpu"), TEXTS)
    found = dougong.load(tmp_path / "model").embed(TEXTS)
    assert close(found, expected) and not close(found, plain)


def test_the_head_of_a_checkpoint_is_passed_over(tmp_path: Path) -> None:
    import transformers

    made = reference(tmp_path)
    expected = dougong.load(tmp_path / "model").embed(TEXTS)
    model = transformers.BertForMaskedLM.from_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    assert dougong.load(tmp_path / "model").embed.model.config["head"] is None
    assert close(dougong.load(tmp_path / "model").embed(TEXTS), expected) and close(theirs(made, TEXTS), expected)
    (tmp_path / "model" / "modules.json").unlink()
    whole = dougong.load(tmp_path / "model")  # the same folder without the layout is a model with its head
    assert whole.config["head"] == "masked-language" and not hasattr(whole, "embed")


def test_a_transformer_in_a_folder_of_its_own(tmp_path: Path) -> None:
    reference(tmp_path)
    folder, inner = tmp_path / "model", tmp_path / "model" / "0_Transformer"
    expected = dougong.load(folder).embed(TEXTS)
    inner.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
                 "sentence_bert_config.json"):  # fmt: skip
        (folder / name).rename(inner / name)
    steps = json.loads((folder / "modules.json").read_text())
    steps[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(steps))
    assert torch.equal(dougong.load(folder).embed(TEXTS), expected)


def test_a_model_in_training_stays_so_and_copies_embed_by_themselves(tmp_path: Path) -> None:
    reference(tmp_path)
    model = dougong.load(tmp_path / "model").train()
    before = model.embed(TEXTS)
    assert model.training and torch.equal(model.embed(TEXTS), before)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.embedding.weight.mul_(-2)
    assert other.embed.model is other and torch.equal(model.embed(TEXTS), before)
    assert not close(other.embed(TEXTS), before)
    assert other.double().embed(TEXTS).dtype == torch.float64


def test_other_layouts_and_types(tmp_path: Path) -> None:
    reference(tmp_path)
    model = dougong.load(tmp_path / "model")
    dougong.interop.save(model, tmp_path / "ours", layout="dougong")
    assert torch.equal(dougong.load(tmp_path / "ours").embed(TEXTS), model.embed(TEXTS))
    exact = dougong.load(tmp_path / "model", dtype=torch.float64).embed(TEXTS)
    assert close(exact, model.embed(TEXTS).double())
    assert model.embed([]).shape == (0, 12)


def test_a_model_that_reads_and_writes_is_refused(tmp_path: Path) -> None:
    import transformers

    reference(tmp_path)
    sizes = {"vocab_size": 24, "d_model": 12, "d_kv": 4, "d_ff": 20, "num_layers": 1, "num_heads": 3}
    transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes)).save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="that reads tokens_pair are not supported"):
        dougong.load(tmp_path / "model")


def test_what_is_refused(tmp_path: Path) -> None:
    reference(tmp_path)
    folder = tmp_path / "model"
    embed = dougong.load(folder).embed
    with pytest.raises(UserError, match="text 1: is a int"):
        embed(["a", 1])
    with pytest.raises(UserError, match="batch_size"):
        embed(["a"], batch_size=0)
    with pytest.raises(UserError, match="way of pooling"):
        Embedder(embed.model, pooling=["median"])
    with pytest.raises(UserError, match="not loaded from a folder"):
        Embedder(dougong.build("bert-base", device="meta")).embed("a cat")
    config = json.loads((folder / "1_Pooling" / "config.json").read_text())
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({**config, "embedding_dimension": 99}))
    with pytest.raises(UserError, match="takes vectors of 99, the model gives 12"):
        dougong.load(folder)


@pytest.mark.parametrize("kind", ["tokenizer.json", "vocab.txt", "vocab.json"])
def test_a_tokenizer_that_does_not_fit_the_vocabulary(kind: str, tmp_path: Path) -> None:
    folder = base(tmp_path / "model")
    assert dougong.load(folder) is not None
    (folder / "tokenizer.json").unlink()
    words = [*WORDS, *(f"more{number}" for number in range(9))]
    if kind == "vocab.json":
        (folder / "vocab.txt").unlink()
        letters = [chr(256 + n) for n in range(70)] + [chr(33 + n) for n in range(90)]
        (folder / kind).write_text(json.dumps({word: number for number, word in enumerate(letters)}))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    else:
        (folder / "vocab.txt").write_text("\n".join(words) + "\n")
        if kind == "tokenizer.json":
            Tokenizer.open(folder).save(folder)
            (folder / "vocab.txt").unlink()
    with pytest.raises(UserError, match=r"the model has 24 embeddings, but the tokenizer .* has ids up to \d+"):
        dougong.load(folder)
    from dougong.cli.app import execute

    assert execute(["convert", str(folder), str(tmp_path / "out")]) == 2 and not (tmp_path / "out").exists()
    model = dougong.load(base(tmp_path / "good"))
    with pytest.raises(UserError, match="24 embeddings"):
        Embedder(model, Tokenizer.open(folder)).embed("a cat")
