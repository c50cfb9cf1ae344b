"""Exchange with the Hugging Face ecosystem: load, save, and prove that both compute the same."""

from dougong.interop.loading import load, save
from dougong.interop.mapping import maps

__all__ = ["load", "maps", "save"]
