"""Options of the experiments about what a unit, a line, a tree, a net can decide and represent."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from experiments.options.limits import require, require_seed


@dataclass(frozen=True)
class Xor:
    """Show that no line separates XOR, and that a small net written from scratch does."""

    hidden: int = 4
    """Units of the hidden layer."""
    learning_rate: float = 0.5
    """Rate of plain gradient descent on all four points."""
    steps: int = 2000
    """How many updates."""
    seeds: int = 20
    """How many nets are trained, each from an initialisation of its own; the figure shows the first."""
    seed: int = 0
    """Of the first net; the others take the numbers that follow."""
    out: Path = Path("results/xor")
    """Folder for the metrics (JSON) and the figure (PNG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.hidden >= 1, "--hidden", self.hidden, "at least 1")
        require(0 < self.learning_rate < math.inf, "--learning-rate", self.learning_rate, "finite and above 0")
        require(self.steps >= 1, "--steps", self.steps, "at least 1")
        require(self.seeds >= 1, "--seeds", self.seeds, "at least 1")
        require_seed(self.seed)


#: The trees of the experiment `trees`, by what they are fitted to.
Grown = Literal[
    "iris", "two moons", "wine", "cells", "digits", "digits, random splits", "noise, 2 classes", "noise, 7 classes",
    "signs", "huge",
]  # fmt: skip


@dataclass(frozen=True)
class Trees:
    """Rewrite fitted decision trees as exact networks, compare them point by point, then soften one and train it."""

    trees: tuple[Grown, ...] = get_args(Grown)
    """Which trees are compared with their networks."""
    points: int = 1_000_000
    """Random points at which each tree and its network are compared, besides all thresholds and their neighbours."""
    steps: int = 200
    """Updates of the fine-tuning."""
    seed: int = 0
    """Of the data, the trees and the points."""
    out: Path = Path("results/trees")
    """Folder for the metrics (JSON) and the figures (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(len(self.trees) >= 1, "--trees", self.trees, "at least one tree")
        require(self.points >= 1, "--points", self.points, "at least 1")
        require(self.steps >= 1, "--steps", self.steps, "at least 1")
        require_seed(self.seed)


@dataclass(frozen=True)
class Perceptron:
    """Run the perceptron on thousands of separable sets, against its mistake bound, and on sets that no line parts."""

    sets: int = 12_000
    """Random separable sets, a third of them in each of 2, 4 and 8 dimensions."""
    tangled: int = 60
    """Random integer sets that no line separates."""
    seed: int = 0
    """Of all sets."""
    out: Path = Path("results/perceptron")
    """Folder for the metrics (JSON) and the figures (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.sets >= 3, "--sets", self.sets, "at least 3")
        require(self.tangled >= 1, "--tangled", self.tangled, "at least 1")
        require_seed(self.seed)


@dataclass(frozen=True)
class Logistic:
    """Let the logistic unit learn by its -log-likelihood where the truth is known, and find where it should decide."""

    sets: int = 400
    """Training sets, each drawn anew; one unit learns from each."""
    examples: int = 500
    """Examples in each set."""
    steps: int = 1200
    """Updates of gradient descent on all examples."""
    seed: int = 0
    """Of the training sets."""
    out: Path = Path("results/logistic")
    """Folder for the metrics (JSON) and the figure (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.sets >= 1, "--sets", self.sets, "at least 1")
        require(self.examples >= 20, "--examples", self.examples, "at least 20")
        require(self.steps >= 1, "--steps", self.steps, "at least 1")
        require_seed(self.seed)


@dataclass(frozen=True)
class UniversalApproximation:
    """Approximate functions by one hidden layer: error against width, constructed and trained; depth against width."""

    steps: int = 1500
    """Updates of the trained nets."""
    dimensions: tuple[Literal[1, 2], ...] = (1, 2)
    """Of the functions: on the line, in the square."""
    seeds: int = 4
    """How many nets are trained for each function and width; the best counts."""
    seed: int = 0
    """Of the first net; the others take the numbers that follow."""
    out: Path = Path("results/universal_approximation")
    """Folder for the metrics (JSON) and the figures (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, "--steps", self.steps, "at least 1")
        require(len(self.dimensions) >= 1, "--dimensions", self.dimensions, "1, 2, or both")
        require(self.seeds >= 1, "--seeds", self.seeds, "at least 1")
        require_seed(self.seed)
