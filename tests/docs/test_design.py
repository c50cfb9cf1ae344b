"""The table of the design page, row by row, in models as they are built."""

from __future__ import annotations

import importlib
import math
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dougong
from dougong.frames.branch import Add, Block, Branch, Replace
from dougong.frames.pyramid import TokenStage
from dougong.frames.stack import Stack
from dougong.frames.towers import Towers
from dougong.heads.classify import Average, Beside, Classify, First, Last, Mean, Token
from dougong.heads.embed import Embed
from dougong.heads.language import Capped, Project, Tied
from dougong.heads.segment import AllMlp, LinearPatches, MaskTransformer, UpPath
from dougong.parts.anchors import AnchorPull
from dougong.parts.attention import Attention, Memory, NormalisedHeads, SoftCap, multi_head_attention
from dougong.parts.context import Context
from dougong.parts.convolution import Parallel
from dougong.parts.experts import Experts
from dougong.parts.feedforward import FeedForward, GatedFeedForward
from dougong.parts.grid import GridConvolution, ReducedGrid, StochasticDepth
from dougong.parts.masks import OPEN, Causal, Window
from dougong.parts.norms import RMSNorm
from dougong.parts.positions import AtEveryLayer, Learned, RelativeBuckets, Rotary, Sinusoidal, Sinusoidal2d
from dougong.parts.recurrence import Recurrence

DOCS = Path(__file__).parents[2] / "docs"
HEADS = {"docs/design.md": "How each of these is expressed", "docs/zh/design.md": "下列各项如何不用开关来表达"}
SMALL = {"vocab_size": 29, "d_model": 16, "n_heads": 4, "n_layers": 3, "d_ff": 24}
D = 16


def made(name: str, **changes: Any) -> Any:
    """A small model of a family."""
    known = dougong.families()[name].arguments
    return dougong.build(name, **{key: value for key, value in SMALL.items() if key in known}, **changes)


def bodies(model: nn.Module, branch: str = "attention", side: str = "body") -> list[Any]:
    """That branch's body in every block."""
    return [getattr(block, branch).body for block in getattr(model, side).blocks]


def two_sentences() -> bool:
    model, tokens = made("bert").eval(), torch.tensor([[3, 4, 5]])
    plain, second = model(tokens), model(tokens, types=torch.tensor([[0, 1, 1]]))
    return model.embedding.types.shape == (2, D) and not torch.allclose(plain.hidden, second.hidden)


def shifted() -> bool:
    positions = [made("roberta", offset=5).body.positions["all"], made("bart").decoder.positions["all"]]
    return [(type(each), each.offset) for each in positions] == [(Learned, 5), (Learned, 2)]


def local_and_global() -> bool:
    model = made("modernbert", window=128, global_every=2)
    masks = {block.kind: block.attention.body.mask for block in model.body.blocks}
    kinds = {kind: type(part) for kind, part in model.body.positions.items()}
    first, second = (block.attention.before for block in model.body.blocks[:2])
    return (
        kinds == {"local": Rotary, "global": Rotary}
        and masks["local"] == Window(64, 64)
        and masks["global"].parts() == ()
        and isinstance(first, nn.Identity)
        and isinstance(second, nn.LayerNorm)
    )


def longer() -> bool:
    kinds = [{"kind": "linear", "factor": 2.0}, {"kind": "yarn", "factor": 2.0, "original_length": 8}]
    parts = [made("llama", rope_scaling=kind).body.positions["all"].scaling for kind in kinds]
    return len({type(part) for part in parts}) == 2 and all(hasattr(part, "stretch") for part in parts)


def windows() -> bool:
    sliding = Causal() & Window(4095, 0)
    mixed = {attention.mask for attention in bodies(made("qwen2", window=4096, local_from=1))}
    also = {attention.mask for attention in bodies(made("gemma2", n_kv_heads=2, d_head=4, window=4096))}
    every = {attention.mask for attention in bodies(made("mistral", n_kv_heads=2, window=4096))}
    return every == {sliding} and mixed == also == {sliding, Causal()}


def some_biases() -> bool:
    attention = bodies(made("qwen2"))[0]
    sides = (attention.query, attention.key, attention.value, attention.output)
    return [side.bias is not None for side in sides] == [True, True, True, False]


