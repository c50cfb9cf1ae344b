"""Greedy generation of 128 tokens with a model of GPT-2's size, float32, against Transformers in the same run.

Both have the same random weights and must write the same tokens. One prompt of 32 tokens; eight prompts of 32; eight
prompts of 4 to 60 tokens, which Transformers gets padded on the left; and four beams.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from typing import Any

import torch
from record import in_turns, ratio, record

COUNT, ROUNDS, GOAL = 128, 5, 1.3
UNEQUAL = (4, 60, 12, 33, 21, 50, 8, 40)


def main() -> None:
    """Measure, print, record."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers

    import dougong

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs: Any = transformers.GPT2LMHeadModel(transformers.GPT2Config()).eval()
        with torch.no_grad():  # large enough that no two scores are equal but for rounding
            for weight in theirs.parameters():
                weight.copy_(torch.randn_like(weight) * 0.05 if weight.dim() > 1 else weight)
        theirs.generation_config.eos_token_id = None
        theirs.save_pretrained(folder)
        ours = dougong.load(folder)
    numbers = torch.Generator().manual_seed(1)

    def prompts(lengths: tuple[int, ...]) -> list[list[int]]:
        return [torch.randint(0, 50257, (length,), generator=numbers).tolist() for length in lengths]

    cases: dict[str, tuple[list[list[int]], int]] = {
        "one prompt": (prompts((32,)), 1),
        "eight prompts": (prompts((32,) * 8), 1),
        "eight prompts of unequal length": (prompts(UNEQUAL), 1),
        "one prompt, four beams": (prompts((32,)), 4),
    }
    figures: dict[str, Any] = {}
    for name, (rows, beams) in cases.items():
        longest = max(len(row) for row in rows)
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
        real = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])

        def write_theirs(ids: Any = ids, real: Any = real, beams: int = beams) -> list[list[int]]:
            found = theirs.generate(
                ids, attention_mask=real, do_sample=False, num_beams=beams, max_new_tokens=COUNT, pad_token_id=0
            )
            return found[:, ids.shape[1] :].tolist()

        def write_ours(rows: Any = rows, beams: int = beams) -> list[list[int]]:
            return [list(one.tokens) for one in dougong.generate(ours, rows, max_new_tokens=COUNT, beams=beams)]

        equal = write_theirs() == write_ours()
        seconds = in_turns({"dougong": write_ours, "transformers": write_theirs}, rounds=ROUNDS, warmup=1)
        found = ratio(seconds, "dougong", "transformers")
        tokens = COUNT * len(rows)
        speeds = {kind: tokens / found[f"{kind}_seconds"] for kind in ("dougong", "transformers")}
        figures[name] = {
            "dougong_tokens_per_second": speeds["dougong"],
            "transformers_tokens_per_second": speeds["transformers"],
            "speedup": 1 / found["ratio"],
            "speedup_low": 1 / found["ratio_high"],
            "speedup_high": 1 / found["ratio_low"],
            "equal_tokens": equal,
        }
        print(
            f"{name:32} dougong {speeds['dougong']:7.1f} tokens/s   transformers {speeds['transformers']:7.1f}   "
            f"{1 / found['ratio']:.2f} times ({1 / found['ratio_high']:.2f} to {1 / found['ratio_low']:.2f}), "
            f"{'equal' if equal else 'NOT equal'} tokens"
        )
    record("generating", {"new_tokens": COUNT, "parameters": 124439808, "goal": GOAL, **figures})


if __name__ == "__main__":
    main()
