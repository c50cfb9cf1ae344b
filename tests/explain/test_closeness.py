"""Two texts that are compared, against the model asked by hand: its vectors, and their gradients in float64."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import dougong
from dougong.architectures import build
from dougong.data import open_data
from dougong.errors import UserError
from dougong.explain import explain
from dougong.explain.opening import make_subject, prepare
from dougong.report import write_run_report
from dougong.tasks import task_for

WORDS = {"eins": "one", "zwei": "two", "drei": "three", "vier": "four", "fünf": "five", "sechs": "six"}
FIRST, SECOND = "drei eins sechs zwei fünf", "three one six two five"
BERT = {"architecture": "bert", "d_model": 32, "n_layers": 1, "n_heads": 2, "d_ff": 64}
GRU = {"architecture": "gru", "d_model": 24}
MADE = [(BERT, "mean"), (BERT, "cls"), (GRU, "mean"), (GRU, "last")]
METHODS = ["occlusion", "integrated-gradients", "attention", "rollout"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("sentences")
    draw = np.random.default_rng(0)
    rows = [draw.choice(list(WORDS), draw.integers(3, 8)).tolist() for _ in range(500)]
    (found / "train.de").write_text("".join(" ".join(row) + "\n" for row in rows), encoding="utf-8")
    turned = [" ".join(WORDS[word] for word in row) for row in rows]
    (found / "train.en").write_text("".join(f"{line}\n" for line in turned), encoding="utf-8")
    return found


@pytest.fixture(scope="module", params=MADE, ids=lambda made: f"{made[0]['architecture']}-{made[1]}")
def made(request: pytest.FixtureRequest, place: Path) -> tuple[Any, Any]:
    """A task, and a model of a few steps, so that what it reads matters."""
    config, pooling = request.param
    data = open_data(place, kind="sentences")
    task = task_for(data, "sentence-embedding", vectors={"pooling": pooling}, vocab_size=120)
    return task, taught(task, config)


@pytest.fixture(scope="module")
def bert(place: Path) -> tuple[Any, Any]:
    """A model with attention, and its task."""
    task = task_for(open_data(place, kind="sentences"), "sentence-embedding", vocab_size=120)
    return task, taught(task, BERT)


def taught(task: Any, config: dict[str, Any]) -> Any:
    fitted, _ = task.adapt({**dougong.resolve(config), "dropout": 0.0})
    found = build(fitted, seed=0)
    optimizer = torch.optim.AdamW(found.parameters(), 5e-3)
    for step in range(40):
        chosen = torch.randperm(task.size("train"), generator=torch.Generator().manual_seed(step))[:32]
        batch = task.batch("train", chosen, train=True, epoch=0, seed=0)
        loss = task.loss(found(*batch.inputs), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found.eval()


def tokens_of(task: Any, text: str) -> Tensor:
    return torch.tensor([list(task.tokenizer.encode([text])[0].ids)])


def vector(model: Any, task: Any, x: Tensor) -> Tensor:
    """Embeddings (N, L, D) to vectors of length 1, without the task's or the explanation's help."""
    hidden = model.body(x)
    places = {"cls": hidden[:, 0], "lasttoken": hidden[:, -1], "mean": hidden.sum(1) / hidden.shape[1]}
    pooled = places[task.measure.pooling[0]]
    return pooled / (pooled**2).sum(-1, keepdim=True).sqrt()


def pieces_of(task: Any, text: str, number: int | None) -> Tensor:
    """Which tokens stand for a word; for all words when None."""
    one = task.tokenizer.encode([text])[0]
    begin = 0 if number is None else sum(len(word) + 1 for word in text.split()[:number])
    end = len(text) if number is None else begin + len(text.split()[number])
    return torch.tensor(
        [t is not None and a < end and b > begin for t, (a, b) in zip(one.texts, one.offsets, strict=True)]
    )


@torch.no_grad()
def by_hand(model: Any, task: Any, first: str, second: str, gone: int | None) -> float:
    """The cosine of two texts, a word's embeddings of the first set to zero."""
    x, other = (model.embedding(tokens_of(task, text)).x.clone() for text in (first, second))
    if gone is not None:
        x[0, pieces_of(task, first, gone)] = 0
    return float(vector(model, task, x)[0] @ vector(model, task, other)[0])


@pytest.mark.parametrize(("first", "second"), [(FIRST, SECOND), (SECOND, FIRST)])
def test_occlusion_is_what_taking_each_word_away_does(made: Any, first: str, second: str) -> None:
    task, model = made
    found = explain(model, (first, second), task=task, method="occlusion")
    assert found.units.names == tuple(first.split()) and found.texts == (first,)
    assert found.target.name == second and found.target.measure == "cosine"
    whole = by_hand(model, task, first, second, None)
    assert found.target.probability == pytest.approx(whole, abs=1e-5)
    assert found.curves is not None and found.curves.most[0] == pytest.approx(whole, abs=1e-5)
    for number in range(5):
        assert found.scores[number] == pytest.approx(whole - by_hand(model, task, first, second, number), abs=1e-5)
    other = explain(model, (first, "four four six four four"), task=task, method="occlusion")
    assert np.abs(other.scores - found.scores).max() > 1e-3  # the control: another text, other reasons


