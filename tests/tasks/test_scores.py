"""Scores against other implementations of them: seqeval, scikit-learn, torchmetrics, brute force."""

from __future__ import annotations

import math
import random
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dougong.data.tagging import IGNORED, convert
from dougong.errors import UserError
from dougong.tasks.scores import (
    Calibration,
    EntityScores,
    LabelScores,
    LanguageScores,
    TranslationScores,
    entity_f1,
    interval,
    interval_of,
)

TAGS = ["O", *(f"{letter}-{kind}" for letter in "BI" for kind in ("person", "place", "work"))]
PAIRS = st.lists(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), max_size=9), min_size=1, max_size=6)


@settings(max_examples=60)
@given(PAIRS)
def test_entities_against_seqeval(rows: list[list[tuple[str, str]]]) -> None:
    from seqeval.metrics import classification_report

    true, found = [[a for a, _ in row] for row in rows], [[b for _, b in row] for row in rows]
    ours = entity_f1(true, found)
    if not ours["by_type"]:
        assert ours["f1"] == ours["macro_f1"] == 0
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = classification_report(true, found, output_dict=True)
    for name, key in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        assert ours[name] == pytest.approx(theirs["micro avg"][key])
        for kind, row in ours["by_type"].items():
            assert row[name] == pytest.approx(theirs[kind][key])
            assert row["support"] == theirs[kind]["support"]
    assert ours["macro_f1"] == pytest.approx(theirs["macro avg"]["f1-score"])


def test_entities_are_strict_and_schemes_may_differ() -> None:
    true = ["B-a", "I-a", "O", "B-b"]
    assert entity_f1([true], [convert(true, "IOBES")])["f1"] == 1
    for wrong in (["B-a", "O", "O", "B-b"], ["B-b", "I-b", "O", "B-b"], ["O", "B-a", "O", "B-b"]):
        assert entity_f1([true], [wrong])["f1"] == 0.5
    with pytest.raises(ValueError, match="4 true tags and 3"):
        entity_f1([true], [true[:3]])


def test_entity_interval_lies_around_the_score() -> None:
    rng = random.Random(1)
    scores = EntityScores()
    for _ in range(300):
        true = [rng.choice(["O", "B-a"]) for _ in range(6)]
        scores.update(true, [tag if rng.random() < 0.8 else "O" for tag in true])
    low, high = scores.interval(draws=500)
    assert low < scores.compute()["f1"] < high and high - low < 0.05


@pytest.mark.parametrize("density", [0.02, 0.4])
def test_several_labels_against_scikit_learn(density: float) -> None:
    from sklearn.metrics import accuracy_score, average_precision_score, f1_score, multilabel_confusion_matrix

    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(50, 4, generator=generator) < density).long()
    targets[:, 3] = 0
    logits = ((torch.randn(50, 4, generator=generator) + targets - 0.5) * 4).round() / 4  # equal ones are among them
    logits[:, 3] = -5  # a label that is never true and never given
    scores = LabelScores("abcd")
    for part in (slice(0, 7), slice(7, 8), slice(8, 50)):
        scores.update(logits[part], targets[part])
    true, found = targets.numpy(), (logits > 0).long().numpy()
    ours = scores.compute()
    assert ours["micro_f1"] == pytest.approx(f1_score(true, found, average="micro"))
    assert ours["macro_f1"] == pytest.approx(f1_score(true[:, :3], found[:, :3], average="macro"))
    assert ours["subset_accuracy"] == pytest.approx(accuracy_score(true, found))
    each = f1_score(true, found, average=None, zero_division=0)
    assert [row["f1"] for row in scores.table().values()] == pytest.approx(each.tolist())
    counts = multilabel_confusion_matrix(true, found)
    assert scores.table()["b"]["support"] == counts[1, 1].sum()
    occurring = [label for label in range(4) if true[:, label].any()]
    ranked = [average_precision_score(true[:, label], logits[:, label].sigmoid()) for label in occurring]
    assert ours["mean_average_precision"] == pytest.approx(sum(ranked) / len(ranked))
    sure = (logits.sigmoid() - 0.5).abs().flatten().double() + 0.5
    right, gap = torch.tensor(true == found).flatten().double(), 0.0
    for number in range(15):  # a plain loop over the bins
        held = (sure > number / 15) & (sure <= (number + 1) / 15)
        if held.any():
            gap += float(held.double().mean() * (sure[held].mean() - right[held].mean()).abs())
    assert ours["ece"] == pytest.approx(gap)
    low, high = scores.interval(draws=200)
    assert low <= ours["micro_f1"] <= high


