"""The configuration of a model's folder, in our layout or another library's; its weights are not looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dougong.architectures import storing
from dougong.architectures.registry import check
from dougong.interop.loading import find, map_of, read_json, translate


def read_config(source: str | Path) -> dict[str, Any]:
    """The checked configuration of the model in a folder.

    Args:
        source: a run's folder, or one with config.json in our layout or in that of Hugging Face.

    Raises:
        UserError: it is missing, no JSON, of a family that we do not know, or asks for what we do not build.
    """
    folder = find(source)
    file = folder / "config.json"
    config = read_json(file)
    if "architecture" in config:
        return storing.read_config(folder)
    one = map_of(config, file)
    return check({"architecture": one.architecture, **translate(one, config, file)}, str(file))
