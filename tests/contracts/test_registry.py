"""What every family promises, swept over all of them; tests/support/small.py lists the configurations."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.numbers import assert_different, assert_equal_to_rounding, shake
from support.small import (
    LENGTH,
    TARGET_LENGTH,
    VARIANTS,
    built,
    inputs_of,
    is_pair,
    is_picture,
    is_towers,
    learnt_from,
    run,
)
from torch import Tensor, nn

import dougong
from dougong.architectures.vectors import Transformer
from dougong.frames.pyramid import Pyramid
from dougong.parts.cache import Cache

EACH = pytest.mark.parametrize("name", list(VARIANTS))
LENGTHS, TARGET_LENGTHS = torch.tensor([LENGTH, 2, 5]), torch.tensor([3, TARGET_LENGTH, 1])
MODELS = {name: dougong.build(config, device="meta") for name, config in VARIANTS.items()}
SEQUENCES = [name for name, model in MODELS.items() if not is_picture(model) and not is_towers(model)]


def test_every_family_is_swept() -> None:
    assert {config["architecture"] for config in VARIANTS.values()} == set(dougong.families())


@EACH
def test_shapes_and_features_are_as_announced(name: str) -> None:
    model = built(name)
    inputs = inputs_of(model)
    answer = run(model, inputs)
    assert answer.isfinite().all() and answer.dtype == torch.float32
    config = model.config
    if isinstance(model, Transformer):
        assert answer.shape == (3, inputs[-1].shape[1], config["output_dim"])
        return
    output = model(*inputs)
    if is_towers(model):
        assert output.logits.shape == (3, 3) and output.images.shape == output.texts.shape == (3, config["d_out"])
        return
    (info, *_), last = model.feature_info, model.feature_info[-1]
    if is_picture(model) and isinstance(model.body, Pyramid):
        assert len(output.features) == len(model.feature_info) == len(model.body.stages)
        for feature, announced in zip(output.features, model.feature_info, strict=True):
            size = tuple(side // stride for side, stride in zip(inputs[0].shape[2:], announced.stride, strict=True))
            assert feature.shape == (3, announced.channels, *size)
        if output.boxes is not None:
            assert output.hidden.shape == (3, config["n_queries"], config["d_model"])
            assert output.boxes.shape == (3, config["n_queries"], 4)
            assert 0 < output.boxes.min() and output.boxes.max() < 1
            assert output.logits.shape[:2] == (3, config["n_queries"])
            assert 0 <= output.logits.shape[2] - config["n_classes"] <= 1  # one more where it stands for no object
            return
        assert torch.equal(output.hidden, output.features[-1])
    elif is_picture(model):
        size = [side // stride for side, stride in zip(inputs[0].shape[2:], info.stride, strict=True)]
        assert output.hidden.shape == (3, model.embedding.n_prefix + size[0] * size[1], info.channels)
    else:
        assert output.hidden.shape == (*inputs[-1].shape[:2], last.channels) and info.stride == (1, 1)
    if output.masks is not None:
        assert output.logits is None and output.masks.shape[:2] == (3, config["n_classes"])
        across = [side / each for side, each in zip(inputs[0].shape[2:], output.masks.shape[2:], strict=True)]
        assert tuple(across) == info.stride  # as fine as the finest feature
    elif config.get("n_classes") and config.get("head", "sequence") in ("sequence", "classes"):
        assert output.logits.shape == (3, config["n_classes"])
    elif config.get("pooler"):
        assert output.logits.shape == (3, config["d_model"])
    elif config.get("n_classes", 0) is None or config.get("head", "") is None:
        assert output.logits is None
    else:
        widths = {"tokens": config.get("n_classes"), "questions": 2}
        width = widths.get(config.get("head"), config["vocab_size"])
        assert output.logits.shape == (*inputs[-1].shape[:2], width)


@EACH
def test_gradients_reach_every_parameter(name: str) -> None:
    model = shake(built(name)).train()
    answer = learnt_from(model, inputs_of(model, batch=4))
    (answer * torch.randn_like(answer)).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        # What is added to all keys alike moves all scores of a query alike, which softmax does not see. The first
        # attention of DETR's decoder reads zeros: values that are all alike, whatever the scores.
        blind = r".*key\.bias"
        if VARIANTS[name]["architecture"] == "detr":
            blind += r"|decoder\.blocks\.0\.attention\.body\.(query\..*|key\..*|value\.weight)"
        if not re.fullmatch(blind, key):
            assert parameter.grad.abs().max() > 1e-7, f"{key} gets no gradient"


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_padded_position_changes_nothing_and_a_real_one_does(name: str) -> None:
    model = shake(built(name))
    inputs = inputs_of(model)
    sides = (LENGTHS, TARGET_LENGTHS) if is_pair(model) else (LENGTHS, None)
    real = [torch.arange(side.shape[1])[None, :] < sides[n][:, None] for n, side in enumerate(inputs)]

    def looked_at(answer: Tensor) -> Tensor:
        return answer if answer.dim() == 2 else answer[real[-1]]

    def changed(at: Tensor, side: int) -> tuple[Tensor, ...]:
        other = list(inputs)
        moved = (inputs[side] + 1) % 17 if not inputs[side].is_floating_point() else inputs[side] + 3
        other[side] = torch.where(at if moved.dim() == 2 else at[..., None], moved, inputs[side])
        return tuple(other)

    with torch.no_grad():
        answer = looked_at(run(model, inputs, *sides))
        for side in range(len(inputs)):
            assert torch.equal(looked_at(run(model, changed(~real[side], side), *sides)), answer)
            first = torch.zeros_like(real[side])
            first[:, 0] = True
            assert_different(looked_at(run(model, changed(first, side), *sides)), answer)
        padding_read = looked_at(run(model, inputs, None, sides[1]))
        padding_moved = looked_at(run(model, changed(~real[0], 0), None, sides[1]))
        if not torch.equal(padding_moved, padding_read):  # only who looks back alone may do without lengths
            assert_different(padding_read, answer)


@EACH
def test_a_batch_equals_one_by_one(name: str) -> None:
    model = shake(built(name))
    inputs = inputs_of(model)
    with torch.no_grad():
        if is_picture(model) or is_towers(model):
            alone = torch.cat([run(model, tuple(side[row : row + 1] for side in inputs)) for row in range(3)])
            assert_equal_to_rounding(run(model, inputs), alone)
            assert_different(run(model, inputs), alone.roll(1, 0))
            return
        sides = (LENGTHS, TARGET_LENGTHS) if is_pair(model) else (LENGTHS, None)
        together = run(model, inputs, *sides)
        for row in range(3):
            lengths = [int(lengths[row]) for lengths in sides if lengths is not None]
            cut = tuple(side[row : row + 1, :length] for side, length in zip(inputs, lengths, strict=True))
            alone = run(model, cut)[0]
            same = together[row] if alone.dim() == 1 else together[row, : len(alone)]
            assert_equal_to_rounding(same, alone)


@pytest.mark.parametrize("name", [name for name in SEQUENCES if VARIANTS[name]["architecture"] != "vectors"])
def test_cache_on_equals_cache_off_or_is_refused(name: str) -> None:
    """A model that looks back only reads on from a cache; one that looks ahead cannot, and says so."""
    model = shake(built(name))
    *source, tokens = inputs_of(model)
    later = tokens.clone()
    later[:, -1] = (tokens[:, -1] + 1) % 17 if not tokens.is_floating_point() else tokens[:, -1] + 3
    with torch.no_grad():
        whole = model(*source, tokens).hidden
        looks_ahead = not torch.equal(model(*source, later).hidden[:, :-1], whole[:, :-1])
        cache = Cache(tokens.shape[1])
        if looks_ahead:
            with pytest.raises(ValueError, match="cannot go on from a cache"):
                model(*source, tokens[:, :1], cache=cache)
            return
        for cuts in ([1] * tokens.shape[1], [2, 4, tokens.shape[1] - 6]):
            cache = Cache(tokens.shape[1])
            pieces = [model(*source, piece, cache=cache).hidden for piece in tokens.split(cuts, 1)]
            assert_equal_to_rounding(torch.cat(pieces, 1), whole)
        fresh = [model(*source, piece, cache=Cache(9)).hidden for piece in tokens.split(1, 1)]
        assert_different(torch.cat(fresh, 1), whole)  # a control: forgetting is seen


@EACH
@pytest.mark.parametrize("layout", ["dougong", "auto"])
def test_saved_and_loaded_is_bit_for_bit_the_same(name: str, layout: str, tmp_path: Path) -> None:
    model = shake(built(name))
    loaded = dougong.load(dougong.save(model, tmp_path, layout=layout))
    assert loaded.config == model.config
    written = json.loads((tmp_path / "config.json").read_text())
    assert written == model.config if layout == "dougong" else written.keys() & {"architecture", "model_type"}
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key
    inputs = inputs_of(model)
    assert torch.equal(run(loaded, inputs), run(model, inputs))
    assert len(list(loaded.parameters())) == len(list(model.parameters())), "what was shared is shared"
    again = dougong.build(loaded.config, seed=0).eval()
    assert not all(torch.equal(again.state_dict()[key], tensor) for key, tensor in model.state_dict().items())


@EACH
def test_a_model_on_the_meta_device_has_the_same_shapes(name: str) -> None:
    model, ghost = built(name), built(name, device="meta")
    assert all(tensor.is_meta for tensor in [*ghost.parameters(), *ghost.buffers()])
    shapes = [{key: tensor.shape for key, tensor in each.state_dict().items()} for each in (model, ghost)]
    assert shapes[0] == shapes[1]
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in ghost.parameters())
    examples = ghost.example_inputs(2, LENGTH, "meta")
    answer = ghost(*examples)
    right = model(*model.example_inputs(2, LENGTH))
    for key in ("hidden", "logits", "masks"):
        if not isinstance(right, Tensor) and getattr(right, key) is not None:
            assert getattr(answer, key).shape == getattr(right, key).shape and getattr(answer, key).is_meta
    if isinstance(right, Tensor):
        assert answer.shape == right.shape and answer.is_meta


@EACH
def test_flops_traced_on_the_meta_device_equal_those_counted_on_a_real_run(name: str) -> None:
    from dougong.cost import counter, forward_flops

    model = built(name)
    with torch.no_grad(), counter() as counted:
        model(*model.example_inputs(2, LENGTH))
    traced = forward_flops(VARIANTS[name], 2, None if is_picture(model) else LENGTH)
    assert traced == counted.get_total_flops() > 0
    assert forward_flops(VARIANTS[name], 3, None if is_picture(model) else LENGTH) > traced


@EACH
def test_a_seed_settles_everything(name: str) -> None:
    a, b, c = built(name, seed=1), built(name, seed=1), built(name, seed=2)
    inputs = inputs_of(a)
    assert torch.equal(run(a, inputs), run(b, inputs))
    assert_different(run(a, inputs), run(c, inputs))
    assert torch.equal(run(a, inputs), run(a, inputs)), "nothing is drawn in inference"
    torch.manual_seed(5)
    trained = run(copy.deepcopy(a).train(), inputs)
    torch.manual_seed(5)
    assert torch.equal(run(copy.deepcopy(b).train(), inputs), trained)


@EACH
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_every_type_of_number(name: str, dtype: torch.dtype) -> None:
    model = built(name, dtype=dtype)
    answer = run(model, inputs_of(model))
    assert answer.dtype == dtype and answer.isfinite().all()
    if dtype == torch.float64:
        half = copy.deepcopy(model).float()
        inputs = inputs_of(model)
        narrow = tuple(side.float() if side.is_floating_point() else side for side in inputs)
        assert_equal_to_rounding(run(half, narrow).double(), run(model, inputs), torch.float32, factor=5)


@EACH
def test_names_and_configuration_are_plain(name: str) -> None:
    model = built(name)
    assert dougong.resolve(json.loads(json.dumps(model.config))) == model.config
    assert set(VARIANTS[name]) <= set(model.config)
    for key in model.state_dict():
        assert re.fullmatch(r"[a-z0-9_.]+", key), key


@EACH
def test_starting_weights_are_sane(name: str) -> None:
    """Biases at zero but for torch's own recurrences and convolutions over sequences, and classes that start as rare;
    answers neither dead nor wild."""
    model = built(name)
    answer = run(model, inputs_of(model, batch=8))
    assert 1e-4 < answer.std() < 30
    for key, module in model.named_modules():
        rare = VARIANTS[name]["architecture"] == "dab_detr" and key.endswith(".classes")
        if isinstance(module, nn.Linear) and "n_heads" in model.config and not rare:
            assert module.bias is None or (module.bias == 0).all(), key


def test_nothing_needs_the_compiler() -> None:
    """torch's compiler takes seconds to load; no model may pull it in by being built or run."""
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from support.small import VARIANTS, built, inputs_of, run\n"
        "for name in VARIANTS:\n"
        "    model = built(name); run(model, inputs_of(model)); built(name, device='meta')\n"
        "print(sorted(m for m in sys.modules if m in ('torch._dynamo', 'torch._inductor', 'transformers')))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
