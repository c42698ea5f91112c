"""Training: a recipe, one loop for plain modules and compression methods, checkpoints, evaluation."""

from nasc.training.distillation import Teacher
from nasc.training.evaluation import Accuracy, evaluate, recalibrate_norms
from nasc.training.history import EpochRow, History, read_history, write_history
from nasc.training.lock import lock_run
from nasc.training.loop import CHECKPOINT, HISTORY, Frozen, train
from nasc.training.recipe import Recipe, RewoundRecipe, build_criterion, build_optimizer

__all__ = [
    "CHECKPOINT",
    "HISTORY",
    "Accuracy",
    "EpochRow",
    "Frozen",
    "History",
    "Recipe",
    "RewoundRecipe",
    "Teacher",
    "build_criterion",
    "build_optimizer",
    "evaluate",
    "lock_run",
    "read_history",
    "recalibrate_norms",
    "train",
    "write_history",
]
