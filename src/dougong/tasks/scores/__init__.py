"""Scores of answers: entities, several labels a text, language, translation, calibration, and bootstrap intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dougong.tasks.scores.bootstrap import interval, interval_of
    from dougong.tasks.scores.calibration import Calibration
    from dougong.tasks.scores.entities import EntityScores, entity_f1
    from dougong.tasks.scores.labels import LabelScores
    from dougong.tasks.scores.language import LanguageScores
    from dougong.tasks.scores.translation import TranslationScores

__all__ = [
    "Calibration",
    "EntityScores",
    "LabelScores",
    "LanguageScores",
    "TranslationScores",
    "entity_f1",
    "interval",
    "interval_of",
]

_HOMES = {
    **{"Calibration": "calibration", "EntityScores": "entities", "LabelScores": "labels", "entity_f1": "entities"},
    **{"LanguageScores": "language", "TranslationScores": "translation"},
    **{"interval": "bootstrap", "interval_of": "bootstrap"},
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
