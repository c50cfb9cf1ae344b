"""Running a model token by token."""

from dougong.runtime.generating import Generation, generate

__all__ = ["Generation", "generate"]
