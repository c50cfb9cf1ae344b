"""What every task on texts owes: padding and other rows change nothing, a stopped run goes on bit for bit, and what is
kept opens in Transformers and answers the same.

Sentence vectors have a loss over the whole batch, in which other rows do count: their vectors are held in
tests/tasks/test_sentence_embedding.py, as is the rest of their contract; next items in tests/tasks/test_next_item.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import dougong
from dougong.data import open_data
from dougong.frames.stack import Stack
from dougong.tasks import KINDS, task_for
from dougong.tasks.task import Task
from dougong.training import Run
from dougong.training.loop import Loop
from tests.training.conftest import same, weights

WORDS = ("rain", "sun", "wind", "snow", "雨", "fog", "it's", "hail", "Oslo", "Rome", "cold", "热")
BERT = {"architecture": "bert", "d_model": 16, "n_heads": 2, "n_layers": 2, "d_ff": 32, "dropout": 0.1}
GPT = {"architecture": "gpt2", "d_model": 16, "n_heads": 2, "n_layers": 2, "dropout": 0.1}
PAIR = {"d_model": 16, "n_heads": 2, "n_layers": 2, "d_ff": 32, "dropout": 0.1}
LSTM = {"architecture": "lstm", "d_model": 16, "n_layers": 1, "dropout": 0.1}


def sentences(number: int, seed: int) -> list[list[str]]:
    """Of one to nine words."""
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 10, (number,), generator=draw).tolist()
    return [[WORDS[int(word)] for word in torch.randint(len(WORDS), (size,), generator=draw)] for size in sizes]


def write(task: str, folder: Path) -> Path:
    """Training, validation and test files of a task."""
    folder.mkdir(exist_ok=True)
    for seed, (split, number) in enumerate({"train": 96, "val": 12, "test": 12}.items()):
        rows = sentences(number, seed)
        if task == "text-classification":
            lines = ["text,label", *(f"{' '.join(row)},{'wet' if 'rain' in row else 'dry'}" for row in rows)]
            lines += ["rain,wet", "sun,dry"]
            (folder / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        elif task == "token-classification":
            tagged = "\n\n".join("\n".join(f"{w}\t{'B-city' if w[0] in 'OR' else 'O'}" for w in row) for row in rows)
            (folder / f"{split}.conll").write_text(tagged + "\n\nOslo\tB-city\nsun\tO\n", encoding="utf-8")
        elif task == "translation":
            for tongue, turn in (("en", 1), ("de", -1)):
                text = "\n".join(" ".join(row[::turn]) for row in rows)
                (folder / f"{split}.{tongue}").write_text(text + "\n", encoding="utf-8")
        else:
            kept = [{"text": " ".join([*row, "sun"])} for row in rows]
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return folder


FAMILIES: dict[str, list[dict[str, Any]]] = {
    "text-classification": [
        BERT,
        GPT,
        LSTM,
        {"architecture": "gru", "d_model": 16, "n_layers": 1, "bidirectional": True},
        {"architecture": "textcnn", "d_model": 16, "n_filters": 8},
        {"architecture": "modernbert", "d_model": 16, "n_heads": 2, "n_layers": 3, "d_ff": 32},
    ],
    "token-classification": [BERT, {**LSTM, "bidirectional": True}],
    "causal-language": [GPT, LSTM, {"architecture": "llama", "d_model": 16, "n_heads": 2, "n_layers": 2, "d_ff": 32}],
    "masked-language": [BERT],
    "translation": [{"architecture": "bart", **PAIR}, {"architecture": "t5", **PAIR},
                    {"architecture": "transformer", **PAIR}],
}  # fmt: skip
"""The first of each is trained; the others are asked about padding alone."""
SETTINGS: dict[str, dict[str, Any]] = {"masked-language": {"tokenizer": "wordpiece"}}
CASES = [(task, config) for task, configs in FAMILIES.items() for config in configs]
NAMES = [f"{task}-{config['architecture']}" for task, config in CASES]


def test_every_task_on_texts_is_in_the_sweep() -> None:
    texts = ("texts", "tags", "corpus", "pairs")
    assert {name for name, kind in KINDS.items() if kind in texts} == set(FAMILIES)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("tasks")
    return cache(lambda task: write(task, root / task))


@pytest.fixture(scope="module")
def posed(files: Callable[[str], Path]) -> Callable[[str], Task]:
    def pose(task: str) -> Task:
        data = open_data(files(task), kind=KINDS[task])
        return task_for(data, task, max_length=12, vocab_size=300, **SETTINGS.get(task, {}))

    return cache(pose)


def learnt(task: Task, model: nn.Module, parts: list[list[int]]) -> tuple[float, list[Tensor]]:
    """The mean loss over batches of these rows, each counting for what it weighs, and its gradients."""
    model.zero_grad()
    sums, weight = torch.zeros((), dtype=torch.float64), 0.0
    for part in parts:
        batch = task.batch("train", torch.tensor(part), train=True, epoch=1, seed=3)
        heavy = task.weight(batch)
        if heavy:  # a text of which nothing was hidden teaches nothing
            sums, weight = sums + task.loss(model(*batch.inputs), batch).double() * heavy, weight + heavy
    mean = sums / weight
    mean.backward()
    none = torch.zeros(())
    return float(mean.detach()), [none if p.grad is None else p.grad.clone() for p in model.parameters()]


@pytest.fixture(scope="module")
def made(posed: Callable[[str], Task]) -> Callable[[int], tuple[Task, nn.Module]]:
    def make(case: int) -> tuple[Task, nn.Module]:
        task, config = posed(CASES[case][0]), dougong.resolve(CASES[case][1])
        fitted, _ = task.adapt(config, fixed=[key for key in CASES[case][1] if key != "architecture"])
        return task, dougong.build(fitted, seed=0).double().eval()

    return cache(make)


def near(first: tuple[float, list[Tensor]], second: tuple[float, list[Tensor]]) -> bool:
    """Equal up to float64's rounding; the loss itself is taken in float32 by some."""
    return abs(first[0] - second[0]) < 1e-6 and all(
        torch.allclose(one, other, rtol=1e-5, atol=1e-7) for one, other in zip(first[1], second[1], strict=True)
    )


