"""FLOPs of a forward pass by pencil and paper: from a configuration's numbers alone, without building anything.

Nothing here looks at the code of the models, so that agreement with the trace means something. Each formula counts
the products of matrices (1 multiply-add is 2 FLOPs), attention with every key for every query.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod
from typing import Any

Config = dict[str, Any]


def forward_formula(config: Config, batch: int, length: int | None) -> int | None:
    """FLOPs of one forward pass of a batch.

    Args:
        config: whole, as `dougong.resolve` gives it.
        batch: samples.
        length: tokens or vectors of each, source and target alike; of no meaning for pictures.

    Returns:
        The figure, or None for a family without a formula here.
    """
    formula = FORMULAS.get(config["architecture"])
    return None if formula is None else round(batch * formula(config, length or 0))


def blocks(tokens: int, n: int, d_model: int, d_ff: int) -> int:
    """Transformer blocks: 2 N L for the N = 4 D^2 + 2 D F weights of each, and 4 L^2 D for its attention."""
    return n * (2 * (4 * d_model**2 + 2 * d_model * d_ff) * tokens + 4 * tokens**2 * d_model)


def _vit(c: Config, length: int) -> int:
    height, width = pair(c["image_size"])
    rows, columns = pair(c["patch_size"])
    patches, d = (height // rows) * (width // columns), c["d_model"]
    embedding = 2 * 3 * rows * columns * d * patches
    teacher = bool(c.get("teacher"))  # a second token and a second layer of classes
    tokens = patches + (c.get("pool", "first") == "first") + teacher
    answer = c["n_classes"] or (d if c.get("pooler") else 0)  # a pooler is as wide as the model
    return embedding + blocks(tokens, c["n_layers"], d, c["d_ff"]) + 2 * d * answer * (1 + teacher)


def _gpt2(c: Config, length: int) -> int:
    d = c["d_model"]
    return blocks(length, c["n_layers"], d, c["d_ff"] or 4 * d) + _answer(c, length)


def _bert(c: Config, length: int) -> int:
    d = c["d_model"]
    found = blocks(length, c["n_layers"], d, c["d_ff"])
    if c["head"] == "masked-language":  # a dense layer and the table of tokens, for every token
        return found + 2 * length * (d * d + d * c["vocab_size"])
    if c["head"] in ("sequence", "pooler"):  # a dense layer and the classes, for the first token
        return found + 2 * d * (d + (c["n_classes"] if c["head"] == "sequence" else 0))
    classes = {"tokens": c["n_classes"], "questions": 2}.get(c["head"], 0)
    return found + 2 * length * d * classes


def _transformer(c: Config, length: int) -> int:
    d = c["d_model"]
    decoder = c.get("n_decoder_layers") or c["n_layers"]
    return _encoder_decoder(d, c["d_ff"], c["n_layers"], decoder, length) + 2 * length * d * c["vocab_size"]


def _encoder_decoder(d: int, d_ff: int, n: int, n_decoder: int, length: int) -> int:
    """A decoder's block has a second attention, over the memory: 4 D^2 weights and 4 L^2 D more."""
    return blocks(length, n + n_decoder, d, d_ff) + n_decoder * (2 * 4 * d * d * length + 4 * length**2 * d)


def _t5(c: Config, length: int) -> int:
    """Heads together may be wider or narrower than D; a gated feed-forward layer has three matrices."""
    d, wide, n = c["d_model"], c["n_heads"] * c["d_head"], c["n_layers"]
    decoder = c["n_decoder_layers"] or n
    attention = 2 * 4 * d * wide * length + 4 * length**2 * wide
    feed_forward = 2 * (3 if c["gated"] else 2) * d * c["d_ff"] * length
    return (n + 2 * decoder) * attention + (n + decoder) * feed_forward + 2 * length * d * c["vocab_size"]


def _vectors(c: Config, length: int) -> int:
    d, n = c["d_model"] or 64 * c["nhead"], c["num_layers"]
    d_ff = c["d_ff"] or 4 * d
    ends = 2 * length * d * (c["input_dim"] + c["output_dim"])
    if c["target_dim"] is None:
        return ends + blocks(length, n, d, d_ff)
    return ends + 2 * length * d * c["target_dim"] + _encoder_decoder(d, d_ff, n, n, length)


