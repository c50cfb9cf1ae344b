"""Answers at a token: the tag of a word, what follows, a mask; against the model asked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dougong
from dougong.architectures import build
from dougong.cli.app import execute
from dougong.data import open_data
from dougong.errors import UserError
from dougong.explain import explain
from dougong.explain.places import placed
from dougong.explain.subject import replaced_embedding
from dougong.tasks import task_for

TEXT = "Bob goes3 to Rome Oslo ."
STORY = "the king saw the queen and the queen saw the king .\n" * 40


def conll(count: int) -> str:
    names, places, lines = ["Ann", "Bob", "Eve", "Joe"], ["Rome", "Oslo", "Bonn", "Lima"], []
    for n in range(count):
        lines += [f"{names[n % 4]} B-person", f"goes{n % 9} O", "to O"]
        lines += [f"{places[n % 3]} B-place", f"{places[(n + 1) % 4]} I-place", ". O", ""]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("tags")
    (place / "all.conll").write_text(conll(240), encoding="utf-8")
    model = {"architecture": "bert", "d_model": 32, "n_layers": 1, "n_heads": 2, "d_ff": 64, "dropout": 0.0}
    return dougong.train(model, place / "all.conll", budget="120steps", out=place / "run", learning_rate=5e-3)


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("language")
    (place / "story.txt").write_text(STORY, encoding="utf-8")
    data = open_data(str(place / "story.txt"))

    def made(task: str, family: str) -> tuple[Any, Any]:
        job = task_for(data, task, tokenizer="wordpiece", vocab_size=60, max_length=32)
        sizes = {"architecture": family, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 32, "dropout": 0.0}
        config, _ = job.adapt(dougong.architectures.resolve(sizes), ())
        return build(config, seed=3).eval(), job

    return made


@torch.no_grad()
def by_hand(model: Any, tokens: torch.Tensor, gone: torch.Tensor, place: int, target: int) -> tuple[float, float]:
    """What occluding some tokens takes from the target's logit, less the mean logit, and from its probability."""

    def asked(points: torch.Tensor) -> tuple[float, float]:
        with replaced_embedding(model, points):
            logits = model(tokens).logits[0, place]
        return float(logits[target] - logits.mean()), float(logits.softmax(-1)[target])

    points = model.embedding(tokens).x
    whole, less = asked(points), asked(points.masked_fill(gone[None, :, None], 0))
    return whole[0] - less[0], whole[1]


def test_the_tag_of_a_word_by_occlusion_is_what_taking_each_word_away_does(tagger: Any) -> None:
    model, task = tagger.model().eval(), tagger.task()
    found = explain(model, TEXT, task=task, at="Rome", target="B-place", method="occlusion")
    assert found.target.about == "the tag of “Rome”" and found.target.name == "B-place"
    assert found.units.names == ("Bob", "goes3", "to", "Rome", "Oslo", ".")
    asked = placed(task, model, TEXT, "Rome")
    target = task.classes.index("B-place")
    for word in range(6):
        gone = torch.from_numpy(asked.passage.owner == word)
        score, probability = by_hand(model, asked.inputs, gone, asked.place, target)
        assert found.scores[word] == pytest.approx(score, abs=1e-4)
        assert found.target.probability == pytest.approx(probability, abs=1e-5)
    other = explain(model, TEXT, task=task, at="Bob", target="B-place", method="occlusion")
    assert np.abs(other.scores - found.scores).max() > 0.1  # the control: another word's tag has other reasons


def test_a_trained_tagger_leans_on_the_word_itself(tagger: Any) -> None:
    found = explain(tagger, TEXT, at=1)
    assert found.target.name == "B-person" and found.target.probability > 0.9
    assert found.top(1)[0][0] == "Bob" and found.checks["completeness"].passed
    chosen = explain(tagger, TEXT)
    assert chosen.target.name != "O" and chosen.target.about.startswith("the tag of “")
    given = explain(tagger, [["Bob", "goes3", "to", "Rome"]][0], at="Rome")
    assert given.target.name == "B-place" and given.texts == ("Bob goes3 to Rome",)


