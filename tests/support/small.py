"""A small configuration of every family, in several variants, and how to run any of them.

A new family adds a line here; the contract tests fail until it does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import dougong
from dougong.architectures.vectors import Transformer

TOKENS = {"vocab_size": 17}
PICTURE = {"image_size": 8, "patch_size": 4, "d_model": 16, "n_layers": 2, "n_heads": 2}
PYRAMID = {
    "layers": [1, 2],
    "widths": [8, 12],
    "n_heads": [1, 3],
    "reductions": [4, 1],
    "patch_sizes": [7, 3],
    "strides": [4, 2],
    "mlp_ratios": [2, 2],
    "d_head": 10,
}
ENCODER = {"max_length": 12, "d_model": 16, "n_layers": 2, "n_heads": 4, "d_ff": 24}
DECODER = {"max_length": 12, "d_model": 16, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_ff": 24}
VARIANTS: dict[str, dict[str, Any]] = {
    "vit": {"architecture": "vit", "image_size": [8, 12], "patch_size": [4, 2], "d_model": 16, "n_layers": 2,
            "n_heads": 4, "d_ff": 24, "n_classes": 5},
    "vit, mean of patches": {"architecture": "vit", "image_size": 8, "patch_size": 4, "d_model": 16, "n_layers": 1,
                             "n_heads": 2, "d_ff": 24, "n_classes": 5, "pool": "mean", "dropout": 0.1},
    "vit, bare": {"architecture": "vit", "image_size": 8, "patch_size": 4, "d_model": 16, "n_layers": 1,
                  "n_heads": 2, "d_ff": 24, "n_classes": None},
    "vit, pooled": {"architecture": "vit", **PICTURE, "d_ff": 24, "n_classes": None, "pooler": "tanh"},
    "deit": {"architecture": "deit", **PICTURE, "d_ff": 24, "n_classes": 5},
    "dinov2": {"architecture": "dinov2", **PICTURE, "mlp_ratio": 2, "gated": True, "activation": "silu",
               "n_classes": 5},
    "resnet": {"architecture": "resnet", "image_size": 32, "layers": [1, 2], "width": 4, "n_classes": 5},
    "resnet, basic": {"architecture": "resnet", "image_size": [16, 24], "layers": [2, 1, 1], "width": 4,
                      "block": "basic", "stem": "small", "shortcut": "subsample", "n_classes": 5},
    "resnet, bare": {"architecture": "resnet", "image_size": 32, "layers": [1, 1], "width": 4, "n_classes": None},
    "segformer": {"architecture": "segformer", "image_size": [32, 48], **PYRAMID, "n_classes": 5},
    "segformer that classifies": {"architecture": "segformer", "image_size": 32, **PYRAMID, "n_classes": 5,
                                  "head": "classes", "dropout": 0.1},
    "segformer, bare": {"architecture": "segformer", "image_size": 32, **PYRAMID, "n_classes": None, "skipped": 0.0},
    "unet": {"architecture": "unet", "image_size": [16, 24], "widths": [4, 6, 8], "n_classes": 5},
    "unet, bare": {"architecture": "unet", "image_size": 16, "widths": [4, 6], "n_classes": None},
    "segmenter": {"architecture": "segmenter", **PICTURE, "d_ff": 24, "n_classes": 5, "n_head_layers": 1},
    "segmenter, linear": {"architecture": "segmenter", **PICTURE, "image_size": [8, 12], "d_ff": 24, "n_classes": 5,
                          "head": "linear"},
    "segmenter, bare": {"architecture": "segmenter", **PICTURE, "d_ff": 24, "n_classes": None},
    "rnn": {"architecture": "rnn", **TOKENS, "d_model": 8, "n_layers": 2, "n_classes": 3},
    "gru": {"architecture": "gru", "d_input": 6, "d_model": 8, "n_classes": 3, "dropout": 0.2},
    "lstm": {"architecture": "lstm", **TOKENS, "d_model": 8, "n_layers": 2, "n_classes": 3},
    "lstm, both directions": {"architecture": "lstm", **TOKENS, "d_model": 8, "n_layers": 2, "bidirectional": True},
    "lstm, rows of a picture": {"architecture": "lstm", "image_size": [6, 8], "d_model": 8, "n_classes": 3},
    "gru, patches of a picture": {"architecture": "gru", "image_size": 8, "patch_size": 4, "d_model": 8},
    "lstm that tags": {"architecture": "lstm", **TOKENS, "d_model": 8, "bidirectional": True, "head": "tokens"},
    "gru that writes": {"architecture": "gru", **TOKENS, "d_model": 8, "n_layers": 2, "head": "causal-language"},
    "textcnn that tags": {"architecture": "textcnn", **TOKENS, "d_model": 8, "n_filters": 4, "head": "tokens"},
    "textcnn": {"architecture": "textcnn", **TOKENS, "d_model": 8, "n_filters": 4, "widths": [2, 3], "n_classes": 3},
    "textcnn, vectors": {"architecture": "textcnn", "d_input": 6, "d_model": 8, "n_filters": 4, "n_classes": 3},
    "gpt2": {"architecture": "gpt2", **TOKENS, "max_length": 12, "d_model": 16, "n_layers": 2, "n_heads": 4},
    "bert": {"architecture": "bert", **TOKENS, "max_length": 12, "d_model": 16, "n_layers": 2, "n_heads": 4,
             "d_ff": 24},
    "bert, sequence": {"architecture": "bert", **TOKENS, "max_length": 12, "d_model": 16, "n_layers": 1, "n_heads": 4,
                       "d_ff": 24, "head": "sequence", "n_classes": 3},
    "roberta": {"architecture": "roberta", **TOKENS, **ENCODER, "head": "tokens", "n_classes": 3},
    "distilbert": {"architecture": "distilbert", **TOKENS, **ENCODER, "head": "questions"},
    "modernbert": {"architecture": "modernbert", **TOKENS, **ENCODER, "n_layers": 4, "window": 4, "pool": "mean",
                   "head": "sequence", "n_classes": 3},
    "gpt2 that classifies": {"architecture": "gpt2", **TOKENS, "max_length": 12, "d_model": 16, "n_layers": 2,
                             "n_heads": 4, "head": "sequence", "n_classes": 3},
    "llama that tags": {"architecture": "llama", **TOKENS, "d_model": 16, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2,
                        "d_ff": 24, "head": "tokens", "n_classes": 3},
    "llama": {"architecture": "llama", **TOKENS, **DECODER, "rope_scaling": {"kind": "llama3", "factor": 2.0}},
    "mistral": {"architecture": "mistral", **TOKENS, **DECODER, "window": 4},
    "qwen2": {"architecture": "qwen2", **TOKENS, **DECODER, "window": 3, "local_from": 1, "tied": True},
    "qwen3": {"architecture": "qwen3", **TOKENS, **DECODER, "d_head": 6},
    "mixtral": {"architecture": "mixtral", **TOKENS, **DECODER, "n_experts": 3},
    "gemma2": {"architecture": "gemma2", **TOKENS, **DECODER, "d_head": 6, "window": 4},
    "transformer": {"architecture": "transformer", **TOKENS, "d_model": 16, "n_layers": 2, "n_heads": 4, "d_ff": 24},
    "t5": {"architecture": "t5", **TOKENS, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_head": 6, "d_ff": 24,
           "gated": True, "tied": False, "scaled": False},
    "bart": {"architecture": "bart", **TOKENS, "max_length": 12, "d_model": 16, "n_layers": 2, "n_heads": 4,
             "d_ff": 24},
    "marian": {"architecture": "marian", **TOKENS, "d_model": 16, "n_layers": 1, "n_decoder_layers": 2, "n_heads": 4,
               "d_ff": 24},
    "sasrec": {"architecture": "sasrec", **TOKENS, "max_length": 12, "d_model": 16, "n_heads": 2, "d_ff": 24},
    "sasrec, bare": {"architecture": "sasrec", **TOKENS, "max_length": 12, "d_model": 16, "n_layers": 1, "head": None},
    "bert4rec": {"architecture": "bert4rec", **TOKENS, **ENCODER},
    "gru4rec": {"architecture": "gru4rec", **TOKENS, "d_model": 16, "n_layers": 2},
    "gru4rec, of another width": {"architecture": "gru4rec", **TOKENS, "d_model": 16, "d_hidden": 12, "tied": False},
    "clip": {"architecture": "clip", "image_size": 8, "patch_size": 4, "d_vision": 12, "n_vision_layers": 2,
             "n_vision_heads": 3, "d_vision_ff": 20, **TOKENS, "max_length": 13, "d_text": 8, "n_text_layers": 1,
             "n_text_heads": 2, "d_text_ff": 10, "d_out": 6, "end": 16, "scale": 0.5},
    "detr": {"architecture": "detr", "image_size": [32, 48], "layers": [1, 2], "width": 4, "block": "basic",
             "d_model": 16, "n_encoder_layers": 1, "n_layers": 2, "n_heads": 2, "d_ff": 24, "n_queries": 5,
             "n_classes": 3},
    "detr, from scratch": {"architecture": "detr", "image_size": 32, "layers": [1, 1], "width": 4, "norm": "batch",
                           "d_model": 16, "n_encoder_layers": 1, "n_layers": 1, "n_heads": 2, "d_ff": 24,
                           "n_queries": 4, "n_classes": 2},
    "dab_detr": {"architecture": "dab_detr", "image_size": [32, 48], "layers": [1, 1], "width": 4, "n_levels": 2,
                 "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 24, "n_queries": 5, "n_noised": 2, "n_classes": 3},
    "vectors": {"architecture": "vectors", "input_dim": 6, "output_dim": 4, "nhead": 2, "num_layers": 2, "d_model": 16},
    "vectors, with a target": {"architecture": "vectors", "input_dim": 6, "output_dim": 4, "nhead": 2, "num_layers": 1,
                               "d_model": 16, "target_dim": 5},
}  # fmt: skip

LENGTH, TARGET_LENGTH = 9, 7


def built(name: str, seed: int = 0, **arguments: Any) -> nn.Module:
    """A variant, ready for inference."""
    return dougong.build(VARIANTS[name], seed=seed, **arguments).eval()


def is_picture(model: nn.Module) -> bool:
    return model.input_kind == "image"


def is_towers(model: nn.Module) -> bool:
    return model.input_kind == "image_text"


def is_pair(model: nn.Module) -> bool:
    return model.input_kind.endswith("_pair")


def inputs_of(model: nn.Module, batch: int = 3) -> tuple[Tensor, ...]:
    """Random inputs: pixels, tokens, vectors, or a source and a target."""
    shapes = [example for example in model.example_inputs(batch, LENGTH) if example is not None]
    if is_pair(model):
        shapes[1] = shapes[1][:, :TARGET_LENGTH]
    return tuple(
        torch.randn(example.shape, dtype=next(model.parameters()).dtype)
        if example.is_floating_point()
        else torch.randint(0, 17, example.shape)
        for example in shapes
    )


def learnt_from(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """All numbers that a loss may be made of: of detectors those of every layer, and of noisy boxes, too."""
    if not hasattr(model, "n_queries"):
        return run(model, inputs)
    targets = torch.rand(len(inputs[0]), 2, 5) * 0.3 + 0.3
    targets[..., 0] = torch.tensor([0, 1])
    output = model(*inputs, targets=targets) if hasattr(model, "noise") else model(*inputs)
    answers = [output, *output.auxiliary, *output.denoised]
    return torch.cat([side.flatten() for each in answers for side in (each.logits, each.boxes)])


def run(
    model: nn.Module, inputs: tuple[Tensor, ...], lengths: Tensor | None = None, target_lengths: Tensor | None = None
) -> Tensor:
    """The logits, or the masks, or the hidden states of a bare backbone."""
    if isinstance(model, Transformer):
        target = {"target": inputs[1], "target_lengths": target_lengths} if len(inputs) > 1 else {}
        return model(inputs[0], lengths, **target)
    if is_towers(model):
        output = model(*inputs, lengths)
        return torch.cat((output.images, output.texts), -1) * model.scale
    if is_pair(model):
        output = model(*inputs, lengths, target_lengths)
    else:
        output = model(*inputs) if is_picture(model) else model(*inputs, lengths)
    if output.boxes is not None:
        return torch.cat((output.logits, output.boxes), -1)
    answers = (output.logits, output.masks, output.hidden)
    return next(each for each in answers if each is not None)
