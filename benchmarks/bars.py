"""The picture of where time goes: a bar before and a bar after for each workload, as SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLOURS = {
    "products": ("matrix products", "#8c4a2f"), "vocabulary": ("scores of the vocabulary", "#c98a5e"),
    "attention": ("attention", "#2f6f8c"), "elementwise": ("norms, activations, sums", "#8fb8c9"),
    "copies": ("copies", "#5c8c2f"), "optimiser": ("optimiser", "#7a4f9a"), "rest": ("Python and calls", "#b5b0a8"),
}  # fmt: skip
"""Of each group its name and colour, in the order of the bars."""
TITLES = {
    "decoding": "a token of a Llama of 125M",
    "encoding": "a sentence in BERT-base",
    "training": "a training step of a GPT-2 of 6 x 512",
}


def bars(figures: dict[str, Any], path: Path) -> bool:
    """Draw them; whether there was anything to draw.

    Args:
        figures: of benchmarks/profiles.py.
        path: of the picture.
    """
    cases = [case for case in TITLES if case in figures]
    if not cases:
        return False
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "dougong"  # the same figures give the same file
    from matplotlib import pyplot

    drawn, rows = pyplot.subplots(len(cases), 1, figsize=(8, 1.45 * len(cases) + 0.9), squeeze=False)
    for case, axes in zip(cases, rows[:, 0], strict=True):
        for place, name in enumerate(("after", "before")):
            begin = 0.0
            for kind, (told, colour) in COLOURS.items():
                width = 1000 * figures[case][name][kind]
                axes.barh(place, width, left=begin, color=colour, edgecolor="white", lw=0.5, label=told)
                begin += width
            said = f"{begin:,.0f}" if begin >= 100 else f"{begin:.3g}"
            axes.text(begin, place, f" {said} ms", va="center", fontsize=8)
        axes.set_yticks([0, 1], ["after", "before"])
        axes.set_title(f"{TITLES[case]}, milliseconds", fontsize=9, loc="left")
        axes.set_xlim(0, 1120 * max(figures[case][name]["seconds"] for name in ("before", "after")))
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for _, colour in COLOURS.values()]
    drawn.legend(
        handles, [told for told, _ in COLOURS.values()], loc="lower center", ncols=4, fontsize=8, frameon=False
    )
    drawn.tight_layout(rect=(0, 0.09, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(drawn)
    return True
