"""Options of the experiments about formulas: losses, layers, products of matrices."""

from dataclasses import dataclass
from pathlib import Path

from experiments.options.limits import require, require_seed


@dataclass(frozen=True)
class Losses:
    """Find which losses bound the 0–1 loss, where the sigmoid overflows, and what two formulas of the notes say.

    The sigmoid is tried in four dtypes and three forms.
    """

    draws: int = 20_000
    """How many scores are tried."""
    seed: int = 0
    """Of the scores and labels."""
    out: Path = Path("results/losses")
    """Folder for the numbers (JSON) and the figure (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.draws >= 1000, "--draws", self.draws, "at least 1000, so that some decisions are wrong")
        require_seed(self.seed)


@dataclass(frozen=True)
class LinearCollapse:
    """Multiply stacked affine layers into one, and compare the gradients of a deep linear net with their closed form.

    With an activation between them nothing collapses.
    """

    nets: int = 200
    """How many random nets are tried."""
    seed: int = 0
    """Of their weights and inputs."""
    out: Path = Path("results/linear_collapse")
    """Folder for the numbers (JSON) and the figure (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.nets >= 1, "--nets", self.nets, "at least 1")
        require_seed(self.seed)


@dataclass(frozen=True)
class Layers:
    """Run every formula of the lectures about layers with numbers, against a second computation of the same.

    Masks, Jacobians, batches, the bias trick, Taylor's remainder, and the two readings of delta.
    """

    repeats: int = 100
    """With how many random numbers each formula is run."""
    seed: int = 0
    """Of the numbers."""
    out: Path = Path("results/layers")
    """Folder for the numbers (JSON) and figures (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.repeats >= 1, "--repeats", self.repeats, "at least 1")
        require_seed(self.seed)
