"""What models answer on the test samples, and where they are wrong: a part of the report for each kind of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import torch
from torch import nn

from dougong.errors import UserError
from dougong.explain.subject import evaluation
from dougong.explain.texts import TOO_FEW, word_spans
from dougong.figures import many
from dougong.report.boxes import of_boxes
from dougong.report.examples import Question, explained, explanations
from dougong.report.items import of_items
from dougong.report.items import questions as histories_to_explain
from dougong.report.masks import of_masks
from dougong.report.neighbours import of_sentences
from dougong.report.neighbours import questions as pairs_to_explain
from dougong.report.parts import WORST, confusion_part, mistakes_part
from dougong.report.predictions import LONGEST_TEXT, looked_at, predict_split
from dougong.report.tables import table, tabs
from dougong.training.scoring import score

EXPLAINED = 160
"""Characters of a text before a word that is explained."""
WRITTEN = 300
"""Tokens of each text that a language model writes for its report."""


def answer_parts(models: Mapping[str, nn.Module], task: Any, said: str = "") -> dict[str, str]:
    """Sections by title: for samples with one class confusion, mistakes and explanations; for others what they have.

    Args:
        models: by name.
        task: with its data.
        said: HTML that stands above each section.
    """
    parts = KINDS.get(task.data.kind, of_classes)(models, task)
    return {title: said + body for title, body in parts.items()}


def of_classes(models: Mapping[str, nn.Module], task: Any) -> dict[str, str]:
    """Confusion, the worst mistakes, and some predictions explained."""
    task, apart = looked_at(task)
    note = "" if apart == 1 else f'<p class="note">Of the many test samples one in {apart} is looked at here.</p>'
    found = {name: predict_split(model, task) for name, model in models.items()}
    return {
        "Labels" if getattr(task, "several", False) else "Confusion": note
        + tabs("confusion", {name: confusion_part(each) for name, each in found.items()}),
        "Worst mistakes": note + tabs("mistakes", {name: mistakes_part(each, task) for name, each in found.items()}),
        "Explanations": explanations(models, task, found),
    }


def of_tags(models: Mapping[str, nn.Module], task: Any) -> dict[str, str]:
    """Scores of each type of entity, and the sentences with most mistakes."""
    types, sentences = {}, {}
    for name, model in models.items():
        _, metrics = score(model, task, "test")
        rows = [
            [kind, *(f"{scores[key]:.1%}" for key in ("precision", "recall", "f1")), int(scores["support"])]
            for kind, scores in metrics.table()["per_class"].items()
        ]
        types[name] = table(["type", "precision", "recall", "F1", "true entities"], rows)
        sentences[name] = _sentences(model, task)
    return {
        "Entities by type": tabs("types", types),
        "Sentences with most mistakes": tabs("sentences", sentences),
        "Explanations": explained(models, task, questions(models, task)),
    }


@torch.no_grad()
def _tags_to_explain(models: Mapping[str, nn.Module], task: Any) -> list[Question]:
    """Words of test sentences: one that the first model tags right, and two that it does not."""
    model = next(iter(models.values()))
    found: dict[bool, list[Question]] = {True: [], False: []}
    with evaluation(model):
        for indices in torch.arange(task.size("test")).split(64):
            batch = task.batch("test", indices, train=False, epoch=0, seed=0)
            for one, (tags, _) in zip(batch.truth, task.tags(model(*batch.inputs), batch), strict=True):
                words = list(one.row.texts)
                for word, (true, given) in enumerate(zip(one.row.tags, tags, strict=True)):
                    read = word in set(one.words)
                    if read and given != "O" and (true == given or true != "O") and len(words) > TOO_FEW:
                        why = f"The tag of “{words[word]}” is {true}"
                        found[true == given].append(Question(words, word + 1, why, one.row.where, true))
                        break
            if len(found[True]) >= 1 and len(found[False]) >= 2:
                break
    return [*found[True][:1], *found[False][:2]]


@torch.no_grad()
def _sentences(model: nn.Module, task: Any) -> str:
    from dougong.data.tagging import spans

    found = []
    with evaluation(model):
        for indices in torch.arange(task.size("test")).split(64):
            batch = task.batch("test", indices, train=False, epoch=0, seed=0)
            for one, (tags, _) in zip(batch.truth, task.tags(model(*batch.inputs), batch), strict=True):
                true, given = set(spans(one.row.tags)), set(spans(tags))
                if true != given:
                    found.append((len(true ^ given), one.row, sorted(true), sorted(given)))
    found.sort(key=lambda each: -each[0])

    def named(row: Any, entities: list[Any]) -> str:
        return "; ".join(f"{kind}: {task.separator.join(row.texts[a:b])}" for a, b, kind in entities) or "none"

    rows = [
        [task.separator.join(row.texts)[:LONGEST_TEXT], named(row, true), named(row, given), row.where]
        for _, row, true, given in found[:WORST]
    ]
    if not rows:
        return "<p>It made no mistake on the test sentences.</p>"
    note = f'<p class="note">{len(rows)} of {many(len(found), "sentence")} with a mistake.</p>'
    return note + table(["sentence", "is", "taken for", "where"], rows, left=(1, 2, 3))


def of_language(models: Mapping[str, nn.Module], task: Any) -> dict[str, str]:
    """What each model writes after the beginning of the test text."""
    from dougong.runtime import generate

    written = {}
    one = task.rows("test").documents[0]
    begin = one.ids[: min(16, len(one.ids))].tolist()
    for name, model in models.items():
        room = min(WRITTEN, task.max_length - len(begin))
        try:
            found = generate(
                model, begin, tokenizer=task.tokenizer, max_new_tokens=max(1, room), temperature=0.8, top_p=0.95, end=()
            )
        except UserError:  # a model that keeps no cache, as recurrent ones, cannot write
            continue
        text = f"<b>{escape(task.tokenizer.decode(begin))}</b>{escape(found.text)}"
        written[name] = f'<pre style="white-space:pre-wrap">{text}</pre>'
    note = (
        f'<p class="note">After the words in bold, from the test text; temperature 0.8, at most {WRITTEN} tokens.</p>'
    )
    parts = {"What it writes": note + tabs("written", written)} if written else {}
    asked = questions(models, task)
    return {**parts, "Explanations": explained(models, task, asked)} if asked else parts


def _beginnings_to_explain(models: Mapping[str, nn.Module], task: Any) -> list[Question]:
    """What follows some beginnings, from the test text; of a model that fills masks, a hidden word in their middle."""
    text, asked = task.data.splits["test"][0].texts[0], []
    hidden = task.tokenizer.special_ids.get("mask") if task.name == "masked-language" else None
    for share in (0.25, 0.5, 0.75):  # so far into the test text
        middle = int(share * len(text))
        words = text[max(0, middle - EXPLAINED) : middle].split(" ")[1:-1]
        if len(words) <= TOO_FEW:
            continue
        why = "What follows"
        if hidden is not None:
            why = f"What is hidden: “{words[len(words) // 2]}”"
            words[len(words) // 2] = str(task.tokenizer.token(hidden))
        asked.append(Question(" ".join(words), None, why, "the test text", None))
    return asked


def of_pairs(models: Mapping[str, nn.Module], task: Any) -> dict[str, str]:
    """The translations that lie furthest from the true ones, and some others."""
    panes = {}
    for name, model in models.items():
        _, metrics = score(model, task, "test")
        scores, held = metrics.sample_scores(), metrics.table()
        order = sorted(range(len(scores)), key=lambda number: scores[number])
        chosen = [*order[: WORST // 2], *order[len(order) // 2 :][: WORST // 2]]
        split = task.split("test")
        rows = [
            [split[number].texts[0], held["texts"][number][1], held["texts"][number][0], f"{scores[number]:.1f}"]
            for number in chosen
        ]
        note = escape("; ".join(held["signatures"]))
        panes[name] = f'<p class="note">{note}</p>' + table(["source", "true", "written", "BLEU"], rows, left=(1, 2))
    parts = {"The worst translations, and middling ones": tabs("translations", panes)}
    asked = questions(models, task)
    return {**parts, "Explanations": explained(models, task, asked)} if asked else parts


def _words_to_explain(models: Mapping[str, nn.Module], task: Any) -> list[Question]:
    """The longest word of some true translations of test texts that are long enough to be explained."""
    asked = []
    for row in task.split("test"):
        source, target = row.texts
        words = [target[slice(*span)] for span in word_spans(target)]
        if len(word_spans(source)) > TOO_FEW and words and len(target) <= EXPLAINED:
            number = max(range(len(words)), key=lambda place: len(words[place]))
            why = f"Why “{words[number]}” stands in the true translation"
            asked.append(Question((source, target), words[number], why, f"{row.where}: {target}", None))
        if len(asked) == 3:
            return asked
    return asked


def questions(models: Mapping[str, nn.Module], task: Any) -> list[Question]:
    """Answers on test samples that are worth an explanation, of models that answer at each token.

    Args:
        models: by name; the first is looked at where it matters what is right.
        task: with its data.
    """
    return QUESTIONS[task.data.kind](models, task) if task.data.kind in QUESTIONS else []


QUESTIONS: dict[str, Callable[[Mapping[str, nn.Module], Any], list[Question]]] = {
    "tags": _tags_to_explain,
    "corpus": _beginnings_to_explain,
    "pairs": _words_to_explain,
    "sentences": pairs_to_explain,
    "interactions": lambda models, task: histories_to_explain(task),
}
KINDS: dict[str, Callable[[Mapping[str, nn.Module], Any], dict[str, str]]] = {
    "detection": of_boxes,
    "tags": of_tags,
    "corpus": of_language,
    "pairs": of_pairs,
    "sentences": of_sentences,
    "masks": of_masks,
    "interactions": of_items,
}
