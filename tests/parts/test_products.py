"""Products by oneDNN: equal to torch's but for rounding, forward and backward, and only where they were asked for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dougong.heads.chunks import ChunkedCrossEntropy
from dougong.parts import products
from dougong.parts.products import Linear, by_onednn, linear, onednn

pytestmark = pytest.mark.skipif(not products.there(), reason="this build of torch has no oneDNN")


@pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 3, 4)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_out", [16, 40])
def test_a_layer_and_its_gradients_equal_those_of_float64(shape: tuple[int, ...], bias: bool, n_out: int) -> None:
    torch.manual_seed(0)
    given = [torch.randn(*shape, 24), torch.randn(n_out, 24), torch.randn(n_out) if bias else None]
    wanted = torch.randn(*shape, n_out)

    def answers(dtype: torch.dtype, layer) -> list[torch.Tensor]:  # type: ignore[no-untyped-def]
        own = [None if one is None else one.detach().clone().to(dtype).requires_grad_() for one in given]
        found = layer(*own)
        found.backward(wanted.to(dtype))
        return [found.detach(), *[one.grad for one in own if one is not None]]

    for found, right in zip(answers(torch.float32, Linear.apply), answers(torch.float64, F.linear), strict=True):
        torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=1e-5)
    wrong = answers(torch.float64, lambda x, w, b: F.linear(x, w.roll(1, 0), b))
    assert (answers(torch.float32, Linear.apply)[0].double() - wrong[0]).abs().max() > 0.1


def test_only_what_is_asked_for_is_computed() -> None:
    x, weight = torch.randn(3, 8), torch.randn(4, 8, requires_grad=True)
    Linear.apply(x, weight, None).sum().backward()
    assert x.grad is None and weight.grad is not None and weight.grad.is_contiguous()


def test_it_is_taken_where_it_was_asked_for() -> None:
    x = torch.randn(2, 2)
    assert not onednn(x)
    with by_onednn():
        assert onednn(x, x) and not onednn(x, x.double()) and not onednn(x.bfloat16())
        with by_onednn(on=False):
            assert not onednn(x)
        assert onednn(x)
    assert not onednn(x)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_loss_in_chunks_multiplies_by_it(smoothing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(20, 16), torch.randn(50, 16)
    targets = torch.randint(0, 50, (20,))
    targets[3] = -100
    calls: list[torch.Size] = []
    monkeypatch.setattr("dougong.heads.chunks.linear", lambda x, w: (calls.append(x.shape), linear(x, w))[1])

    def answers() -> list[torch.Tensor]:
        own = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
        loss = ChunkedCrossEntropy.apply(*own, None, targets, -100, smoothing, None, None, 7, True)
        loss.backward()
        return [loss.detach(), *[one.grad for one in own]]  # type: ignore[misc]

    plain = answers()
    assert not calls
    with by_onednn():
        quick = answers()
    assert calls
    for found, right in zip(quick, plain, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-6)
