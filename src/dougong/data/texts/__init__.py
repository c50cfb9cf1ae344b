"""Texts: labelled, tagged, plain or in pairs, in splits."""

from dougong.data.texts.opening import read_texts
from dougong.data.texts.rows import TextData, TextRow, TextSplit

__all__ = ["TextData", "TextRow", "TextSplit", "read_texts"]