def normalised() -> bool:
    heads = bodies(made("qwen3", d_head=6))[0].heads
    return isinstance(heads, NormalisedHeads) and heads.query.weight.shape == heads.key.weight.shape == (6,)


def experts() -> bool:
    return all(isinstance(body, Experts) for body in bodies(made("mixtral", n_kv_heads=2), "feed_forward"))


def gemma(**changes: Any) -> Any:
    return made("gemma2", n_kv_heads=2, d_head=4, **changes)


def caps() -> bool:
    model, without = gemma(), gemma(score_cap=None, logit_cap=None)
    scores = [attention.scores for attention in bodies(model)]
    return (
        all(isinstance(each, SoftCap) and each.cap == 50.0 for each in scores)
        and isinstance(model.head, Capped)
        and model.head.cap.cap == 30.0
        and bodies(without)[0].scores is None
        and not isinstance(without.head, Capped)
    )


def sandwich() -> bool:
    model = gemma(query_scale=9)
    branches = [branch for block in model.body.blocks for branch in block.children()]
    norms = [norm for branch in branches for norm in (branch.before, branch.inside)]
    scaled = model.embedding.scale == 4.0 and bodies(model)[0].scale == 1 / 3
    return scaled and all(isinstance(norm, RMSNorm) and norm.offset == 1.0 for norm in norms)


def buckets() -> bool:
    model = made("t5", d_head=4)
    parts = [model.encoder.positions["all"], model.decoder.positions["all"]]
    return (
        all(isinstance(part, RelativeBuckets) for part in parts)
        and [part.bidirectional for part in parts] == [True, False]
        and {attention.scale for attention in bodies(model, side="encoder")} == {1.0}
    )


def versions() -> bool:
    old, new = made("t5", d_head=4), made("t5", d_head=4, gated=True, tied=False, scaled=False)
    return (
        type(bodies(old, "feed_forward", "encoder")[0]) is FeedForward
        and isinstance(old.head, Tied)
        and old.head.scale == 1 / math.sqrt(D)
        and type(bodies(new, "feed_forward", "encoder")[0]) is GatedFeedForward
        and isinstance(new.head, Project)
    )


def marian() -> bool:
    model = made("marian")
    positions = model.decoder.positions["all"]
    return isinstance(positions, Sinusoidal) and not positions.interleaved and model.head.bias.shape == (29,)


def one_table() -> bool:
    models = [made("t5", d_head=4), made("bart"), made("marian")]
    return all(
        model.source_embedding is model.target_embedding and model.head.weight is model.source_embedding.weight
        for model in models
    )


PICTURE = {"image_size": 8, "patch_size": 4, "n_classes": 3}


def two_tokens() -> bool:
    model = made("deit", **PICTURE)
    assert isinstance(model.head, Average)
    pools = [head.pool for head in model.head.heads.values()]
    return (
        model.embedding.n_prefix == 2
        and isinstance(pools[0], First)
        and type(pools[1]) is Token
        and pools[1].index == 1
    )


def scaled_branches() -> bool:
    model = made("dinov2", **PICTURE)
    rule = model.body.blocks[0].attention.residual
    assert isinstance(model.head, Classify) and isinstance(model.head.pool, Beside)
    first, mean = model.head.pool.pools
    return (
        isinstance(rule, Add)
        and rule.scale.shape == (D,)
        and isinstance(first, First)
        and (type(mean), mean.skip) == (Mean, 1)
    )


def two_towers() -> bool:
    sizes = {f"{what}{side}{rest}": 2 if what == "n_" else D for side in ("vision", "text")
             for what, rest in (("d_", ""), ("n_", "_layers"), ("n_", "_heads"), ("d_", "_ff"))}  # fmt: skip
    model = made("clip", image_size=8, patch_size=4, max_length=7, d_out=6, end=28, **sizes)
    heads = [model.pictures.head, model.texts.head]
    masks = [{body.mask for body in bodies(tower)} for tower in (model.pictures, model.texts)]
    return (
        isinstance(model, Towers)
        and all(isinstance(head, Embed) for head in heads)
        and [type(head.pool) for head in heads] == [First, Last]
        and masks == [{OPEN}, {Causal()}]
    )


