"""SegFormer loaded from and saved to the Hugging Face layout: masks, classes, the bare backbone, the loss and its
gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.foreign import InFloat64, check_family, reopened, saved
from support.numbers import assert_different, assert_equal_to_rounding
from torch import Tensor, nn

import dougong
from dougong.heads.segment import enlarged, pixel_loss
from dougong.parts.output import Output

VOID = 255

PIXELS = torch.randn(2, 3, 50, 41, generator=torch.Generator().manual_seed(1))
SMALL: dict[str, Any] = {
    "depths": [1, 2, 1], "hidden_sizes": [8, 12, 16], "num_attention_heads": [1, 3, 2], "sr_ratios": [4, 2, 1],
    "patch_sizes": [7, 3, 3], "strides": [4, 2, 2], "mlp_ratios": [2, 3, 2], "num_encoder_blocks": 3,
    "decoder_hidden_size": 10,
}  # fmt: skip
VARIANTS = {
    "masks": ("ForSemanticSegmentation", {"num_labels": 5}),
    "masks, other activation": ("ForSemanticSegmentation", {"num_labels": 3, "hidden_act": "relu"}),
    "classes": ("ForImageClassification", {"num_labels": 5}),
    "bare": ("Model", {}),
}


def make(kind: str, **changes: Any) -> nn.Module:
    import transformers

    return getattr(transformers, f"Segformer{kind}")(transformers.SegformerConfig(**SMALL, **changes))


def of(model: nn.Module) -> Tensor:
    output = model(PIXELS.to(next(model.parameters()).dtype))
    answers = (getattr(output, name, None) for name in ("logits", "masks", "last_hidden_state", "hidden"))
    return next(each for each in answers if each is not None)


@pytest.mark.parametrize("name", VARIANTS)
def test_segformer(name: str, tmp_path: Path) -> None:
    kind, changes = VARIANTS[name]
    ours = check_family(lambda: make(kind, **changes), of, of, tmp_path)
    assert ours.config["skipped"] == 0.1 and ours.config["layers"] == [1, 2, 1]
    assert isinstance(ours(PIXELS), Output) and (ours(PIXELS).masks is not None) == name.startswith("masks")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_loss_and_its_gradients_are_theirs(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = saved(make("ForSemanticSegmentation", num_labels=5), tmp_path, dtype)
    ours = dougong.load(tmp_path)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # close to the answer, so that edges count
        scores = ours(PIXELS.to(dtype)).masks
        scores = 50 * (scores - scores.mean((2, 3), keepdim=True))
        truth = enlarged(scores, (50, 41)).argmax(1)
    truth[torch.rand(truth.shape, generator=generator) < 0.2] = VOID
    loss = pixel_loss(ours(PIXELS.to(dtype)).masks, truth)
    with InFloat64():
        right = theirs(PIXELS.to(dtype), labels=truth).loss
    assert_equal_to_rounding(loss, right, dtype)
    loss.backward()
    right.backward()
    for key, mine in (("score", "classifier"), ("join", "linear_fuse")):
        a, b = getattr(ours.head, key).weight.grad, getattr(theirs.decode_head, mine).weight.grad
        assert_equal_to_rounding(a, b, dtype)
    first, other = ours.body.stages[0].patches.project.weight.grad, theirs.segformer.stages[0].patch_embeddings.proj
    assert_equal_to_rounding(first, other.weight.grad, dtype, factor=10)
    # controls: void pixels that count, and scores that are not enlarged smoothly
    assert_different(pixel_loss(ours(PIXELS.to(dtype)).masks, truth.where(truth != VOID, 0)), right)
    rough = nn.functional.interpolate(scores, truth.shape[1:])
    assert_different(nn.functional.cross_entropy(rough, truth, ignore_index=VOID), pixel_loss(scores, truth))


def test_training_varies_and_evaluation_does_not(tmp_path: Path) -> None:
    model = dougong.build("segformer-micro", skipped=0.5, n_classes=3)
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, 64, 64)
    assert_different(model.train()(pixels).hidden, model(pixels).hidden)
    assert torch.equal(model.eval()(pixels).masks, model(pixels).masks)


def test_what_they_cannot_say_is_refused(tmp_path: Path) -> None:
    model = dougong.build("segformer-micro", eps=1e-6)
    with pytest.raises(dougong.UserError, match="no counterpart"):
        dougong.save(model, tmp_path / "a", layout="huggingface")
    make("Model", **{}).save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"num_encoder_blocks": 3', '"num_encoder_blocks": 2'))
    with pytest.raises(dougong.UserError, match="not one number for each of 2 stages"):
        dougong.load(tmp_path)


def test_a_published_size_opens_there_as_it_is(tmp_path: Path) -> None:
    import transformers

    model = dougong.build("segformer-b0", n_classes=7).eval()
    dougong.save(model, tmp_path)
    theirs = reopened(transformers.SegformerForSemanticSegmentation, tmp_path)
    pixels = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert_equal_to_rounding(model(pixels).masks, theirs(pixels).logits)
        assert enlarged(model(pixels).masks, (64, 96)).shape == (1, 7, 64, 96)
    assert dougong.load(tmp_path).config == model.config


def test_a_certificate_compares_every_stage(tmp_path: Path) -> None:
    from dougong.interop.certificate import certify

    saved(make("ForSemanticSegmentation", num_labels=5, image_size=32), tmp_path)
    model = dougong.load(tmp_path)
    found = certify(model, tmp_path)
    names = [check["name"] for check in found["checks"]]
    assert found["passed"] and found["against"] == "transformers"
    assert names == ["keys", *(f"stack {s}, layer {i}" for s, i in ((0, 0), (1, 0), (1, 1), (2, 0))), "output"]
    with torch.no_grad():
        weight = model.body.stages[1].stack.blocks[1].attention.body.query.weight
        weight.copy_(weight.roll(1, 0))
    passed = {check["name"]: check["passed"] for check in certify(model, tmp_path)["checks"]}
    assert [name for name, right in passed.items() if not right] == ["stack 1, layer 1", "stack 2, layer 0", "output"]


def test_a_loaded_model_learns(tmp_path: Path) -> None:
    """Its tensors lie in one mapped file; the running statistics of the norm change during the pass."""
    dougong.save(dougong.build("segformer-micro", n_classes=3), tmp_path)
    model = dougong.load(tmp_path).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    pixels, truth = torch.randn(2, 3, 64, 64), torch.randint(0, 3, (2, 64, 64))
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = pixel_loss(model(pixels).masks, truth)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