def test_integrated_gradients_are_the_mean_gradient_in_float64(made: Any) -> None:
    task, model = made
    found = explain(model, (FIRST, SECOND), task=task)
    assert found.method == "integrated-gradients" and found.signed
    wide, steps = copy.deepcopy(model).double(), 512
    with torch.no_grad():
        x, other = (wide.embedding(tokens_of(task, text)).x for text in (FIRST, SECOND))
        fixed = vector(wide, task, other)[0]
    empty = x.clone()
    empty[0, pieces_of(task, FIRST, None)] = 0
    share = ((torch.arange(steps, dtype=torch.float64) + 0.5) / steps)[:, None, None]
    path = (empty + share * (x - empty)).requires_grad_()
    (vector(wide, task, path) @ fixed).sum().backward()
    assert path.grad is not None
    each = (path.grad.mean(0) * (x - empty)[0]).sum(-1)
    wanted = [float(each[pieces_of(task, FIRST, number)].sum()) for number in range(5)]
    np.testing.assert_allclose(found.scores, wanted, atol=2e-3)
    assert np.abs(np.array(wanted)[::-1] - found.scores).max() > 4e-3  # the control: other words' scores


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_and_its_own_checks_hold(bert: tuple[Any, Any], method: str) -> None:
    task, model = bert
    found = explain(model, (FIRST, SECOND), task=task, method=method)
    assert len(found.scores) == 5 and {"deletion", "randomised weights"} <= set(found.checks)
    for check in {"completeness", "reproduction"} & set(found.checks):
        assert found.checks[check].passed, found.checks[check].meaning
    if not found.signed:  # only the first text's attention is seen
        assert found.scores.min() >= 0 and found.scores.sum() <= 1 + 1e-6 and "average position" in found.meaning
    said = [found.meaning, found.key(), *found.notes, *(check.meaning for check in found.checks.values())]
    assert "class" not in " ".join(said).replace("the class token", "") and SECOND in found.notes[0]


def test_what_it_looks_at_is_known_not_to_be_learnt_where_it_is_not(bert: tuple[Any, Any]) -> None:
    """The check by shuffled weights reads both texts by the shuffled model; the real one is left as it was."""
    task, model = bert
    with torch.no_grad():
        sample = prepare((FIRST, SECOND), task, model)
        subject = make_subject(model, sample, (), None)
        before = subject.model.fixed.clone()
        other = copy.deepcopy(subject.model)
        for weight in other.parameters():
            weight.copy_(weight.flatten()[torch.randperm(weight.numel())].view_as(weight))
        moved = subject.with_model(other)
        wanted = vector(other.model, task, other.model.embedding(tokens_of(task, SECOND)).x)
        torch.testing.assert_close(moved.model.fixed, wanted)
        assert float((moved.model.fixed - before).abs().max()) > 0.01
        torch.testing.assert_close(subject.model.fixed, before)
    read = set(torch.cat((tokens_of(task, FIRST), tokens_of(task, SECOND)), 1).flatten().tolist())
    assert set(subject.tokens_read().tolist()) == read


def test_what_cannot_be_asked(bert: tuple[Any, Any]) -> None:
    task, model = bert
    with pytest.raises(UserError, match="one text, and a text is explained by how close it is to another; give two"):
        explain(model, FIRST, task=task)
    with pytest.raises(UserError, match="3 texts"):
        explain(model, (FIRST, SECOND, FIRST), task=task)
    with pytest.raises(UserError, match="holds no word"):
        explain(model, (FIRST, " "), task=task)
    with pytest.raises(UserError, match="at=eins: two texts are compared as wholes"):
        explain(model, (FIRST, SECOND), task=task, at="eins")
    with pytest.raises(UserError, match="target=0: texts are compared"):
        explain(model, (FIRST, SECOND), task=task, target=0)


def test_report_and_command_line(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dougong.cli.app import execute

    run = dougong.train(BERT, place, task="sentence-embedding", budget="3steps", out=tmp_path / "run", vocab_size=120,
                        tensorboard=False)  # fmt: skip
    page = write_run_report(run).read_text(encoding="utf-8")
    assert "its cosine with the other text" in page and "the other way round" in page and "is its cosine with" in page
    out = tmp_path / "why.html"
    words = ["explain", str(run.path), "--text", FIRST, "--text", SECOND, "--out"]
    assert execute([*words, str(out)]) == 0
    assert f"its cosine with “{SECOND}” is " in capsys.readouterr().out
    written = out.read_text(encoding="utf-8")
    assert f"Why so close to “{SECOND}”?" in written and "The model gives" not in written
    assert execute([*words, str(tmp_path / "why.png")]) == 0
    assert execute([*words, str(tmp_path / "why.json")]) == 0
    target = json.loads((tmp_path / "why.json").read_text(encoding="utf-8"))["target"]
    assert -1 <= target["cosine"] <= 1 and "probability" not in target
    assert execute(["explain", str(run.path), FIRST]) == 2
    assert "give two" in capsys.readouterr().err
    assert execute(["explain", str(run.path), "--out", str(tmp_path / "some.html")]) == 0  # test pairs, both ways
    assert "the other way round" in capsys.readouterr().out
