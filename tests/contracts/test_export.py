"""Padded batches can be exported: lengths stay an input, and the program reads others than it was made with."""

from __future__ import annotations

import pytest
import torch
from support.numbers import assert_different, assert_equal_to_rounding, shake
from support.small import LENGTH, TARGET_LENGTH, built, inputs_of, is_pair
from torch import Tensor, nn


class Logits(nn.Module):
    """A program gives tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model(*inputs).logits


@pytest.mark.parametrize("name", ["gpt2", "textcnn", "transformer"])
def test_an_exported_program_reads_other_lengths(name: str) -> None:
    model = shake(built(name))
    inputs = inputs_of(model)

    def lengths(*rows: int) -> tuple[Tensor, ...]:
        source = torch.tensor(rows)
        return (source, source.clamp(max=TARGET_LENGTH)) if is_pair(model) else (source,)

    with torch.no_grad():
        program = torch.export.export(Logits(model), (*inputs, *lengths(LENGTH, 2, 5)), strict=False).module()
        for rows in ((LENGTH, 2, 5), (3, LENGTH, 1), (LENGTH, LENGTH, LENGTH)):
            eager, exported = model(*inputs, *lengths(*rows)).logits, program(*inputs, *lengths(*rows))
            if eager.dim() == 3:
                real = torch.arange(eager.shape[1])[None, :] < lengths(*rows)[-1][:, None]
                eager, exported = eager[real], exported[real]
            assert_equal_to_rounding(exported, eager)
        if name != "gpt2":  # it looks back only, so that the end of a row says nothing to what is before
            assert_different(program(*inputs, *lengths(3, 3, 3)), program(*inputs, *lengths(LENGTH, 9, 9)))


def test_a_window_stays_when_the_example_fits_into_it() -> None:
    model = shake(built("mistral", n_layers=1, window=LENGTH + 1))
    short, long = torch.randint(17, (2, LENGTH)), torch.randint(17, (3, 3 * LENGTH))
    open_axes = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},)
    with torch.no_grad():
        program = torch.export.export(Logits(model), (short,), dynamic_shapes=(open_axes,), strict=False).module()
        assert_equal_to_rounding(program(long), model(long).logits)
        wide = shake(built("mistral", n_layers=1, window=4 * LENGTH))
        wide.load_state_dict(model.state_dict())
        assert_different(wide(long).logits, model(long).logits)
