"""The methods by name: each is a function of a subject and of what the user asked for, one file each."""

from __future__ import annotations

from collections.abc import Callable

from dougong.explain.finding import Ask, Finding
from dougong.explain.methods.attention import attention
from dougong.explain.methods.integrated_gradients import integrated_gradients
from dougong.explain.methods.occlusion import occlusion
from dougong.explain.methods.rollout import rollout
from dougong.explain.subject import Subject

Method = Callable[[Subject, Ask], Finding]

METHODS: dict[str, Method] = {
    "attention": attention,
    "rollout": rollout,
    "integrated-gradients": integrated_gradients,
    "occlusion": occlusion,
}
