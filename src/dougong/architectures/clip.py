"""CLIP (Radford et al. 2021): a picture tower and a text tower, trained to bring pictures close to their captions."""

from __future__ import annotations

from dougong.architectures.arguments import Count, Depth, Positive, Share, Side
from dougong.architectures.inputs import hidden_feature
from dougong.architectures.registry import architecture
from dougong.frames.branch import Block, Branch
from dougong.frames.model import Model
from dougong.frames.stack import Stack
from dougong.frames.towers import Towers
from dougong.heads.classify import First, Last
from dougong.heads.embed import Embed
from dougong.parts import initial
from dougong.parts.attention import multi_head_attention
from dougong.parts.embeddings import PatchEmbedding, TokenEmbedding, pair
from dougong.parts.feedforward import feed_forward
from dougong.parts.masks import OPEN, Causal
from dougong.parts.norms import LayerNorm
from dougong.parts.positions import Learned


@architecture
def clip(
    *,
    image_size: Side = 224,
    patch_size: Side = 32,
    d_vision: Count = 768,
    n_vision_layers: Depth = 12,
    n_vision_heads: Count = 12,
    d_vision_ff: Count = 3072,
    vocab_size: Count = 49408,
    max_length: Count = 77,
    d_text: Count = 512,
    n_text_layers: Depth = 12,
    n_text_heads: Count = 8,
    d_text_ff: Count = 2048,
    d_out: Count = 512,
    end: int | None = 49407,
    activation: str = "gelu_quick",
    attention_dropout: Share = 0.0,
    eps: Positive = 1e-5,
    scale: float = 2.6592,
) -> Towers:
    """CLIP: a Vision Transformer with a norm before its blocks, and a decoder that reads the caption (section 2.4).

    Args:
        image_size: in pixels.
        patch_size: in pixels; must divide the picture.
        d_vision: D of the picture tower.
        n_vision_layers: its blocks.
        n_vision_heads: its H.
        d_vision_ff: its F.
        vocab_size: V.
        max_length: positions of texts.
        d_text: D of the text tower.
        n_text_layers: its blocks.
        n_text_heads: its H.
        d_text_ff: its F.
        d_out: P, width of the common space.
        end: the token that ends a text.
        activation: of the feed-forward networks.
        attention_dropout: of the weights of attention.
        eps: of the norms.
        scale: what the logarithm of the factor on cosines starts from.
    """

    def blocks(count: int, d_model: int, n_heads: int, d_ff: int, causal: bool) -> list[Block]:
        mask = Causal() if causal else OPEN
        return [
            Block(
                attention=Branch(
                    multi_head_attention(d_model, n_heads, mask=mask, dropout=attention_dropout),
                    before=LayerNorm(d_model, eps=eps),
                ),
                feed_forward=Branch(feed_forward(d_model, d_ff, activation), before=LayerNorm(d_model, eps=eps)),
            )
            for _ in range(count)
        ]

    patches = PatchEmbedding(pair(image_size), pair(patch_size), 3, d_vision, n_prefix=1, bias=False)
    vision = Stack(
        blocks(n_vision_layers, d_vision, n_vision_heads, d_vision_ff, causal=False),
        positions=Learned(patches.length, d_vision),
        before=LayerNorm(d_vision, eps=eps),
    )
    tokens = TokenEmbedding(vocab_size, d_text)
    language = Stack(
        blocks(n_text_layers, d_text, n_text_heads, d_text_ff, causal=True),
        positions=Learned(max_length, d_text),
        after=LayerNorm(d_text, eps=eps),
    )
    looks = Embed(First(), d_vision, d_out, LayerNorm(d_vision, eps=eps))
    reads = Embed(Last(), d_text, d_out)
    model = Towers(
        Model(patches, vision, looks, hidden_feature(patches, d_vision)),
        Model(tokens, language, reads, hidden_feature(tokens, d_text)),
        scale,
        end,
    )
    initial.normal(model)
    return model
