"""Where the time of three workloads goes, in plain modules of PyTorch and in ours: kernel by kernel, in a few groups.

python benchmarks/profiles.py [--cases decoding encoding training] [--rounds 3] [--threads 1] [--quick]

Decoding a token of a Llama of 125M parameters; encoding a sentence with BERT-base; a training step of a GPT-2 of
6 x 512. "before" is the same model in Transformers, whose modules are PyTorch's own, with padding as the sentences
come; "after" is ours as it is used. Outputs are compared first. The whole time is measured without a profiler, and what
kernels took by torch.profiler (self time, grouped by name); what is left is Python's and that of calls, views and
allocations. Our decoder's step is one call without operations of torch, so its own operations are timed one by one.

DOUGONG_DATA names the folder that holds sst2/dev.csv.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import CLOSE, apart, options, peer, prepared, random_weights, say
from decoding import PROMPT, Models
from encoding import BATCH, batches, encoders, real, sentences
from language_step import SIZES, trainer, weights
from record import in_turns, record

import dougong

CASES = ("decoding", "encoding", "training")
KINDS = ("products", "vocabulary", "attention", "elementwise", "copies", "optimiser", "rest")
"""Matrix products; scores of the vocabulary and their loss; attention; norms, activations and sums; values that are
copied, as into a cache or out of padding, or cleared; the optimiser; Python, calls and views."""

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "_linear_pointwise", "mkldnn_linear", "_mkl_linear", "packed_linear"}
SCORED = PRODUCTS | {"_log_softmax", "_log_softmax_backward_data", "nll_loss_forward", "nll_loss_backward", "copy_"}
COPIES = {
    "copy_", "cat", "index", "index_select", "index_copy_", "gather", "embedding", "embedding_dense_backward",
    "index_put_", "_index_put_impl_", "index_add_", "slice_backward", "masked_select", "clone", "fill_", "zero_",
}  # fmt: skip
CALLS = {
    "view", "reshape", "_reshape_alias", "_unsafe_view", "transpose", "t", "permute", "as_strided", "expand",
    "unsqueeze", "squeeze", "slice", "select", "split", "chunk", "unbind", "narrow", "alias", "detach", "detach_",
    "empty", "empty_like", "empty_strided", "resize_", "new_empty", "new_zeros", "zeros", "zeros_like", "ones", "full",
    "arange", "linear", "matmul", "to", "_to_copy", "contiguous", "item", "_local_scalar_dense", "is_nonzero",
    "lift_fresh", "result_type", "unflatten", "flatten", "view_as", "split_with_sizes", "equal", "all", "any",
    "cross_entropy_loss", "nll_loss_nd", "scaled_dot_product_attention", "layer_norm", "dropout",
}  # fmt: skip
"""Operations of torch that move no values, or only call others."""
PHASES = {"EMBED": "copies", "LINEAR": "products", "ATTEND": "attention", "CROSS": "attention"}
"""Of the operations of our own step; all others are elementwise, and the last product is the vocabulary's."""


def kind_of(event: Any, vocabulary: int) -> str:
    """The group of what the profiler saw. Args: vocabulary: V, by which its products are told from others."""
    name, above = event.name.split("::")[-1], event
    while above is not None:
        if above.name.startswith("Optimizer."):
            return "optimiser"
        if above.name.startswith("ChunkedCrossEntropy"):
            return "rest" if name in CALLS else "vocabulary"
        above = above.cpu_parent
    if name in SCORED and any(vocabulary in shape for shape in event.input_shapes or () if shape):
        return "vocabulary"
    if name in PRODUCTS:
        return "products"
    if "attention" in name and name not in CALLS:
        return "attention"
    if name in COPIES:
        return "copies"
    return "rest" if name in CALLS or "::" not in event.name or "autograd" in event.name else "elementwise"


