"""ViT, ResNet and GPT-2 against tiny random models of the Transformers library with copied weights."""

from __future__ import annotations

import pytest
import torch
from support.copying import put, renamed, split_in_three
from support.numbers import assert_different, assert_equal_to_rounding, in_both_precisions, shake
from torch import Tensor, nn
from torch.nn import functional

import dougong
from dougong.parts.cache import Cache

WEIGHTS = r"(weight|bias)"


def vit(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, nn.Module]:
    """Ours and theirs, a picture of 12 x 12 in patches of 4 x 4."""
    from transformers.models.vit.configuration_vit import ViTConfig
    from transformers.models.vit.modeling_vit import ViTForImageClassification

    torch.manual_seed(3)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=4, intermediate_size=20, image_size=12, patch_size=4,
        num_labels=5, layer_norm_eps=1e-6, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    theirs = shake(ViTForImageClassification(config)).to(dtype).eval()
    rules = {
        r"vit\.embeddings\.cls_token": "embedding.prefix",
        r"vit\.embeddings\.position_embeddings": "body.positions.all.weight",
        r"vit\.embeddings\.patch_embeddings\.projection\.(.*)": r"embedding.project.\1",
        r"vit\.layers\.(\d+)\.attention\.q_proj\.(.*)": r"body.blocks.\1.attention.body.query.\2",
        r"vit\.layers\.(\d+)\.attention\.k_proj\.(.*)": r"body.blocks.\1.attention.body.key.\2",
        r"vit\.layers\.(\d+)\.attention\.v_proj\.(.*)": r"body.blocks.\1.attention.body.value.\2",
        r"vit\.layers\.(\d+)\.attention\.o_proj\.(.*)": r"body.blocks.\1.attention.body.output.\2",
        r"vit\.layers\.(\d+)\.layernorm_before\.(.*)": r"body.blocks.\1.attention.before.\2",
        r"vit\.layers\.(\d+)\.layernorm_after\.(.*)": r"body.blocks.\1.feed_forward.before.\2",
        r"vit\.layers\.(\d+)\.mlp\.fc1\.(.*)": r"body.blocks.\1.feed_forward.body.up.\2",
        r"vit\.layers\.(\d+)\.mlp\.fc2\.(.*)": r"body.blocks.\1.feed_forward.body.down.\2",
        r"vit\.layernorm\.(.*)": r"body.after.\1",
        r"classifier\.(.*)": r"head.linear.\1",
    }
    tensors = renamed(theirs.state_dict(), rules)
    for name in ("embedding.prefix", "body.positions.all.weight"):
        tensors[name] = tensors[name][0]
    ours = dougong.build(
        "vit", image_size=12, patch_size=4, d_model=16, n_layers=3, n_heads=4, d_ff=20, n_classes=5
    )  # fmt: skip
    return put(ours.to(dtype), tensors).eval(), theirs


