"""Greedy generation with a decoder: every step takes the token of the highest score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dougong.errors import UserError
from dougong.parts.cache import Cache


@dataclass(frozen=True)
class Generation:
    """What was written after one prompt.

    Args:
        prompt: its token ids.
        tokens: the new token ids, the one that ended it included.
        reason: "end" when an end token came, "length" when all that was asked for is written.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    reason: str


def generate(
    model: nn.Module, prompts: Sequence[Sequence[int]], *, max_new_tokens: int = 100, end: int | Iterable[int] = ()
) -> list[Generation]:
    """Go on from each prompt, greedily. Prompts of one length run as one batch, so none of them is ever padded.

    Args:
        model: a decoder with a language head.
        prompts: token ids of each.
        max_new_tokens: tokens to write at most after each prompt.
        end: token ids that end a row.

    Raises:
        UserError: no tokens in a prompt, or tokens that the model does not have, or nothing to write.
    """
    if getattr(model, "input_kind", "") != "tokens":
        raise UserError("model", "is no decoder of tokens", "give a causal language model, as gpt2 or llama")
    if max_new_tokens < 1:
        raise UserError("max_new_tokens", f"{max_new_tokens} tokens cannot be written", "ask for 1 or more")
    n_vocabulary = int(model.config["vocab_size"])  # type: ignore[index, arg-type]
    by_length: dict[int, list[int]] = {}
    for row, prompt in enumerate(prompts):
        if not prompt:
            raise UserError(f"prompt {row}", "has no tokens", "give at least one")
        if min(prompt) < 0 or max(prompt) >= n_vocabulary:
            raise UserError(f"prompt {row}", f"has tokens outside 0..{n_vocabulary - 1}", "use the model's tokenizer")
        by_length.setdefault(len(prompt), []).append(row)
    ends = {end} if isinstance(end, int) else set(end)
    found: dict[int, Generation] = {}
    training = model.training
    model.eval()
    try:
        for rows in by_length.values():
            for row, tokens in zip(rows, _greedy(model, [prompts[i] for i in rows], max_new_tokens, ends), strict=True):
                reason = "end" if tokens[-1] in ends else "length"
                found[row] = Generation(tuple(prompts[row]), tuple(tokens), reason)
    finally:
        model.train(training)
    return [found[row] for row in range(len(prompts))]


@torch.inference_mode()
def _greedy(model: nn.Module, prompts: list[Sequence[int]], count: int, ends: set[int]) -> list[list[int]]:
    """New tokens of prompts of one length. A row that has ended leaves the batch, and its keys leave the cache."""
    inputs = torch.tensor([list(prompt) for prompt in prompts], device=next(model.parameters()).device)
    cache = Cache(inputs.shape[1] + count - 1)  # the last token is written and not read
    written: list[list[int]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    for _ in range(count):
        best = model(inputs, cache=cache).logits[:, -1].argmax(-1)
        chosen = best.tolist()
        for row, token in zip(alive, chosen, strict=True):
            written[row].append(token)
        going = [place for place, token in enumerate(chosen) if token not in ends]
        if not going:
            break
        if len(going) < len(alive):
            kept = torch.tensor(going, device=inputs.device)
            cache.reorder(kept)
            best, alive = best[kept], [alive[place] for place in going]
        inputs = best[:, None]
    return written
