"""This machine's own limits, and what models reach of them.

The room is its own main function: ``dougong.bench("gpt2-small")`` gives a `Bench`.
"""

from dougong.bench.benching import Bench, bench
from dougong.bench.workloads import Row
from dougong.rooms import make_callable

__all__ = ["Bench", "Row", "bench"]

make_callable(__name__, bench)
