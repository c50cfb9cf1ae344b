"""A real training process is killed with SIGKILL at random moments; what resume makes of it is bit for bit the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DOUGONG = [sys.executable, "-m", "dougong"]
STEPS = 240
SETTINGS = ["--data", "digits", "--budget", f"{STEPS}steps", "batch_size=32", "evaluate_every=40",
            "checkpoint_every=15", "tensorboard=false", "model.dropout=0.1", "model.n_layers=2", "ema=0.9"]  # fmt: skip


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DOUGONG, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip


def finished(*words: str) -> str:
    process = started(*words)
    said = process.communicate(timeout=280)[1]
    assert process.returncode == 0, said
    return said


def begun(run: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the first checkpoint, because before it there is nothing to lose."""
    while not (run / "last").exists() and process.poll() is None:
        time.sleep(0.02)


def kill_and_resume(tmp_path: Path, kills: int, seed: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    began = time.monotonic()
    finished("train", "vit-micro", *SETTINGS, "--out", str(whole))
    long = time.monotonic() - began
    chance = random.Random(seed)
    process = started("train", "vit-micro", *SETTINGS, "--out", str(killed))
    begun(killed, process)
    done = 0
    while done < kills:
        # early moments come often: near the end there is little left to kill
        time.sleep(chance.random() * long * 0.25)
        if process.poll() is not None:  # it was faster: the run is over, begin it once more
            assert process.returncode == 0, process.communicate()[1]
            subprocess.run(["rm", "-rf", str(killed)], check=True)
            process = started("train", "vit-micro", *SETTINGS, "--out", str(killed))
            begun(killed, process)
            continue
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done += 1
        if done < kills:
            process = started("resume", str(killed))
            time.sleep(chance.random() * 3)
    finished("resume", str(killed))
    for name in ("model/model.safetensors", "model/config.json", "result.json"):
        first, second = (whole / name).read_bytes(), (killed / name).read_bytes()
        if name == "result.json":
            import json

            first, second = (json.dumps({**json.loads(text), "seconds": 0}).encode() for text in (first, second))
        assert first == second, name
    last = f"checkpoints/step-{STEPS:06d}/model.safetensors"
    assert (whole / last).read_bytes() == (killed / last).read_bytes()


def test_three_kills(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, 3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_kills(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, 20, seed=2)


def test_control_c_writes_a_checkpoint_and_says_how_to_go_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = started("train", "vit-micro", *SETTINGS, "--out", str(run))
    begun(run, process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    assert f"go on with: dougong resume {run}" in said and "Traceback" not in said
    finished("resume", str(run))
    assert (run / "model" / "model.safetensors").exists()
