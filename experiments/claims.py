"""The claims of the lectures, and the evidence on each: experiments and tests.

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
    "A3": "One hidden layer with a bounded, increasing activation approximates any continuous function as closely as "
    "wanted, given enough units; how to train them is another question.",
    "A4": "Every classification tree can be written as a network that gives the same answer everywhere.",
    "A5": "One-hot coding: a label is a vector with 1 in the place of its class and 0 elsewhere.",
    "A6": "Softmax turns any scores into probabilities: none negative, and their sum is 1.",
    "A7": "The cross entropy of a one-hot target is −log softmax at the true class.",
    "A8": "Finite differences of (2x₁ + 3x₂)² + 3 at (1, 3) with h = 0.02: 44.08 one-sided, 44 symmetric.",
    "A9": "The step of a difference: 10⁻⁵ suffices only in float64; ε^(1/3) of the dtype for symmetric and ε^(1/2) for "
    "one-sided differences balance truncation and rounding.",
    "A10": "The rules of calculus, and one forward and one backward pass over a graph, give the same derivative: 44.",
    "A11": "Gradient descent: with too high a rate the loss grows without bound, with too low a rate there is no "
    "progress; on a quadratic the limit is exactly 2/λ_max.",
    "A12": "Back-propagation costs a small multiple of one forward pass, finite differences a pass for each parameter.",
    "A13": "Gradients are products of partial derivatives, one per layer: with depth they vanish or explode.",
    "A14": "The derivative of sign is zero almost everywhere, so nothing learns through it; those of sigmoid and relu "
    "are f(1 − f) and 1[x > 0].",
    "A15": "A fully connected layer, its bias as the weight of a constant input, and its two gradients.",
    "A16": "The closed forms of the three weight gradients of a deep linear network are those of back-propagation.",
    "A17": "Products of partial derivatives also multiply rounding errors, more with depth and in smaller dtypes.",
    "A18": "A fully connected layer can represent any topology: sparse layers, convolution and average pooling are "
    "masked matrices.",
    "A19": "Back-propagation is not a training algorithm: it computes one gradient, which any optimizer may use.",
    "A20": "Back-propagation is dynamic programming: what several paths share is computed once.",
    "A21": "Cross-entropy and softmax mostly appear together, not exclusively: the sigmoid has it too.",
    "B1": "No predictor beats the Bayes classifier, nor E[Y|X] for squared loss; loss, risk, and empirical risk.",
    "B2": "Expected squared error = bias² + variance + noise; simple models underfit, flexible ones overfit.",
    "B3": "A logistic unit sums, squashes and decides at ½; it learns by minimizing the negative log-likelihood.",
    "B4": "The perceptron algorithm makes at most (R‖w*‖/ρ)² mistakes on separable data, and never converges on other "
    "data.",
    "B5": "Activations and their derivatives: linear 1, sigmoid g(1 − g), tanh 1 − g², relu, hard threshold.",
    "B6": "Stochastic gradient descent, one example at a time or in mini-batches.",
    "B7": "Softmax with negative log-likelihood: the gradient at the scores is −(e(y) − f(x)).",
    "B8": "The complete algorithm: the gradient at every hidden layer, before and after its activation, and of every "
    "parameter.",
    "B9": "Penalties apply to weights, never to biases: ΣW² with gradient 2W, Σ|W| with sign(W); L1 gives exact zeros "
    "(by its proximal step, not by plain gradient steps).",
    "B10": "Initial weights: all zero, a tanh net stays stuck but for its output bias; equal weights keep hidden units "
    "equal; U[−b, b] with b = √6/√(H_k + H_k₋₁) does neither.",
    "B11": "Permuting hidden units together with their connections leaves the function unchanged.",
    "B12": "The loss of a network has local minima and plateaus.",
    "B13": "A graph of nodes with fprop and bprop, the latter called in reverse order, is back-propagation.",
    "B14": "What made deep networks work: initialization, activation, weight penalties, accelerated descent, early "
    "stopping.",
    "B15": "Softmax over K classes has one score too many: a constant added to all scores changes nothing.",
    "B16": "One hidden layer suffices, more may be cheaper; the number of units that one layer needs has no bound.",
    "B17": "relu gives sparse activity (and is neither strictly increasing nor always positive).",
    "B18": "L2 and L1 penalties are Gaussian and Laplacian priors: the same objective up to stated constants.",
    "B19": "The 0–1 loss is not smooth; a training loss is an upper bound on it, for the right loss and constant.",
    "B20": "The gradient at the output of softmax is −e(y)/f(x)_y.",
    "B21": "A single unit reads exclusive-or when a hidden layer has given the inputs a better representation.",
    "B22": "Descent with steps h_t: on convex costs steps that fall to 0 with an endless sum converge, and a fixed one "
    "need not; without convexity the start decides where it ends.",
    "B23": "Universal approximation holds for most activation functions, and for no polynomial.",
    "B24": "The excess risk is approximation error plus estimation error, with the best predictor of the "
    "class between.",
    "B25": "Sigmoid and tanh are bounded and strictly increasing, and tanh a = 2σ(2a) − 1.",
    "B26": "The bias moves the ridge of a unit to the signed distance −b/‖w‖; the activation sets its range.",
    "B27": "The logarithm is taken for stability: a product of likelihoods underflows.",
    "B28": "Back-propagation only needs to reach the parameters: the gradient of the first input is not needed.",
    "B29": "Other initial biases than 0 could work well.",
    "B30": "The perceptron's bound on mistakes holds for any start and any step.",
    "C1": "Linear regression is convex: its minimum solves the linear system that sets the gradient to zero, and "
    "gradient descent arrives there.",
    "C2": "A model does not extrapolate: a line of wine quality against alcohol gives absurd values at 0 % and 100 %.",
    "C3": "Stacked affine layers with nothing between them are a single affine layer.",
    "C4": "The formulas of networks with one, two and many hidden layers.",
    "C5": "The cost Σ‖N(x, θ) − y‖² is not convex in θ as soon as there is a hidden layer.",
    "C6": "Gradient descent: with a small enough step the cost never rises, and at a limit the gradient is zero.",
    "C7": "d = x + y, e = d·z, L = (e − 1)² as a graph whose nodes know only their own derivatives.",
    "C8": "For vectors, a node applies its transposed Jacobian on the way back.",
    "C9": "A layer has parameters, a forward and a backward pass, and gives one gradient per parameter and per input.",
    "C10": "σ(z) written as e^z/(e^z + 1) overflows; written stably it does not.",
    "C11": "−∇E is the direction of steepest descent.",
    "C12": "A network is drawn as units and edges from its description.",
    "D1": "The mean squared loss (1/N)Σ‖F(xᵢ) − yᵢ‖².",
    "D2": "The derivative is the best local linear approximation: the remainder falls with the square of the distance.",
    "D3": "The chain rule D(g∘f) = Dg(f(x))·Df(x), on f = (x₁²x₂, x₁ + x₂) and g = y₁² + y₂³.",
    "D4": "The Jacobian of one layer with respect to its matrix and bias, row by row.",
    "D5": "The order of multiplication matters: for 1 × 100, 100 × 100, 100 × 100, from the left costs about 50 times "
    "less; hence back-propagation runs from output to input.",
    "D6": "A batch needs no new formulas: they are the same, with matrices.",
    "D7": "The binary cross entropy −(1/N)Σ[y ln F + (1 − y) ln(1 − F)].",
    "D8": "The bias as a row and column of the matrix: outputs and gradients are equal if that row is frozen and the "
    "activation leaves component 0 alone.",
    "D9": "Φ = α ∘ β ∘ F with Dα = 2z and Dβ = Id, as a graph.",
    "E1": "Gradient descent in one and two dimensions: on (x − 4)² it reaches the minimum, on (x − 4)²x⁴, "
    "whose minima are equally deep, the start decides; tilted, it can get stuck in the higher one.",
    "E2": "Numerical gradients are slow and analytical ones fast, the more so the more parameters there are.",
    "E3": "f = (x + y)·z on a graph: local derivatives, multiplied along the paths.",
    "E4": "A sigmoid unit as elementary nodes, and collapsed into one: (1 − 0.73)·0.73 = 0.2.",
    "E5": "Where a value branches, its gradients add up; max routes a gradient, average shares it.",
    "E6": "Back-propagation with matrices: δ_p = p − y, δ_z = δ_p ⊙ σ′(z), δ_a = Θᵀδ_z, Θ ← Θ − α δ_z aᵀ.",
    "E7": "Too large a rate overshoots, too small a one takes long; single examples, mini-batches, the full batch.",
    "E8": "A working network with forward, backward and update written by hand.",
    "E9": "A linear loss makes no sense: its gradient is constant, its cost falls without end.",
}


class Witnesses(NamedTuple):
    """The evidence on a claim."""

    experiments: tuple[str, ...]
    """The experiments that judge it."""
    tests: tuple[str, ...]
    """The tests with its number, as "file::name"."""


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