def beside() -> bool:
    x, one, other = (
        torch.randn(2, 3, D),
        multi_head_attention(D, 4),
        FeedForward(nn.Identity(), nn.Identity(), nn.ReLU()),
    )
    norms = [nn.LayerNorm(D), RMSNorm(D)]
    sides = [Branch(body, before=norm, residual=Replace()) for body, norm in zip((one, other), norms, strict=True)]
    found = Branch(Parallel(sides, join="sum"))(x)
    return torch.allclose(found, x + one(norms[0](x)) + other(norms[1](x)), atol=1e-6)


def both_directions() -> bool:
    block = Block(recurrence=Branch(Recurrence("lstm", D, D, bidirectional=True), residual=Replace()))
    x = torch.randn(1, 4, D)
    later = x.clone()
    later[:, -1] += 1
    return block(x).shape[:2] == (1, 4) and not torch.allclose(block(x)[:, 0], block(later)[:, 0])


def object_queries() -> bool:
    cross = multi_head_attention(D, 4, source=Memory())
    decoder = Stack(
        [Block(own=Branch(multi_head_attention(D, 4)), cross=Branch(cross))],
        positions=AtEveryLayer(Learned(5, D)),
        memory_positions=AtEveryLayer(Sinusoidal2d(D)),
    )
    return decoder(torch.zeros(2, 5, D), memory=torch.randn(2, 6, D), grid=(2, 3)).std(1).min() > 0


def segformer(**changes: Any) -> Any:
    stages = {"layers": [1, 2], "widths": [8, 12], "n_heads": [1, 3], "reductions": [2, 1], "patch_sizes": [7, 3]}
    return dougong.build("segformer", **stages, strides=[4, 2], mlp_ratios=[2, 2], d_head=6, n_classes=3, **changes)


def reduced_keys() -> bool:
    model = segformer()
    first, last = (stage.stack.blocks[-1].attention.body for stage in model.body.stages)
    x, context = torch.randn(2, 24, 8), Context(grid=(4, 6))
    fewer = first.weights(x, context).shape == (2, 1, 24, 6)
    return fewer and isinstance(first.source, ReducedGrid) and last.source is None


def anchors() -> bool:
    """Attention falls with the distance from a query's box, four times as fast for a box of half the size."""
    near, far = torch.tensor([[[0.5, 0.5, 0.2, 0.2]]]), torch.tensor([[[0.5, 0.5, 0.1, 0.1]]])
    places = torch.tensor([[[0.5, 0.5], [0.6, 0.5], [0.9, 0.9]]])
    pull = AnchorPull(4)
    torch.nn.init.zeros_(pull.points)
    wide, narrow = pull(near, places), pull(far, places)
    attention = multi_head_attention(D, 4, source=Memory())
    memory = torch.zeros(1, 3, D)
    attending = attention.weights(torch.zeros(1, 1, D), Context(memory=memory, memory_bias=wide))
    falls = bool((wide.diff(dim=-1) < 0).all())
    return falls and torch.allclose(narrow, 4 * wide, atol=1e-3) and torch.allclose(attending, wide.softmax(-1))


def mixing() -> bool:
    network = segformer().body.stages[0].stack.blocks[0].feed_forward.body
    x, other = torch.randn(1, 12, 8), torch.randn(1, 12, 8)
    other[:, 0] = x[:, 0]
    first = [network(each, Context(grid=(3, 4)))[:, 0] for each in (x, other)]
    return isinstance(network.mix, GridConvolution) and not torch.allclose(*first)


def stages() -> bool:
    model = segformer()
    output = model(torch.randn(2, 3, 32, 48))
    shapes = [tuple(each.shape) for each in output.features]
    return shapes == [(2, 8, 8, 12), (2, 12, 4, 6)] and all(type(each) is TokenStage for each in model.body.stages)


def masks() -> bool:
    patches = {"image_size": 16, "patch_size": 4, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8, "n_classes": 3}
    models = {
        AllMlp: segformer(),
        UpPath: dougong.build("unet", image_size=16, widths=[4, 6], n_classes=3),
        LinearPatches: dougong.build("segmenter", **patches, head="linear"),
        MaskTransformer: dougong.build("segmenter", **patches),
    }
    for kind, model in models.items():
        output = model(*model.example_inputs(2))
        if type(model.head) is not kind or output.logits is not None or output.masks.shape[:2] != (2, 3):
            return False
    return True