def seen(run: Callable[[], Any], whole: float, vocabulary: int) -> dict[str, float]:
    """Seconds of each group in a run.

    Args:
        run: what is profiled.
        whole: seconds that it takes without a profiler.
        vocabulary: V.
    """
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        run()
    times = dict.fromkeys(KINDS, 0.0)
    for event in found.events() or ():
        times[kind_of(event, vocabulary)] += event.self_cpu_time_total / 1e6
    return shared(times, whole)


def shared(times: dict[str, float], whole: float) -> dict[str, float]:
    """Groups that make up the whole: the rest is what others leave; what a profiler adds is taken from all alike."""
    others = {kind: seconds for kind, seconds in times.items() if kind != "rest"}
    total = sum(others.values())
    others = {kind: seconds * min(1.0, whole / total) if total else seconds for kind, seconds in others.items()}
    return {**others, "rest": max(0.0, whole - sum(others.values())), "seconds": whole}


def each(times: dict[str, float], count: int) -> dict[str, float]:
    """For one of so many."""
    return {kind: seconds / count for kind, seconds in times.items()}


def medians(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Seconds of each, measured in turns."""
    return {name: statistics.median(taken) for name, taken in in_turns(runs, rounds, warmup=1, most=90.0).items()}


def phases(model: Any, prompt: list[int], steps: int) -> dict[str, float]:
    """Seconds of each group in one step of our own after a prompt: medians of its operations; {} without kernels."""
    from dougong.runtime.native import operations
    from dougong.runtime.writer import Writer

    writer, taken = Writer(model), []
    with torch.inference_mode():
        scores = writer.begin([prompt], steps + 3)
        for step in range(steps + 2):
            tokens = scores.argmax(-1)
            if step < 2 or writer.captured is None:
                scores = writer.step(tokens)
                continue
            found, seconds = writer.captured.timed(tokens[:, None], writer.cache)
            taken.append(seconds)
            scores = found[:, -1]
    times = dict.fromkeys(KINDS, 0.0)
    if writer.captured is None or not taken:
        return {}
    names = {getattr(operations, name): kind for name, kind in PHASES.items()}
    ops = writer.captured.ops
    for number, op in enumerate(ops):
        last = op["kind"] == operations.LINEAR and op["out"] is writer.captured.scores
        kind = "vocabulary" if last else names.get(op["kind"], "elementwise")
        times[kind] += statistics.median(seconds[number] for seconds in taken)
    return times


def decoding(given: Any, transformers: Any, bandwidth: float) -> dict[str, Any]:
    """One token of a text."""
    sizes = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 2048, "vocab_size": 32000}
    if given.quick:
        sizes = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "vocab_size": 512}
    heads, count = sizes["hidden_size"] // 64, 8 if given.quick else 32
    longest = 128 if given.quick else 2048
    config = transformers.LlamaConfig(
        **sizes, num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=2 * longest
    )
    with tempfile.TemporaryDirectory() as folder:
        models = Models(given, Path(folder), random_weights(transformers.LlamaForCausalLM(config)))
        ours, rows = models.ours("float32"), [models.prompts[0][:PROMPT]]
        runs = {
            "after": lambda: models.write_ours(ours, rows, count),
            "before": lambda: models.write_theirs(models.theirs, rows, count),
        }
        if runs["before"]() != runs["after"]():
            raise SystemExit("decoding: not both wrote the same tokens")
        seconds = medians(runs, given.rounds)
        told: dict[str, Any] = {"unit": "token"}
        told["before"] = each(seen(runs["before"], seconds["before"], sizes["vocab_size"]), count)
        own, whole = phases(ours, rows[0], count), seconds["after"] / count
        told["after"] = shared(own, whole) if own else each(seen(runs["after"], seconds["after"], -1), count)
        read = sum(p.numel() for p in models.theirs.parameters()) - sizes["vocab_size"] * sizes["hidden_size"]
        told |= {"flops": 2 * read, "bytes": 4 * read, "seconds_of_memory": 4 * read / bandwidth}
        numbers = torch.Generator().manual_seed(2)
        for length in (longest // 32, longest // 4, longest):
            text = torch.randint(0, sizes["vocab_size"], (length,), generator=numbers).tolist()
            found = phases(ours, text, 5)
            if found:
                told[f"after {length} tokens"] = {"attention": found["attention"], "seconds": sum(found.values())}
    return told


def encoding(given: Any, transformers: Any, bandwidth: float) -> dict[str, Any]:
    """A sentence, out of batches of 32."""
    rows = sentences(64 if given.quick else 128)
    come, ordered = batches(rows), batches(sorted(rows, key=len))
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    torch.manual_seed(0)
    config = transformers.BertConfig(**(small if given.quick else {}))
    theirs = transformers.BertModel(config, add_pooling_layer=False).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = prepared(dougong.load(folder), "float32")
    both = encoders(ours, theirs, None, come, ordered)
    runs = {"before": both["transformers_padded"], "after": both["dougong"]}
    pairs = zip(both["transformers_sorted"](), runs["after"](), ordered, strict=True)
    if max(apart(a[real(batch)], b[real(batch)]) for a, b, batch in pairs) > CLOSE:
        raise SystemExit("encoding: hidden states are too far apart")
    seconds = medians(runs, given.rounds)
    told: dict[str, Any] = {"unit": "sentence"}
    told |= {name: each(seen(run, seconds[name], -1), len(rows)) for name, run in runs.items()}
    from dougong.cost import forward_flops

    flops = sum(forward_flops(dict(ours.config), 1, len(row)) for row in rows) / len(rows)
    read = sum(p.numel() for name, p in theirs.named_parameters() if "embeddings" not in name)
    places = sum(tokens.numel() for tokens, _ in come)
    told |= {"flops": flops, "bytes": 4 * read / BATCH, "padding": 1 - sum(map(len, rows)) / places}
    return told


def training(given: Any, transformers: Any, bandwidth: float) -> dict[str, Any]:
    """A step of 8 texts of 256 tokens."""
    sizes = {**SIZES, **({"layers": 2, "width": 64, "vocabulary": 1000, "length": 32} if given.quick else {})}
    how = argparse.Namespace(**sizes)
    with tempfile.TemporaryDirectory() as folder:
        weights(how, folder)
        names = {"before": "transformers", "after": "dougong"}
        runs = {name: trainer(who, "float32", folder, how) for name, who in names.items()}
        if abs(runs["before"]() - runs["after"]()) > CLOSE:
            raise SystemExit("training: losses are too far apart")
        config = dict(dougong.load(folder).config)
    seconds = medians(dict(runs), given.rounds)
    told: dict[str, Any] = {"unit": f"step of {how.batch * how.length} tokens"}
    told |= {name: seen(run, seconds[name], how.vocabulary) for name, run in runs.items()}
    from dougong.cost import training_flops

    count = sum(weight.numel() for weight in dougong.build(config).parameters())
    # weights are read forward and twice backward, gradients written; AdamW reads four numbers of each and writes three
    told |= {"flops": training_flops(config, how.batch, how.length), "bytes": 4 * count * (3 + 1 + 7)}
    return told


def main() -> None:
    """Measure, print, record."""
    given = options(__doc__, rounds=3, cases={"nargs": "+", "default": CASES, "choices": CASES})
    transformers = peer("transformers")
    if transformers is None:
        raise SystemExit("nothing to compare with")
    from dougong.cost.limits import limits

    here = limits("cpu")
    figures: dict[str, Any] = {"bandwidth": here.bandwidth, "matrix_rate": here.matrix("float32")}
    for case in given.cases:
        told = figures[case] = globals()[case](given, transformers, here.bandwidth)
        for name in ("before", "after"):
            say(f"{case}, {name}, ms", {kind: 1000 * seconds for kind, seconds in told[name].items()})
        if not given.dry:
            record("profiles", figures)


if __name__ == "__main__":
    main()
