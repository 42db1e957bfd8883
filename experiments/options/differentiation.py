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


@dataclass(frozen=True)
class FiniteDifferences:
    """Differentiate by differences: the lecture's numbers, the best step in four dtypes, and what it costs."""

    repeats: int = 15
    """How often each program is timed; the fastest counts."""
    largest: int = 20_000
    """Nets of the cost curves with more parameters than this are left out."""
    seed: int = 0
    """Of the nets."""
    out: Path = Path("results/finite_differences")
    """Folder for the metrics (JSON) and the figures (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.repeats >= 1, "--repeats", self.repeats, "at least 1")
        require(self.largest >= 100, "--largest", self.largest, "at least 100")
        require_seed(self.seed)


@dataclass(frozen=True)
class MatrixChain:
    """Multiply chains of matrices in every order: counted, timed, and the best found by dynamic programming."""

    chains: int = 300
    """Random chains for which dynamic programming is compared with trying every order."""
    largest: int = 2000
    """The largest size n of the lecture's chain, 1 × n times n × n times n × n."""
    repeats: int = 7
    """How often each program is timed; the fastest counts."""
    seed: int = 0
    """Of the chains and of the numbers in the matrices."""
    out: Path = Path("results/matrix_chain")
    """Folder for the metrics (JSON) and the figures (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.chains >= 1, "--chains", self.chains, "at least 1")
        require(self.largest >= 100, "--largest", self.largest, "at least 100")
        require(self.repeats >= 1, "--repeats", self.repeats, "at least 1")
        require_seed(self.seed)


@dataclass(frozen=True)
class Graphs:
    """The graphs that the lectures draw, forward and backward, node by node."""

    seed: int = 0
    """Of the parameters of the net."""
    out: Path = Path("results/graphs")
    """Folder for the metrics (JSON) and the pictures (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require_seed(self.seed)