def _llama(c: Config, length: int) -> int:
    """Grouped keys and values, and a gated feed-forward layer of three matrices."""
    d, heads = c["d_model"], c["n_heads"]
    wide = heads * (c["d_head"] or d // heads)
    narrow = wide * (c["n_kv_heads"] or heads) // heads
    experts = c.get("n_chosen", 1)  # of a mixture, those that a token is sent to, and the router
    weights = 2 * d * wide + 2 * d * narrow + 3 * d * c["d_ff"] * experts + d * c.get("n_experts", 0)
    return c["n_layers"] * (2 * weights * length + 4 * length**2 * wide) + _answer(c, length)


def _answer(c: Config, length: int) -> int:
    """What a decoder answers with, at each token or at the last one."""
    width = {"causal-language": c["vocab_size"] * length, "tokens": c["n_classes"] * length, "sequence": c["n_classes"]}
    return 2 * c["d_model"] * width.get(c["head"], 0)


def _recurrent(gates: int) -> Callable[[Config, int], int]:
    """Each gate multiplies the input and the state, at each step."""

    def formula(c: Config, length: int) -> int:
        d, directions = c["d_model"], 2 if c["bidirectional"] else 1
        length, found = _sequence(c, length)
        for layer in range(c["n_layers"]):
            read = d if layer == 0 else directions * d
            found += directions * 2 * gates * d * (read + d) * length
        if c["head"] == "causal-language":
            return found + 2 * d * c["vocab_size"] * length
        return found + 2 * directions * d * (c["n_classes"] or 0) * (length if c["head"] == "tokens" else 1)

    return formula


def _textcnn(c: Config, length: int) -> int:
    """As many answers as tokens for every filter: the sentence is padded."""
    length, found = _sequence(c, length)
    filters = c["n_filters"] * len(c["widths"])
    found += 2 * sum(c["widths"]) * c["d_model"] * c["n_filters"] * length
    return found + 2 * filters * (c["n_classes"] or 0) * (length if c["head"] == "tokens" else 1)


def _sequence(c: Config, length: int) -> tuple[int, int]:
    """Length of what is read, and FLOPs of its embedding: a table is free, vectors and patches are multiplied."""
    if c["image_size"] is not None:
        height, width = pair(c["image_size"])
        rows, columns = (1, width) if c["patch_size"] is None else pair(c["patch_size"])
        length = (height // rows) * (width // columns)
        return length, 2 * 3 * rows * columns * c["d_model"] * length
    return length, 2 * length * c["d_model"] * (c["d_input"] or 0)


def _resnet(c: Config, length: int) -> int:
    """Convolutions stage by stage (He et al. 2016, table 1); the second 3x3 of a stage's first block is at its size."""
    width, bottleneck = c["width"], c["block"] == "bottleneck"
    imagenet = c["stem"] == "imagenet"
    size = [ceil(side / (2 if imagenet else 1)) for side in pair(c["image_size"])]
    found = 2 * 3 * width * (49 if imagenet else 9) * prod(size)
    size = [ceil(side / (2 if imagenet else 1)) for side in size]
    read = width
    for stage, n in enumerate(c["layers"]):
        inner = width * 2**stage
        out = inner * (4 if bottleneck else 1)
        for block in range(n):
            stride = 2 if stage and not block else 1
            before, size = prod(size), [ceil(side / stride) for side in size]
            if bottleneck:  # 1x1 at the old size, 3x3 that strides, 1x1
                found += 2 * (read * inner * before + (9 * inner * inner + inner * out) * prod(size))
            else:
                found += 2 * 9 * (read * inner + inner * inner) * prod(size)
            if c["shortcut"] == "projection" and (stride > 1 or read != out):
                found += 2 * read * out * prod(size)
            read = out
    return found + 2 * read * (c["n_classes"] or 0)


def pair(side: Any) -> tuple[int, int]:
    """224 or [224, 224] as two numbers."""
    return (side, side) if isinstance(side, int) else (side[0], side[1])


FORMULAS: dict[str, Callable[[Config, int], int]] = {
    "vit": _vit, "gpt2": _gpt2, "bert": _bert, "transformer": _transformer, "vectors": _vectors,
    "deit": _vit, "roberta": _bert, "distilbert": _bert, "bart": _transformer, "marian": _transformer, "t5": _t5,
    "mixtral": _llama, "gemma2": _llama, "llama": _llama, "mistral": _llama, "qwen2": _llama, "qwen3": _llama,
    "resnet": _resnet, "rnn": _recurrent(1), "gru": _recurrent(3), "lstm": _recurrent(4), "textcnn": _textcnn,
}  # fmt: skip
