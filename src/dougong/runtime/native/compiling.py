"""step.cpp and what it includes become a library: by the system's compiler, for this machine's instructions, once."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from dougong import console
from dougong.machine import cache_folder

SOURCE = Path(__file__).parent / "step.cpp"
OFF = "DOUGONG_NATIVE"
"""Set to 0, this variable of the environment turns our own kernels off."""

TYPES = {torch.float32: 0, torch.bfloat16: 1}


class Native:
    """The compiled library. Args: path: of it."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))  # its OpenMP is torch's, which is loaded already
        whole, pointer = ctypes.c_int64, ctypes.c_void_p
        self.run, self.sizes, self._multiply = library.run, library.sizes, library.multiply
        self.run.argtypes, self.run.restype = [pointer, whole, pointer, ctypes.c_int], None
        self.sizes.argtypes, self.sizes.restype = [ctypes.c_int], whole
        self._multiply.argtypes = [*[pointer] * 5, whole, whole, whole, ctypes.c_int, ctypes.c_int]
        self._multiply.restype = None

    def multiply(
        self, x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None, n_out: int, kind: int
    ) -> Tensor:
        """(..., K) by the weights (n_out, K), float32 on the CPU, to (..., n_out).

        Args:
            x: float32.
            weight: float32 or bfloat16 (n_out, K), or whole numbers as `dougong.runtime.quantised` packs them.
            scale: bfloat16 (n_out, K / 32), of whole numbers.
            bias: float32 (n_out,).
            n_out: rows of the weights.
            kind: of the weights: 0 float32, 1 bfloat16, 2 eight bits, 3 four bits.
        """
        x = x.contiguous()
        inner = x.shape[-1]
        out = torch.empty((*x.shape[:-1], n_out), dtype=torch.float32)
        self._multiply(
            x.data_ptr(), weight.data_ptr(), 0 if scale is None else scale.data_ptr(),
            0 if bias is None else bias.data_ptr(), out.data_ptr(), x.numel() // inner, n_out, inner, kind,
            torch.get_num_threads(),
        )  # fmt: skip
        return out


def native() -> Native | None:
    """The library, compiled at the first call on a machine; None where it is turned off or cannot be made."""
    return None if os.environ.get(OFF) == "0" else _made()


def compiler() -> str | None:
    """The system's C++ compiler, if there is one."""
    return shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


@cache
def _made() -> Native | None:
    found: Native | None = None
    made_by = compiler()
    if made_by is None:
        reason = "there is no C++ compiler"
    else:
        path = cache_folder() / f"step-{_fingerprint(made_by)}.so"
        reason = "" if path.is_file() else _compile(made_by, path)
    if not reason:
        try:
            found = Native(path)
            reason = "" if _right(found) else "what the compiler made computes wrongly"
        except OSError as error:
            reason = str(error)
    if reason:
        console.note(f"torch's kernels are used in place of our own: {reason}")
        return None
    return found


def _fingerprint(compiler: str) -> str:
    """Of all that the library depends on: the source, the compiler and the processor's instructions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    instructions = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    said = [
        *(path.read_text(encoding="utf-8") for path in sorted(SOURCE.parent.glob("*.h"))),
        SOURCE.read_text(encoding="utf-8"),
        compiler,
        str(os.stat(compiler).st_mtime),
        instructions,
        platform.machine(),
    ]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


def _compile(compiler: str, path: Path, processor: str = "native") -> str:
    """Make the library beside its place and move it there; what went wrong, or "".

    Args:
        compiler: that makes it.
        path: where it goes.
        processor: whose instructions it may use; this machine's own.
    """
    half = path.with_suffix(f".{os.getpid()}.so")
    command = [
        compiler, "-O3", f"-march={processor}", "-std=c++17", "-fno-math-errno", "-fopenmp", "-fPIC", "-shared", "-w",
        "-o", str(half), str(SOURCE),
    ]  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if made.returncode:
            lines = made.stderr.strip().splitlines()
            return f"{Path(compiler).name} refuses step.cpp: {lines[0] if lines else 'without a word'}"
        half.replace(path)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return ""


def _right(library: Native) -> bool:
    """Whether a small product comes out as torch's."""
    x, weight = torch.randn(5, 40), torch.randn(7, 40)
    with torch.inference_mode():
        return torch.allclose(library.multiply(x, weight, None, None, 7, 0), x @ weight.T, atol=1e-4)
