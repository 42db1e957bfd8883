"""Options of the experiments about derivatives: of softmax, by finite differences, and in which order to multiply."""

from dataclasses import dataclass
from pathlib import Path

from experiments.options.limits import require, require_seed


@dataclass(frozen=True)
class Softmax:
    """Check the softmax and its loss: the lecture's numbers, the identities, and the parameters too many."""

    rows: int = 20_000
    """Random rows of logits on which the identities are checked, for each number of classes."""
    seed: int = 0
    """Of the logits and of the data."""
    out: Path = Path("results/softmax")
    """Folder for the metrics (JSON) and the figures (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.rows >= 1, "--rows", self.rows, "at least 1")
        require_seed(self.seed)
