"""Running a model token by token."""

from dougong.runtime.generating import Generation, Writing, generate, stream
from dougong.runtime.preparing import Prepared, prepare
from dougong.runtime.settings import Settings

__all__ = ["Generation", "Prepared", "Settings", "Writing", "generate", "prepare", "stream"]
