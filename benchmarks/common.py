"""What the benchmarks against other libraries share: options, models that are prepared, peers that may be missing."""

from __future__ import annotations

import argparse
import importlib
import os
import warnings
from typing import Any

import torch
from record import ratio

CLOSE = 1e-4
"""The most that logits of float32 may lie apart."""


def options(about: str | None, rounds: int = 5, **more: dict[str, Any]) -> argparse.Namespace:
    """The options that every one of them takes; the threads are set, and libraries kept quiet and off the net.

    Args:
        about: the script's docstring.
        rounds: by default.
        more: further options by name, each what argparse takes.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=None, help=f"{rounds} by default")
    parser.add_argument("--threads", type=int, default=None, help="as many as torch takes by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works; nothing is recorded")
    parser.add_argument("--dry", action="store_true", help="print only")
    for name, said in more.items():
        parser.add_argument(f"--{name}", **said)
    found = parser.parse_args()
    found.rounds = found.rounds or (2 if found.quick else rounds)
    found.dry = found.dry or found.quick
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    if found.threads:
        torch.set_num_threads(found.threads)
    return found


def peer(name: str) -> Any:
    """A library, or None, with one line that says so."""
    try:
        found = importlib.import_module(name)
    except Exception as error:  # whatever a foreign library stumbles over, the others are measured
        print(f"{name}: left out ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})")
        return None
    if name == "transformers":
        found.logging.set_verbosity_error()
        found.utils.logging.disable_progress_bar()
    return found


def prepared(model: Any, precision: str, **how: Any) -> Any:
    """Our model as it would be run; None, with one line, where it cannot be had in that precision here."""
    import dougong

    try:
        return dougong.prepare(model, precision=precision, **how)
    except dougong.UserError as error:
        print(f"dougong, {precision}: left out ({error})")
        return None


def random_weights(model: Any, scale: float = 0.05) -> Any:
    """Weights so large that no two scores are equal but for rounding; norms and biases as they are."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, scale, generator=generator)
    return model.eval()


def apart(found: Any, reference: Any) -> float:
    """The largest difference of two arrays of logits."""
    return float((torch.as_tensor(found).float() - torch.as_tensor(reference).float()).abs().max())


def beside(seconds: dict[str, list[float]], amount: float, unit: str) -> dict[str, Any]:
    """Speeds of all, and how many times as fast as each of the others ours is, pair by pair.

    Args:
        seconds: of every candidate, in turns; "dougong" among them, or some whose names begin with it.
        amount: of units in one run.
        unit: as "tokens".
    """
    import statistics

    figures: dict[str, Any] = {}
    for name, taken in seconds.items():
        rates = sorted(amount / each for each in taken)
        figures[f"{name}_{unit}_per_second"] = statistics.median(rates)
        figures[f"{name}_low"], figures[f"{name}_high"] = rates[0], rates[-1]
    for name in seconds:
        if name != "dougong" and "dougong" in seconds:
            pair = ratio(seconds, "dougong", name)
            figures[f"times_{name}"] = 1 / pair["ratio"]
            figures[f"times_{name}_low"], figures[f"times_{name}_high"] = 1 / pair["ratio_high"], 1 / pair["ratio_low"]
    return figures


def say(case: str, figures: dict[str, Any]) -> None:
    """One case in one line."""
    told = [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in figures.items()]
    shown = [each for each in told if not each.split()[0].endswith(("_low", "_high"))]
    print(f"{case:34} {'   '.join(shown)}", flush=True)
