"""From a checkpoint of 500 MB to the first token, beside Transformers, each in a fresh process, in turns.

python benchmarks/opening.py [--cases gpt2 llama] [--rounds 5] [--threads 4] [--quick]

"process" counts from the start of the process, imports included; "loaded" from after the imports. Both must write the
same token. Files are in the page cache.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import record

CASES = ("gpt2", "llama")
BOTH = ("dougong", "transformers")
PROMPT = [5, 3, 8, 2, 9, 4, 7, 6]


def make(case: str, folder: Path, quick: bool) -> int:
    """Write a checkpoint; the bytes of its weights."""
    from common import peer, random_weights

    transformers = peer("transformers")
    if case == "gpt2":
        small = {"n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 512} if quick else {}
        model: Any = transformers.GPT2LMHeadModel(transformers.GPT2Config(**small))
    else:
        sizes = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 2048, "vocab_size": 32000}
        small = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "vocab_size": 512}
        heads = 1 if quick else 12
        config = transformers.LlamaConfig(
            **(small if quick else sizes), num_attention_heads=heads, num_key_value_heads=heads
        )
        model = transformers.LlamaForCausalLM(config)
    random_weights(model).save_pretrained(folder)
    return sum(each.numel() * each.element_size() for each in model.parameters())


def child(library: str, case: str, folder: str, threads: int, started: float) -> None:
    """Load, write one token, print what it took."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    if library == "dougong":
        import dougong

        _ = dougong.generate, dougong.load, dougong.prepare  # imported now
        imported = time.perf_counter()
        model = dougong.prepare(dougong.load(folder), precision="float32")
        token = dougong.generate(model, [PROMPT], max_new_tokens=1, end=())[0].tokens[0]
    else:
        import transformers

        kind: Any = getattr(transformers, {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}[case])
        imported = time.perf_counter()
        model = kind.from_pretrained(folder)
        ids = torch.tensor([PROMPT])
        token = int(
            model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=1, pad_token_id=0)[
                0, -1
            ]
        )
    loaded = time.perf_counter() - imported
    print(json.dumps({"process": time.time() - started, "loaded": loaded, "token": token}))


def measure(case: str, folder: Path, given: Any) -> dict[str, Any]:
    """Medians of both, and ours as a share of theirs pair by pair.

    Raises:
        SystemExit: they wrote different tokens.
    """
    figures: dict[str, Any] = {"weights_bytes": make(case, folder, given.quick)}
    found: dict[str, list[dict[str, float]]] = {who: [] for who in BOTH}
    for turn in range(given.rounds + 1):  # the first only warms the page cache
        for who, rows in found.items():
            words = [sys.executable, __file__, "--child", who, case, str(folder), str(given.threads or 0)]
            said = subprocess.run(
                [*words, str(time.time())], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ).stdout
            if turn:
                rows.append(json.loads(said.splitlines()[-1]))
    if len({row["token"] for rows in found.values() for row in rows}) > 1:
        raise SystemExit(f"{case}: they wrote different tokens")
    for key in ("process", "loaded"):
        for who, rows in found.items():
            figures[f"{who}_{key}_seconds"] = statistics.median(row[key] for row in rows)
        pairs = sorted(a[key] / b[key] for a, b in zip(found["dougong"], found["transformers"], strict=True))
        figures |= {f"{key}_ratio": statistics.median(pairs), f"{key}_low": pairs[0], f"{key}_high": pairs[-1]}
    return figures


def main() -> None:
    """Measure, print, record."""
    if sys.argv[1:2] == ["--child"]:
        library, case, folder, threads, started = sys.argv[2:]
        child(library, case, folder, int(threads), float(started))
        return
    from common import options, say

    given = options(__doc__, cases={"nargs": "+", "default": CASES, "choices": CASES})
    figures: dict[str, Any] = {"goal": "0.5 of the time of Transformers"}
    for case in given.cases:
        with tempfile.TemporaryDirectory() as folder:
            figures[case] = measure(case, Path(folder), given)
        say(case, figures[case])
        if not given.dry:
            record("opening", figures)


if __name__ == "__main__":
    main()
