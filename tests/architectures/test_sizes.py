"""Published sizes have exactly the parameters that their sources state, to the digits that are stated."""

from __future__ import annotations

import re

import pytest

import dougong

# Vaswani et al. 2017, table 3: what differs from base, and the parameters in millions. The rows with other key widths
# (B) need heads that do not fill the width, and the others have base's count.
TABLE_3 = [
    ({}, 65),
    ({"n_heads": 1}, 65), ({"n_heads": 4}, 65), ({"n_heads": 16}, 65), ({"n_heads": 32}, 65),
    ({"n_layers": 2}, 36), ({"n_layers": 4}, 50), ({"n_layers": 8}, 80),
    ({"d_model": 256}, 28), ({"d_model": 1024}, 168),
    ({"d_ff": 1024}, 53), ({"d_ff": 4096}, 90),
]  # fmt: skip


def count(model: str | dict, **changes: object) -> int:
    """Parameters, shared ones once, of a model that is never allocated."""
    return sum(parameter.numel() for parameter in dougong.build(model, device="meta", **changes).parameters())


def as_stated(found: int, stated: str) -> str:
    """A count written with the digits and the unit of the stated one."""
    match = re.fullmatch(r"(\d+)(?:\.(\d+))?([MB]?)", stated)
    assert match, f"{stated!r} is no count"
    unit = {"": 1, "M": 10**6, "B": 10**9}[match[3]]
    return f"{found / unit:.{len(match[2] or '')}f}{match[3]}"


@pytest.mark.parametrize("name", [name for name, size in dougong.sizes().items() if size.parameters])
def test_every_stated_count_is_met(name: str) -> None:
    size = dougong.sizes()[name]
    assert as_stated(count(name), size.parameters) == size.parameters


@pytest.mark.parametrize("name", list(dougong.sizes()))
def test_every_size_says_where_its_count_is_stated_or_why_none_is(name: str) -> None:
    size = dougong.sizes()[name]
    if size.parameters:
        assert size.source and re.search(r"\d|card|documentation", size.source), "a count needs its source"
    else:
        assert size.note, "a size without a stated count says why"
        assert not size.source, "a source without a count is a source of nothing"


@pytest.mark.parametrize(("changes", "millions"), TABLE_3, ids=str)
def test_table_3_of_the_transformer_paper(changes: dict, millions: int) -> None:
    assert as_stated(count("transformer-base", **changes), f"{millions}M") == f"{millions}M"


def test_big_is_table_3s_last_row() -> None:
    config = dougong.sizes()["transformer-big"].config
    assert config["d_model"] == 1024 and config["d_ff"] == 4096 and config["n_heads"] == 16 and config["dropout"] == 0.3
    assert as_stated(count("transformer-big"), "213M") == "213M"


def test_control_a_norm_more_or_a_class_less_is_seen() -> None:
    assert as_stated(86_567_656, "86567656") == "86567656" and as_stated(86_567_657, "86567656") != "86567656"
    assert as_stated(22_149_999, "22.1M") == "22.1M" and as_stated(22_150_001, "22.1M") == "22.2M"
    assert count("vit-base", n_classes=999) == 86_567_656 - 769
    assert as_stated(count("transformer-base", n_layers=7), "65M") != "65M"


def test_counts_on_paper() -> None:
    """Added up by hand from the layers' shapes."""
    d, f, classes, patches = 64, 128, 10, (8 // 2) ** 2
    block = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 2 * 2 * d
    assert count("vit-micro") == 4 * block + (3 * 2 * 2 * d + d) + d + (patches + 1) * d + 2 * d + d * classes + classes
    lstm = 2 * 4 * (d * d + d * d + 2 * d) + 2 * 4 * (2 * d * d + d * d + 2 * d)  # two layers in two directions
    assert count("lstm-micro") == lstm + (3 * 8 * d + d) + 2 * d * classes + classes
    v, n = 18765, 100
    assert count("textcnn-kim") == v * 300 + sum(300 * n * width + n for width in (3, 4, 5)) + 300 * 2 + 2