def test_language_against_torchmetrics() -> None:
    from torchmetrics.text import Perplexity

    generator = torch.Generator().manual_seed(0)
    logits, targets = (
        torch.randn(3, 7, 11, generator=generator),
        torch.randint(11, (3, 7), generator=generator),
    )
    targets[1, 4:] = IGNORED
    theirs = Perplexity(ignore_index=IGNORED)
    theirs.update(logits, targets)
    ours = LanguageScores()
    for row in range(3):
        ours.update_logits(logits[row], targets[row], characters=20, octets=30)
    found = ours.compute()
    assert found["perplexity"] == pytest.approx(float(theirs.compute()), rel=1e-5)
    assert found["bits_per_character"] == pytest.approx(found["loss"] * 18 / math.log(2) / 60)
    assert found["bits_per_byte"] == pytest.approx(found["bits_per_character"] * 2 / 3)
    low, high = ours.interval(draws=100)
    assert low <= found["loss"] <= high


def test_a_uniform_guess_costs_the_bits_it_must() -> None:
    scores = LanguageScores()
    scores.update_logits(torch.zeros(1, 5, 256), torch.zeros(1, 5, dtype=torch.long), octets=5)
    assert scores.compute()["bits_per_byte"] == pytest.approx(8)
    assert scores.compute()["perplexity"] == pytest.approx(256)
    assert "bits_per_character" not in scores.compute()


GIVEN = ["the cat sat on the mat", "a dog runs in the park today", "it is raining", "nothing is alike here at all"]
TRUE = ["the cat sat on a mat", "a dog is running in the park", "it is raining", "words of another kind stand there"]


