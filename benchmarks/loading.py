"""Opening a checkpoint of 500 MB against Transformers: time and peak memory, each in a fresh process, in turns.

python benchmarks/loading.py [--rounds 7] [--case NAME ...] [--dry]

The checkpoints have random weights in the layouts of GPT-2 (whose matrices are stored transposed) and BERT: one
safetensors file, several, and a .bin. Every file was just written or read, so that all of it is in the page cache.
Peak memory is the process's high-water mark while it loads, less what it held after its imports; pages of a mapped
file count as the others do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import record

CASES = ("gpt2", "gpt2_sharded", "gpt2_bin", "bert", "bert_sharded", "bert_bin")
KINDS = {"gpt2": ("GPT2Config", "GPT2LMHeadModel"), "bert": ("BertConfig", "BertForMaskedLM")}
TINY = {
    "gpt2": {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 16, "n_positions": 8, "bos_token_id": 0,
             "eos_token_id": 0},
    "bert": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
             "vocab_size": 16},
}  # fmt: skip
NOTE = (
    "Transformers maps the file and reads no weight while it loads; here every weight is read once, for NaN. GPT-2's "
    "matrices are stored transposed and are turned here, which is a copy of two thirds of the weights; Transformers "
    "multiplies with them as they are. A .bin is opened by torch.load in both."
)
GOALS = "at most 0.7 of Transformers' time; peak memory at most 1.15 times the weights"


def make(case: str, folder: Path, **sizes: int) -> int:
    """Write a checkpoint; the bytes of its weights."""
    import torch
    import transformers

    config, model = (getattr(transformers, name) for name in KINDS[case.split("_")[0]])
    torch.manual_seed(0)
    made = model(config(**sizes))
    made.save_pretrained(folder, **({"max_shard_size": "100MB"} if case.endswith("sharded") else {}))
    if case.endswith("bin"):
        from safetensors.torch import load_file

        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return sum(each.numel() * each.element_size() for each in made.parameters())


def resident(kind: str) -> int:
    """Bytes that this process holds ("VmRSS"), or held at most ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def processor_seconds() -> float:
    """User and system time of this process."""
    used = os.times()
    return used.user + used.system


def child(library: str, case: str, folder: Path, started: float) -> None:
    """Load once and print what it took.

    A tiny checkpoint of the same kind goes first, so that modules imported at the first use are no part of "seconds".
    "read_seconds" ends when every weight has been read once, which whatever follows needs: a library may map the file
    and leave the reading to the first pass.
    """
    if library == "dougong":
        from dougong import load
    else:
        import transformers

        transformers.utils.logging.disable_progress_bar()
        load = getattr(transformers, KINDS[case.split("_")[0]][1]).from_pretrained
    load(folder / "tiny")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from what is held now
    before, used, start = resident("VmHWM"), processor_seconds(), time.perf_counter()
    model = load(folder / "whole")
    seconds, used = time.perf_counter() - start, processor_seconds() - used
    peak = resident("VmHWM") - before
    total = sum(float(part.sum()) for each in model.parameters() for part in each.detach().flatten().split(2**15))
    found = {
        "seconds": seconds, "read_seconds": time.perf_counter() - start, "processor_seconds": used,
        "process_seconds": time.time() - started, "peak": peak, "read_peak": resident("VmHWM") - before, "sum": total,
    }  # fmt: skip
    print(json.dumps(found))


TIMES = {"seconds": "ratio", "processor_seconds": "processor_ratio", "read_seconds": "read_ratio",
         "process_seconds": "process_ratio"}  # fmt: skip


def measure(case: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Medians of both, and ours as a share of theirs pair by pair."""
    make(case, folder / "tiny", **TINY[case.split("_")[0]])
    n_bytes = make(case, folder / "whole")
    found: dict[str, list[dict[str, float]]] = {"dougong": [], "transformers": []}
    for turn in range(rounds + 1):  # the first only warms the page cache
        for library, rows in found.items():
            words = [sys.executable, __file__, "--child", library, "--case", case, "--folder", str(folder)]
            words += ["--started", str(time.time())]
            said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
            if turn:
                rows.append(json.loads(said.splitlines()[-1]))
    sums = {library: rows[0]["sum"] for library, rows in found.items()}
    if abs(sums["dougong"] - sums["transformers"]) > 1e-9 * n_bytes:
        raise SystemExit(f"{case}: other weights were loaded: {sums}")
    figures: dict[str, Any] = {"weights_bytes": n_bytes}
    for library, rows in found.items():
        figures |= {f"{library}_{key}": statistics.median(row[key] for row in rows) for key in TIMES}
        for key in ("peak", "read_peak"):
            figures[f"{library}_{key}_over_weights"] = statistics.median(row[key] for row in rows) / n_bytes
    for key, name in TIMES.items():
        pairs = sorted(a[key] / b[key] for a, b in zip(found["dougong"], found["transformers"], strict=True))
        figures |= {name: statistics.median(pairs), f"{name}_low": pairs[0], f"{name}_high": pairs[-1]}
    return figures


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--case", nargs="*", default=CASES, choices=CASES)
    parser.add_argument("--dry", action="store_true", help="print only")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.child:
        return child(options.child, options.case[0], options.folder, options.started)
    figures = {}
    for case in options.case:
        with tempfile.TemporaryDirectory() as scratch:
            figures[case] = one = measure(case, Path(scratch), options.rounds)
        print(f"{case:13} {one['dougong_seconds']:.3f} s, {one['dougong_peak_over_weights']:.2f} of the weights; "
              f"transformers {one['transformers_seconds']:.3f} s, {one['transformers_peak_over_weights']:.2f}; "
              f"ratio {one['ratio']:.2f} ({one['ratio_low']:.2f} to {one['ratio_high']:.2f}), "
              f"processor {one['processor_ratio']:.2f}, until read {one['read_ratio']:.2f} (memory "
              f"{one['dougong_read_peak_over_weights']:.2f} and {one['transformers_read_peak_over_weights']:.2f}), "
              f"whole process {one['process_ratio']:.2f}", flush=True)  # fmt: skip
    if not options.dry:
        record("loading", {"rounds": options.rounds, "goal": GOALS, "note": NOTE, **figures})
    return None


if __name__ == "__main__":
    main()
