"""What guessing, admission and shared beginnings save, with two small models of characters that are trained first.

The larger one writes plays of Shakespeare; a model of one layer drafts for it. Greedy and drawn, at batch 1: tokens a
second without guesses, with the draft, with a lookup, and how many guesses were right; greedy texts must be equal. Then
many prompts that end at different times, admitted as places become free against batches of 32; and prompts with a long
common beginning, read once against read each time.

python benchmarks/speculating.py [--steps 200 --tokens 200 --rounds 3] [--dry]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from record import in_turns, ratio, record
from torch import nn

LENGTH = 512


def text() -> list[int]:
    """Shakespeare's characters as numbers."""
    folder = Path(os.environ["DOUGONG_DATA"]) / "tinyshakespeare"
    words = "".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.txt")))
    known = {letter: number for number, letter in enumerate(sorted(set(words)))}
    return [known[letter] for letter in words]


def trained(ids: torch.Tensor, steps: int, **sizes: int) -> nn.Module:
    """A small GPT-2, after so many steps of 16 pieces of 128 characters."""
    import dougong

    vocabulary = int(ids.max()) + 1
    model = dougong.build("gpt2-small", seed=0, vocab_size=vocabulary, max_length=LENGTH, dropout=0.0, **sizes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    numbers = torch.Generator().manual_seed(0)
    for _ in range(steps):
        starts = torch.randint(0, len(ids) - 129, (16,), generator=numbers)
        batch = torch.stack([ids[start : start + 129] for start in starts.tolist()])
        logits = model(batch[:, :-1]).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"{sizes}: loss {float(loss.detach()):.2f} after {steps} steps")
    return model.eval()


def main() -> None:
    """Measure, print, record."""
    import dougong

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"steps": 200, "tokens": 200, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--dry", action="store_true", help="record nothing")
    options = parser.parse_args()
    ids = torch.tensor(text())
    model = trained(ids, options.steps, d_model=256, n_layers=6, n_heads=4)
    draft = trained(ids, options.steps * 2, d_model=64, n_layers=1, n_heads=2)
    prompt = ids[1000:1064].tolist()
    figures: dict[str, Any] = {}
    guesses: dict[str, dict[str, Any]] = {"without": {}, "draft": {"draft": draft}, "lookup": {"lookup": 3}}
    for way, rules in {"greedy": {}, "drawn": {"temperature": 0.8, "seed": 1}}.items():
        rules = {**rules, "max_new_tokens": options.tokens, "end": ()}
        found = {name: dougong.generate(model, prompt, **rules, **guess) for name, guess in guesses.items()}
        calls = {
            name: lambda guess=guess, rules=rules: dougong.generate(model, prompt, **rules, **guess)
            for name, guess in guesses.items()
        }
        seconds = in_turns(calls, rounds=options.rounds, warmup=1)
        figures[way] = {}
        for name, one in found.items():
            figures[way][name] = {
                "tokens_per_second": options.tokens / sorted(seconds[name])[len(seconds[name]) // 2],
                "accepted": one.accepted / one.proposed if one.proposed else None,
                "equal_tokens": one.tokens == found["without"].tokens,
            }
            print(way, name, figures[way][name])

    starts = torch.randint(0, len(ids) - 100, (96,), generator=torch.Generator().manual_seed(1)).tolist()
    prompts = [ids[start : start + 8 + start % 50].tolist() for start in starts]
    # a line's end, the first of all characters in order, ends a text
    rules = {"max_new_tokens": options.tokens, "end": 0, "temperature": 1.0, "seed": 3}

    def in_batches() -> list[Any]:
        return [one for at in range(0, 96, 32) for one in dougong.generate(model, prompts[at : at + 32], **rules)]

    def admitted() -> list[Any]:
        return dougong.generate(model, prompts, **rules)

    figures["admission"] = {"equal": admitted() == in_batches(), **_compared(admitted, in_batches, options.rounds)}

    beginning = ids[5000:5400].tolist()
    several = [beginning + prompt[:12] for prompt in prompts[:32]]
    once, never = dougong.prefix(model, beginning), dougong.prefix(model, beginning[::-1])
    rules = {"max_new_tokens": 8, "end": ()}

    def shared() -> list[Any]:
        return dougong.generate(model, several, prefix=once, **rules)

    def each() -> list[Any]:
        return dougong.generate(model, several, prefix=never, **rules)

    figures["prefix"] = {"equal": shared() == each(), **_compared(shared, each, options.rounds)}
    figures["prefix"] |= {"read": sum(one.read for one in shared()), "given": sum(map(len, several))}
    for name in ("admission", "prefix"):
        print(name, figures[name])
    if not options.dry:
        record("speculating", {"new_tokens": options.tokens, "steps": options.steps, **figures})


def _compared(ours: Any, other: Any, rounds: int) -> dict[str, float]:
    """How many times as fast the first is."""
    found = ratio(in_turns({"ours": ours, "other": other}, rounds=rounds, warmup=1), "ours", "other")
    names = {"speedup": "ratio", "speedup_low": "ratio_high", "speedup_high": "ratio_low"}
    return {name: 1 / found[key] for name, key in names.items()}


if __name__ == "__main__":
    main()
