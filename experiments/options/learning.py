"""Options of the experiments about learning."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.options.limits import require, require_seed

#: The activations of `fnn` through which a hidden layer can learn.
Hidden = Literal["sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "gelu_tanh", "silu"]


@dataclass(frozen=True)
class Digits:
    """Learn 1797 handwritten digits with the hand-written gradient, beside autodiff and finite differences.

    Trains on 1167 images, chooses nothing, measures 270 for validation after every epoch and 360 for test at the end.
    With --data it takes MNIST, or other images in that form: on 60000 images --epochs 10 --seeds 1 takes some minutes.
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
    data: Path | None = None
    """Folder that holds the four IDX files of MNIST or Fashion-MNIST, gzipped or not; a twelfth of the training images
    is kept for validation."""
    download: bool = False
    """Fetch the files of MNIST into --data first; what comes is compared with its SHA-256."""
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
    """Images per step, 1 to the number of training images."""
    seeds: int = 5
    """How many nets are trained, each from an initialisation of its own."""
    seed: int = 0
    """Of the first net; the others take the numbers that follow."""
    out: Path = Path("results/digits")
    """Folder for the metrics (JSON) and figures (PNG); made if it does not exist."""

    def __post_init__(self) -> None:
        for size in self.hidden:
            require(size >= 1, "--hidden", size, "at least 1")
        require(0 < self.learning_rate < math.inf, "--learning-rate", self.learning_rate, "finite and above 0")
        require(0 <= self.strength < math.inf, "--strength", self.strength, "finite and at least 0")
        require(self.epochs >= 1, "--epochs", self.epochs, "at least 1")
        if self.data is None:
            require(not self.download, "--download", self.download, "given with --data FOLDER")
            require(1 <= self.batch_size <= 1167, "--batch-size", self.batch_size, "1 to 1167, the training images")
        require(self.batch_size >= 1, "--batch-size", self.batch_size, "at least 1")
        require(self.seeds >= 1, "--seeds", self.seeds, "at least 1")
        require_seed(self.seed)


@dataclass(frozen=True)
class LearningRate:
    """Find the largest learning rate, and where gradient descent overshoots, crawls, or gets stuck.

    Curves, quadratics, the landscape of a small net, and digits by one example, mini-batch and full batch.
    """

    quadratics: int = 200
    """How many random quadratics are tried below and above their limit."""
    starts: int = 64
    """From how many random starts the small net descends to a minimum."""
    draws: int = 2000
    """How many mini-batches of each size are drawn for the variance of their gradient."""
    batches: tuple[int, ...] = (1, 32, 1024)
    """Sizes of batches of digits, from small to 1024, which is all of them."""
    epochs: int = 10
    """How often every digit is used, for each batch size and rate."""
    seeds: int = 3
    """How many nets read digits for each batch size and rate."""
    seed: int = 0
    """Of the quadratics, starts, draws, and of the first net."""
    out: Path = Path("results/learning_rate")
    """Folder for the numbers (JSON) and figures (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        increasing = list(self.batches) == sorted(set(self.batches)) and len(self.batches) > 1
        require(
            increasing and min(self.batches) >= 1 and max(self.batches) == 1024,
            "--batches", self.batches, "two sizes or more, each larger than the last, from 1 to 1024",
        )  # fmt: skip
        for name in ("quadratics", "starts", "draws", "epochs", "seeds"):
            require(getattr(self, name) >= 1, f"--{name}", getattr(self, name), "at least 1")
        require_seed(self.seed)


@dataclass(frozen=True)
class Depth:
    """Follow activations, gradients and rounding errors through many layers, and see which activations learn.

    Each size is measured for every initializer and put beside its prediction.
    """

    width: int = 64
    """Units of every layer."""
    depth: int = 24
    """How many layers."""
    initializers: tuple[str, ...] = (
        "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "orthogonal",
    )  # fmt: skip
    """Those whose sizes are measured, beside small and large normal weights; Glorot's uniform and He's normal among
    them."""
    seeds: int = 16
    """How many nets each size is averaged over."""
    repeats: int = 5
    """How many nets each rounding error is averaged over."""
    steps: int = 400
    """Steps of gradient descent of the nets that read digits."""
    seed: int = 0
    """Of weights, inputs and cotangents."""
    out: Path = Path("results/depth")
    """Folder for the numbers (JSON) and figures (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.width >= 2, "--width", self.width, "at least 2")
        both = {"glorot_uniform", "he_normal"} <= set(self.initializers)
        require(both, "--initializers", self.initializers, "with glorot_uniform and he_normal among them")
        for name in ("depth", "seeds", "repeats", "steps"):
            require(getattr(self, name) >= 1, f"--{name}", getattr(self, name), "at least 1")
        require_seed(self.seed)


