"""Options of running several experiments, and of remaking their report."""

from dataclasses import dataclass
from pathlib import Path

from experiments.options.limits import require_seed


@dataclass(frozen=True)
class Series:
    """Run several experiments, each into a folder of its own, and write one report of all that stands there.

    `all` leaves out what takes hours or a quiet machine: that enters the report from the committed results.
    """

    quick: bool = False
    """Each in a small form of a few seconds: every line runs, the numbers may decide nothing."""
    seed: int = 0
    """Of every experiment."""
    out: Path = Path("results")
    """Folder for report.html and one folder per experiment; made if it does not exist."""

    def __post_init__(self) -> None:
        require_seed(self.seed)


@dataclass(frozen=True)
class Report:
    """Remake report.html from the results and figures that stand in a folder; nothing is computed anew."""

    out: Path = Path("results")
    """Folder that holds one folder per experiment; the report is written there."""
