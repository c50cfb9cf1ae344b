"""Cross-entropy in chunks against torch's own on all logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import dougong
from dougong.heads import chunks
from dougong.heads.language import Capped, MaskedLanguage, Project, Tied
from dougong.heads.losses import cross_entropy, table_of, token_losses
from dougong.parts.attention import SoftCap
from dougong.parts.embeddings import TokenEmbedding
from dougong.parts.norms import LayerNorm
from dougong.parts.output import Output, Pending, answer, deferring

D, V = 8, 23


def heads() -> dict[str, nn.Module]:
    """Every kind of head, with weights of about one."""
    table, scaled = TokenEmbedding(V, D), Tied(TokenEmbedding(V, D), scale=D**-0.5, bias=True)
    masked = MaskedLanguage(TokenEmbedding(V, D), D, "gelu", LayerNorm(D))
    found = {
        "tied": Tied(table),
        "scaled": scaled,
        "project": Project(D, V),
        "masked": masked,
        "capped": Capped(Tied(TokenEmbedding(V, D)), SoftCap(1.5)),
    }
    for head in found.values():
        for one in [*head.parameters(), *head.buffers()]:
            nn.init.normal_(one)
    return found


def gradients(head: nn.Module, hidden: Tensor, loss: Tensor) -> list[Tensor]:
    """Of a loss, with respect to the hidden states and the weights."""
    return list(torch.autograd.grad(loss, [hidden, *head.parameters()]))


def plain(head: nn.Module, hidden: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """The loss written out on all logits."""
    return F.cross_entropy(head(hidden, None).flatten(0, 1), targets.flatten(), label_smoothing=smoothing)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(heads())),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6)),
    chunk=st.integers(1, 30),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    ignored=st.sampled_from([0.0, 0.3, 0.9]),
    seed=st.integers(0, 10**6),
)
def test_equals_the_plain_way(
    kind: str, shape: tuple[int, int], chunk: int, smoothing: float, ignored: float, seed: int
) -> None:
    torch.manual_seed(seed)
    head = heads()[kind].double()
    hidden = torch.randn(*shape, D, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, V, shape).masked_fill(torch.rand(shape) < ignored, -100)
    if (targets == -100).all():
        targets[0, 0] = 3
    output = Pending(head, hidden)
    found, right = cross_entropy(output, targets, -100, smoothing, chunk), plain(head, hidden, targets, smoothing)
    torch.testing.assert_close(found, right)
    for ours, theirs in zip(gradients(head, hidden, found), gradients(head, hidden, right), strict=True):
        torch.testing.assert_close(ours, theirs)
    each = F.cross_entropy(head(hidden, None).flatten(0, 1), targets.flatten(), reduction="none").view(shape)
    torch.testing.assert_close(token_losses(output, targets, chunk=chunk), each.detach())
    torch.testing.assert_close(token_losses(Output(logits=head(hidden, None)), targets), each.detach())
    assert "logits" not in vars(output)


@pytest.mark.parametrize("kind", sorted(heads()))
def test_derivatives_by_differences(kind: str) -> None:
    torch.manual_seed(1)
    head = heads()[kind].double()
    hidden = torch.randn(2, 3, D, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1, -100, 2], [5, 5, 22]])
    weights = list(head.parameters())

    def loss(states: Tensor, *_: Tensor) -> Tensor:
        return 0.3 * cross_entropy(Pending(head, states), targets, label_smoothing=0.1, chunk=2)

    assert torch.autograd.gradcheck(loss, (hidden, *weights))


@pytest.mark.parametrize("kind", sorted(heads()))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_vocabulary_in_blocks(kind: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one block and as many give the same; the last is narrower, and tokens come in several chunks."""
    torch.manual_seed(0)
    head, targets = heads()[kind].to(dtype), torch.randint(0, V, (3, 5))
    hidden = torch.randn(3, 5, D, dtype=dtype, requires_grad=True)

    def answers(columns: int) -> list[Tensor]:
        monkeypatch.setattr(chunks, "COLUMNS", columns)
        loss = cross_entropy(Pending(head, hidden), targets, -100, 0.0, 4)
        return [loss.detach(), *gradients(head, hidden, loss)]

    near: dict[str, float] = {"rtol": 0.05, "atol": 0.02} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-6}
    for found, right in zip(answers(max(2, V // 3 - 1)), answers(10 * V), strict=True):
        torch.testing.assert_close(found, right, **near)


def test_no_target_that_counts() -> None:
    head, hidden, targets = heads()["project"], torch.randn(2, 3, D, requires_grad=True), torch.full((2, 3), -100)
    for output in (Pending(head, hidden), Output(logits=head(hidden))):
        loss = cross_entropy(output, targets)
        assert loss.isnan()
        assert all((one == 0).all() for one in gradients(head, hidden, loss))
        assert (token_losses(output, targets) == 0).all()


def test_frozen_weights_get_no_gradient_and_frozen_states_none() -> None:
    head, targets = heads()["project"], torch.randint(0, V, (2, 3))
    hidden = torch.randn(2, 3, D, requires_grad=True)
    right = gradients(head, hidden, plain(head, hidden, targets))
    head.requires_grad_(False)
    torch.testing.assert_close(torch.autograd.grad(cross_entropy(Pending(head, hidden), targets), hidden)[0], right[0])
    head.requires_grad_(True)
    still = Pending(head, hidden.detach())
    for ours, theirs in zip(
        torch.autograd.grad(cross_entropy(still, targets), list(head.parameters())), right[1:], strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        assert not cross_entropy(Pending(head, hidden), targets).requires_grad


def test_backward_twice_on_a_kept_graph_and_weights_of_parts() -> None:
    head, hidden, targets = heads()["tied"], torch.randn(2, 3, D, requires_grad=True), torch.randint(0, V, (2, 3))
    once = gradients(head, hidden, cross_entropy(Pending(head, hidden), targets))
    loss = cross_entropy(Pending(head, hidden), targets)
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    (0.25 * loss).backward()
    for held, one in zip([hidden, *head.parameters()], once, strict=True):
        torch.testing.assert_close(held.grad, 1.25 * one)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("kind", ["tied", "masked", "capped"])
def test_autocast(kind: str, native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 the chunked way is no further from float64 than the plain way, both where the processor multiplies
    it and where float32 stands in."""
    monkeypatch.setattr(chunks, "NATIVE", frozenset({torch.bfloat16}) if native else frozenset())
    torch.manual_seed(2)
    head = heads()[kind]
    hidden, targets = torch.randn(8, 32, D, requires_grad=True), torch.randint(0, V, (8, 32))
    exact = heads()[kind].double()
    exact.load_state_dict(head.state_dict())
    states = hidden.detach().double().requires_grad_()
    right = gradients(exact, states, plain(exact, states, targets))
    with torch.autocast("cpu", torch.bfloat16):
        output = Pending(head, hidden)
        straight = gradients(head, hidden, plain(head, hidden, targets))
    found = gradients(head, hidden, cross_entropy(output, targets, chunk=50))
    for ours, theirs, true in zip(found, straight, right, strict=True):
        error = (ours.double() - true).norm() / true.norm()
        assert error < max(1.5 * (theirs.double() - true).norm() / true.norm(), 1e-3)
        assert error < 0.03


def test_a_model_in_half_precision() -> None:
    """Weights of bfloat16 get a gradient of bfloat16, made of sums in float32."""
    head = Project(D, V).bfloat16()
    hidden, targets = torch.randn(4, 16, D, dtype=torch.bfloat16, requires_grad=True), torch.randint(0, V, (4, 16))
    found = gradients(head, hidden, cross_entropy(Pending(head, hidden), targets, chunk=7))
    exact, states = Project(D, V).double(), hidden.detach().double().requires_grad_()
    exact.load_state_dict(head.state_dict())
    for ours, true in zip(found, gradients(exact, states, plain(exact, states, targets)), strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.double() - true).norm() < 0.02 * true.norm()


class Largest(TorchDispatchMode):
    """Watches the number of elements of every tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple | list) else [found]:
            if isinstance(one, Tensor):
                self.elements = max(self.elements, one.numel())
        return found


@pytest.mark.parametrize("kind", sorted(heads()))
def test_never_holds_all_scores(kind: str) -> None:
    head, targets = heads()[kind], torch.randint(0, V, (10, 40))

    def largest(output: Output) -> int:
        with Largest() as watch:
            cross_entropy(output, targets, label_smoothing=0.1, chunk=16).backward()  # type: ignore[no-untyped-call]
            token_losses(output, targets, chunk=16)
        return watch.elements

    hidden = torch.randn(10, 40, D, requires_grad=True)
    assert largest(Pending(head, hidden)) == 400 * D
    with Largest() as watch:  # the plain way is seen
        plain(head, hidden, targets).backward()  # type: ignore[no-untyped-call]
    assert watch.elements == 400 * V


def test_chunks_are_of_about_one_size() -> None:
    assert chunks.chunk_of(2048, 50257) == 512  # four of them, where the most that is held would be 667
    assert chunks.chunk_of(2048, 50257, "cuda") == 2048
    assert chunks.chunk_of(0, 10) == 1 and chunks.chunk_of(5, 2**30) == 1


def test_heads_that_are_no_product_are_computed_whole() -> None:
    """A changed tree and hooks are obeyed."""

    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    head, hidden, targets = Project(D, V), torch.randn(2, 3, D), torch.randint(0, V, (2, 3))
    assert table_of(head, hidden[0]) is not None
    head.linear = Doubled(D, V)
    assert table_of(head, hidden[0]) is None
    torch.testing.assert_close(cross_entropy(Pending(head, hidden), targets), plain(head, hidden, targets))
    head = Project(D, V)
    before = plain(head, hidden, targets)
    head.linear.register_forward_hook(lambda layer, inputs, result: 3 * result)
    found = cross_entropy(Pending(head, hidden), targets)
    torch.testing.assert_close(found, plain(head, hidden, targets))
    assert not torch.allclose(found, before)


def test_logits_are_read_as_ever() -> None:
    """Waiting logits equal those computed at once, in the precision that held; weights that moved are noticed."""
    head, hidden = heads()["masked"], torch.randn(2, 3, D)
    with torch.autocast("cpu", torch.bfloat16), deferring():
        half = answer(head, hidden)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(half.logits, answer(head, hidden).logits)  # type: ignore[arg-type]
    assert half.logits is not None and half.logits.dtype == torch.bfloat16 and half.logits is half.logits
    with deferring():
        late = answer(head, hidden)
    torch.testing.assert_close(late.logits, head(hidden), rtol=0, atol=0)
    with deferring():
        stale = answer(head, hidden)
    with torch.no_grad():
        head.bias.add_(1)
    for read in (lambda: stale.logits, lambda: cross_entropy(stale, torch.zeros(2, 3, dtype=torch.long))):
        with pytest.raises(RuntimeError, match="weights were changed"):
            read()


def test_models_wait_only_when_asked() -> None:
    from dougong.runtime import generate  # reads logits

    sizes: dict[str, Any] = {"vocab_size": 40, "d_model": 16, "n_heads": 4, "n_layers": 2, "d_ff": 24}
    sizes["max_length"] = 16
    tokens = torch.randint(0, 40, (2, 7))
    for family, head in {
        **dict.fromkeys(("gpt2", "llama", "gemma2", "lstm"), "causal-language"),
        **dict.fromkeys(("bert", "modernbert"), "masked-language"),
        **dict.fromkeys(("t5", "bart", "transformer"), None),
    }.items():
        known = dougong.families()[family].arguments
        given = {key: value for key, value in {**sizes, "head": head}.items() if key in known and value is not None}
        model = dougong.build({"architecture": family, **given}, seed=0).eval()
        inputs = (tokens,) * len(model.example_inputs())
        output = model(*inputs)
        with deferring():
            waiting = model(*inputs)
        assert type(output) is Output and isinstance(waiting, Pending), family
        torch.testing.assert_close(cross_entropy(waiting, tokens), cross_entropy(output, tokens))
        assert torch.equal(waiting.logits, output.logits)
        if family == "gpt2":
            with deferring():
                late = generate(model, [[1, 2, 3]], max_new_tokens=5)
            assert late[0].tokens == generate(model, [[1, 2, 3]], max_new_tokens=5)[0].tokens
    with pytest.raises(ValueError, match="targets"), deferring():
        cross_entropy(model(*inputs), tokens[:1])
    classes = dougong.build({"architecture": "textcnn", "vocab_size": 40, "n_classes": 3}, seed=0)
    with deferring():
        assert type(classes(tokens)) is Output


def test_a_word_of_hardly_any_share_is_scored_as_exactly_as_others() -> None:
    hidden = torch.tensor([[[1.0], [1.0], [0.5]]])
    head = Project(1, 3)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[200.0], [60.0], [0.0]]))
        head.linear.bias.zero_() if head.linear.bias is not None else None
    targets = torch.tensor([[2, 1, 0]])  # shares of e^-200, which float32 cannot hold, e^-140 and nearly one
    right = F.cross_entropy(head.linear(hidden).double().flatten(0, 1), targets.flatten(), reduction="none")
    found = token_losses(Pending(head, hidden), targets)
    torch.testing.assert_close(found.double().flatten(), right, rtol=1e-6, atol=1e-6)
    assert right[0] == 200, "the case is one that a plain share would lose"