def test_translations_against_torchmetrics() -> None:
    from torchmetrics.text import CHRFScore, SacreBLEUScore

    scores = TranslationScores()
    scores.update(GIVEN[:1], TRUE[:1])
    scores.update(GIVEN[1:], TRUE[1:])
    ours = scores.compute()
    wanted = [[line] for line in TRUE]
    assert ours["bleu"] == pytest.approx(100 * float(SacreBLEUScore()(GIVEN, wanted)), rel=1e-4)
    assert ours["chrf"] == pytest.approx(100 * float(CHRFScore(n_word_order=0)(GIVEN, wanted)), rel=1e-4)
    assert ours["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert ours["chrf_signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


def test_sums_of_sentences_give_the_score_of_the_corpus() -> None:
    scores = TranslationScores(lowercase=True)
    scores.update([line.upper() for line in GIVEN], [[line, line[::-1]] for line in TRUE])
    sums = scores.statistics().sum(0).long().tolist()
    again = scores.bleu.compute_bleu(sums[:4], sums[4:8], sums[8], sums[9], smooth_method="exp").score
    assert again == pytest.approx(scores.compute()["bleu"])
    low, high = scores.interval(draws=100)
    assert low < again < high
    assert "nrefs:2|case:lc" in scores.compute()["bleu_signature"]


def test_a_perfect_translation_is_100_and_no_more() -> None:
    """sacrebleu itself says 100.00000000000004, which no page should show."""
    scores = TranslationScores()
    scores.update(GIVEN, GIVEN)
    raw = scores.bleu.corpus_score(GIVEN, [GIVEN]).score
    assert scores.compute()["bleu"] == scores.compute()["chrf"] == scores.sentence(GIVEN[0], GIVEN[0]) == 100.0
    assert scores.interval(draws=20) == (100.0, 100.0)
    assert raw != 100.0 and raw == pytest.approx(100.0)  # the control: without rounding it would be more


def test_chinese_is_cut_into_characters() -> None:
    given, true = ["今天天气很好。"], ["今天天气真好。"]
    chinese, blanks = TranslationScores("zh"), TranslationScores()
    for scores in (chinese, blanks):
        scores.update(given, true)
    assert chinese.compute()["bleu"] > 40 > blanks.compute()["bleu"]
    with pytest.raises(UserError, match="unknown tokenizer of sacrebleu 'zhh'"):
        TranslationScores("zhh")
    with pytest.raises(ValueError, match="2 translations and references for 1"):
        chinese.update(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="1 references"):
        chinese.update(["a"], [["a", "b"]])


def brute_ece(confidence: list[float], right: list[bool], bins: int) -> float:
    total = 0.0
    for number in range(bins):
        inside = [index for index, value in enumerate(confidence) if number / bins < value <= (number + 1) / bins]
        if inside:
            gap = sum(confidence[i] for i in inside) / len(inside) - sum(right[i] for i in inside) / len(inside)
            total += abs(gap) * len(inside) / len(confidence)
    return total


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0.001, 0.999), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_calibration_against_brute_force(answers: list[tuple[float, bool]], bins: int) -> None:
    confidence, right = [one for one, _ in answers], [two for _, two in answers]
    ours = Calibration(bins)
    for start in range(0, len(answers), 7):
        ours.update(
            torch.tensor(confidence[start : start + 7], dtype=torch.float64), torch.tensor(right[start : start + 7])
        )
    assert ours.compute() == pytest.approx(brute_ece(confidence, right, bins), abs=1e-9)
    assert sum(row["count"] for row in ours.table()) == len(answers)


def test_calibration_against_torchmetrics() -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    generator = torch.Generator().manual_seed(0)
    chances = torch.randn(400, 5, generator=generator).mul(2).softmax(-1)
    targets = torch.randint(5, (400,), generator=generator)
    ours = Calibration()
    confidence, found = chances.max(-1)
    ours.update(confidence, found == targets)
    theirs = float(multiclass_calibration_error(chances, targets, num_classes=5, n_bins=15, norm="l1"))
    assert ours.compute() == pytest.approx(theirs, abs=1e-6)
    honest = Calibration()
    honest.update(torch.tensor([0.5, 0.5]), torch.tensor([True, False]))
    assert honest.compute() == 0


def test_bootstrap_covers_as_often_as_it_says() -> None:
    """Over many samples of a known mean, about 95 % of the intervals hold it; of level 0.5, about half."""
    rng = np.random.default_rng(0)
    held = {0.95: 0, 0.5: 0}
    for trial in range(200):
        scores = (rng.random(60) < 0.7).astype(float).tolist()
        for level in held:
            low, high = interval(scores, level=level, draws=150, seed=trial)
            held[level] += low <= 0.7 <= high
    assert 175 <= held[0.95] <= 199 and 75 <= held[0.5] <= 130


def test_bootstrap_is_one_function_of_its_seed() -> None:
    scores = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert interval(scores) == interval(scores) == pytest.approx((0.2, 1.0))
    assert interval([float(x) for x in range(50)], seed=1) != interval([float(x) for x in range(50)], seed=2)
    assert all(math.isnan(end) for end in interval([]))
    low, high = interval_of(torch.tensor([[2.0, 4.0]] * 5), lambda sums: float(sums[0] / sums[1]))
    assert low == high == 0.5


def test_nothing_yet() -> None:
    assert math.isnan(LanguageScores().compute()["loss"])
    assert math.isnan(Calibration().compute())
    assert math.isnan(TranslationScores().compute()["bleu"])
    assert math.isnan(LabelScores("ab").compute()["micro_f1"]) and LabelScores("ab").table() == {}
    assert EntityScores().compute()["f1"] == 0
