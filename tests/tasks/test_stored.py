"""Tokens on disk: those of tokens in memory, kept by content, tokenizer and length; trained and resumed bit for bit."""

from __future__ import annotations

import csv
import shutil
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dougong as dg
from dougong.data import batching, open_data
from dougong.data.texts import TextSplit, caching
from dougong.data.tokenizing import Tokenizer
from dougong.report import predictions
from dougong.report.answers import answer_parts
from dougong.report.predictions import looked_at, predict_split
from dougong.tasks import stored, task_for
from dougong.tasks.stored import StoredDocuments, StoredTokens
from dougong.training.plan import Plan, lengths_of

CNN = {"architecture": "textcnn", "d_model": 8, "n_filters": 4}
GPT = {"architecture": "gpt2", "d_model": 16, "n_heads": 2, "n_layers": 1}


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(caching, "LARGE", 1)
    monkeypatch.setenv("DOUGONG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    drawn = np.random.default_rng(0)
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["text", "label"])
        for n in range(240):
            words = drawn.choice(["red", "blue", "green", "grey", "a", "猫"], int(drawn.integers(1, 30)))
            out.writerow([f"{n} {' '.join(words)}", "ab"[n % 2]])
    return tmp_path / "a.csv"


def in_memory(data: Any) -> Any:
    """The same data with its rows in memory."""
    from dataclasses import replace

    return replace(data, splits={name: TextSplit.of(part) for name, part in data.splits.items()})


def test_classified_texts_are_the_same_tokens(table: Path) -> None:
    data = open_data(table)
    ours, theirs = task_for(data, max_length=16), task_for(in_memory(data), max_length=16)
    assert ours.notes == theirs.notes and ours.typical_length == theirs.typical_length
    for split in ("train", "val", "test"):
        assert isinstance(ours.rows(split), StoredTokens)
        assert [*ours.rows(split)] == theirs.rows(split) and max(map(len, theirs.rows(split))) == 16
        assert list(ours.lengths(split)) == theirs.lengths(split)
        indices = torch.tensor([5, 1, 15])
        a, b = (each.batch(split, indices, train=True, epoch=0, seed=0) for each in (ours, theirs))
        assert all(map(torch.equal, a.inputs, b.inputs)) and torch.equal(a.targets, b.targets) and a.where == b.where


@pytest.mark.parametrize("name", ["causal-language", "masked-language"])
def test_documents_are_the_same_windows(name: str, table: Path) -> None:
    data = open_data(table, kind="corpus")
    ours, theirs = (task_for(each, name, max_length=12) for each in (data, in_memory(data)))
    assert isinstance(ours.rows("train").documents, StoredDocuments)
    for split in ("train", "val"):
        assert ours.size(split) == theirs.size(split) and list(ours.lengths(split)) == list(theirs.lengths(split))
        spans = [stop - start for _, start, stop in map(theirs.rows(split).place, range(theirs.size(split)))]
        assert spans == list(ours.lengths(split))
        for train, epoch in ((True, 0), (True, 3), (False, 0)):
            for indices in torch.arange(ours.size(split)).split(7):
                a, b = (each.batch(split, indices, train=train, epoch=epoch, seed=1) for each in (ours, theirs))
                assert all(map(torch.equal, a.inputs, b.inputs)) and torch.equal(a.targets, b.targets)
                assert a.where == b.where and a.truth == b.truth


