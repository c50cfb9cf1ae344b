"""Imports point one way, and importing the package or asking for help loads nothing heavy."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "dougong"

# Below everything: every room but parts, which is torch and nothing else of ours.
BOTTOM = {"errors", "console", "figures", "machine", "rooms"}

# room -> rooms right below it. What lies below those may be imported too.
BELOW: dict[str, set[str]] = {
    "parts": set(),
    "frames": {"parts"},
    "heads": {"parts"},
    "architectures": {"frames", "heads"},
    "cost": {"architectures"},
    "interop": {"architectures", "data"},  # a tokenizer is held to the vocabulary, and a sentence model reads text
    "runtime": {"architectures", "data"},  # it reads prompts and writes texts
    "data": set(),
    "tasks": {"architectures", "data", "runtime", "interop"},  # a translation is written, an embedder kept for others
    "explain": {"interop", "tasks"},  # a task says what an explanation points at
    "training": {"tasks", "cost", "interop"},  # a budget of FLOPs needs their number; a run keeps its model for others
    "report": {"training", "explain", "cost", "runtime"},  # it shows what a language model writes
    "bench": {"cost", "runtime"},
    "web": {"report", "runtime", "interop"},
    "cli": {"report", "runtime", "interop", "web", "bench"},
}


def below(room: str) -> set[str]:
    """Every room that a room may import, itself included."""
    found = {room} | (set() if room == "parts" else BOTTOM)
    for next_room in BELOW[room]:
        found |= below(next_room)
    return found


def imported(code: str, package: str) -> set[str]:
    """The rooms of dougong that a module imports anywhere, inside functions too.

    Args:
        code: of the module.
        package: that holds it, as "dougong.cli".
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], base]).rstrip(".")
            # "from dougong import cost" imports a room, "from dougong.cost import x" imports from one
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "dougong" else [base]
        for name in names:
            if name == "dougong":
                found.add("dougong")
            elif name.startswith("dougong."):
                found.add(name.split(".")[1])
    return found


def faults(code: str, package: str) -> set[str]:
    """What a module of a room imports and may not."""
    return imported(code, package) - below(package.split(".")[1]) - {"__version__"}


def modules() -> list[Path]:
    """Every module inside a room."""
    return sorted(path for path in SOURCE.rglob("*.py") if len(path.relative_to(SOURCE).parts) > 1)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    package = ".".join(["dougong", *path.relative_to(SOURCE).parts[:-1]])
    assert not faults(path.read_text(encoding="utf-8"), package)


def test_every_room_has_its_place() -> None:
    rooms = {path.relative_to(SOURCE).parts[0] for path in modules()}
    assert rooms <= set(BELOW)
    loose = {path.stem for path in SOURCE.glob("*.py")}
    assert loose == BOTTOM | {"__init__", "__main__"}


@pytest.mark.parametrize(
    ("package", "code", "wrong"),
    [
        ("dougong.parts", "from dougong.frames.stack import Stack", {"frames"}),
        ("dougong.parts", "from dougong.errors import UserError", {"errors"}),
        ("dougong.architectures", "def f():\n    import dougong.training", {"training"}),
        ("dougong.data", "from dougong import tasks", {"tasks"}),
        ("dougong.explain.methods", "from ...report import page", {"report"}),
        ("dougong.training", "if 1:\n    from dougong.report import write_run_report", {"report"}),
        ("dougong.frames", "import dougong", {"dougong"}),
    ],
)
def test_a_wrong_import_is_found(package: str, code: str, wrong: set[str]) -> None:
    assert faults(code, package) == wrong


@pytest.mark.parametrize(
    ("package", "code"),
    [
        ("dougong.frames", "from dougong.parts.masks import Mask\nimport torch"),
        ("dougong.cli", "from dougong.training import train\nfrom dougong import console, __version__"),
        ("dougong.training", "from dougong.parts.attention import Attention\nfrom . import budget"),
    ],
)
def test_a_right_import_passes(package: str, code: str) -> None:
    assert not faults(code, package)


def loaded(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after running some code."""
    tail = (
        "\nimport json, sys; sys.__stdout__.write('\\n' + json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


HEAVY = {
    "torch", "numpy", "datasets", "matplotlib", "captum", "kornia", "sklearn", "pyarrow", "pandas", "torchmetrics",
    "transformers", "tensorboard", "fastapi", "PIL",
}  # fmt: skip


def test_importing_the_package_is_light() -> None:
    assert not loaded("import dougong") & HEAVY


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["models", "--help"], ["--version"], ["trian"]])
def test_help_is_light(words: list[str]) -> None:
    assert not loaded(f"from dougong.cli.app import execute\nexecute({words!r})") & HEAVY


def test_a_heavy_import_would_be_seen() -> None:
    assert "numpy" in loaded("import numpy") & HEAVY