def test_vit_equals_transformers() -> None:
    def compare(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        ours, theirs = vit(dtype)
        pixels = torch.randn(2, 3, 12, 12, dtype=dtype)
        hidden = theirs.vit(pixels).last_hidden_state
        assert_equal_to_rounding(ours(pixels).hidden, hidden)
        return ours(pixels).logits, theirs(pixels).logits

    in_both_precisions(compare)


def test_control_a_vit_with_something_permuted_is_seen() -> None:
    pixels = torch.randn(2, 3, 12, 12)
    for name, axis in (
        ("body.positions.all.weight", 0),
        ("body.blocks.1.attention.body.query.weight", 0),
        ("embedding.project.weight", 1),
        ("body.blocks.2.feed_forward.before.weight", 0),
    ):
        ours, theirs = vit()
        right = theirs(pixels).logits
        assert_equal_to_rounding(ours(pixels).logits, right)
        weight = ours.get_parameter(name)
        with torch.no_grad():
            weight.copy_(weight.roll(1, axis))
        assert_different(ours(pixels).logits, right)
    ours, _ = vit()
    assert_different(ours(pixels.transpose(2, 3)).logits, ours(pixels).logits)


def resnet(block: str, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    from transformers.models.resnet.configuration_resnet import ResNetConfig
    from transformers.models.resnet.modeling_resnet import ResNetForImageClassification

    torch.manual_seed(4)
    widening = 4 if block == "bottleneck" else 1
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8 * widening, 16 * widening, 32 * widening], depths=[2, 1, 2],
        layer_type=block, num_labels=5,
    )  # fmt: skip
    theirs = shake(ResNetForImageClassification(config)).to(dtype).eval()
    stage = r"resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\."
    norm = r"(?:normalization)\.(.*)"
    rules = {
        r"resnet\.embedder\.embedder\.convolution\.(.*)": r"embedding.stem.0.0.\1",
        rf"resnet\.embedder\.embedder\.{norm}": r"embedding.stem.0.1.\1",
        stage + r"shortcut\.convolution\.(.*)": r"body.stages.\1.\2.residual.shortcut.0.\3",
        stage + rf"shortcut\.{norm}": r"body.stages.\1.\2.residual.shortcut.1.\3",
        stage + r"layer\.(\d)\.convolution\.(.*)": r"body.stages.\1.\2.body.\3.0.\4",
        stage + rf"layer\.(\d)\.{norm}": r"body.stages.\1.\2.body.\3.1.\4",
        r"classifier\.1\.(.*)": r"head.linear.\1",
    }
    ours = dougong.build("resnet", layers=[2, 1, 2], width=8, block=block, n_classes=5)
    return put(ours.to(dtype), renamed(theirs.state_dict(), rules)).eval(), theirs


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("training", [False, True])
def test_resnet_equals_transformers(block: str, training: bool) -> None:
    def compare(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        ours, theirs = (model.train(training) for model in resnet(block, dtype))
        pixels = torch.randn(3, 3, 41, 33, dtype=dtype)
        a, b = ours(pixels), theirs(pixels, output_hidden_states=True)
        for ours_map, theirs_map in zip(a.features, b.hidden_states[1:], strict=True):
            assert_equal_to_rounding(ours_map, theirs_map, factor=5)
        if training:  # the running statistics have moved alike
            for name, rate in (("running_mean", 1), ("running_var", 1)):
                here = getattr(ours.body.stages[2][1].body[0][1], name) * rate
                there = getattr(theirs.resnet.encoder.stages[2].layers[1].layer[0].normalization, name)
                assert_equal_to_rounding(here, there, factor=5)
        return a.logits, b.logits

    in_both_precisions(compare, factor=5)


def test_control_a_resnet_with_its_stride_or_norm_elsewhere_is_seen() -> None:
    ours, theirs = resnet("bottleneck", torch.float32)
    pixels = torch.randn(3, 3, 41, 33)
    right = theirs(pixels).logits
    ours.body.stages[1][0].body[0][0].stride, ours.body.stages[1][0].body[1][0].stride = (2, 2), (1, 1)
    assert_different(ours(pixels).logits, right)  # the paper's place for it, not the checkpoints'
    ours, _ = resnet("bottleneck", torch.float32)
    running = ours.body.stages[0][0].body[0][1].running_mean
    running.copy_(running.roll(1))
    assert_different(ours(pixels).logits, right)


def gpt2(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, nn.Module]:
    from transformers.models.gpt2.configuration_gpt2 import GPT2Config
    from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel

    torch.manual_seed(5)
    config = GPT2Config(
        vocab_size=31, n_positions=12, n_embd=16, n_layer=3, n_head=4, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    theirs = shake(GPT2LMHeadModel(config)).to(dtype).eval()
    block = r"transformer\.h\.(\d+)\."
    turned = {  # their linear layers keep the transpose
        key: tensor.T if key.endswith("weight") and tensor.dim() == 2 and ".h." in key else tensor
        for key, tensor in theirs.state_dict().items()
    }
    sides = tuple(rf"transformer.h.\1.{side}.\2" for side in ("query", "key", "value"))
    state = split_in_three(turned, {rf"{block}attn\.c_attn\.{WEIGHTS}": sides})
    rules = {
        r"transformer\.wte\.weight": "embedding.weight",
        r"transformer\.wpe\.weight": "body.positions.all.weight",
        block + r"(query|key|value)\.(.*)": r"body.blocks.\1.attention.body.\2.\3",
        block + r"attn\.c_proj\.(.*)": r"body.blocks.\1.attention.body.output.\2",
        block + r"ln_1\.(.*)": r"body.blocks.\1.attention.before.\2",
        block + r"ln_2\.(.*)": r"body.blocks.\1.feed_forward.before.\2",
        block + r"mlp\.c_fc\.(.*)": r"body.blocks.\1.feed_forward.body.up.\2",
        block + r"mlp\.c_proj\.(.*)": r"body.blocks.\1.feed_forward.body.down.\2",
        r"transformer\.ln_f\.(.*)": r"body.after.\1",
    }
    ours = dougong.build("gpt2", vocab_size=31, max_length=12, d_model=16, n_layers=3, n_heads=4, dropout=0.0)
    return put(ours.to(dtype), renamed(state, rules, skip=r"lm_head\.weight")).eval(), theirs


def test_gpt2_equals_transformers() -> None:
    def compare(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        ours, theirs = gpt2(dtype)
        tokens = torch.randint(0, 31, (3, 11))
        return ours(tokens).logits, theirs(tokens).logits

    in_both_precisions(compare)


def test_gpt2_gradients_and_padding_equal_transformers() -> None:
    ours, theirs = gpt2(torch.float64)
    tokens, lengths = torch.randint(0, 31, (3, 11)), torch.tensor([11, 4, 7])
    real = torch.arange(11)[None, :] < lengths[:, None]
    a, b = ours(tokens, lengths).logits, theirs(tokens, attention_mask=real.long()).logits
    assert_equal_to_rounding(a[real], b[real])
    for logits in (a, b):
        targets = tokens.roll(-1, 1)
        functional.cross_entropy(logits[real], targets[real]).backward()
    assert_equal_to_rounding(ours.embedding.weight.grad, theirs.transformer.wte.weight.grad)
    query = theirs.transformer.h[1].attn.c_attn.weight.grad[:, :16].T
    assert_equal_to_rounding(ours.body.blocks[1].attention.body.query.weight.grad, query)


def test_gpt2_written_token_by_token_equals_transformers_on_the_whole() -> None:
    ours, theirs = gpt2()
    tokens, cache = torch.randint(0, 31, (2, 11)), Cache(11)
    with torch.no_grad():
        pieces = [ours(piece, cache=cache).logits for piece in tokens.split([4, 1, 1, 5], 1)]
        assert_equal_to_rounding(torch.cat(pieces, 1), theirs(tokens).logits)


def test_control_a_gpt2_with_something_else_is_seen() -> None:
    tokens = torch.randint(0, 31, (3, 11))
    ours, theirs = gpt2()
    right = theirs(tokens).logits
    ours.body.blocks[0].feed_forward.body.activation.name = "relu"
    assert_different(ours(tokens).logits, right)
    ours, _ = gpt2()
    ours.body.blocks[0].attention.body.query, ours.body.blocks[0].attention.body.key = (
        ours.body.blocks[0].attention.body.key,
        ours.body.blocks[0].attention.body.query,
    )
    assert_different(ours(tokens).logits, right)
