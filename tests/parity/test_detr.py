"""DETR with its own residual network beside Transformers: answers, padding, losses and their gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.foreign import InFloat64, check_family, in_float64, reopened, saved
from support.numbers import assert_different, assert_equal_to_rounding, gap, in_both_precisions
from torch import Tensor, nn

import dougong
from dougong.heads.matching import SetLoss
from dougong.parts.output import Output

CLASSES, QUERIES = 3, 7
PIXELS = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
SIZES = torch.tensor([[64, 40], [33, 96]])
LABELS = [
    {"class_labels": torch.tensor([2, 0]), "boxes": torch.tensor([[0.3, 0.4, 0.2, 0.5], [0.7, 0.6, 0.3, 0.2]])},
    {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.9, 0.8]])},
]
TARGETS = torch.tensor(
    [[[2, 0.3, 0.4, 0.2, 0.5], [0, 0.7, 0.6, 0.3, 0.2]], [[1, 0.5, 0.5, 0.9, 0.8], [-1, 0.0, 0.0, 0.0, 0.0]]]
)
VARIANTS: dict[str, dict[str, Any]] = {
    "basic": {"layer_type": "basic", "hidden_sizes": [4, 8]},
    "bottleneck": {"layer_type": "bottleneck", "hidden_sizes": [16, 32]},
}


def theirs(kind: str = "basic", **changes: Any) -> nn.Module:
    import transformers

    backbone = transformers.ResNetConfig(embedding_size=4, depths=[1, 2], **VARIANTS[kind], out_features=["stage2"])
    config = transformers.DetrConfig(
        backbone_config=backbone, d_model=16, encoder_layers=2, decoder_layers=3, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, num_queries=QUERIES, num_labels=CLASSES,
        **changes,
    )  # fmt: skip
    return trainable(transformers.DetrForObjectDetection(config))


def trainable(model: nn.Module) -> nn.Module:
    """Their library freezes its residual network, which says nothing of gradients."""
    return model.requires_grad_(True)


def answer(model: nn.Module, sizes: Tensor | None = None) -> Tensor:
    """Logits and boxes side by side."""
    trainable(model)
    pixels = PIXELS.to(next(model.parameters()).dtype)
    if hasattr(model, "class_labels_classifier"):
        mask = None
        if sizes is not None:
            mask = inside(sizes)
            pixels = pixels * mask[:, None]
        output = model(pixels, pixel_mask=None if mask is None else mask.long())
        return torch.cat((output.logits, output.pred_boxes), -1)
    output = model(pixels, sizes)
    return torch.cat((output.logits, output.boxes), -1)


def inside(sizes: Tensor) -> Tensor:
    rows, columns = torch.arange(PIXELS.shape[2]), torch.arange(PIXELS.shape[3])
    return (rows[None, :, None] < sizes[:, :1, None]) & (columns[None, None, :] < sizes[:, 1:, None])


def padded(model: nn.Module) -> Tensor:
    return answer(model, SIZES)


CONTROLS = {
    "basic": "body.stages.1.0.body.1.0.weight",
    "bottleneck": "decoder.blocks.1.cross_attention.body.key.weight",
}
"""Broken once each. Queries and keys of the decoder's first attention change nothing: all its values are alike."""


@pytest.mark.parametrize("kind", VARIANTS)
def test_whole_pictures(kind: str, tmp_path: Path) -> None:
    ours = check_family(lambda: theirs(kind), answer, answer, tmp_path, control=CONTROLS[kind])
    assert ours.config["n_queries"] == QUERIES and ours.config["block"] == kind


def test_pictures_of_unequal_size(tmp_path: Path) -> None:
    ours = check_family(theirs, padded, padded, tmp_path, control="encoder.blocks.1.attention.body.key.weight")
    with torch.no_grad():
        assert_different(padded(ours), answer(ours))
        other = torch.where(inside(SIZES)[:, None], PIXELS, torch.tensor(9.0))
        again = ours(other, SIZES)
        assert torch.equal(torch.cat((again.logits, again.boxes), -1), padded(ours)), "padding changes nothing"


