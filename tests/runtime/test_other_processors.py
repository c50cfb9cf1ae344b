"""Our own kernels as compilers make them for processors with fewer instructions than this one may have."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch
from support.numbers import assert_different, assert_equal_to_rounding

from dougong.runtime.native.compiling import Native, _compile, compiler
from dougong.runtime.quantised import KIND, Codes

MADE_BY = compiler()
OTHERS = ["x86-64", *(["haswell"] if torch.backends.cpu.get_cpu_capability().startswith("AVX") else [])]
pytestmark = pytest.mark.skipif(
    MADE_BY is None or platform.machine() != "x86_64", reason="needs a C++ compiler for x86-64"
)


@pytest.mark.parametrize("processor", OTHERS)
def test_products_equal_torchs(processor: str, tmp_path: Path) -> None:
    """Vectors of 4 numbers, and of 8; neither multiplies bytes."""
    assert MADE_BY is not None
    assert not _compile(MADE_BY, tmp_path / "step.so", processor)
    kernels = Native(tmp_path / "step.so")
    for rows in (1, 2, 5, 6, 13, 32):
        x = torch.randn(rows, 96)
        for n_out in (7, 16, 50):
            weight = torch.randn(n_out, 96)
            pairs: list[tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, int]] = [
                (weight, None, weight, 0), (weight.bfloat16(), None, weight.bfloat16(), 1),
            ]  # fmt: skip
            for bits in (8, 4):
                codes = Codes(weight, bits)
                pairs.append((codes.codes, codes.scale, codes.table(), KIND[bits]))
            for packed, scale, table, kind in pairs:
                right = (x.double() @ table.double().T).float()
                assert_equal_to_rounding(kernels.multiply(x, packed, scale, None, n_out, kind), right)
                assert_different(kernels.multiply(x.roll(1, 1), packed, scale, None, n_out, kind), right)
