"""What each experiment can be told: one frozen dataclass per experiment, the only source of its options.

Promises: importing this file imports neither JAX nor NumPy, so that `--help` answers at once.
To add an experiment, write its dataclass here (with a field `out`), give it a row in `EXPERIMENTS`, and a module with
    run(options, watch) -> result    a dict that JSON can hold; what differs between two runs stands under "measured"
    show(saved, console)             prints what a reader wants to know
    draw(saved) -> {name: figure}    may be empty
where `saved` is the whole record as it was written: "result", "measured", "options", "versions", "device".
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

#: The trainings of the speed table.
JOBS = ("64-32-10", "784-512-256-10", "1024-1024-1024-10", "64 nets")
#: The activations of `fnn` through which a hidden layer can learn.
Hidden = Literal["sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "gelu_tanh", "silu"]


@dataclass(frozen=True)
class Digits:
    """Learn 1797 handwritten digits with the hand-written gradient, beside autodiff and finite differences.

    Trains on 1167 images, chooses nothing, measures 270 for validation after every epoch and 360 for test at the end.
    """

    # How these were chosen: on the 270 validation images alone, by their mean accuracy over 3 or 5 initialisation
    # seeds, batches of 32, at most 60 epochs, strengths from 0 to 1e-3, Adam or SGD with momentum. Best of each kind:
    #     64-64-10 relu, Adam 3e-3 98.1 %  · 64-256-10 relu, Adam 3e-3 98.6 %   · 64-128-64-10 relu, SGD 0.1 98.3 %
    #     64-256-128-10 relu, SGD 0.05 98.6 %, tanh, Adam 1e-3 98.1 %           · 64-512-256-10 relu, Adam 2e-3 98.5 %
    #     64-256-128-10 gelu, SGD, strength 3e-5: rate 0.03 98.4 %, 0.04 98.5 %, 0.05 98.4 %; with
    #     the rows in another order 0.07 98.2 %, 0.1 98.6 %
    # One image is 0.4 %, so the best are equal. Among equals gelu at 0.04 is taken because its training amplifies
    # rounding least: it has no kinks, and lies well below the rate where training becomes erratic. Two float32 runs
    # that differ in the last digit part by 1e-2 of the loss with relu, by 4e-4 at 0.05, by 4e-6 at 0.04 and at 0.03.
    hidden: tuple[int, ...] = (256, 128)
    """Units of each hidden layer, one number per layer."""
    activation: Hidden = "gelu"
    """Activation of the hidden layers."""
    learning_rate: float = 0.04
    """Rate of stochastic gradient descent; its momentum is 0.9."""
    strength: float = 3e-5
    """Strength of the L2 penalty on the weights; 0 for none."""
    epochs: int = 60
    """How often every training image is used."""
    batch_size: int = 32
    """Images per step, 1 to 1167."""
    seeds: int = 5
    """How many nets are trained, each from an initialisation of its own."""
    seed: int = 0
    """Of the first net; the others take the numbers that follow."""
    out: Path = Path("results/digits")
    """Folder for the metrics (JSON) and figures (PNG); made if it does not exist."""

    def __post_init__(self) -> None:
        for size in self.hidden:
            _require(size >= 1, "--hidden", size, "at least 1")
        _require(0 < self.learning_rate < math.inf, "--learning-rate", self.learning_rate, "finite and above 0")
        _require(0 <= self.strength < math.inf, "--strength", self.strength, "finite and at least 0")
        _require(self.epochs >= 1, "--epochs", self.epochs, "at least 1")
        _require(1 <= self.batch_size <= 1167, "--batch-size", self.batch_size, "1 to 1167, the training images")
        _require(self.seeds >= 1, "--seeds", self.seeds, "at least 1")
        _require_seed(self.seed)


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
        _require(self.hidden >= 1, "--hidden", self.hidden, "at least 1")
        _require(0 < self.learning_rate < math.inf, "--learning-rate", self.learning_rate, "finite and above 0")
        _require(self.steps >= 1, "--steps", self.steps, "at least 1")
        _require(self.seeds >= 1, "--seeds", self.seeds, "at least 1")
        _require_seed(self.seed)


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
            _require(len(sizes) > 1 and all(s.isdigit() and int(s) > 0 for s in sizes), "--nets", net, "as 64-32-10")
        for depth in self.depths:
            _require(depth >= 1, "--depths", depth, "at least 1")
        _require(self.blocks >= 1, "--blocks", self.blocks, "at least 1")
        _require(self.compilations >= 1, "--compilations", self.compilations, "at least 1")
        _require(0 < self.seconds < math.inf, "--seconds", self.seconds, "finite and above 0")
        _require(self.rounds >= 1, "--rounds", self.rounds, "at least 1")
        _require(self.largest >= 16, "--largest", self.largest, "at least 16")
        for job in self.jobs:
            _require(job in JOBS, "--jobs", job, f"of {', '.join(JOBS)}")
        _require_seed(self.seed)


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
            _require(getattr(self, name) >= 1, f"--{name.replace('_', '-')}", getattr(self, name), "at least 1")
        _require(0 <= self.share < self.shares, "--share", self.share, "from 0 to one less than --shares")
        _require_seed(self.seed)


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
        _require(self.kills >= 1, "--kills", self.kills, "at least 1")
        _require(self.epochs >= 1, "--epochs", self.epochs, "at least 1")
        _require_seed(self.seed)


#: name -> (its options, its module), in the order in which they are listed.
EXPERIMENTS: dict[str, tuple[type[Any], str]] = {
    "digits": (Digits, "experiments.digits"),
    "xor": (Xor, "experiments.xor"),
    "speed": (Speed, "experiments.speed"),
    "detection": (Detection, "experiments.detection"),
    "faults": (Faults, "experiments.faults"),
}


def summary(options: type[Any]) -> str:
    """The first line of what the options say of their experiment."""
    return (options.__doc__ or "").strip().splitlines()[0]


def _require(holds: bool, option: str, value: Any, condition: str) -> None:
    if not holds:
        raise ValueError(f"{option} must be {condition}; {value} came.")


def _require_seed(seed: int) -> None:
    # a key takes 32 bits; the seeds that follow the first one need room above it
    _require(0 <= seed < 2**31, "--seed", seed, "0 to 2147483647")