def of_each_layer(model: nn.Module) -> list[dict[str, Tensor]]:
    """What their decoder's layers answer, as the paper has it.

    With auxiliary_loss their library hands the normed state on to the next layer, and so computes another model than
    without it. Here the layers are listened to, and the stream is left as it is.
    """
    layers: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: layers.append(out[0] if isinstance(out, tuple) else out))
        for layer in model.model.decoder.layers
    ]
    model(PIXELS.to(next(model.parameters()).dtype))
    for hook in hooks:
        hook.remove()
    states = [model.model.decoder.layernorm(each) for each in layers]
    return [{"logits": model.class_labels_classifier(h), "boxes": model.bbox_predictor(h).sigmoid()} for h in states]


def their_losses(model: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

    found = of_each_layer(model)
    dtype = found[0]["logits"].dtype
    labels = [{**each, "boxes": each["boxes"].to(dtype)} for each in LABELS]
    config = model.config
    config.auxiliary_loss = True
    torch.set_default_dtype(dtype)  # of the weights of the classes, which they make themselves
    try:
        loss, parts, _ = ForObjectDetectionLoss(
            found[-1]["logits"], labels, "cpu", found[-1]["boxes"], config,
            torch.stack([each["logits"] for each in found]), torch.stack([each["boxes"] for each in found]),
        )  # fmt: skip
    finally:
        torch.set_default_dtype(torch.float32)
        config.auxiliary_loss = False
    return loss, parts


def our_losses(model: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    dtype = next(model.parameters()).dtype
    loss, output = SetLoss(CLASSES), model(PIXELS.to(dtype))
    parts = loss.parts(output, TARGETS.to(dtype))
    return loss.weighted(parts), parts


NAMES = {"class": "loss_ce", "l1": "loss_bbox", "giou": "loss_giou", "cardinality": "cardinality_error"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_losses_of_all_layers_and_their_gradients(dtype: torch.dtype, tmp_path: Path) -> None:
    reference = trainable(reopened(type(saved(theirs(), tmp_path, dtype)), tmp_path))
    ours = dougong.load(tmp_path)
    whole = in_float64(lambda model: their_losses(model)[0])
    with InFloat64():
        parts = their_losses(reference)[1]
    loss, mine = our_losses(ours)
    assert len(mine) == len(parts) == 4 * 3
    for name, value in mine.items():
        kind, _, place = name.partition("_")
        assert_equal_to_rounding(value, parts[NAMES[kind] + (f"_{place}" if place else "")].to(dtype), dtype)
    right = whole(reference)
    assert_equal_to_rounding(loss, right, dtype)
    for each in (loss, right):
        each.backward()
    pairs = gradients(ours, reference)
    assert len(pairs) > 30
    for name, (here, there) in pairs.items():
        assert_equal_to_rounding(here, there, dtype, factor=10), name
    shuffled = SetLoss(CLASSES).parts(ours(PIXELS.to(dtype)), TARGETS.to(dtype) * 0.6)
    assert any(gap(shuffled[name], mine[name]) > 1e-3 for name in mine)  # a control: other objects, other losses


def gradients(ours: nn.Module, reference: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """Gradients side by side, by the map that the weights go by."""
    from dougong.interop.mapping import maps

    given = {name: parameter.grad for name, parameter in ours.named_parameters()}
    there = {modern(name): parameter.grad for name, parameter in reference.named_parameters()}
    found = {}
    for move in maps()["detr"].moves(ours):
        (mine,), (foreign,) = move.ours, move.theirs
        if given.get(mine) is not None:
            found[mine] = (given[mine], there[modern(foreign)])
    return found


def modern(name: str) -> str:
    """A name of theirs as their files have it and as their modules have it, made one."""
    import re

    name = name.replace("backbone.conv_encoder", "backbone").replace("out_proj", "o_proj")
    return re.sub(r"(layers\.\d+)\.(fc\d)", r"\1.mlp.\2", name)


def test_a_match_is_theirs_and_fewer_queries_than_objects_are_borne() -> None:
    from transformers.loss.loss_for_object_detection import HungarianMatcher

    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, CLASSES + 1, generator=generator)
    boxes = torch.rand(2, 4, 4, generator=generator) * 0.5 + 0.1
    many = torch.cat((torch.randint(0, CLASSES, (2, 6, 1), generator=generator), torch.rand(2, 6, 4)), -1)
    many[1, 2:, 0] = -1
    labels = [{"class_labels": row[row[:, 0] >= 0, 0].long(), "boxes": row[row[:, 0] >= 0, 1:]} for row in many]
    wanted = HungarianMatcher(1, 5, 2)({"logits": logits, "pred_boxes": boxes}, labels)
    found = SetLoss(CLASSES).match(logits, boxes, many)
    pairs = {(int(r), int(q), int(t)) for r, q, t in zip(found.row, found.query, found.target, strict=True)}
    assert pairs == {(r, int(q), int(t)) for r, (a, b) in enumerate(wanted) for q, t in zip(a, b, strict=True)}
    assert len(pairs) == 4 + 2


def test_nothing_in_any_picture_is_learnt_from_too() -> None:
    output = Output(logits=torch.randn(2, 4, CLASSES + 1, requires_grad=True), boxes=torch.rand(2, 4, 4))
    parts = SetLoss(CLASSES).parts(output, torch.full((2, 0, 5), -1.0))
    assert parts["l1"] == parts["giou"] == 0 and parts["class"] > 0
    SetLoss(CLASSES).weighted(parts).backward()


def test_matching_and_generalised_iou_by_brute_force() -> None:
    import itertools

    from dougong.heads.boxes import corners, giou

    def compare(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(4)
        logits = torch.randn(1, 5, CLASSES + 1, generator=generator, dtype=dtype)
        boxes = torch.rand(1, 5, 4, generator=generator, dtype=dtype)
        targets = torch.cat((torch.zeros(1, 3, 1, dtype=dtype), torch.rand(1, 3, 4, dtype=dtype)), -1)
        cost = SetLoss(CLASSES).costs(logits, boxes, targets)[0]
        best = min(itertools.permutations(range(5), 3), key=lambda q: sum(float(cost[a, b]) for b, a in enumerate(q)))
        found = SetLoss(CLASSES).match(logits, boxes, targets)
        assert dict(zip(found.target.tolist(), found.query.tolist(), strict=True)) == dict(enumerate(best))
        return cost[found.query, found.target].sum(), cost[list(best), range(3)].sum()

    in_both_precisions(compare)
    a, b = torch.tensor([0.2, 0.2, 0.2, 0.2]), torch.tensor([0.4, 0.2, 0.2, 0.2])  # side by side: nothing in between
    assert giou(corners(a), corners(b)).abs() < 1e-6 and giou(corners(a), corners(a)) == 1
    c = torch.tensor([0.8, 0.2, 0.2, 0.2])  # around both 0.8 x 0.2, of which they fill half
    assert abs(float(giou(corners(a), corners(c))) + 0.5) < 1e-6
    nothing = torch.zeros(4)
    assert giou(nothing, nothing).isfinite()


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"position_embedding_type": "learned"}, "position_embedding_type"), ({"decoder_ffn_dim": 8}, "decoder_ffn_dim")],
)
def test_what_we_do_not_build_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    import json

    saved(theirs(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(dougong.UserError, match=said):
        dougong.load(tmp_path)


def test_batch_norms_that_learn_keep_our_layout(tmp_path: Path) -> None:
    model = dougong.build(
        {"architecture": "detr", "image_size": 64, "layers": [1, 1], "width": 4, "d_model": 16, "n_heads": 2,
         "n_layers": 1, "n_encoder_layers": 1, "d_ff": 8, "n_queries": 3, "n_classes": 2, "norm": "batch"}
    )  # fmt: skip
    assert dougong.load(dougong.save(model, tmp_path)).config == model.config
    with pytest.raises(dougong.UserError, match="no counterpart"):
        dougong.save(model, tmp_path / "other", layout="huggingface")


def test_the_published_count() -> None:
    """41,302,368 in the authors' log, which leaves out what they do not train: the stem and the first stage."""
    model = dougong.build("detr-resnet-50", device="meta")
    kept = sum(p.numel() for part in (model.embedding, model.body.stages[0]) for p in part.parameters())
    assert sum(p.numel() for p in model.parameters()) - kept == 41_302_368
