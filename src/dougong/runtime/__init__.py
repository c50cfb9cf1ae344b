"""Running a model token by token."""

from dougong.runtime.generating import Generation, Writing, generate, prefix, stream
from dougong.runtime.prefixes import Prefix
from dougong.runtime.preparing import Prepared, prepare
from dougong.runtime.settings import Settings

__all__ = ["Generation", "Prefix", "Prepared", "Settings", "Writing", "generate", "prefix", "prepare", "stream"]
