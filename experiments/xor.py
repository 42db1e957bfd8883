"""Question: how many of the four points of XOR can a line get right, and how many a network written from scratch?

Prediction: the best line gets 3 of 4 (claim A2); a multi-layer perceptron with a working forward, backward and update
of about fifteen lines (claim E8) gets 4 of 4, its gradient is that of `fnn.backprop`, and trained by that one it gets
4 of 4 too.
Refuted by: a line with 4 of 4; a gradient that differs by more than rounding; a net that stays at 3.

Why no line can: its score s(x) = w·x + b has s(0,0) + s(1,1) = 2b + w₁ + w₂ = s(0,1) + s(1,0). A line that reads XOR
right makes the left sum negative and the right one not: a contradiction. The run shows both halves: a small grid of
lines realizes 14 of the 16 ways to label four points, the two that are missing are XOR and its opposite, and those
are the two that the identity forbids.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Show that no line separates XOR, and that a small net written from scratch does."""

    hidden: int = frame.at_least(1, 4)
    """Units of the hidden layer."""
    learning_rate: float = frame.above(0, 0.5)
    """Rate of plain gradient descent on all four points."""
    steps: int = frame.at_least(1, 2000)
    """How many updates."""
    seeds: int = frame.at_least(1, 20)
    """How many nets are trained, each from an initialisation of its own; the figure shows the first."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "A2": ("line", "identity", "solved", "library"),
        "E8": ("solved", "gradient"),
    },
    quick={"seeds": 3},
    seeds=20,
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import fnn
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

#: The square on which the rules are drawn, and how finely.
LOW, HIGH, FINENESS = -0.4, 1.4, 61


# ---- the network from scratch (claim E8): tanh hidden units, one sigmoid output, cross-entropy ----------------------


def forward(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return (a, z): the hidden units (N, H), and the score of class 1 (N, 1)."""
    first, second = params
    a = jnp.tanh(x @ first["W"] + first["b"][None])
    return a, a @ second["W"] + second["b"][None]


def backward(params: Any, x: jax.Array, y: jax.Array) -> Any:
    """The gradient of the mean cross-entropy, in the structure of params, for y (N, 1) in {0, 1}."""
    a, z = forward(params, x)
    # cross-entropy of σ(z), mean over N: its derivative is (σ(z) − y) / N
    z_bar = (1 / (1 + jnp.exp(-z)) - y) / len(x)
    # z = a @ W + b, then a = tanh(x @ W + b)
    hidden_bar = (z_bar @ params[1]["W"].T) * (1 - a**2)
    return {"W": x.T @ hidden_bar, "b": hidden_bar.sum(0)}, {"W": a.T @ z_bar, "b": z_bar.sum(0)}


def update(params: Any, gradient: Any, learning_rate: float) -> Any:
    """One step of gradient descent."""
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, gradient)


# ---- the experiment -------------------------------------------------------------------------------------------------


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Try every way to label the points by a line, train the nets, and return the numbers."""
    points, labels = fnn.data.xor()
    lines = _lines(points, labels)
    watch("lines", 1, 1, f"best {lines['best']['correct']} of 4")
    # matrix products in full precision: TF32 would look like a wrong gradient
    nets = _nets(options, jnp.asarray(points), jnp.asarray(labels, points.dtype)[:, None])
    watch("nets", 1, 1, f"{nets['solved']} of {options.seeds} at 4 of 4")
    return {"points": points, "labels": labels, "lines": lines, "nets": nets, "grid": {"low": LOW, "high": HIGH}}


def _lines(points: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Every labelling of the four points that a line gives, and the best of these lines for XOR."""
    # weights −1, 0, 1 and half-whole biases reach every labelling that any line reaches, as the count of 14 shows
    rules = list(product((-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0), (-1.5, -0.5, 0.5, 1.5)))
    read = np.array([points @ (w1, w2) + b >= 0 for w1, w2, b in rules]).astype(int)
    results = {tuple(row) for row in read.tolist()}
    missing = sorted(set(product((0, 1), repeat=4)) - results)
    # s(0,0) + s(1,1) = s(0,1) + s(1,0): with the sums of scores equal, the middle two cannot differ from the outer two
    forbidden = [each for each in missing if each[0] == each[3] != each[1] == each[2]]
    correct = (read == labels).sum(axis=1)
    best = int(np.argmax(correct))
    w1, w2, b = rules[best]
    side = np.linspace(LOW, HIGH, FINENESS)
    return {
        "labellings_found": len(results),
        "labellings_missing": missing,
        "labellings_forbidden": forbidden,
        "best": {
            "weights": [w1, w2],
            "bias": b,
            "correct": int(correct[best]),
            "read": read[best],
            "scores": np.round(w1 * side[None, :] + w2 * side[:, None] + b, 4),
        },
    }


