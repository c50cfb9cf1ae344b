"""Words of a translation, against the model asked by hand; a table that both sides share is replaced on one only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dougong
from dougong.architectures import build
from dougong.data import open_data
from dougong.errors import UserError
from dougong.explain import explain
from dougong.report import write_run_report
from dougong.tasks import task_for

WORDS = {"eins": "one", "zwei": "two", "drei": "three", "vier": "four", "fünf": "five", "sechs": "six"}
SOURCE, TARGET = "drei eins sechs zwei fünf", "three one six two five"
FAMILIES = {
    "transformer": {"architecture": "transformer", "d_model": 32, "n_layers": 1, "n_heads": 2, "d_ff": 64},
    "t5": {"architecture": "t5", "d_model": 32, "n_layers": 1, "n_heads": 2, "d_head": 16, "d_ff": 64},
}
METHODS = ["occlusion", "integrated-gradients", "attention"]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("pairs")
    draw = np.random.default_rng(0)
    rows = [draw.choice(list(WORDS), draw.integers(2, 7)).tolist() for _ in range(500)]
    (place / "train.de").write_text("".join(" ".join(row) + "\n" for row in rows), encoding="utf-8")
    turned = [" ".join(WORDS[word] for word in row) for row in rows]
    (place / "train.en").write_text("".join(f"{line}\n" for line in turned), encoding="utf-8")
    return task_for(open_data(place), vocab_size=300)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, task: Any) -> Any:
    """One of a few steps, so that what it reads matters."""
    config, _ = task.adapt({**dougong.resolve(FAMILIES[request.param]), "dropout": 0.0})
    found = build(config, seed=0)
    optimizer = torch.optim.AdamW(found.parameters(), 5e-3)
    for step in range(60):
        chosen = torch.randperm(task.size("train"), generator=torch.Generator().manual_seed(step))[:32]
        batch = task.batch("train", chosen, train=True, epoch=0, seed=0)
        loss = task.loss(found(*batch.inputs), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found.eval()


@torch.no_grad()
def by_hand(model: Any, task: Any, word: str, gone: int | None) -> tuple[float, float]:
    """Logit less the mean, and probability, of a word's first token, a source word's embeddings set to zero."""
    source = task.prepare(SOURCE).inputs[0]
    ids = list(task.tokenizer.encode([TARGET], special=False)[0].ids)
    one = task.tokenizer.encode([SOURCE])[0]
    start = TARGET.index(word)
    offsets = task.tokenizer.encode([TARGET], special=False)[0].offsets
    place = next(i for i, (_, end) in enumerate(offsets) if end > start)
    x = model.source_embedding(source).x.clone()
    if gone is not None:
        begin = SOURCE.index(SOURCE.split()[gone])
        end = begin + len(SOURCE.split()[gone])
        inside = [
            text is not None and a < end and b > begin for text, (a, b) in zip(one.texts, one.offsets, strict=True)
        ]
        x[0, torch.tensor(inside)] = 0
    memory = model.encoder(x)
    logits = model(None, torch.tensor([[task.start, *ids]]), memory=memory).logits[0, place]
    return float(logits[ids[place]] - logits.mean()), float(logits.softmax(-1)[ids[place]])


@pytest.mark.parametrize("word", ["three", "two"])
def test_occlusion_is_what_taking_each_word_away_does(model: Any, task: Any, word: str) -> None:
    found = explain(model, (SOURCE, TARGET), task=task, at=word, method="occlusion")
    assert found.units.names == tuple(SOURCE.split()) and f"“{word}”" in found.target.about
    whole, probability = by_hand(model, task, word, None)
    assert found.target.probability == pytest.approx(probability, abs=1e-5)
    for number in range(5):
        less, _ = by_hand(model, task, word, number)
        assert found.scores[number] == pytest.approx(whole - less, abs=5e-5)
    other = explain(model, (SOURCE, TARGET), task=task, at="five", method="occlusion")
    assert np.abs(other.scores - found.scores).max() > 1e-3  # the control: another word has other reasons
    assert TARGET in found.notes[0]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_a_word_and_its_own_checks_hold(model: Any, task: Any, method: str) -> None:
    found = explain(model, (SOURCE, TARGET), task=task, at=3, method=method)
    assert len(found.scores) == 5 and {"deletion", "randomised weights"} <= set(found.checks)
    for check in {"completeness", "reproduction"} & set(found.checks):
        assert found.checks[check].passed, found.checks[check].meaning
    if method == "attention":
        assert found.scores.min() >= 0 and found.scores.sum() <= 1 + 1e-6
        assert "the token before the one that is asked about" in found.meaning


def test_without_a_target_the_model_writes_one(model: Any, task: Any) -> None:
    written = task.write(model, task.prepare(SOURCE))[0]
    found, given = (explain(model, text, task=task, method="occlusion") for text in (SOURCE, (SOURCE, written)))
    np.testing.assert_allclose(found.scores, given.scores, atol=1e-6)
    assert written in found.notes[0] and "was written" in found.notes[0] and "was given" in given.notes[0]


def test_what_cannot_be_asked(model: Any, task: Any) -> None:
    with pytest.raises(UserError, match="at"):
        explain(model, (SOURCE, TARGET), task=task, at="seven")
    with pytest.raises(UserError, match="nothing"):
        explain(model, (SOURCE, " "), task=task)
    with pytest.raises(UserError, match="use method=attention"):
        explain(model, (SOURCE, TARGET), task=task, method="rollout")


def test_report_and_command_line(task: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dougong.cli.app import execute

    place = Path(task.data.source)
    run = dougong.train(
        FAMILIES["transformer"], place, budget="3steps", out=tmp_path / "run", vocab_size=300, tensorboard=False
    )
    page = write_run_report(run).read_text(encoding="utf-8")
    assert "stands in the true translation" in page and "at which words the model looked" in page
    out = tmp_path / "why.html"
    words = ["explain", str(run.path), "--text", SOURCE, "--text", TARGET, "--at", "six", "--out", str(out)]
    assert execute(words) == 0
    assert "“six”" in capsys.readouterr().out and TARGET in out.read_text(encoding="utf-8")
    assert execute([*words[:-3], "nine"]) == 2
    assert execute(["explain", str(run.path), "--out", str(tmp_path / "some.html")]) == 0  # test samples
    assert "stands in the true translation" in capsys.readouterr().out
