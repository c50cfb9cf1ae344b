"""Pages that need no other file and no network, and an explanation as a part of one."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dougong.explain import passages
from dougong.explain.colours import data_uri, overlay
from dougong.explain.svg import Axis, Band, Line, line_chart

if TYPE_CHECKING:
    from dougong.explain.explanation import Explanation

MOST_MAPS = 32


def style() -> str:
    """The pages' style sheet."""
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8")


def page(title: str, body: str) -> str:
    """A whole page around a body of HTML. Its policy forbids every load and every script."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style()}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def image(picture: np.ndarray, words: str) -> str:
    """A picture inside the page, small ones with their pixels kept sharp."""
    kind = ' class="small"' if max(picture.shape[:2]) <= 96 else ""
    return f'<img{kind} src="{data_uri(picture)}" alt="{escape(words)}">'


def explanation_page(explanation: Explanation) -> str:
    """One explanation as a whole page."""
    target = explanation.target
    title = target.question
    source = f" Input: <code>{escape(explanation.source)}</code>." if explanation.source else ""
    head = f"<h1>{escape(title)}</h1><p>{escape(target.given)}{source}</p>"
    return page(title, head + explanation_part(explanation))


def page_of(title: str, explanations: Mapping[str, Explanation]) -> str:
    """Several explanations as a whole page, each under its heading."""
    parts = []
    for heading, each in explanations.items():
        said = f"The model {each.target.said}." if each.target.measure == "probability" else each.target.given
        parts.append(f"<h2>{escape(heading)}</h2><p>{escape(said)}</p>{explanation_part(each)}")
    return page(title, f"<h1>{escape(title)}</h1>{''.join(parts)}")


def explanation_part(explanation: Explanation) -> str:
    """An explanation as a part of a page: picture with heat map or coloured text, deletion curve, checks."""
    if explanation.picture_seen is not None:
        seen, owner = explanation.picture_seen, explanation.units.owner
        heat = overlay(seen, explanation.scores, owner, explanation.signed)
        size = f"{seen.shape[1]}×{seen.shape[0]} pixels"
        left = (
            f'<div class="heat"><figure>{image(seen, "the picture as the model sees it")}'
            f"<figcaption>what the model sees ({size})</figcaption></figure>"
            f"<figure>{image(heat, 'heat map of the scores')}"
            f"<figcaption>score of each {escape(explanation.units.kind)}</figcaption></figure></div>"
        )
    elif explanation.texts:
        left = passages.html(explanation) + passages.legend(explanation) + words(explanation)
    else:
        left = bars(explanation)
    right = deletion_chart(explanation)
    return (
        f'<div class="row"><div>{left}{maps(explanation)}</div><div>{right}</div></div>'
        f'<p class="note">By {escape(explanation.method)}. {escape(explanation.key())}</p>{checks(explanation)}'
        + "".join(f'<p class="note">{escape(note)}</p>' for note in explanation.notes)
    )


def checks(explanation: Explanation) -> str:
    """Each check with its verdict and what it means."""
    rows = []
    for name, check in explanation.checks.items():
        word = "passed" if check.passed else "failed"
        rows.append(f'<dt>{escape(name)}: <span class="{word}">{word}</span></dt><dd>{escape(check.meaning)}</dd>')
    return f'<dl class="checks">{"".join(rows)}</dl>'


def maps(explanation: Explanation) -> str:
    """The single maps behind the scores."""
    seen = explanation.picture_seen
    if (seen is None and not explanation.texts) or len(explanation.maps) < 2:
        return ""
    shown = explanation.maps[:MOST_MAPS]
    more = len(explanation.maps) - len(shown)
    said = f'<p class="note">{more} more maps are in the JSON.</p>' if more > 0 else ""
    if seen is None:
        texts = "".join(
            f'<p class="note">{escape(each.name)}</p>{passages.html(explanation, each.scores)}' for each in shown
        )
        return f"<details><summary>{len(shown)} single maps</summary>{texts}{said}</details>"
    figures = "".join(
        f"<figure>{image(overlay(seen, each.scores, explanation.units.owner, False), each.name)}"
        f"<figcaption>{escape(each.name)}</figcaption></figure>"
        for each in shown
    )
    return f'<div class="pictures maps">{figures}</div>{said}'


def deletion_chart(explanation: Explanation) -> str:
    """The target's probability, or cosine, as units are removed."""
    curves = explanation.curves
    if curves is None:
        return ""
    x = (100 * curves.removed).tolist()
    random = curves.random
    lines = [
        Line("most important first", x, curves.most.tolist(), 1, 2.6),
        Line("random order (mean, range)", x, random.mean(0).tolist(), -1, 1.6, "5 4"),
        Line("least important first", x, curves.least.tolist(), 0, 1.8),
    ]
    units, (low, high) = explanation.units.plural, curves.ends
    return line_chart(
        lines[::-1],
        Axis(f"{units} removed, %", low=0, high=100),
        Axis(explanation.target.watched, low=low, high=high),
        f"{explanation.target.watched} as {units} are removed",
        [Band(x, random.min(0).tolist(), random.max(0).tolist())],
    )


def words(explanation: Explanation) -> str:
    """The words of a text with the largest scores, in one line for and one against."""
    lines, form = [], "+.2g" if explanation.signed else ".2g"
    for side, named in passages.strongest(explanation).items():
        said = ", ".join(f"<b>{escape(word)}</b> {score:{form}}" for word, score in named)
        lines.append(f'<p class="note">{side}: {said or f"no {explanation.units.kind}"}</p>')
    return "".join(lines)


def bars(explanation: Explanation) -> str:
    """The scores of a sequence: one row a position."""
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{score:+.3g}</td></tr>"
        for name, score in zip(explanation.units.names, explanation.scores, strict=True)
    )
    return f"<table><thead><tr><th>position</th><th>score</th></tr></thead><tbody>{rows}</tbody></table>"
