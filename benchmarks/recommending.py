"""Sequences a second of training SASRec beside a plain loop over torch's own encoder, and the time and memory of
ranking every item for every user.

Both models have the same sizes, learn from the same histories with one negative an item, and draw the same batches; the
plain loop pads every history to the full length, as the usual implementations do, and masks the padding.

python benchmarks/recommending.py [--users 31013] [--items 23715] [--batches 24] [--rounds 3]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import in_turns, ratio, record
from torch import Tensor, nn

import dougong as dg
from dougong.data.interactions import InteractionData, read_interactions
from dougong.data.interactions.sequences import leave_one_out
from dougong.parts.output import deferring
from dougong.tasks import task_for
from dougong.training.scoring import score

LENGTH, WIDTH, BLOCKS, BATCH = 50, 50, 2, 128


def made_up(users: int, items: int) -> InteractionData:
    """Histories as long as those of the video games, of items as popular as theirs."""
    import pyarrow as pa

    draw = np.random.default_rng(0)
    sizes = np.minimum(4 + draw.geometric(0.19, users), 800)
    user = np.repeat(np.arange(users, dtype=np.int32), sizes)
    item = (items * draw.power(0.4, len(user))).astype(np.int32)
    zeros = np.zeros(len(user), np.int64)
    names = [pa.array([str(n) for n in range(count)]) for count in (users, items)]
    code = leave_one_out(user, users)
    return InteractionData("made up", "", *names, user, item, None, code, [""], zeros.astype(np.int16), zeros, {}, "")


class Padded(nn.Module):
    """torch's own encoder on histories padded to the full length."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.items, self.places = nn.Embedding(items, WIDTH), nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 1, WIDTH, 0.5, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, BLOCKS, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.mask: Tensor = nn.Transformer.generate_square_subsequent_mask(LENGTH)

    def forward(self, tokens: Tensor, real: Tensor) -> Tensor:
        """(B, LENGTH) to hidden states."""
        x = self.items(tokens) + self.places.weight
        return self.body(x, mask=self.mask, src_key_padding_mask=torch.where(real, 0.0, -torch.inf), is_causal=True)


def steps(task: Any, batches: list[Tensor]) -> dict[str, Callable[[], Any]]:
    """One pass over some batches, as dougong does it and as the plain loop does."""
    config, _ = task.adapt(dg.resolve("sasrec-kang", max_length=LENGTH, d_model=WIDTH, n_layers=BLOCKS))
    ours, theirs = dg.build(config, seed=0).train(), Padded(config["vocab_size"]).train()
    first, second = (torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True) for model in (ours, theirs))

    def packed() -> None:
        for indices in batches:
            batch = task.batch("train", indices, train=True, epoch=0, seed=0)
            first.zero_grad()
            with deferring():
                task.loss(ours(*batch.inputs), batch).backward()
            first.step()

    def plain() -> None:
        for indices in batches:
            batch = task.batch("train", indices, train=True, epoch=0, seed=0)
            tokens, lengths = batch.inputs
            room = LENGTH - tokens.shape[1]
            tokens = nn.functional.pad(tokens, (0, room))
            targets = nn.functional.pad(batch.targets, (0, 0, 0, room), value=-100)
            real = torch.arange(LENGTH) < lengths[:, None]
            second.zero_grad()
            hidden = theirs(tokens, real)
            keep = real[..., None]
            scores = (hidden[:, :, None] * theirs.items(targets.clamp_min(0))).sum(-1)
            signed = torch.cat((scores[..., :1], -scores[..., 1:]), -1)
            (-(nn.functional.logsigmoid(signed) * keep).sum() / keep.sum()).backward()
            second.step()

    return {"dougong": packed, "padded_loop": plain}


def given(users: int, items: int) -> tuple[InteractionData, str]:
    """The data and its name."""
    folder = os.environ.get("DOUGONG_DATA")
    if folder and users == 31013:
        return read_interactions(Path(folder) / "video_games"), "video_games"
    return made_up(users, items), "made up"


def ranking(users: int, items: int) -> dict[str, Any]:
    """Seconds and memory of ranking all items for all users, in a process that does nothing else."""
    task = task_for(given(users, items)[0], max_length=LENGTH, recommending={"loss": "binary"})
    model = dg.build(task.adapt(dg.resolve("sasrec-kang"))[0], seed=0).eval()
    start, busy = time.perf_counter(), time.process_time()
    score(model, task, "test")
    return {
        "full_ranking_seconds": time.perf_counter() - start,
        "full_ranking_processor_seconds": time.process_time() - busy,
        "full_ranking_users": task.size("test"),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "goal_of_ranking": "under 20 s and 2 GB on 4 cores",
    }


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=31013)
    parser.add_argument("--items", type=int, default=23715)
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--try", dest="trial", action="store_true", help="print, and leave the results as they are")
    options = parser.parse_args()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        ranked = pool.submit(ranking, options.users, options.items).result()
    data, name = given(options.users, options.items)
    task = task_for(data, max_length=LENGTH, recommending={"loss": "binary"})
    from dougong.training.plan import Plan, lengths_of

    batches = Plan(task.size("train"), BATCH, 0, lengths_of(task)).stretch(0)[: options.batches]
    seconds = in_turns(steps(task, batches), options.rounds, 1)
    figures: dict[str, Any] = {
        "data": name, "users": len(data.users), "items": len(data.items), "model": "sasrec, 50 wide, 2 blocks",
        "length": LENGTH, "batch": BATCH, **ratio(seconds, "dougong", "padded_loop"),
    }  # fmt: skip
    sequences = sum(map(len, batches))
    figures["sequences_per_second"] = sequences / figures["dougong_seconds"]
    figures["sequences_per_second_padded"] = sequences / figures["padded_loop_seconds"]
    figures["goal"] = "ratio at most 0.333, three times the sequences a second"
    figures |= ranked
    print(figures)
    if not options.trial:
        record("recommending", figures)


if __name__ == "__main__":
    main()
