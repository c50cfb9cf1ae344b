"""Attention by two products: what torch's kernel computes, and taken only where it was measured to be quicker."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from dougong.cost.kernels import Kernels
from dougong.parts import scaled_dot_product
from dougong.parts.scaled_dot_product import SHORT, attend, by_products, short


def parts(keys: int, dtype: torch.dtype, groups: int = 4) -> list[torch.Tensor]:
    torch.manual_seed(keys)
    sizes = ((2, 4, 9, 16), (2, groups, keys, 16), (2, groups, keys, 16))
    return [torch.randn(size, dtype=dtype).requires_grad_() for size in sizes]


def table(keys: int, kind: str) -> torch.Tensor | None:
    torch.manual_seed(1)
    if kind == "bool":
        return (torch.rand(2, 1, 9, keys) < 0.7) | (torch.arange(keys) == 0)
    return torch.randn(2, 4, 9, keys, dtype=torch.float64) if kind == "bias" else None


@pytest.mark.parametrize("kind", ["open", "causal", "bool", "bias"])
@pytest.mark.parametrize(("groups", "scale"), [(4, None), (2, 0.3), (1, None)])
def test_products_and_their_gradients_are_those_of_the_kernel(kind: str, groups: int, scale: float | None) -> None:
    given, twin = parts(9, torch.float64, groups), parts(9, torch.float64, groups)
    named = {
        "attn_mask": table(9, kind), "is_causal": kind == "causal", "scale": scale, "enable_gqa": groups != 4,
    }  # fmt: skip
    found, right = by_products(*given, **named), scaled_dot_product_attention(*twin, **named)  # type: ignore[arg-type]
    torch.testing.assert_close(found, right)
    wanted = torch.randn_like(right)
    found.backward(wanted), right.backward(wanted)
    for one, other in zip(given, twin, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    if kind != "open":  # a table that was left out would be seen
        assert (by_products(*given, scale=scale, enable_gqa=groups != 4) - right).abs().max() > 0.01


@pytest.mark.parametrize("kind", ["open", "causal", "bool"])
def test_half_precision_is_as_near_to_float64_as_the_kernel(kind: str) -> None:
    def answers(kernel, dtype: torch.dtype) -> list[torch.Tensor]:  # type: ignore[no-untyped-def]
        given = [one.detach().bfloat16().to(dtype).requires_grad_() for one in parts(9, torch.float64)]
        found = kernel(*given, attn_mask=table(9, kind), is_causal=kind == "causal")
        found.backward(torch.linspace(-1, 1, found.numel()).view(found.shape).to(dtype))
        return [found.detach().double(), *[one.grad.double() for one in given]]

    right = answers(scaled_dot_product_attention, torch.float64)
    ours, theirs = (answers(kernel, torch.bfloat16) for kernel in (by_products, scaled_dot_product_attention))
    for exact, own, other in zip(right, ours, theirs, strict=True):
        assert (own - exact).norm() < 2 * (other - exact).norm() < 0.05 * exact.norm()


def test_products_are_taken_for_short_rows_that_learn_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(scaled_dot_product, "by_products", lambda q, k, *_: (taken.append(k.shape[-2]), q)[1])
    for keys in (7, SHORT, SHORT + 1):
        attend(*parts(keys, torch.bfloat16))
    assert taken == [7, SHORT]
    attend(*parts(7, torch.float32))
    with torch.no_grad():
        attend(*parts(7, torch.bfloat16))
    attend(*[one.detach() for one in parts(7, torch.bfloat16)])
    assert taken == [7, SHORT]


def test_dropout_leaves_out_weights() -> None:
    given = parts(9, torch.bfloat16)
    torch.manual_seed(0)
    many = torch.stack([by_products(*given, dropout_p=0.5).detach() for _ in range(400)]).float()
    assert many.std(0).min() > 0.01
    torch.testing.assert_close(many.mean(0), by_products(*given).detach().float(), atol=0.2, rtol=0)


@pytest.mark.parametrize("keys", [8, SHORT + 1])
def test_the_cost_sheet_runs_what_the_cpu_runs(keys: int) -> None:
    """What the backward pass keeps, and so the memory of a step, is not the same for both."""

    def kept(given: list[torch.Tensor]) -> list[tuple[int, ...]]:
        shapes: list[tuple[int, ...]] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda one: (shapes.append(tuple(one.shape)), one)[1], lambda one: one
        ):
            attend(*given)
        return sorted(shapes)

    given = parts(keys, torch.bfloat16)
    meta = [one.detach().to("meta").requires_grad_() for one in given]
    with Kernels("cpu"):
        assert short(*meta[:2]) == (keys <= SHORT) and kept(meta) == kept(given)
