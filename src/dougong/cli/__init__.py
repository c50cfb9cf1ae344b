"""The ``dougong`` command: one file a verb. Nothing heavy is imported before a verb runs."""

from dougong.cli.app import main

__all__ = ["main"]
