"""Training: the loop, budgets, checkpoints, resuming, comparing, searching, and asking what was trained."""

from dougong.training.asking import Answer, evaluate, predict
from dougong.training.budget import Budget
from dougong.training.comparison import Comparison, compare
from dougong.training.config import TrainingConfig
from dougong.training.loop import TrainingError
from dougong.training.run import Run
from dougong.training.search import resume, search
from dougong.training.searched import Search
from dougong.training.training import train

__all__ = [
    "Answer",
    "Budget",
    "Comparison",
    "Run",
    "Search",
    "TrainingConfig",
    "TrainingError",
    "compare",
    "evaluate",
    "predict",
    "resume",
    "search",
    "train",
]
