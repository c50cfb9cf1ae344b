"""Causal language modelling: windows that cover the text, documents that do not see each other, and scores."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import dougong
from dougong.data.tagging import IGNORED
from dougong.data.texts import TextData
from dougong.data.texts.rows import TextRow, TextSplit
from dougong.errors import UserError
from dougong.tasks import task_for
from dougong.tasks.language import CausalLanguage, Document, Windows
from dougong.tasks.masked_language import MaskedLanguage


def corpus(*texts: str) -> TextData:
    split = TextSplit.of([TextRow((text,), where=f"{n}") for n, text in enumerate(texts)])
    return TextData("made", "made", "corpus", (), False, dict.fromkeys(("train", "val", "test"), split), {}, "", 0)


@given(st.lists(st.integers(2, 40), min_size=1, max_size=5), st.integers(1, 12), st.integers(0, 11))
def test_windows_foresee_each_token_of_each_document(sizes: list[int], length: int, shift: int) -> None:
    documents = [Document(torch.arange(size), torch.arange(size), "", str(n)) for n, size in enumerate(sizes)]
    windows = Windows(documents, length)
    seen: Counter[tuple[str, int]] = Counter()
    for index in range(len(windows)):
        one, start, stop = windows.place(index)
        seen.update((one.where, place) for place in range(start + 1, stop + 1))
        assert stop - start <= length
    assert seen == Counter((str(n), place) for n, size in enumerate(sizes) for place in range(1, size))
    moved = [windows.place(index, shift % length) for index in range(len(windows))]
    assert all(0 <= start < stop < len(one.ids) and stop - start <= length for one, start, stop in moved)


def test_targets_are_the_tokens_that_follow() -> None:
    task = task_for(corpus("the cat sat on the mat. " * 30), tokenizer="characters", max_length=16)
    for epoch in (0, 3):
        batch = task.batch("train", torch.arange(5), train=True, epoch=epoch, seed=1)
        (tokens,) = batch.inputs
        assert batch.targets is not None and torch.equal(tokens[:, 1:], batch.targets[:, :-1])
    first, later = (task.batch("train", torch.arange(5), train=True, epoch=e, seed=1).inputs[0] for e in (0, 3))
    assert not torch.equal(first, later)  # epochs cut the text at other places


@pytest.mark.parametrize("family", ["gpt2", "llama", "lstm"])
def test_documents_of_a_batch_do_not_see_each_other(family: str) -> None:
    task = task_for(corpus("abc abd", "dca", "bdbdbdbdbd"), tokenizer="characters", max_length=32)
    config, _ = task.adapt(dougong.resolve({"architecture": family, "d_model": 16, "n_layers": 2}
                                           | ({} if family == "lstm" else {"n_heads": 2, "d_ff": 32})))  # fmt: skip
    model = dougong.build(config, seed=0).double().eval()
    batch = task.batch("val", torch.arange(3), train=False, epoch=0, seed=0)
    assert batch.targets is not None
    together = task.loss(model(*batch.inputs), batch).detach()
    rows = []
    for number in range(3):
        one = task.batch("val", torch.tensor([number]), train=False, epoch=0, seed=0)
        assert one.targets is not None
        scores = model(*one.inputs).logits[0].detach()
        rows.append((float(F.cross_entropy(scores.float(), one.targets[0], reduction="sum")), len(one.targets[0])))
    assert float(together) == pytest.approx(sum(nats for nats, _ in rows) / sum(n for _, n in rows), abs=1e-6)
    # one long row, where later documents see earlier ones, gives another loss
    ids = torch.cat([one.ids for one in task.rows("val").documents]).long()[None]
    joined = F.cross_entropy(model(ids[:, :-1]).logits[0].float(), ids[0, 1:])
    assert abs(float(joined) - float(together)) > 1e-4


def test_bits_are_counted_over_the_text() -> None:
    text = "größer als 猫 " * 12
    task = task_for(corpus(text), tokenizer="bpe", vocab_size=300, max_length=8)
    model = dougong.build(task.adapt(dougong.resolve(
        {"architecture": "gpt2", "d_model": 16, "n_layers": 1, "n_heads": 2}))[0], seed=0).eval()  # fmt: skip
    metrics, nats, count = task.new_metrics(), 0.0, 0
    for number in range(task.size("test")):
        batch = task.batch("test", torch.tensor([number]), train=False, epoch=0, seed=0)
        with torch.no_grad():
            output = model(*batch.inputs)
        metrics.update(output, batch)
        assert batch.targets is not None and output.logits is not None
        nats += float(F.cross_entropy(output.logits[0], batch.targets[0], ignore_index=IGNORED, reduction="sum"))
        count += int((batch.targets != IGNORED).sum())
    found = metrics.compute()
    first = task.rows("test").documents[0].ends[0]
    assert found["loss"] == pytest.approx(nats / count) and found["perplexity"] == pytest.approx(math.exp(nats / count))
    assert found["bits_per_character"] == pytest.approx(nats / math.log(2) / (len(text) - int(first)), rel=1e-5)
    octets = len(text[int(first) :].encode())
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / octets, rel=1e-2)


def test_train_write_and_resume(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"count {n % 10} {(n + 1) % 10}\n" for n in range(900)), encoding="utf-8")
    model = {"architecture": "llama", "d_model": 32, "n_layers": 1, "n_heads": 2, "d_ff": 64}
    settings = {"tokenizer": "characters", "max_length": 32, "learning_rate": 0.01, "batch_size": 16}
    run = dougong.train(model, tmp_path / "a.txt", budget="150steps", out=tmp_path / "run", **settings)
    assert run.result is not None and run.result["test"]["loss"] < 0.6 < math.log(20)
    found = dougong.evaluate(run)
    assert found["loss_low"] <= found["loss"] <= found["loss_high"]
    assert "count" in dougong.generate(run.model(), "count 3 4\n", max_new_tokens=20).text
    assert next(iter(dougong.predict(run, "count 3 "))).label == "4"
    from dougong.report import write_run_report

    assert "What it writes" in write_run_report(run).read_text(encoding="utf-8")


def test_a_model_reads_no_more_than_it_takes() -> None:
    with pytest.raises(UserError, match="64 is more than the 16 places"):
        CausalLanguage.from_data(corpus("abc " * 50), tokenizer="characters", max_length=64, most=16)


def masked(data: TextData) -> MaskedLanguage:
    found = task_for(data, "masked-language", vocab_size=200, max_length=32)
    assert isinstance(found, MaskedLanguage)
    return found


def test_hidden_tokens_are_the_targets() -> None:
    task = masked(corpus("the cat sat on the mat and the dog on the rug. " * 200))
    ids = task.rows("train").documents[0].ids.long()
    read, wanted = task.hide(ids, torch.Generator().manual_seed(0))
    chosen = wanted != IGNORED
    assert torch.equal(wanted[chosen], ids[chosen]) and torch.equal(read[~chosen], ids[~chosen])
    assert float(chosen.float().mean()) == pytest.approx(0.15, abs=0.02)
    hidden = read[chosen] == task.tokenizer.special_ids["mask"]
    assert float(hidden.float().mean()) == pytest.approx(0.8, abs=0.06)
    assert 0.08 < float((read[chosen] == ids[chosen]).float().mean()) < 0.2


def test_what_is_hidden_changes_in_training_alone() -> None:
    task = masked(corpus("the cat sat on the mat and the dog on the rug. " * 30))

    def batch(train: bool, epoch: int) -> torch.Tensor:
        return task.batch("train", torch.arange(4), train=train, epoch=epoch, seed=0).inputs[0]

    assert not torch.equal(batch(True, 0), batch(True, 1)) and torch.equal(batch(True, 1), batch(True, 1))
    assert torch.equal(batch(False, 0), batch(False, 1))
    first = batch(True, 0)
    assert (first[:, 0] == task.tokenizer.special_ids["cls"]).all() and first.shape[1] <= 32


def test_train_and_fill_masks(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"red{n % 5} then blue{n % 5} .\n" for n in range(900)), encoding="utf-8")
    model = {"architecture": "bert", "d_model": 32, "n_layers": 2, "n_heads": 2, "d_ff": 64, "dropout": 0.0}
    settings = {"task": "masked-language", "max_length": 20, "learning_rate": 3e-3, "batch_size": 32}
    run = dougong.train(model, tmp_path / "a.txt", budget="1500steps", out=tmp_path / "run", **settings)
    # who knows single tokens loses 2.19, and who also knows which kind of word stands where, half of ln 5: one needs
    # the other words to come below
    assert run.result is not None and run.result["test"]["loss"] < 0.5 * math.log(5)
    assert "bits_per_character" not in run.result["test"]
    answer = next(iter(dougong.predict(run, "red2 then blue2 . red3 then [MASK] . red4 then blue4 .")))
    assert answer.top[0][0].startswith("blue")
    with pytest.raises(UserError, match=r"holds no \[MASK\]"):
        list(dougong.predict(run, "red3"))


def test_a_tokenizer_without_a_mask_is_refused() -> None:
    with pytest.raises(UserError, match="has no mask token"):
        task_for(corpus("abc " * 50), "masked-language", tokenizer="bpe", vocab_size=300)


def test_models_of_few_places_are_compared(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"count {n % 10}\n" for n in range(900)), encoding="utf-8")
    models = {
        "gpt2": {"architecture": "gpt2", "d_model": 16, "n_layers": 1, "n_heads": 2},
        "lstm": {"architecture": "lstm", "d_model": 16, "n_layers": 1},
    }
    found = dougong.compare(
        models, tmp_path / "a.txt", budget="20steps", seeds=1, out=tmp_path / "both", tokenizer="characters",
        max_length=16,
    )  # fmt: skip
    assert [row.mean for row in found.rows] == sorted(row.mean for row in found.rows)  # the lowest loss is best
    from dougong.report import write_comparison_report

    assert "What it writes" in write_comparison_report(found).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_a_split_without_two_tokens_is_refused(name: str) -> None:
    good = corpus("the cat sat on the mat and the dog on the rug. " * 30)
    for text, whole in (("the", False), ("the cat", True)):
        splits = {**good.splits, name: TextSplit.of([TextRow((text,), where="x:1")])}
        data = replace(good, splits=splits)
        if name == "train":  # the tokenizer is made of it
            splits["train"] = TextSplit.of([TextRow((text if whole else "t",), where="x:1")])
        if whole:
            assert MaskedLanguage.from_data(data, vocab_size=60).size(name) == 1
        else:
            with pytest.raises(UserError, match=f"made: has no two tokens in {name}; give more text"):
                MaskedLanguage.from_data(data, vocab_size=60)
