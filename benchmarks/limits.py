"""This machine's limits, and what models reach of them: `dougong bench --again` as figures, and the roofline's points.

python benchmarks/limits.py [--threads 4] [--quick]
"""

from __future__ import annotations

from typing import Any

from common import options
from record import record

from dougong import console
from dougong.bench import bench
from dougong.bench.workloads import PRECISIONS


def main() -> None:
    """Measure, print, record."""
    given = options(__doc__, rounds=1)
    model = "gpt2-micro" if given.quick else None
    found = bench(model, PRECISIONS, again=True, show=lambda name: print(name, flush=True))
    for title, columns, rows in found.sections():
        console.table(title, columns, rows)
    assert found.limits is not None
    figures: dict[str, Any] = {"device": found.limits.device, "busy": found.limits.busy}
    figures["limits"] = {row.name: row.rate for row in found.limits.rows}
    figures["workloads"] = {
        f"{row.model}, {row.workload}, {row.precision}": {
            "precision": row.precision, "unit": row.unit, "rate": row.rate, "low": row.low, "high": row.high,
            "bound": row.bound, "share": row.share, "flops": row.flops, "bytes": row.moved,
        }
        for row in found.rows
    }  # fmt: skip
    if not given.dry:
        record("limits", figures)


if __name__ == "__main__":
    main()
