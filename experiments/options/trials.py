"""Options of the experiments that put the package itself to trial: its speed, its checker, its endurance."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.options.limits import require, require_seed

#: The trainings of the speed table.
JOBS = ("64-32-10", "784-512-256-10", "1024-1024-1024-10", "64 nets")


@dataclass(frozen=True)
class Speed:
    """Measure the hand-written gradient against autodiff: time, compile time, memory, and depth by scan.

    Runs are paired in random order, with autodiff compiled twice as the null pair. Leave the machine alone meanwhile.
    """

    parts: tuple[Literal["gradients", "training", "curves"], ...] = ("gradients", "training", "curves")
    """What to run: one gradient against autodiff, with depth by scan; whole trainings beside other libraries; training
    against width, depth, batch, rows and runs."""
    nets: tuple[str, ...] = ("64-32-10", "784-512-256-10", "1024-1024-1024-10")
    """Sizes of each net, joined by hyphens; batches are 32, 128 and 1024, by the size of the first layer."""
    depths: tuple[int, ...] = (8, 512)
    """Numbers of repeated layers of width 64 to compile and run; none to leave them out."""
    blocks: int = 9
    """How many blocks of paired runs."""
    compilations: int = 9
    """How many fresh compilations of each program."""
    seconds: float = 1.0
    """How long each program runs in each block, about."""
    jobs: tuple[str, ...] = JOBS
    """The trainings."""
    rounds: int = 3
    """How often each library trains each job, in processes of its own in random order."""
    largest: int = 10_000_000
    """Values of the curves above this are left out."""
    seed: int = 0
    """Of the numbers and of the order of the runs."""
    out: Path = Path("results/speed")
    """Folder for the metrics (JSON) and the figure (PNG); made if it does not exist."""

    def __post_init__(self) -> None:
        for net in self.nets:
            sizes = net.split("-")
            require(len(sizes) > 1 and all(s.isdigit() and int(s) > 0 for s in sizes), "--nets", net, "as 64-32-10")
        for depth in self.depths:
            require(depth >= 1, "--depths", depth, "at least 1")
        require(self.blocks >= 1, "--blocks", self.blocks, "at least 1")
        require(self.compilations >= 1, "--compilations", self.compilations, "at least 1")
        require(0 < self.seconds < math.inf, "--seconds", self.seconds, "finite and above 0")
        require(self.rounds >= 1, "--rounds", self.rounds, "at least 1")
        require(self.largest >= 16, "--largest", self.largest, "at least 16")
        for job in self.jobs:
            require(job in JOBS, "--jobs", job, f"of {', '.join(JOBS)}")
        require_seed(self.seed)


@dataclass(frozen=True)
class Detection:
    """Measure the gradient checker: wrong rules it finds, right ones it leaves alone, beside other checkers.

    Everything takes about two hours on two cores. Start one process per core with shares, and other parts apart.
    """

    parts: tuple[Literal["mutants", "peers", "alarms", "clock"], ...] = ("mutants", "peers", "alarms", "clock")
    """What to run: our checker on both halves of the bank, other checkers, false alarms, and the time of one check."""
    mutants: int = 100
    """How many wrong rules are drawn for each half of the bank."""
    points: tuple[str, ...] = ("fresh", "trained", "weights x 10", "weights x 0.01", "inputs x 100")
    """Kinds of parameter points at which each is checked."""
    checks: int = 10_000
    """How many checks of right rules."""
    points_at_kinks: int = 10_000
    """How many points on a kink, or within a step of one."""
    shares: int = 1
    """Into how many shares the work is split; `python -m experiments.detection.merge` puts them together."""
    share: int = 0
    """Which of the shares this process takes, from 0."""
    seed: int = 0
    """Of parameters, data and architectures; the draws of the bank have seeds of their own."""
    out: Path = Path("results/detection")
    """Folder for the metrics (JSON) and the figure (PNG); made if it does not exist."""

    def __post_init__(self) -> None:
        for name in ("mutants", "checks", "points_at_kinks", "shares"):
            require(getattr(self, name) >= 1, f"--{name.replace('_', '-')}", getattr(self, name), "at least 1")
        require(0 <= self.share < self.shares, "--share", self.share, "from 0 to one less than --shares")
        require_seed(self.seed)


@dataclass(frozen=True)
class Faults:
    """Kill training runs, damage their checkpoints, fill the disk: do they come out with the same bits?

    Fifty kills take about six minutes on two cores.
    """

    kills: int = 50
    """How many times a run is killed, at random moments, five times each run."""
    epochs: int = 150
    """Length of a run; it must outlast its kills."""
    seed: int = 0
    """Of the moments."""
    out: Path = Path("results/faults")
    """Folder for the outcome (JSON); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.kills >= 1, "--kills", self.kills, "at least 1")
        require(self.epochs >= 1, "--epochs", self.epochs, "at least 1")
        require_seed(self.seed)
