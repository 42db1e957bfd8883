"""Training: whole runs in one compiled program, many runs at once, and the single step behind both."""

from fnn.training._fit import StopTraining, fit
from fnn.training._sweep import SweepResult, grid, sweep
from fnn.training.checkpoints import CheckpointError, Checkpoints
from fnn.training.faults import NonFiniteError
from fnn.training.group import GroupError
from fnn.training.placement import cores
from fnn.training.run import History
from fnn.training.shuffle import permutation
from fnn.training.state import Batch, TrainState
from fnn.training.step import initial_state, train_step
from fnn.training.stream import Stream

__all__ = [
    "Batch",
    "CheckpointError",
    "Checkpoints",
    "GroupError",
    "History",
    "NonFiniteError",
    "StopTraining",
    "Stream",
    "SweepResult",
    "TrainState",
    "cores",
    "fit",
    "grid",
    "initial_state",
    "permutation",
    "sweep",
    "train_step",
]
