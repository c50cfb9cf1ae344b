"""Training: the loop, budgets, checkpoints, resuming, comparing, and asking what was trained."""

from dougong.training.asking import Answer, evaluate, predict
from dougong.training.budget import Budget
from dougong.training.comparison import Comparison, compare
from dougong.training.config import TrainingConfig
from dougong.training.loop import TrainingError
from dougong.training.run import Run
from dougong.training.training import resume, train

__all__ = [
    "Answer",
    "Budget",
    "Comparison",
    "Run",
    "TrainingConfig",
    "TrainingError",
    "compare",
    "evaluate",
    "predict",
    "resume",
    "train",
]