@dataclass(frozen=True)
class Initialisation:
    """Start nets at zero, with equal weights and at random, and put hidden units in other orders.

    Zero and equal weights leave the hidden units without anything to tell them apart.
    """

    steps: int = 1000
    """Steps of gradient descent from each start."""
    permutations: int = 500
    """How many orders of the hidden units are tried."""
    seed: int = 0
    """Of the random start and of the orders."""
    out: Path = Path("results/initialisation")
    """Folder for the numbers (JSON) and the figure (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        for name in ("steps", "permutations"):
            require(getattr(self, name) >= 1, f"--{name}", getattr(self, name), "at least 1")
        require_seed(self.seed)


@dataclass(frozen=True)
class Regularization:
    """Penalize weights by L1 and L2: paths, exact zeros, biases left alone, and the priors behind them.

    Plain gradient steps on L1 give no exact zeros; proximal steps do.
    """

    strengths: int = 40
    """How many strengths the paths are followed over."""
    steps: int = 20_000
    """Steps to the end of each point of a path."""
    net_steps: int = 1500
    """Steps of the net that reads digits."""
    draws: int = 1000
    """At how many random weights objective and posterior are compared."""
    seed: int = 0
    """Of the random weights and of the net."""
    out: Path = Path("results/regularization")
    """Folder for the numbers (JSON) and figures (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        for name in ("strengths", "steps", "net_steps", "draws"):
            require(getattr(self, name) >= 1, f"--{name.replace('_', '-')}", getattr(self, name), "at least 1")
        require_seed(self.seed)


@dataclass(frozen=True)
class BiasVariance:
    """Compare trained models with the best there can be, and part their error into bias, variance and noise.

    Two classes from a known mixture, whose Bayes risk is an integral; a curve with noise, over redrawn training sets.
    """

    sets: int = 200
    """How many training sets are drawn; the classifiers take at most the first 50."""
    sizes: tuple[int, ...] = (40, 160, 640)
    """Points in a training set of the classifiers, from few to many."""
    steps: int = 600
    """Steps of Adam of every net."""
    fresh: int = 20_000
    """Fresh points on which the classifiers are measured."""
    seed: int = 0
    """Of all points and nets."""
    out: Path = Path("results/bias_variance")
    """Folder for the numbers (JSON) and figures (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        require(self.sets >= 2, "--sets", self.sets, "at least 2")
        rising = len(self.sizes) > 1 and list(self.sizes) == sorted(set(self.sizes)) and min(self.sizes) >= 1
        require(rising, "--sizes", self.sizes, "two or more, each larger than the last")
        for name in ("steps", "fresh"):
            require(getattr(self, name) >= 1, f"--{name}", getattr(self, name), "at least 1")
        require_seed(self.seed)


@dataclass(frozen=True)
class WhatMadeItWork:
    """Leave out one by one what made deep nets work: initialisation, activation, penalty, acceleration, stopping.

    A net of seven layers reads digits from 300 examples; each variant has its own best learning rate and strength.
    """

    hidden: tuple[int, ...] = (32,) * 6
    """Units of each hidden layer, one number per layer."""
    epochs: int = 50
    """At most so many passes over the training images."""
    patience: int = 15
    """Epochs without improvement after which early stopping ends a run."""
    seeds: int = 6
    """How many nets of each variant, rate and strength."""
    seed: int = 0
    """Of the first net, and of the wrong labels; the other nets take the numbers that follow."""
    out: Path = Path("results/what_made_it_work")
    """Folder for the numbers (JSON) and the figure (SVG); made if it does not exist."""

    def __post_init__(self) -> None:
        for size in self.hidden:
            require(size >= 1, "--hidden", size, "at least 1")
        for name in ("epochs", "patience", "seeds"):
            require(getattr(self, name) >= 1, f"--{name}", getattr(self, name), "at least 1")
        require_seed(self.seed)
