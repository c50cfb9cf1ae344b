"""Interactions: who met which item, when; in sequences, divided without leaks."""

from dougong.data.interactions.opening import holds_interactions, read_interactions
from dougong.data.interactions.sequences import Context, InteractionData

__all__ = ["Context", "InteractionData", "holds_interactions", "read_interactions"]
