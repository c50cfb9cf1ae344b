"""Several devices: the batch is split, and weights, gradients and optimizer state are sharded (ZeRO-3, FSDP)."""

from __future__ import annotations

from dataclasses import replace

from dougong.cost.devices import Rates
from dougong.cost.sheet import Memory, Seconds


def per_device(
    inference: Memory, training: Memory, seconds: dict[str, Seconds], speed: Rates, *, count: int, largest: int,
    exchanged: int,
) -> tuple[Memory, Memory, dict[str, Seconds], list[str]]:  # fmt: skip
    """Memory of one device and time of all, from one device's share of the batch with unsharded weights.

    Each device holds 1/n of weights, gradients and state, and two gathered blocks: the one at work and the next.
    A step gathers the weights twice and scatters the gradients once; each moves (n - 1)/n of them (Rajbhandari et al.
    2020, section 7). The estimate lets that run beside the arithmetic; the upper end of the band lets nothing overlap.

    Args:
        inference, training: of one device, unsharded.
        seconds: "forward" and "training", without exchange.
        speed: with the link.
        count: devices.
        largest: bytes of the largest block's weights.
        exchanged: bytes of all weights.
    """

    def sharded(memory: Memory) -> Memory:
        held = memory.weights + memory.optimizer + memory.gradients
        kept = {kind: -(-getattr(memory, kind) // count) for kind in ("weights", "gradients", "optimizer")}
        kept["weights"] += 2 * largest
        passing = memory.peak - memory.weights - memory.optimizer  # activations and gradients at the peak
        at_most = min(passing, memory.activations + kept["gradients"])
        return replace(memory, **kept, peak=kept["weights"] + kept["optimizer"] + at_most) if held else memory

    times = {}
    for key, passes in (("forward", 1), ("training", 3)):
        one_way = passes * (count - 1) / count * exchanged / (speed.link / 2) if speed.link else 0.0
        was = seconds[key]
        times[key] = Seconds(max(was.estimate, one_way), max(was.low, one_way), was.high + one_way, was.basis)
    said = [
        f"{count} devices: the batch is split evenly; weights, gradients and optimizer state are sharded, with two "
        "gathered blocks on each device; the exchange overlaps the arithmetic, at the end of the band it does not",
    ]
    if speed.link:
        said.append(
            f"all devices are taken to be joined by links of {speed.link / 1e9:.0f} GB/s, as within one server; "
            "between servers the exchange is slower"
        )
    else:
        said.append("the link between these devices is not known: the exchange takes no time here")
    return sharded(inference), sharded(training), times, said
