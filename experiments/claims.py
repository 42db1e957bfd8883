"""The claims of the lectures, and what speaks for or against each: experiments and tests.

Promises: the tables of claims in docs and report are made from these.
"""

import re
from pathlib import Path
from typing import NamedTuple

from experiments.registry import EXPERIMENTS

LECTURES: dict[str, str] = {
    "A": "A. Maier et al., Feed Forward Neural Networks, FAU Erlangen-Nürnberg, 2018",
    "B": "E. Le Pennec, Introduction to Neural Networks, École polytechnique, 2017",
    "C": "M. Möller, Towards more complex networks, Universität Siegen",
    "D": "The chain rule and back propagation for deep feed-forward nets, lecture notes",
    "E": "R. Herrler, Backpropagation, FHWS",
}

#: What is claimed, in our words; where a lecture errs, the right version.
CLAIMS: dict[str, str] = {
    "A1": "The perceptron decides by the sign of wᵀx, where the sign of 0 counts as +1.",
    "A2": "No line gets more than 3 of the 4 points of XOR right; a multi-layer perceptron gets all 4.",
    "A3": "One hidden layer with a bounded, increasing activation comes as near to a continuous function as wanted, "
    "given enough units; this says nothing about training them.",
    "A4": "Every classification tree can be written as a network that gives the same answer everywhere.",
    "A5": "One-hot coding: a label is a vector with 1 in its own place and 0 elsewhere.",
    "A6": "Softmax turns any scores into probabilities: none negative, 1 in all.",
    "A7": "The cross entropy of a one-hot target is −log softmax at the true class.",
    "A8": "Finite differences, one-sided and symmetric, on (2x₁ + 3x₂)² + 3 at (1, 3) with h = 0.02: 44.08 and 44.",
    "A9": "The step of a difference: 10⁻⁵ suffices in float64 only; ε^(1/3) of the dtype for symmetric and ε^(1/2) for "
    "one-sided differences balance truncation and rounding.",
    "A10": "The same derivative by rules of calculus and by one forward and one backward pass over a graph: 44.",
    "A11": "Gradient descent: too high a rate makes the loss grow without bound, too low a rate makes no progress; on "
    "a quadratic the limit is exactly 2/λ_max.",
    "A12": "Back-propagation costs a small multiple of one forward pass, finite differences one pass per parameter.",
    "A13": "Gradients are products of partial derivatives, one per layer: they vanish or explode with depth.",
    "A14": "The derivative of sign is zero almost everywhere, so nothing learns through it; sigmoid and relu have "
    "f(1 − f) and 1[x > 0].",
    "A15": "A fully connected layer with its bias as the weight of a constant input, and its two gradients.",
    "A16": "The three weight gradients of a deep linear network, in closed form, are those of back-propagation.",
    "A17": "Products of partial derivatives also multiply rounding errors, more with depth and in smaller dtypes.",
    "A18": "A fully connected layer can be any topology: sparse, convolution and average pooling are masked matrices.",
    "A19": "Back-propagation is no training algorithm: it computes one gradient, which any optimizer may use.",
    "B1": "No predictor beats the Bayes classifier, nor E[Y|X] for squared loss; a loss, its risk, its empirical risk.",
    "B2": "Expected squared error = bias² + variance + noise; simple models underfit, flexible ones overfit.",
    "B3": "A logistic unit sums, squashes and decides at ½; it learns by the negative log-likelihood.",
    "B4": "The perceptron algorithm makes at most (R‖w*‖/ρ)² mistakes on separable data, and never settles on others.",
    "B5": "Activations and their derivatives: linear 1, sigmoid g(1 − g), tanh 1 − g², relu, hard threshold.",
    "B6": "Stochastic gradient descent, one example at a time or in mini-batches.",
    "B7": "Softmax with negative log-likelihood: the gradient at the scores is −(e(y) − f(x)).",
    "B8": "The complete algorithm: gradients at every hidden layer, before and after its activation, and of every "
    "parameter.",
    "B9": "Penalties on weights, never biases: ΣW² with gradient 2W, Σ|W| with sign(W); L1 gives exact zeros (by its "
    "proximal step, not by plain gradient steps).",
    "B10": "Initial weights: all zero with tanh stay stuck but for the output bias, equal ones keep hidden units "
    "equal; U[−b, b] with b = √6/√(H_k + H_k₋₁) does neither.",
    "B11": "Permuting hidden units together with their connections leaves the function as it is.",
    "B12": "The loss of a network has local minima and plateaus.",
    "B13": "A graph of nodes with fprop and bprop, the latter called in reverse order, is back-propagation.",
    "B14": "What made deep networks work: initialisation, activation, weight penalties, accelerated steps, early "
    "stopping.",
    "B15": "Softmax over K classes has one parameter too many: a constant added to all scores changes nothing.",
    "B16": "One hidden layer suffices, more may be cheaper; there is no bound on the units that one layer needs.",
    "B17": "relu gives sparse activity (and is neither strictly increasing nor always positive).",
    "B18": "L2 and L1 penalties are Gaussian and Laplacian priors: the same objective, up to stated constants.",
    "B19": "The 0–1 loss is not smooth; the training loss is an upper bound of it, for the right loss and constant.",
    "B20": "The gradient at the output of softmax is −e(y)/f(x)_y.",
    "C1": "Linear regression is convex, and its solution is where a linear system says that the gradient is zero; "
    "gradient descent arrives there.",
    "C2": "A model does not extrapolate: a line of wine quality against alcohol says absurd things at 0 % and 100 %.",
    "C3": "Stacked affine layers with nothing between them are one affine layer.",
    "C4": "The formulas of networks with one, two and many hidden layers.",
    "C5": "The cost Σ‖N(x, θ) − y‖² is not convex in θ as soon as there is a hidden layer.",
    "C6": "Gradient descent: with a small enough step the cost never rises, and a limit has zero gradient.",
    "C7": "d = x + y, e = d·z, L = (e − 1)² as a graph in which each node knows its own derivative only.",
    "C8": "For vectors, what a node applies on the way back is its transposed Jacobian.",
    "C9": "A layer is parameters, a forward and a backward pass, with a gradient per parameter and per input.",
    "C10": "σ(z) as e^z/(e^z + 1) overflows; written stably it does not.",
    "D1": "The mean squared loss (1/N)Σ‖F(xᵢ) − yᵢ‖².",
    "D2": "The derivative is the best local linear approximation: what remains falls with the square of the distance.",
    "D3": "The chain rule D(g∘f) = Dg(f(x))·Df(x), on f = (x₁²x₂, x₁ + x₂) and g = y₁² + y₂³.",
    "D4": "The Jacobian of one layer with respect to its matrix and bias, row by row.",
    "D5": "The order of multiplication matters: for 1 × 100, 100 × 100, 100 × 100, from the left costs about 50 times "
    "less; hence back-propagation goes from output to input.",
    "D6": "A batch needs no new formulas: the same ones with matrices.",
    "D7": "The binary cross entropy −(1/N)Σ[y ln F + (1 − y) ln(1 − F)].",
    "D8": "The bias as a row and column of the matrix: equal outputs and gradients, if that row is frozen and the "
    "activation leaves component 0 alone.",
    "E1": "Gradient descent in one and two dimensions: on (x − 4)² it arrives, in (x − 4)²x⁴ it can get stuck.",
    "E2": "The numerical way is slow and the analytical way fast, the more so the more parameters.",
    "E3": "f = (x + y)·z on a graph: local derivatives, multiplied along the paths.",
    "E4": "A sigmoid unit as elementary nodes, and collapsed into one: (1 − 0.73)·0.73 = 0.2.",
    "E5": "Where a value branches its gradients add up; max routes a gradient, average shares it.",
    "E6": "Back-propagation with matrices: δ_p = p − y, δ_z = δ_p ⊙ σ′(z), δ_a = Θᵀδ_z, Θ ← Θ − α δ_z aᵀ.",
    "E7": "Too large a rate overshoots, too small a one takes long; single examples, mini-batches, the full batch.",
    "E8": "A working network with forward, backward and update written by hand.",
}


class Witnesses(NamedTuple):
    """What speaks for or against a claim."""

    experiments: tuple[str, ...]
    """Those that judge it."""
    tests: tuple[str, ...]
    """Those that bear its number, as "file::name"."""


def witnesses() -> dict[str, Witnesses]:
    """{claim: the experiments and the named tests that look at it}, for every claim, from the files of the tests."""
    judged_by = {claim: tuple(n for n, each in EXPERIMENTS.items() if claim in each.claims) for claim in CLAIMS}
    tested_by: dict[str, list[str]] = {claim: [] for claim in CLAIMS}
    tests = Path(__file__).parents[1] / "tests"
    for file in sorted(tests.rglob("test_*.py")):
        # test_A2_E8_…: the numbers come first, each with its underscore
        for name, numbers in re.findall(r"^def (test((?:_[A-E]\d+)+)_\w+)", file.read_text(encoding="utf-8"), re.M):
            for claim in numbers.split("_")[1:]:
                tested_by.setdefault(claim, []).append(f"{file.relative_to(tests).as_posix()}::{name}")
    return {claim: Witnesses(judged_by.get(claim, ()), tuple(tests)) for claim, tests in tested_by.items()}
