"""Texts explained by word, against models that are changed by hand: no hook and no part of `explain` runs there."""

from __future__ import annotations

import copy
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dougong as dg
from dougong.data.tokenizing.training import train_tokenizer
from dougong.errors import UserError
from dougong.explain.checks import deletion, randomised_weights
from dougong.explain.finding import Ask, Finding
from dougong.explain.methods import METHODS
from dougong.explain.opening import make_subject, prepare
from dougong.explain.subject import MOST_POSITIONS, Subject
from dougong.explain.texts import Passage, TextSubject, read_passage, word_spans
from dougong.parts.embeddings import TokenEmbedding
from dougong.tasks import TextClassification

TEXT = "the film was marvellous here, and the story dreadful"
CHINESE = "房间很干净，服务员态度好。WiFi很慢!"
SAMPLES = [TEXT, CHINESE, "It's  50% well-made…  ", "हिन्दी में लिखा", "ok 👍🏽 café", "  x!"]


def subject_of(model: nn.Module, text: Any, task: TextClassification, target: int | None = None) -> TextSubject:
    found = make_subject(model.eval(), prepare(text, task, model), task.classes, target, task.several)
    assert isinstance(found, TextSubject)
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's 3 o'clock, well-made!", ["It's", "3", "o'clock", ",", "well-made", "!"]),
        ("房间OK。不错", ["房", "间", "OK", "。", "不", "错"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("cafe\u0301 ...", ["cafe\u0301", "..."]),
        ("かな 漢字", ["か", "な", "漢", "字"]),
        (" \n\t\u3000", []),
        ("-a-", ["-", "a", "-"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in word_spans(text)] == words


@pytest.mark.parametrize("text", SAMPLES)
def test_each_character_that_is_no_blank_stands_in_one_word(text: str) -> None:
    inside = [place for start, end in word_spans(text) for place in range(start, end)]
    blank = {place for place, letter in enumerate(text) if letter.isspace()}
    assert len(inside) == len(set(inside)) and set(inside) == set(range(len(text))) - blank


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "characters"])
@pytest.mark.parametrize("text", SAMPLES)
def test_pieces_go_to_the_words_they_stand_in(kind: Any, text: str) -> None:
    """Each piece's characters, blanks left out, lie in its word; each word's, in its pieces."""
    encoding = train_tokenizer(SAMPLES * 3, kind, 300).encode(text)
    passage = read_passage([text], encoding)
    assert passage.unread == 0 and not unowned(passage, encoding)
    reached: list[set[int]] = [set() for _ in passage.words]
    for owner, (start, end), special in zip(passage.owner, encoding.offsets, encoding.special_mask, strict=True):
        assert (owner < 0) == special
        if owner >= 0:
            reached[owner] |= {place for place in range(start, end) if not text[place].isspace()}
    for (_, start, end), found in zip(passage.words, reached, strict=True):
        whole = {place for place in range(start, end) if not text[place].isspace()}
        marks = {place for place in whole if unicodedata.category(text[place])[0] in "MC"}  # that normalisers drop
        assert found <= whole and whole - found <= marks
    wrong = Passage(passage.texts, passage.words, np.roll(passage.owner, 1), 0)
    assert unowned(wrong, encoding), "negative control: owners that are shifted by one"


def unowned(passage: Passage, encoding: Any) -> list[int]:
    """Pieces that reach out of their word."""
    bad = []
    for place, (owner, (start, end)) in enumerate(zip(passage.owner, encoding.offsets, strict=True)):
        if encoding.special_mask[place] or not passage.texts[0][start:end].strip():
            continue
        _, first, last = passage.words[owner]
        said = passage.texts[0][start:end]
        if owner < 0 or start + len(said) - len(said.lstrip()) < first or start + len(said.rstrip()) > last:
            bad.append(place)
    return bad


def test_words_that_share_a_piece_are_one() -> None:
    tokenizer = train_tokenizer(["很好吃 很好吃 很好吃 不"] * 50, "bpe", 300)
    encoding = tokenizer.encode("很好吃不")
    passage = read_passage(["很好吃不"], encoding)
    pieces = [(start, end) for start, end in encoding.offsets if end > start]
    assert any(end - start > 1 for start, end in pieces), "this tokenizer makes one piece of several characters"
    assert [span[1:] for span in passage.words] == pieces


def test_what_is_cut_off_has_no_score(opinions: TextClassification) -> None:
    long = "film " * 40 + "marvellous"
    passage = read_passage([long], opinions.encodings([(long,)])[0])
    assert len(passage.owner) == opinions.max_length < 40
    assert passage.unread == 41 - len(passage.words) > 0
    model = dg.build({"architecture": "textcnn", "vocab_size": 200, "d_model": 8, "n_filters": 4}, seed=0)
    explanation = dg.explain(model, long, task=opinions, method="occlusion")
    assert any(f"{passage.unread} of its words" in note for note in explanation.notes)


class Bag(nn.Module):
    """Logits that are linear in the mean of the tokens' vectors."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = TokenEmbedding(vocabulary, 5)
        self.linear = nn.Linear(5, 3)
        self.double()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.linear(self.embedding(tokens).x.mean(1))


@pytest.mark.parametrize("method", ["integrated-gradients", "occlusion"])
def test_closed_form(method: str, opinions: TextClassification) -> None:
    """In a linear model a word adds its pieces' vectors times the weights, whichever way it is asked."""
    torch.manual_seed(0)
    model = Bag(len(opinions.tokenizer))
    explanation = dg.explain(model, TEXT, task=opinions, target=1, method=method)
    encoding = opinions.tokenizer.encode(TEXT)
    weight = model.linear.weight.detach()
    expected = np.zeros(len(explanation.units))
    other = np.zeros(len(explanation.units))
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        for word, (_, first, last) in enumerate(explanation.units.spans or ()):
            if first <= start < end <= last:
                vector = model.embedding.weight[token].detach() / len(encoding.ids)
                expected[word] += float((weight[1] - weight.mean(0)) @ vector)
                other[word] += float((weight[2] - weight.mean(0)) @ vector)
    np.testing.assert_allclose(explanation.scores, expected, atol=1e-12)
    assert np.abs(explanation.scores - other).max() > 1e-3, "negative control: another class"
    assert any(encoding.offsets.count(offset) == 1 for offset in encoding.offsets)
    assert len(encoding.ids) > len(explanation.units) + 2, "words here are several pieces"


def rewritten(model: nn.Module, tokens: Tensor, gone: np.ndarray) -> Tensor:
    """Logits (C,) without some tokens: a new row of the table of vectors, which together with the type gives zero."""
    other = copy.deepcopy(model)
    embedding = other.embedding
    row = torch.zeros_like(embedding.weight[:1])
    if embedding.types is not None:
        row = row - embedding.types[:1]
    embedding.weight = nn.Parameter(torch.cat((embedding.weight, row)).detach())
    changed = torch.where(torch.from_numpy(gone)[None], len(embedding.weight) - 1, tokens)
    with torch.no_grad():
        return other(changed).logits[0]


def evidence(scores: Tensor, target: int) -> float:
    return float(scores[target] - scores.mean())


@pytest.mark.parametrize("which", ["textcnn", "lstm", "bert"])
def test_occlusion_by_brute_force(which: str, readers: dict[str, nn.Module], opinions: TextClassification) -> None:
    model = copy.deepcopy(readers[which]).double()
    explanation = dg.explain(model, TEXT, task=opinions, method="occlusion")
    tokens, owner, target = opinions.prepare(TEXT).inputs[0], explanation.units.owner, explanation.target.index
    nobody = np.zeros_like(owner, bool)
    whole = evidence(rewritten(model, tokens, nobody), target)
    expected = [whole - evidence(rewritten(model, tokens, owner == word), target) for word in range(owner.max() + 1)]
    np.testing.assert_allclose(explanation.scores, expected, atol=1e-10)
    assert np.abs(explanation.scores - np.roll(expected, 1)).max() > 1e-2, "negative control: the word beside it"


@pytest.mark.parametrize("which", ["textcnn", "lstm", "bert"])
def test_words_add_up_in_float64(which: str, readers: dict[str, nn.Module], opinions: TextClassification) -> None:
    """The scores of words alone add up to the rise from the text without words, which is asked of a changed model."""
    model = copy.deepcopy(readers[which]).double()
    explanation = dg.explain(model, TEXT, task=opinions)
    tokens, owner, target = opinions.prepare(TEXT).inputs[0], explanation.units.owner, explanation.target.index
    ends = [evidence(rewritten(model, tokens, gone), target) for gone in (owner < -1, owner >= 0)]
    assert explanation.checks["completeness"].passed and (owner < 0).sum() == 2
    assert explanation.scores.sum() == pytest.approx(ends[0] - ends[1], rel=0.011)
    empty = evidence(rewritten(model, tokens, owner >= -1), target)
    if which != "lstm":  # the lstm forgets the first special token, so the ends hardly differ there
        assert abs(empty - ends[1]) > 1e-6, "negative control: special tokens stay in the empty text"


@pytest.mark.parametrize("method", ["attention", "rollout"])
def test_attention_is_summed_by_word(method: str, readers: dict[str, nn.Module], opinions: TextClassification) -> None:
    model = readers["bert"]
    by_word = dg.explain(model, TEXT, task=opinions, method=method)
    by_token = dg.explain(model, opinions.prepare(TEXT).inputs[0], method=method, rows=[0])
    expected = [0.0] * len(by_word.units)
    left_out = 0.0
    for owner, score in zip(by_word.units.owner, by_token.scores, strict=True):
        if owner < 0:
            left_out += float(score)
        else:
            expected[owner] += float(score)
    np.testing.assert_allclose(by_word.scores, expected, atol=1e-9)
    assert by_word.scores.sum() + left_out == pytest.approx(1, abs=1e-6) and left_out > 0
    assert "the class token" in by_word.meaning, "BERT's classifier reads the first token, through its pooler"
    assert by_word.checks["reproduction"].passed
    assert all(len(each.scores) == len(by_word.units) for each in by_word.maps)


@pytest.mark.parametrize("which", ["textcnn", "lstm", "bert"])
@pytest.mark.parametrize("method", ["integrated-gradients", "occlusion"])
def test_the_word_that_says_it_is_found(
    method: str, which: str, readers: dict[str, nn.Module], opinions: TextClassification
) -> None:
    found, faster = 0, 0
    for number in (0, 1, 3, 4, 6, 7):
        text = opinions.data.splits["test"][number].texts[0]
        explanation = dg.explain(readers[which], text, task=opinions, method=method)
        said = [word for word in text.split() if word in ("marvellous", "delightful", "splendid", "dreadful", "tedious",
                                                          "horrid")]  # fmt: skip
        found += explanation.top(1)[0][0] == said[0]
        faster += (
            explanation.checks["deletion"].value > 0.1
        )  # with one word that counts, some random orders are as good
    assert found >= 5
    if which != "bert":  # to which a text without words is one of a class of its own: the curve may rise
        assert faster >= 5


def lengths(subject: Subject, _: Ask) -> Finding:
    """An explanation that never asks the model: how long a word is."""
    units = subject.cells()
    return Finding(units, np.array([float(len(name)) for name in units.names]), "lengths")


def test_explanations_that_know_nothing_fail(readers: dict[str, nn.Module], opinions: TextClassification) -> None:
    subject = subject_of(readers["textcnn"], TEXT, opinions)
    check = randomised_weights(subject, lengths(subject, Ask()), lengths, Ask())
    assert not check.passed and check.value == pytest.approx(1)
    method = METHODS["integrated-gradients"]
    real = method(subject, Ask())
    assert randomised_weights(subject, real, method, Ask()).passed
    assert deletion(subject, real.units, real.scores)[0].passed
    assert not deletion(subject, real.units, -real.scores)[0].passed


def test_a_pooled_vector_is_no_class() -> None:
    """The pooler's D numbers come where logits would; they must not be read as scores of D classes."""
    small = {"architecture": "bert", "vocab_size": 20, "d_model": 8, "n_heads": 2, "n_layers": 1, "d_ff": 8}
    tokens = torch.arange(6)[None]
    assert dg.build({**small, "head": "pooler"})(tokens).logits.shape == (1, 8)
    for head, why in (("pooler", "one vector, not with scores"), ("tokens", "at each token"),
                      ("masked-language", "at each token"), (None, "no scores for classes")):  # fmt: skip
        with pytest.raises(UserError, match=why):
            dg.explain(dg.build({**small, "head": head}), tokens)
    assert len(dg.explain(dg.build({**small, "head": "sequence"}, seed=0), tokens).units) == 6
    with pytest.raises(UserError, match="one vector, not with scores"):
        picture = {"architecture": "vit", "image_size": 4, "patch_size": 2, "d_model": 8, "n_heads": 2, "n_layers": 1}
        dg.explain(dg.build({**picture, "d_ff": 8, "n_classes": None, "pooler": "tanh"}), torch.zeros(3, 4, 4))


def test_classes_that_stand_side_by_side(readers: dict[str, nn.Module], opinions: TextClassification) -> None:
    """Each class has a sigmoid of its own: its logit alone is explained, and its probability is the sigmoid's."""
    several = TextClassification(opinions.classes, opinions.tokenizer, opinions.max_length, several=True)
    model = copy.deepcopy(readers["textcnn"]).double()
    explanation = dg.explain(model, TEXT, task=several, target=1)
    tokens = opinions.prepare(TEXT).inputs[0]
    ends = [rewritten(model, tokens, gone)[1] for gone in (explanation.units.owner < -1, explanation.units.owner >= 0)]
    assert explanation.target.probability == pytest.approx(float(ends[0].sigmoid()))
    assert explanation.scores.sum() == pytest.approx(float(ends[0] - ends[1]), rel=0.011)
    alone = dg.explain(model, TEXT, task=opinions, target=1)
    assert np.abs(alone.scores - explanation.scores).max() > 1e-3 and "less the mean" not in explanation.meaning


def test_pairs(readers: dict[str, nn.Module], opinions: TextClassification) -> None:
    explanation = dg.explain(readers["bert"], ("the film", "was horrid"), task=opinions)
    assert explanation.texts == ("the film", "was horrid")
    assert explanation.units.spans == ((0, 0, 3), (0, 4, 8), (1, 0, 3), (1, 4, 10))
    assert explanation.units.names == ("the", "film", "was", "horrid")


def test_bad_requests(readers: dict[str, nn.Module], opinions: TextClassification) -> None:
    model = readers["textcnn"]
    for text in ("", "  \n", "\u200b"):
        with pytest.raises(UserError, match="no word that the model reads"):
            dg.explain(model, text, task=opinions)
    with pytest.raises(UserError, match="2 samples at once"):
        dg.explain(model, ["a", "b"], task=opinions)
    with pytest.raises(UserError, match="textcnn has no attention to show; use method=integrated-gradients"):
        dg.explain(model, "a film", task=opinions, method="rollout")
    with pytest.raises(UserError, match="does not say how its inputs are prepared"):
        dg.explain(model, "a film")

    class Pointer(TextClassification):
        name = "sentence-embedding"

    with pytest.raises(UserError, match="is one text, and a text is explained by how close it is to another"):
        dg.explain(model, "a", task=Pointer(opinions.classes, opinions.tokenizer, 8))


def test_what_tells_nothing_says_so(readers: dict[str, nn.Module], opinions: TextClassification) -> None:
    notes = [dg.explain(readers["textcnn"], text, task=opinions).notes[0] for text in ("horrid", "a horrid film")]
    assert "One word cannot be ranked" in notes[0] and "there are 6 orders" in notes[1]
    assert "orders" not in dg.explain(readers["textcnn"], TEXT, task=opinions).notes[0]


def test_long_texts_are_asked_in_small_batches(readers: dict[str, nn.Module]) -> None:
    tokens = torch.ones(1, 4000, dtype=torch.long)
    subject = make_subject(readers["textcnn"], tokens, (), None)
    assert subject.batch == MOST_POSITIONS // 4000 == 4
    assert subject.probability(subject.points.expand(5, -1, -1)).shape == (5,)


def test_a_folder_is_enough(readers: dict[str, nn.Module], opinions: TextClassification, tmp_path: Path) -> None:
    import json

    dg.save(readers["textcnn"], tmp_path)
    opinions.keep(tmp_path)
    (tmp_path / "task.json").write_text(json.dumps(opinions.describe()))
    from_disk = dg.explain(tmp_path, TEXT).to_dict()
    assert from_disk == dg.explain(readers["textcnn"], TEXT, task=opinions).to_dict()
    assert from_disk["texts"] == [TEXT] and len(from_disk["units"]["spans"]) == len(from_disk["scores"])
