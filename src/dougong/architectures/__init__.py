"""The architectures, one short file a family, and what is done with them by name: build, save, load.

`sizes.toml` holds the published sizes as data.
"""

from dougong.architectures.registry import Family, Size, architecture, families, register, resolve, sizes
from dougong.architectures.storing import build, load, read_config, save

__all__ = [
    "Family",
    "Size",
    "architecture",
    "build",
    "families",
    "load",
    "read_config",
    "register",
    "resolve",
    "save",
    "sizes",
]