def _nets(options: Options, x: jax.Array, y: jax.Array) -> dict[str, Any]:
    """All nets at once, and the first of them looked at more closely."""
    net = fnn.mlp(2, options.hidden, 1, activation=fnn.tanh)
    keys = jax.vmap(jax.random.key)(options.seed + jnp.arange(options.seeds, dtype=jnp.uint32))
    start = jax.vmap(net.init)(keys)

    by_fnn = fnn.backprop(net, fnn.sigmoid_cross_entropy)

    def train(gradient: Any, params: Any) -> Any:
        def step(params: Any, _: None) -> tuple[Any, None]:
            return update(params, gradient(params), options.learning_rate), None

        return jax.lax.scan(step, params, None, length=options.steps)[0]

    def with_library(params: Any) -> jax.Array:
        return net.apply(train(lambda params: by_fnn(params, x, y)[1], params), x)

    end = jax.jit(jax.vmap(lambda params: train(lambda params: backward(params, x, y), params)))(start)
    scores = np.asarray(jax.jit(jax.vmap(lambda params: forward(params, x)[1]))(end))
    if not np.isfinite(scores).all():
        raise FloatingPointError("the training left the finite numbers. Lower --learning-rate.")
    read = scores >= 0
    correct = np.sum(read == (np.asarray(y) > 0), axis=(1, 2))
    first_start, first = (jax.tree.map(lambda leaf: leaf[0], params) for params in (start, end))
    library = np.asarray(jax.jit(with_library)(first_start)) >= 0
    side = np.linspace(LOW, HIGH, FINENESS)
    plane = jnp.asarray(np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2), x.dtype)
    looked = np.asarray(jax.jit(forward)(first, plane)[1], np.float64)
    return {
        "net": str(net),
        "correct": correct,
        "solved": int(np.sum(correct == 4)),
        "library": int(np.sum(library == (np.asarray(y) > 0))),
        "gradient_error": _gradient_error(net, first_start, x, y),
        "first": {
            "correct": int(correct[0]),
            "read": read[0, :, 0].astype(int),
            "scores": np.round(looked.reshape(FINENESS, FINENESS), 4),
        },
    }


def _gradient_error(net: fnn.Layer, params: Any, x: jax.Array, y: jax.Array) -> dict[str, float]:
    """{leaf: largest difference from `fnn.backprop` over the largest entry of the gradient}, before training."""
    gradient = jax.device_get(jax.jit(backward)(params, x, y))
    expected = jax.device_get(jax.jit(fnn.backprop(net, fnn.sigmoid_cross_entropy))(params, x, y)[1])
    # a leaf whose terms cancel is rounded as they are: the size is that of the whole gradient
    size = max(float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(expected))
    return {
        f"{k}.{name}": float(np.max(np.abs(mine[name] - theirs[name]))) / size
        for k, (mine, theirs) in enumerate(zip(gradient, expected, strict=True), start=1)
        for name in theirs
    }


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def show(saved: dict[str, Any], console: Console) -> None:
    """Print what the lines and the nets reach."""
    lines, nets = saved["result"]["lines"], saved["result"]["nets"]
    best = lines["best"]
    w1, w2 = best["weights"]
    missing = " and ".join("".join(map(str, each)) for each in lines["labellings_missing"])
    text = [
        f"\nlines: {lines['labellings_found']} of the 16 labellings of the points 00, 01, 10, 11; missing: {missing}",
        f"the best line for 0110 is {w1:+g} x1 {w2:+g} x2 {best['bias']:+g} >= 0: {best['correct']} of 4 right",
        f"the net {nets['net']}, written from scratch: {nets['first']['correct']} of 4 right; "
        f"{nets['solved']} of {len(nets['correct'])} initialisations reach 4 of 4",
        "its gradient against fnn.backprop, largest difference over the largest entry: "
        + ", ".join(f"{leaf} {error:.1e}" for leaf, error in nets["gradient_error"].items()),
    ]
    console.print("\n".join(text), highlight=False, markup=False, soft_wrap=True)


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    lines, nets = result["lines"], result["nets"]
    # a dozen float32 operations lie behind each entry: sixteen roundings of 1.2e-7
    rounding = 16 * float(np.finfo(np.float32).eps)
    accounted = lines["labellings_found"] + len(lines["labellings_forbidden"])
    return {
        "line": Prediction("the best line gets 3 of 4", lines["best"]["correct"], "is", 3),
        "identity": Prediction(
            "of 16 labellings each is made by a line or forbidden by the identity", accounted, "is", 16
        ),
        "solved": Prediction("the net written from scratch gets 4 of 4", nets["first"]["correct"], "is", 4),
        "library": Prediction(
            "the same net, by the gradient and the forward pass of fnn, gets 4 of 4", nets["library"], "is", 4
        ),
        "gradient": Prediction(
            "its gradient is that of fnn.backprop, to float32 rounding of its largest entry",
            nets["gradient_error"],
            "at most",
            rounding,
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the lines and the nets say of claims A2 and E8."""
    lines, nets = result["lines"], result["nets"]
    worst = max(nets["gradient_error"].values())
    return {
        "A2": Evidence(
            f"The best line reads {lines['best']['correct']} of 4 (predicted 3), and the two labellings that no line "
            f"reaches are those that an identity forbids; the net reads {nets['first']['correct']} of 4, and trained "
            f"by fnn {nets['library']} (predicted 4).",
            "regions.svg",
        ),
        "E8": Evidence(
            f"Forward, backward and update of about fifteen lines reach 4 of 4 from {nets['solved']} of "
            f"{len(nets['correct'])} initialisations; the gradient is that of fnn.backprop to {worst:.1e} of its "
            "largest entry.",
            "regions.svg",
        ),
    }


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    regions = figures.decision_regions(
        result["points"], result["labels"], result["lines"]["best"], result["nets"]["first"], result["grid"]
    )
    return {"regions.svg": regions}
