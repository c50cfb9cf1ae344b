"""What a training writes down as it goes: metrics.jsonl, log.txt and, if wanted, TensorBoard's events."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from dougong import console
from dougong.training.checkpoints import write_text


class Journal:
    """The records of a run.

    Args:
        run: the run's folder.
        tensorboard: whether events are written too, into tensorboard/.
        step: the step it goes on from; rows beyond it were written by a run that was killed, and are dropped.
    """

    def __init__(self, run: Path, *, tensorboard: bool, step: int = 0) -> None:
        self.run, self.file = run, run / "metrics.jsonl"
        if self.file.exists():
            kept = [row for row in read_rows(self.file) if row.get("step", 0) <= step]
            write_text(self.file, "".join(json.dumps(row) + "\n" for row in kept))
        self._stream = self.file.open("a", encoding="utf-8")
        self._events: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(run / "tensorboard"), purge_step=step)

    def row(self, split: str, step: int, **values: Any) -> None:
        """Write one row of metrics."""
        row = {"split": split, "step": step, **values}
        self._stream.write(json.dumps(row) + "\n")
        self._stream.flush()
        if self._events is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._events.add_scalar(f"{split}/{name}", value, step)

    def log(self, line: str, *, aloud: bool = False) -> None:
        """Write a line to log.txt, and to the user if it should be heard."""
        with (self.run / "log.txt").open("a", encoding="utf-8") as stream:
            stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        if aloud:
            console.note(line)

    def close(self) -> None:
        """Finish writing."""
        self._stream.close()
        if self._events is not None:
            self._events.close()


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line that was cut off is left out."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
