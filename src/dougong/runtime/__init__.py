"""Running a model token by token."""

from dougong.runtime.generating import Generation, generate, stream
from dougong.runtime.settings import Settings

__all__ = ["Generation", "Settings", "generate", "stream"]