@pytest.mark.parametrize("case", range(len(CASES)), ids=NAMES)
@settings(max_examples=4, deadline=None)
@given(rows=st.lists(st.integers(0, 95), min_size=4, max_size=7, unique=True), cut=st.integers(1, 3))
def test_padding_and_other_rows_change_nothing(
    case: int, rows: list[int], cut: int, made: Callable[[int], tuple[Task, nn.Module]]
) -> None:
    """The loss and the gradients of a batch without its padding, with it, in any two parts, and row by row."""
    task, model = made(case)
    rows = [row % task.size("train") for row in rows]
    rows = list(dict.fromkeys(rows))
    whole = learnt(task, model, [rows])
    assert near(whole, learnt(task, model, [[row] for row in rows]))
    assert near(whole, learnt(task, model, [part for part in (rows[cut:][::-1], rows[:cut]) if part]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stack, "_segments", staticmethod(lambda lengths, x, mask: (None, lengths)))
        assert near(whole, learnt(task, model, [rows]))


@pytest.mark.parametrize("case", [n for n, name in enumerate(NAMES) if not name.startswith("causal")], ids=str)
def test_padding_that_is_read_would_be_seen(case: int, made: Callable[[int], tuple[Task, nn.Module]]) -> None:
    """The control: a model that takes padding for tokens gives another loss; but for texts read forwards alone, where
    padding comes after all that is asked about (theirs is in tests/tasks/test_language.py)."""
    task, model = made(case)
    rows = list(range(min(8, task.size("train"))))
    whole = learnt(task, model, [rows])

    class Deaf(nn.Module):
        def forward(self, *given: Tensor) -> Any:
            return model(*(torch.full_like(each, int(each.max())) if each.dim() == 1 else each for each in given))

        def parameters(self, recurse: bool = True) -> Any:
            return model.parameters(recurse)

        def zero_grad(self, set_to_none: bool = True) -> None:
            model.zero_grad(set_to_none)

    assert not near(whole, learnt(task, Deaf(), [rows]))


def trained(task: str, files: Callable[[str], Path], out: Path, stop_at: int | None = None, **more: Any) -> Run:
    """A small run; ``stop_at`` stops it between two steps, as Ctrl-C does."""
    given = {"budget": "14steps", "batch_tokens": 64, "evaluate_every": 100, "tensorboard": False, "ema": 0.9}
    given |= {"max_length": 12, "vocab_size": 300, "out": out, "task": task, **SETTINGS.get(task, {}), **more}
    if stop_at is None:
        return dougong.train(FAMILIES[task][0], files(task), **given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "stop", None, raising=False)
        run_loop = Loop.run

        def until(self: Loop, *args: Any, **named: Any) -> Any:
            self.stop = lambda: self.state.step >= stop_at
            return run_loop(self, *args, **named)

        patch.setattr(Loop, "run", until)
        with pytest.raises(KeyboardInterrupt):
            dougong.train(FAMILIES[task][0], files(task), **given)
    return Run(out)


@pytest.fixture(scope="module")
def runs(files: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    root = tmp_path_factory.mktemp("runs")
    return cache(lambda task: trained(task, files, root / task))


@pytest.mark.parametrize("task", FAMILIES)
@pytest.mark.parametrize("stop_at", [3, 10])
def test_a_run_stopped_within_an_epoch_goes_on_bit_for_bit(
    task: str, stop_at: int, files: Callable[[str], Path], runs: Callable[[str], Run], tmp_path: Path
) -> None:
    whole = runs(task)
    stopped = trained(task, files, tmp_path / "stopped", stop_at)
    epoch = [row["epoch"] for row in whole.metrics() if row["split"] == "train" and row["step"] == stop_at]
    assert not epoch or epoch[0] % 1  # neither at the end of an epoch nor at its beginning
    torch.manual_seed(99)  # whatever the random state was, it must not matter
    gone_on = dougong.resume(stopped.path)
    assert same(weights(whole), weights(gone_on))
    assert (whole.result or {})["test"] == (gone_on.result or {})["test"]
    if stop_at == 3:
        assert not same(weights(whole), weights(trained(task, files, tmp_path / "other", seed=1)))


ASKED = {
    "text-classification": ["rain and snow", "sun 热 it's cold", "wind"],
    "token-classification": ["rain in Oslo", "Rome is cold", "雨 sun"],
    "masked-language": ["rain [MASK] sun", "it's [MASK] in Rome today"],
    "causal-language": ["rain sun wind", "it's cold in"],
    "translation": ["rain sun wind", "it's cold", "Rome 热"],
}


@pytest.mark.parametrize("task", FAMILIES)
def test_what_is_kept_opens_in_transformers_and_answers_the_same(task: str, runs: Callable[[str], Run]) -> None:
    import transformers

    run, texts = runs(task), ASKED[task]
    folder = run.path / "model"
    opening = {
        "text-classification": transformers.AutoModelForSequenceClassification,
        "token-classification": transformers.AutoModelForTokenClassification,
        "causal-language": transformers.AutoModelForCausalLM,
        "masked-language": transformers.AutoModelForMaskedLM,
        "translation": transformers.AutoModelForSeq2SeqLM,
    }[task]
    theirs, told = opening.from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    theirs, tokenizer = theirs.eval(), transformers.AutoTokenizer.from_pretrained(folder)
    job, ours = run.task(), run.model()
    with torch.no_grad():
        if task == "translation":
            for text in texts:
                batch = job.prepare([text])
                read = tokenizer(text, return_tensors="pt")
                assert read["input_ids"].tolist() == batch.inputs[0].tolist()
                follow = torch.tensor([[theirs.config.decoder_start_token_id, 7, 9]])
                wanted = theirs(**read, decoder_input_ids=follow).logits
                torch.testing.assert_close(ours(batch.inputs[0], follow).logits, wanted, rtol=1e-4, atol=1e-4)
            return
        for text in texts:
            words = text.split()
            if task == "token-classification":
                batch = job.prepare([words])
                read = tokenizer(words, is_split_into_words=True, return_tensors="pt")
            else:
                batch = job.prepare([text] if task == "text-classification" else text)
                read = tokenizer(text, return_tensors="pt")
            logits = ours(*batch.inputs).logits
            if task != "causal-language":
                assert read["input_ids"].tolist() == batch.inputs[0].tolist()
            torch.testing.assert_close(theirs(batch.inputs[0]).logits, logits, rtol=1e-4, atol=1e-4)
            answer = next(iter(dougong.predict(run, [text])))
            if task == "text-classification":
                assert theirs.config.id2label[int(theirs(**read).logits.argmax())] == answer.label
            if task == "token-classification":
                firsts = [read.word_ids().index(number) for number in range(len(words))]
                tags = [theirs.config.id2label[int(each)] for each in theirs(**read).logits[0].argmax(-1)[firsts]]
                assert sum(tag.startswith("B-") for tag in tags) <= len(words)
                assert len(answer.parts) == sum(
                    tag.startswith("B-") or (tag != "O" and (not place or tags[place - 1] == "O"))
                    for place, tag in enumerate(tags)
                )
