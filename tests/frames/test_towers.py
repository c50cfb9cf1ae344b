"""Two towers: what is compared, and where a text ends."""

from __future__ import annotations

import torch
from support.numbers import assert_different, assert_equal_to_rounding, shake
from support.small import built


def test_a_text_ends_at_its_first_end_token_or_where_its_lengths_say() -> None:
    model = shake(built("clip"))
    tokens = torch.tensor([[3, 4, 16, 16, 16], [5, 16, 7, 8, 9], [1, 2, 3, 4, 5]])
    lengths = torch.tensor([3, 2, 5])
    with torch.no_grad():
        vectors = model.embed_texts(tokens)
        assert torch.equal(vectors, model.embed_texts(tokens, lengths))
        for row, length in enumerate(lengths.tolist()):
            assert_equal_to_rounding(model.embed_texts(tokens[[row], :length])[0], vectors[row])
        assert_different(model.embed_texts(tokens, torch.tensor([2, 2, 5]))[0], vectors[0])
        other = tokens.clone()
        other[1, 2:] = 1  # after the end
        assert torch.equal(model.embed_texts(other), vectors)


def test_scores_are_cosines_times_the_factor_for_any_numbers_of_pictures_and_texts() -> None:
    model = shake(built("clip"))
    pixels, tokens = torch.randn(2, 3, 8, 8), torch.randint(0, 16, (5, 6))
    with torch.no_grad():
        output = model(pixels, tokens)
        assert output.logits.shape == (2, 5)
        pictures = torch.nn.functional.normalize(model.pictures(pixels).logits, dim=-1)
        texts = torch.nn.functional.normalize(model.texts(tokens).logits, dim=-1)
        expected = torch.cosine_similarity(pictures[:, None], texts[None], dim=-1) * model.scale.exp()
    assert_equal_to_rounding(output.logits, expected)