def test_tokens_are_kept_by_content_tokenizer_and_length(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    write = stored.write

    def counted(folder: Path, *given: Any) -> None:
        made.append(folder)
        write(folder, *given)

    monkeypatch.setattr(stored, "write", counted)

    def count(**settings: Any) -> int:
        before = len(made)
        task = task_for(open_data(table), **settings)
        for split in ("train", "val"):
            task.rows(split)
        return len(made) - before

    assert count(max_length=16) == 4  # both splits, uncut and cut
    assert count(max_length=16) == 0
    assert count(max_length=10) == 2  # the uncut ones serve again
    assert count(max_length=10, tokenizer="characters") == 4
    table.write_text(table.read_text().replace("red", "RED"), encoding="utf-8")
    assert count(max_length=16) == 4


def test_a_task_that_lost_its_cache_makes_it_again(table: Path) -> None:
    first = [*task_for(open_data(table), max_length=16).rows("train")]
    for path in caching.cache_folder().rglob("ids"):
        path.write_bytes(path.read_bytes()[:-4])
    assert [*task_for(open_data(table), max_length=16).rows("train")] == first
    caching.clear_cache()
    assert [*task_for(open_data(table), max_length=16).rows("train")] == first


@pytest.mark.parametrize("stretch", [batching.STRETCH, 64])  # of one stretch an epoch, or of several
@pytest.mark.parametrize(("model", "task"), [(CNN, None), (GPT, "causal-language"), (GPT, "masked-language")])
def test_trained_as_from_memory_and_resumed_bit_for_bit(
    model: dict[str, Any], task: str | None, stretch: int, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "STRETCH", stretch)
    if task == "masked-language":
        model = {"architecture": "bert", "d_model": 16, "n_heads": 2, "n_layers": 1, "d_ff": 16}
    settings: dict[str, Any] = {"task": task, "batch_size": 16, "max_length": 12, "tensorboard": False}
    settings |= {"evaluate_every": 4, "keep": 9}
    whole = dg.train(model, table, budget="12steps", out=tmp_path / "whole", **settings)

    import dougong.training.training as training

    opened = training.open_data
    with monkeypatch.context() as patched:
        patched.setattr(training, "open_data", lambda *given, **named: in_memory(opened(*given, **named)))
        memory = dg.train(model, table, budget="12steps", out=tmp_path / "memory", **settings)
    weights, other = whole.model().state_dict(), memory.model().state_dict()
    assert all(torch.equal(weights[name], other[name]) for name in weights)
    half = tmp_path / "half"
    dg.train(model, table, budget="12steps", out=half, **settings)
    for name in ("result.json", "model", "best", "last"):
        path = half / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for step in (8, 12):
        shutil.rmtree(half / "checkpoints" / f"step-{step:06d}")
    caching.clear_cache()
    resumed = dg.training.resume(half)
    last, again = (run.checkpoints.read("step-000012")[0] for run in (whole, resumed))
    for part in ("model", "optimizer"):
        assert last[part] and all(torch.equal(last[part][name], again[part][name]) for name in last[part])


def held(root: Any, most: int, mapped: int = 0) -> list[str]:
    """What an object holds in memory, at any depth, that has more than so many parts; mapped files are not held.

    Args:
        root: of what is looked through.
        most: parts that are few.
        mapped: where the tensor that is a mapped file begins.
    """
    found, seen, left = [], set(), [("it", root)]
    while left:
        name, one = left.pop()
        if id(one) in seen or isinstance(one, type | types.ModuleType | types.FunctionType | str | bytes):
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            base = one
            while isinstance(base, np.ndarray) and not isinstance(base, np.memmap) and base.base is not None:
                base = base.base
            found += [name] * (one.size > most and not isinstance(base, np.memmap))
        elif isinstance(one, torch.Tensor):
            found += [name] * (one.numel() > most and one.data_ptr() != mapped)
        elif isinstance(one, dict | list | tuple | set | frozenset):
            found += [name] * (len(one) > most)
            pairs = one.items() if isinstance(one, dict) else enumerate(one)
            left += [(f"{name}[{key!r}]", value) for key, value in pairs]
        elif type(one).__module__.startswith("dougong") and not isinstance(one, Tokenizer):
            left += [(f"{name}.{key}", value) for key, value in vars(one).items()]
    return found


@pytest.mark.parametrize("task", [None, "causal-language", "masked-language"])
def test_nothing_that_is_held_grows_with_the_rows(
    task: str | None, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "STRETCH", 16)
    data = open_data(table, kind="corpus" if task else None)

    def plan_of(data: Any) -> tuple[Any, Plan]:
        made = task_for(data, task, max_length=12)
        plan = Plan(made.size("train"), 4, 0, lengths_of(made))
        for step in range(plan.steps(1.5)):
            made.batch("train", plan.batch(step)[1], train=True, epoch=0, seed=0)
        plan.ledger()
        return made, plan

    ours = plan_of(data)
    where = ours[0].lengths("train").ctypes.data
    assert ours[1].lengths is not None and ours[1].lengths.data_ptr() == where
    assert ours[0].size("train") > 150 and not held(ours, 100, where)
    grown = held(plan_of(in_memory(data)), 100)  # the control: what is in memory is found
    assert any("lengths" in name for name in grown) and any("_rows" in name for name in grown)


def test_of_many_test_samples_a_report_shows_some(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = dg.train(CNN, table, budget="2steps", out=tmp_path / "run", split="50/10/40", tensorboard=False)
    task, model = run.task(), run.model()
    whole = predict_split(model, task)
    assert looked_at(task) == (task, 1) and len(whole.where) == task.size("test") > 60
    monkeypatch.setattr(predictions, "MOST", 20)
    some, apart = looked_at(task)
    part = predict_split(model, some)
    assert apart == -(-len(whole.where) // 20) and part.where == whole.where[::apart]
    assert np.allclose(part.probabilities, whole.probabilities[::apart], atol=1e-6)
    assert [row.texts for row in some.split("test")] == [row.texts for row in task.split("test")][::apart]
    assert f"one in {apart} is looked at" in answer_parts({"it": model}, task)["Confusion"]
    assert looked_at(task_for(in_memory(task.data), max_length=12))[1] == 1
