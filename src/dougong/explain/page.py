"""Pages that need no other file and no network, and an explanation as a part of one."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from dougong.explain.colours import data_uri, overlay
from dougong.explain.svg import Axis, Band, Line, line_chart

if TYPE_CHECKING:
    from dougong.explain.explanation import Explanation

MOST_MAPS = 32

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1d1f23;--faint:#62676f;--line:#d9dce1;--soft:#f4f5f7;--good:#1b6e3c;
--bad:#b3261e;--c0:#0072b2;--c1:#d55e00;--c2:#008760;--c3:#b5528b;--c4:#8a6d00;--c5:#3f8fc4;--c6:#5e4fa2;--c7:#777}
@media (prefers-color-scheme:dark){:root{--paper:#16181c;--ink:#e6e8eb;--faint:#9ba1aa;--line:#3a3e46;--soft:#202329;
--good:#6fd08c;--bad:#ff8a80;--c0:#56b4e9;--c1:#f28e4c;--c2:#3ecf9f;--c3:#e6a0c8;--c4:#e8c547;--c5:#9ad1f2;--c6:#b3a8f0;
--c7:#aaa}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1120px;padding:1.2rem 1.4rem 4rem;background:var(--paper);
color:var(--ink);font:15px/1.55 system-ui,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans","Noto Sans CJK SC",sans-serif}
h1{font-size:1.7rem;line-height:1.25;margin:.6rem 0 .2rem}h2{font-size:1.25rem;margin:2.4rem 0 .5rem;padding-top:.5rem;
border-top:1px solid var(--line)}h3{font-size:1.02rem;margin:1.2rem 0 .3rem}p{margin:.4rem 0;max-width:78ch}
.note,figcaption,.faint{color:var(--faint);font-size:.9rem}code,pre{font-family:ui-monospace,Menlo,Consolas,monospace;
font-size:.86rem}pre{background:var(--soft);padding:.8rem 1rem;overflow-x:auto;border-radius:6px}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.5rem 0}
th,td{padding:.32rem .7rem;text-align:right;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--faint);font-size:.86rem;vertical-align:bottom}th:first-child,td:first-child,.left{text-align:left}
tbody tr:hover{background:var(--soft)}td.best{font-weight:700}.passed{color:var(--good);font-weight:600}
.failed{color:var(--bad);font-weight:600}.row{display:flex;flex-wrap:wrap;gap:1.4rem;align-items:flex-start}
.row>*{flex:1 1 320px;min-width:0}figure{margin:.6rem 0}.pictures{display:flex;flex-wrap:wrap;gap:.9rem}
.pictures figure{width:150px;margin:0}.pictures img,.heat img{width:100%;display:block;border:1px solid var(--line)}
.small{image-rendering:pixelated}.pictures figcaption{font-size:.8rem;line-height:1.35;margin-top:.25rem;
overflow-wrap:anywhere}.heat{display:flex;gap:1rem;flex-wrap:wrap}.heat figure{width:210px;margin:0}
.maps figure{width:92px}.maps figcaption{font-size:.72rem}
svg.chart{width:100%;height:auto;display:block}svg text{font-size:12px;fill:var(--faint)}svg text.mid{text-anchor:middle}
svg text.end{text-anchor:end}svg text.label{fill:var(--ink);font-size:12.5px}svg text.name{fill:var(--ink);font-size:12.5px}
.grid{stroke:var(--line);stroke-width:1}.line{fill:none;stroke-linejoin:round}.line.faint{opacity:.3}
.band{opacity:.16;stroke:none}.dot{stroke:var(--paper);stroke-width:1}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;font-size:.85rem;padding-left:58px}.legend svg{vertical-align:middle}
dl.checks{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;font-size:.9rem;margin:.6rem 0}
dl.checks dt{font-weight:600}dl.checks dd{margin:0;max-width:86ch}
details{margin:.5rem 0}summary{cursor:pointer;font-weight:600}nav{font-size:.9rem}nav a{margin-right:1rem;color:var(--c0)}
.tabs>input{position:absolute;opacity:0}.tabs>label{display:inline-block;padding:.25rem .8rem;border:1px solid var(--line);
border-radius:5px;margin:0 .3rem .5rem 0;cursor:pointer;font-size:.88rem}.tabs>.pane{display:none}
.tabs>input:focus-visible+label{outline:2px solid var(--c0)}
.tabs>input:nth-of-type(1):checked~.pane:nth-of-type(1),.tabs>input:nth-of-type(2):checked~.pane:nth-of-type(2),
.tabs>input:nth-of-type(3):checked~.pane:nth-of-type(3),.tabs>input:nth-of-type(4):checked~.pane:nth-of-type(4){display:block}
.tabs>input:checked+label{background:var(--ink);color:var(--paper)}
table.confusion{font-size:.82rem}table.confusion td,table.confusion th{padding:.18rem .42rem;text-align:center;
border:1px solid var(--line)}table.confusion th{white-space:nowrap}.cell{color:var(--ink)}
""" + "".join(
    f".line.c{number}{{stroke:var(--c{number})}}.band.c{number},.dot.c{number}{{fill:var(--c{number})}}" for number in range(8)
) + ".line.c-grey{stroke:var(--faint)}.band.c-grey{fill:var(--faint)}"  # fmt: skip


