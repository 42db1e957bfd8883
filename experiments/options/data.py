"""Options of the experiments on tables that the user may bring."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.options.limits import require, require_seed


@dataclass(frozen=True)
class Wine:
    """Linear regression on wine: solved, descended to, extrapolated with; and nets, whose cost is not convex.

    Without a folder of the UCI wine-quality tables it takes the 178 wines that come with scikit-learn.
    """

    data: Path | None = None
    """Folder that holds winequality-red.csv and winequality-white.csv; without it the variable FNN_DATA names one."""
    download: bool = False
    """Fetch the two tables from the UCI repository into --data first; what comes is compared with its SHA-256."""
    colour: Literal["red", "white"] = "red"
    """Which of the two tables."""
    starts: int = 16
    """From how many random points gradient descent starts."""
    steps: int = 6000
    """Of gradient descent on the linear model."""
    hidden: int = 8
    """Hidden units of each net."""
    epochs: int = 150
    """How often each net sees every wine."""
    nets: int = 8
    """How many nets are trained, each from an initialisation of its own."""
    seed: int = 0
    """Of the split, of the starts and of the first net; the other nets take the numbers that follow."""
    out: Path = Path("results/wine")
    """Folder for the metrics (JSON) and figures (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.data is not None or not self.download, "--download", self.download, "given with --data FOLDER")
        for name in ("starts", "steps", "epochs"):
            require(getattr(self, name) >= 1, f"--{name}", getattr(self, name), "at least 1")
        # the order of one unit cannot be changed
        require(self.hidden >= 2, "--hidden", self.hidden, "at least 2")
        require(self.nets >= 2, "--nets", self.nets, "at least 2")
        require_seed(self.seed)