@pytest.mark.parametrize("method", ["integrated-gradients", "attention", "rollout"])
def test_every_method_explains_a_tag(tagger: Any, method: str) -> None:
    found = explain(tagger, TEXT, at="Oslo", method=method)
    assert len(found.scores) == 6 and set(found.checks) >= {"deletion", "randomised weights"}
    if method == "attention":
        assert "the token that answers" in found.meaning


def test_what_follows(language: Any) -> None:
    model, task = language("causal-language", "gpt2")
    found = explain(model, "the king saw", task=task, method="occlusion")
    tokens = task.prepare("the king saw").inputs[0]
    with torch.no_grad():
        shares = model(tokens).logits[0, -1].softmax(-1)
    assert found.target.index == int(shares.argmax()) and found.target.about == "what follows"
    assert found.target.name == task.tokenizer.token(found.target.index)
    assert found.target.probability == pytest.approx(float(shares.max()), abs=1e-6)
    assert found.units.names == ("the", "king", "saw")
    score, _ = by_hand(model, tokens, torch.tensor([False, True, False]), -1, found.target.index)
    assert found.scores[1] == pytest.approx(score, abs=1e-5)
    named = explain(model, "the king saw", task=task, method="occlusion", target="queen")
    assert named.target.name == "queen" and named.target.probability == pytest.approx(float(shares[named.target.index]))


def test_how_a_word_was_foreseen_uses_only_what_stands_before_it(language: Any) -> None:
    model, task = language("causal-language", "gpt2")
    found = explain(model, "the king saw the queen", task=task, at="queen", method="occlusion")
    assert found.units.names == ("the", "king", "saw", "the") and found.target.name == "queen"
    same = explain(model, "the king saw the", task=task, target="queen", method="occlusion")
    np.testing.assert_allclose(found.scores, same.scores, atol=1e-6)
    assert not [note for note in found.notes if "not among them" in note]