def some_skip() -> bool:
    first, last = segformer().body.stages[0].stack.blocks[0], segformer().body.stages[-1].stack.blocks[-1]
    inside, x = last.attention.inside, torch.ones(1000, 2, 3)
    shares = inside.train()(x).mean((1, 2)).unique()
    right = torch.allclose(shares, torch.tensor([0.0, 1 / 0.9])) and torch.equal(inside.eval()(x), x)
    return right and type(inside) is StochasticDepth and type(first.attention.inside) is nn.Identity


def query_only() -> bool:
    norm = nn.LayerNorm(D)
    sides = [nn.Linear(D, D) for _ in range(4)]
    attention = Attention(nn.Sequential(norm, sides[0]), *sides[1:], n_heads=4)
    plain, x = Attention(*sides, n_heads=4), torch.randn(2, 5, D)
    branch = Branch(attention, residual=Add(shortcut=norm))
    by_hand = norm(x) + plain.mix(attention.weights(x), x)
    built = dougong.build("sasrec").body.blocks[0].attention
    held = built.body.query[0] is built.residual.shortcut and isinstance(built.body.key, nn.Linear)
    return held and torch.allclose(branch(x), by_hand, atol=1e-6) and not torch.allclose(plain(x), attention(x))


ROWS: list[tuple[str, Callable[[], bool]]] = [
    ("BERT's two sentences", two_sentences), ("RoBERTa's and BART's", shifted),
    ("ModernBERT's local", local_and_global), ("Llama 3's longer texts", longer),
    ("Mistral's sliding window", windows), ("Qwen2's biases", some_biases), ("Qwen3's normalised heads", normalised),
    ("Mixtral's experts", experts), ("Gemma 2's soft caps", caps), ("Gemma 2's norms", sandwich),
    ("T5's bias", buckets), ("T5's two versions", versions), ("Marian's", marian), ("one table", one_table),
    ("DeiT's two tokens", two_tokens), ("DINOv2's", scaled_branches), ("CLIP's", two_towers),
    ("branches side by side", beside),
    ("a bidirectional LSTM", both_directions), ("DETR's object queries", object_queries),
    ("DAB-DETR's anchors", anchors),
    ("SegFormer's reduced keys", reduced_keys), ("SegFormer's mixing", mixing),
    ("SegFormer's stages", stages), ("masks instead of logits", masks), ("stochastic depth", some_skip),
    ("SASRec's", query_only),
]  # fmt: skip


def rows_of(page: str) -> list[str]:
    """The table's rows."""
    text = (DOCS.parent / page).read_text(encoding="utf-8")
    section = text[text.index(f"## {HEADS[page]}") :]
    return re.findall(r"^\| .*$", section[: section.index("\n## ", 3)], re.MULTILINE)[1:]


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row for row, _ in ROWS])
def test_the_code_is_as_the_row_says(number: int) -> None:
    torch.manual_seed(0)
    start, holds = ROWS[number]
    assert rows_of("docs/design.md")[number].startswith(f"| {start}")
    assert holds()


@pytest.mark.parametrize("page", HEADS)
def test_every_row_is_looked_at_and_names_parts_that_exist(page: str) -> None:
    rows = rows_of(page)
    assert len(rows) == len(ROWS)
    known = {"Sequential", "Linear", "ReLU", "True", "False"}
    for room in ("parts", "frames", "heads"):
        package = importlib.import_module(f"dougong.{room}")
        for module in pkgutil.iter_modules(package.__path__):
            known |= set(vars(importlib.import_module(f"dougong.{room}.{module.name}")))
    named = {
        name for row in rows for code in re.findall("`([^`]+)`", row) for name in re.findall(r"\b[A-Z]\w{3,}\b", code)
    }
    assert len(named) > 20 and named <= known, named - known


def test_both_languages_name_the_same_code() -> None:
    spans = [[set(re.findall(r"\b[A-Z]\w{3,}(?=\()", row)) for row in rows_of(page)] for page in HEADS]
    assert spans[0] == spans[1]
