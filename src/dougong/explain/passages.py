"""A text with its words coloured by their scores: on a page, and in a terminal.

The colour is the sign, its depth the size; a line under the word says the sign once more, solid for the class, dashed
against it, for those who see no colours.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from dougong.explain.colours import AGAINST, FOR, heat

if TYPE_CHECKING:
    from rich.text import Text

    from dougong.explain.explanation import Explanation

DEPTH = 0.6
"""The deepest colour leaves so much contrast that words can be read over it, on white and on black."""
LINED = 0.12
"""Words with less than this share of the largest score get no line."""
SEPARATOR = " / "
"""Between two texts, in a terminal."""

Piece = tuple[str, int]
"""Some characters, and the number of their word; -1 between words."""


def pieces(explanation: Explanation) -> list[list[Piece]]:
    """Each text cut at the ends of its words; joined again, they are the text."""
    cut: list[list[Piece]] = []
    for number, text in enumerate(explanation.texts):
        at, found = 0, []
        for word, (of, start, end) in enumerate(explanation.units.spans or ()):
            if of == number:
                found += [(text[at:start], -1), (text[start:end], word)]
                at = end
        cut.append([piece for piece in [*found, (text[at:], -1)] if piece[0]])
    return cut


def depths(scores: np.ndarray, signed: bool) -> np.ndarray:
    """(n,) from -1, deepest against the class, to 1, deepest for it."""
    rgba = heat(scores, np.arange(len(scores)), signed)
    share = rgba[:, 3] / 235
    return np.where((rgba[:, :3] == FOR).all(1), share, -share)


def html(explanation: Explanation, scores: np.ndarray | None = None) -> str:
    """The texts as HTML, each word with its score as a tooltip.

    Args:
        explanation: of a text.
        scores: (n,) of a single map; shares. The explanation's own by default.
    """
    signed = explanation.signed and scores is None
    shown = explanation.scores if scores is None else scores
    depth = depths(shown, signed)
    texts = []
    for cut in pieces(explanation):
        parts = []
        for said, word in cut:
            if word < 0:
                parts.append(escape(said))
                continue
            share, score = float(depth[word]), float(shown[word])
            colour = ",".join(map(str, FOR if share >= 0 else AGAINST))
            line = "" if not signed or abs(share) < LINED else " for" if share > 0 else " against"
            parts.append(
                f'<span class="word{line}" style="background:rgba({colour},{abs(share) * DEPTH:.3f})" '
                f'title="{score:{"+.3g" if signed else ".3g"}}">{escape(said)}</span>'
            )
        texts.append(f'<p class="passage">{"".join(parts)}</p>')
    return "".join(texts)


def legend(explanation: Explanation) -> str:
    """What the colours mean, with the scores at their ends: HTML."""
    full_for, full_against = (f"rgba({','.join(map(str, colour))},{DEPTH})" for colour in (FOR, AGAINST))
    low, high = float(explanation.scores.min()), float(explanation.scores.max())
    if explanation.signed:
        most = max(abs(low), abs(high))
        bar = f"linear-gradient(to right,{full_against},transparent,{full_for})"
        left = f'<span class="word against">against</span> {-most:+.2g}'
        right = f'{most:+.2g} <span class="word for">for</span> “{escape(explanation.target.name)}”'
    else:
        bar = f"linear-gradient(to right,transparent,{full_for})"
        left, right = f"{low:.2g}", f"{high:.2g}"
    return f'<p class="scale">{left}<span class="bar" style="background:{bar}"></span>{right}</p>'


def strongest(explanation: Explanation, most: int = 5) -> dict[str, list[tuple[str, float]]]:
    """The words with the largest scores: "for" the class and "against" it, or "highest" of shares."""
    order = np.argsort(-explanation.scores, kind="stable")
    named = [(explanation.units.names[place], float(explanation.scores[place])) for place in order]
    if not explanation.signed:
        return {"highest": named[:most]}
    return {
        "for": [pair for pair in named if pair[1] > 0][:most],
        "against": [pair for pair in named[::-1] if pair[1] < 0][:most],
    }


def terminal(explanation: Explanation, few: bool = False) -> Text:
    """The texts for a terminal: the words on their colours, those that hardly count as they are.

    Both ink and paper are set, so that a word can be read whatever the terminal's own colours are.

    Args:
        explanation: of a text.
        few: the terminal has 16 colours only, and so no depths.
    """
    from rich.text import Text

    depth, whole = depths(explanation.scores, explanation.signed), Text()
    for number, cut in enumerate(pieces(explanation)):
        if number:
            whole.append(SEPARATOR, "dim")
        for said, word in cut:
            whole.append("".join(_printable(said)), "" if word < 0 else style(float(depth[word]), few))
    return whole


def style(depth: float, few: bool = False) -> str:
    """rich's style of a word: black on orange or blue of that depth, mixed with white; none for very pale ones."""
    if abs(depth) < LINED:
        return ""
    if few:
        return "black on yellow" if depth > 0 else "black on cyan underline"
    share = abs(depth) * 0.75
    colour = FOR if depth > 0 else AGAINST
    mixed = ",".join(str(round(share * part + (1 - share) * 255)) for part in colour)
    return f"black on rgb({mixed}){' underline' if depth < 0 else ''}"


def key(explanation: Explanation, few: bool = False) -> Text:
    """The legend for a terminal."""
    from rich.text import Text

    if not explanation.signed:
        return Text.assemble(("low", ""), " ", ("middle", style(0.5, few)), " ", ("high", style(1.0, few)))
    said = f"“{explanation.target.name}”"
    return Text.assemble((f"for {said}", style(1.0, few)), "  ", (f"against {said}", style(-1.0, few)))


def _printable(said: str) -> Iterator[str]:
    """Characters without those that would move the terminal's cursor or change its state."""
    for letter in said:
        yield letter if letter.isprintable() or letter in "\n\t" else "\ufffd"