def test_blanks_that_are_tokens_are_read_before_a_word_is_foreseen(tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text(STORY, encoding="utf-8")
    task = task_for(open_data(str(tmp_path / "story.txt")), "causal-language", tokenizer="characters", max_length=32)
    sizes = {"architecture": "gpt2", "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 32, "dropout": 0.0}
    config, _ = task.adapt(dougong.architectures.resolve(sizes), ())
    model = build(config, seed=3).eval()
    found = explain(model, "the king saw  the queen", task=task, at="saw", method="occlusion")
    assert found.target.name == "s" and found.target.about == "the beginning of “saw”"
    assert found.units.names == ("the", "king") and found.texts == ("the king saw  the queen",)
    same = explain(model, "the king ", task=task, target="s", method="occlusion")
    np.testing.assert_allclose(found.scores, same.scores, atol=1e-6)
    assert found.target.probability == pytest.approx(same.target.probability, abs=1e-6)
    for text in ("the king", "  the king"):
        with pytest.raises(UserError, match="no text before it"):
            explain(model, text, task=task, at=1)


def test_tokens_of_bytes_are_shown_as_they_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The words of a byte-level vocabulary begin with its sign for a blank, which nobody wrote."""
    (tmp_path / "story.txt").write_text(STORY.replace("queen", "王后"), encoding="utf-8")
    model = {"architecture": "gpt2", "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 32}
    settings = {"tokenizer": "bpe", "vocab_size": 300, "max_length": 32, "tensorboard": False, "budget": "1steps"}
    run = dougong.train(model, tmp_path / "story.txt", out=tmp_path / "run", **settings)  # type: ignore[operator]
    tokenizer = run.task().tokenizer
    number = tokenizer.id("Ġking")
    assert number is not None and tokenizer.token(number) == "Ġking" and tokenizer.written(number) == " king"
    assert tokenizer.decode([number]) == tokenizer.written(number)  # what decoding makes of it
    assert tokenizer.written(tokenizer.id("ä") or 0) == "<0xE4>"
    found = explain(run, "saw the king", at="king", method="occlusion")
    assert found.target.index == number and found.target.name == "king"
    for target in ("king", " king"):
        assert explain(run, "saw the", target=target, method="occlusion").target.name == "king"
    doubled = explain(run, "saw the ", target=number, method="occlusion")
    assert doubled.target.name == " king"  # where a second blank would stand, it is seen
    assert execute(["explain", str(run.path), "saw the ", "--target", "king", "--method", "occlusion"]) == 0
    out = capsys.readouterr().out
    assert "“ king”" in out and "Ġ" not in out


def test_a_mask(language: Any) -> None:
    model, task = language("masked-language", "bert")
    text = "the [MASK] saw the [MASK] ."
    tokens = task.prepare(text).inputs[0]
    places = (tokens[0] == task.tokenizer.special_ids["mask"]).nonzero().flatten().tolist()
    with torch.no_grad():
        shares = model(tokens).logits[0].softmax(-1)
    for number, place in enumerate(places, 1):
        found = explain(model, text, task=task, at=number, method="occlusion")
        assert found.target.about == f"mask {number}"
        assert found.target.probability == pytest.approx(float(shares[place].max()), abs=1e-6)


@pytest.mark.parametrize("at", ["Paris", 0, 7])
def test_words_that_are_not_there(tagger: Any, at: int | str) -> None:
    with pytest.raises(UserError, match="at"):
        explain(tagger, TEXT, at=at)


def test_masks_and_first_words_that_cannot_be_asked(language: Any) -> None:
    model, task = language("masked-language", "bert")
    with pytest.raises(UserError, match="has 1 mask;"):
        explain(model, "the [MASK] .", task=task, at=2)
    model, task = language("causal-language", "gpt2")
    with pytest.raises(UserError, match="no text before it"):
        explain(model, "the king", task=task, at=1)


def test_from_the_command_line(tagger: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "why.html"
    assert execute(["explain", str(tagger.path), TEXT, "--at", "Rome", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["target"]["name"] == "B-place" and said["target"]["about"] == "the tag of “Rome”"
    assert "as the tag of “Rome”" in out.read_text(encoding="utf-8")
    assert execute(["explain", str(tagger.path), TEXT, "--at", "Paris"]) == 2
    assert execute(["explain", str(tagger.path), "--json"]) == 0  # words of test samples
    said = json.loads(capsys.readouterr().out)["samples"]
    assert said and all("tag of “" in each["target"]["about"] for each in said)


@pytest.mark.parametrize("task", ["causal-language", "masked-language"])
def test_a_run_of_language_explains_test_texts(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "story.txt").write_text(STORY, encoding="utf-8")
    model = {"architecture": "gpt2" if task == "causal-language" else "bert", "d_model": 16, "n_layers": 1,
             "n_heads": 2, "d_ff": 32}  # fmt: skip
    run = dougong.train(
        model, tmp_path / "story.txt", task=task, budget="2steps", out=tmp_path / "run", max_length=32,
        vocab_size=60, tokenizer="characters" if task == "causal-language" else "wordpiece",
    )  # fmt: skip
    assert execute(["explain", str(run.path), "--json"]) == 0
    said = capsys.readouterr()
    about = "what follows" if task == "causal-language" else "the mask"
    assert json.loads(said.out)["samples"][0]["target"]["about"] == about


def test_an_answer_of_the_whole_has_no_place(tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_text(
        "text,label\n" + "".join(f"film {n},{'ab'[n % 2]}\n" for n in range(60)), encoding="utf-8"
    )
    task = task_for(open_data(str(tmp_path / "films.csv")))
    config, _ = task.adapt(dougong.architectures.resolve({"architecture": "textcnn", "d_model": 8, "n_filters": 4}), ())
    with pytest.raises(UserError, match="whole input"):
        explain(build(config, seed=0), "good film", task=task, at="film")