def page(title: str, body: str) -> str:
    """A whole page around a body of HTML. Its policy forbids every load and every script."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def image(picture: np.ndarray, words: str) -> str:
    """A picture inside the page, small ones with their pixels kept sharp."""
    kind = ' class="small"' if max(picture.shape[:2]) <= 96 else ""
    return f'<img{kind} src="{data_uri(picture)}" alt="{escape(words)}">'


def explanation_page(explanation: Explanation) -> str:
    """One explanation as a whole page."""
    target = explanation.target
    title = f"Why “{target.name}”?"
    source = f" Input: <code>{escape(explanation.source)}</code>." if explanation.source else ""
    head = f"<h1>{escape(title)}</h1><p>The model gives it {target.probability:.1%}.{source}</p>"
    return page(title, head + explanation_part(explanation))


def explanation_part(explanation: Explanation) -> str:
    """An explanation as a part of a page: picture, heat map, deletion curve, checks."""
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
    else:
        left = bars(explanation)
    right = deletion_chart(explanation)
    return (
        f'<div class="row"><div>{left}{maps(explanation)}</div><div>{right}</div></div>'
        f"<p class=note>{escape(key(explanation))}</p>{checks(explanation)}"
        + "".join(f'<p class="note">{escape(note)}</p>' for note in explanation.notes)
    )


def key(explanation: Explanation) -> str:
    """How to read the colours."""
    most = float(np.abs(explanation.scores).max(initial=0))
    kind = "Orange speaks for the class, blue against it" if explanation.signed else "The deeper, the higher the score"
    return f"By {explanation.method}. {kind}: {explanation.meaning}. Full colour is {most:.2g}."


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
    if seen is None or len(explanation.maps) < 2:
        return ""
    figures = [
        f"<figure>{image(overlay(seen, each.scores, explanation.units.owner, False), each.name)}"
        f"<figcaption>{escape(each.name)}</figcaption></figure>"
        for each in explanation.maps[:MOST_MAPS]
    ]
    more = len(explanation.maps) - len(figures)
    said = f'<p class="note">{more} more maps are in the JSON.</p>' if more > 0 else ""
    return f'<div class="pictures maps">{"".join(figures)}</div>{said}'


def deletion_chart(explanation: Explanation) -> str:
    """The target's probability as units are removed."""
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
    units = explanation.units.plural
    return line_chart(
        lines[::-1],
        Axis(f"{units} removed, %", low=0, high=100),
        Axis(f"probability of “{explanation.target.name}”", low=0, high=1.0),
        f"probability of {explanation.target.name} as {units} are removed",
        [Band(x, random.min(0).tolist(), random.max(0).tolist())],
    )


def bars(explanation: Explanation) -> str:
    """The scores of a sequence: one row a position."""
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{score:+.3g}</td></tr>"
        for name, score in zip(explanation.units.names, explanation.scores, strict=True)
    )
    return f"<table><thead><tr><th>position</th><th>score</th></tr></thead><tbody>{rows}</tbody></table>"
