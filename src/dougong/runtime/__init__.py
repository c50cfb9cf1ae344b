"""Running a model token by token."""

from dougong.runtime.generating import Generation, Writing, generate, stream
from dougong.runtime.settings import Settings

__all__ = ["Generation", "Settings", "Writing", "generate", "stream"]
