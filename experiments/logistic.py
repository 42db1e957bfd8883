"""Question: does a logistic unit that minimizes the -log-likelihood find the true probabilities, and why decide at ½?

Prediction: if two classes are normal with equal spread, the true probability of class 1 is itself a logistic unit, with
known weights. Gradient descent on the -log-likelihood (claim B3) reaches the maximum of the likelihood, which Newton's
method finds as well; the true weights lie in its 95 % region for 95 % of the training sets. Deciding at ½ is the same
as deciding by the sign of w·x + b, and no other threshold makes fewer errors.
Refuted by: gradient descent and Newton at different weights; a coverage that is not 95 % within five standard errors;
a point where σ ≥ ½ and w·x + b ≥ 0 differ; another threshold with a smaller risk for the true unit.

Class 0 is N(−μ, 1), class 1 is N(μ, 1), half of the examples each way, so that P(1 | x) = σ(2 μ·x) and the risk of a
line is known exactly, Φ of a distance, without a test set.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Train a logistic unit on its -log-likelihood where the truth is known, and find where it should decide."""

    sets: int = frame.at_least(1, 400)
    """Training sets, each drawn anew; one unit learns from each."""
    examples: int = frame.at_least(20, 500)
    """Examples in each set."""
    steps: int = frame.at_least(1, 1500)
    """Updates of gradient descent on all examples."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "B3": ("formulas", "coverage", "decisions", "threshold", "arrives"),
    },
    x64=True,
    quick={"sets": 20},
    seeds=5,
    again={"sets": 200},
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import fnn
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

#: The centre of class 1; that of class 0 lies opposite.
CENTRE = np.array([1.0, 0.5])
#: The true unit: weights 2 μ and no bias.
TRUE = np.array([2.0, 1.0, 0.0])
#: The largest curvature is a quarter of that of the inputs, 2.25 and on a set at most 2.7: 2.5 stays below 2/0.7.
RATE = 2.5
#: Newton doubles its digits with each step: from 0, where every probability is ½, ten steps reach the last; the sets
#: that are nearly separable take some more.
NEWTON = 25
#: Thresholds of which the best is sought: hundredths.
THRESHOLDS = np.arange(1, 100) / 100
#: 95 % of χ² with three degrees of freedom, one per parameter, lie below this.
REGION = 7.814728
#: Both end where the gradient is 0 to some eps = 2e-16; the least curvature, about 0.05, makes 4e-15 of it in weights,
#: and this leaves a factor of thousands for gradient descent to come so far.
CLOSE = 1e-10
#: Points and width of the picture.
SHOWN, EDGE = 200, 4.0


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Learn on every set at once, find the maximum by Newton as well, and return the numbers."""
    random = np.random.default_rng(options.seed)
    y = random.integers(0, 2, (options.sets, options.examples)).astype(float)
    x = random.normal(size=(*y.shape, 2)) + (2 * y - 1)[..., None] * CENTRE
    net = fnn.dense(2, 1, weight_init="zeros")
    learned, losses = jax.jit(jax.vmap(lambda x, y: _descended(net, x, y, options.steps)))(x, y[..., None])
    watch("learning", 1, 2, f"{options.sets} units")
    best, information = jax.jit(jax.vmap(_newton))(x, y)
    watch("learning", 2, 2, "the same by Newton")
    first = {"W": learned[0, :2, None], "b": learned[0, 2:]}
    agreement = _decisions(net, first, random)
    formulas = _formulas(net, first, x[0], y[0])
    learned, best, information = (np.asarray(each) for each in (learned, best, information))
    error = best - TRUE
    wald = np.einsum("si,sij,sj->s", error, information, error)
    return {
        "sets": options.sets,
        "examples": options.examples,
        "distance_from_newton": float(np.abs(learned - best).max()),
        "covered": float(np.mean(wald <= REGION)),
        "mean_weights": np.round(best.mean(0), 4),
        "true_weights": TRUE,
        "losses": np.round(np.asarray(losses)[0, :: max(options.steps // 50, 1)], 6),
        "decisions": agreement,
        "formulas": formulas,
        "bayes_risk": float(_risk(TRUE, 0.5)),
        "risks": {
            "learned": np.round(np.mean([_risk(w, THRESHOLDS) for w in learned], axis=0), 6),
            "true": np.round(_risk(TRUE, THRESHOLDS), 6),
        },
        "best_threshold_of_the_true_unit": float(THRESHOLDS[np.argmin(_risk(TRUE, THRESHOLDS))]),
        "shown": {"x": np.round(x[0, :SHOWN], 3), "y": y[0, :SHOWN].astype(int), "weights": learned[0]},
    }


def _descended(net: fnn.Layer, x: jax.Array, y: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
    """((w1, w2, b), the losses) of gradient descent from 0 on the mean -log-likelihood, by the rules of `fnn`."""
    gradient, descent = fnn.backprop(net, fnn.sigmoid_cross_entropy), fnn.optimizers.sgd(RATE)

    def step(params: Any, _: None) -> tuple[Any, jax.Array]:
        value, results = gradient(params, x, y)
        updates, _ = descent.update(results, ())
        return jax.tree.map(jnp.add, params, updates), value

    params, losses = jax.lax.scan(step, net.init(jax.random.key(0), jnp.float64), None, length=steps)
    return jnp.concatenate([params["W"][:, 0], params["b"]]), losses


def _newton(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """((w1, w2, b) at the maximum of the likelihood, the Fisher information there), written out: the witness."""
    rows = jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)

    def curvature(w: jax.Array) -> tuple[jax.Array, jax.Array]:
        p = 1 / (1 + jnp.exp(-rows @ w))
        return rows.T @ (p - y), (rows * (p * (1 - p))[:, None]).T @ rows

    def step(w: jax.Array, _: None) -> tuple[jax.Array, None]:
        slope, hessian = curvature(w)
        return w - jnp.linalg.solve(hessian, slope), None

    w = jax.lax.scan(step, jnp.zeros(3), None, length=NEWTON)[0]
    return w, curvature(w)[1]


def _risk(weights: np.ndarray, threshold: Any) -> Any:
    """The exact risk of deciding for 1 where σ(w·x + b) ≥ threshold."""
    from scipy.stats import norm

    w, b = weights[:2], weights[2]
    # w·x + b is normal with mean ± w·μ + b and deviation ‖w‖; the threshold is its logit there
    level, centre, spread = np.log(threshold / (1 - np.asarray(threshold))) - b, w @ CENTRE, np.linalg.norm(w)
    return 0.5 * norm.cdf((level - centre) / spread) + 0.5 * norm.cdf(-(level + centre) / spread)


def _decisions(net: fnn.Layer, params: Any, random: np.random.Generator) -> dict[str, int]:
    """Where σ(z) ≥ ½ and z ≥ 0 differ, at random points and at scores of exactly 0 and of the neighbouring floats."""
    scores = np.asarray(net.apply(params, jnp.asarray(random.normal(0, 3, (10_000, 2)))))[:, 0]
    # below 2e-16 the sum 1 + e^(−z) rounds to 2, and σ to ½, on either side: there is nothing to tell apart
    scores = np.concatenate([scores, [0.0, -0.0, 1e-15, -1e-15]])
    decided = np.asarray(fnn.sigmoid(jnp.asarray(scores))) >= 0.5
    return {"points": len(scores), "different": int(np.sum(decided != (scores >= 0)))}


def _formulas(net: fnn.Layer, params: Any, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The loss and the gradient beside −log Π p^y (1 − p)^(1 − y), written out, and its slope by autodiff."""

    def negative_log_likelihood(params: Any) -> jax.Array:
        p = 1 / (1 + jnp.exp(-(x @ params["W"][:, 0] + params["b"][0])))
        return -jnp.mean(jnp.log(jnp.where(y == 1, p, 1 - p)))

    # away from the maximum, where the gradient would be 0
    moved = jax.tree.map(lambda leaf: leaf + 1, params)
    by_hand = jax.jit(fnn.backprop(net, fnn.sigmoid_cross_entropy))
    value, gradient = jax.device_get(by_hand(moved, jnp.asarray(x), jnp.asarray(y)[:, None]))
    wanted, slope = jax.device_get(jax.jit(jax.value_and_grad(negative_log_likelihood))(moved))
    apart = [np.abs(gradient[name] - slope[name]).max() for name in slope]
    return {"value": float(abs(value - wanted)), "gradient": float(max(apart))}


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the weights found, the coverage, and the risks."""
    result = saved["result"]
    weights_found = ", ".join(f"{w:.3f}" for w in result["mean_weights"])
    half = result["risks"]["learned"][len(THRESHOLDS) // 2]
    lines = (
        f"\n(w1, w2, b) in the mean of {result['sets']} sets: {weights_found}; truly 2, 1, 0; "
        f"95 % regions that hold the truth: {result['covered']:.1%}",
        f"gradient descent against Newton: {result['distance_from_newton']:.1e}",
        f"risk of the learned units at ½ {half:.4f}, least possible {result['bayes_risk']:.4f}",
    )
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    return {
        "formulas": Prediction("value and gradient are those of the formulas", result["formulas"], "at most", CLOSE),
        "coverage": Prediction(
            "95 % of the 95 % regions hold the true weights: deviation in standard errors",
            abs(result["covered"] - 0.95) / float(np.sqrt(0.95 * 0.05 / result["sets"])),
            # beyond five standard errors once in two million
            "at most",
            5.0,
        ),
        "decisions": Prediction(
            "points where deciding at ½ is not deciding by the sign of w·x + b",
            result["decisions"]["different"],
            "is",
            0,
        ),
        "threshold": Prediction(
            "the best threshold of the true unit is ½", result["best_threshold_of_the_true_unit"], "is", 0.5
        ),
        "arrives": Prediction(
            "gradient descent arrives at the maximum that Newton finds",
            result["distance_from_newton"],
            "at most",
            CLOSE,
            miss=None,
            decide="More --steps would decide whether it arrives.",
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the units say of claim B3."""
    return {
        "B3": Evidence(
            f"Gradient descent on the -log-likelihood ends within {result['distance_from_newton']:.0e} of the maximum "
            f"that Newton finds, on {result['sets']} training sets; {result['covered']:.1%} of the 95 % regions hold "
            f"the true weights (predicted 95 %). Of {result['decisions']['points']:,} "
            f"points {result['decisions']['different']} are decided otherwise at ½ than by the sign of w·x + b "
            f"(predicted 0), and the best threshold of the true unit is "
            f"{result['best_threshold_of_the_true_unit']:g} (predicted ½).",
            "logistic.svg",
        )
    }


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    figure, (spots,) = figures.blank(11.5, 4.8, columns=2)
    plane, risk = spots
    x, y, (w1, w2, b) = np.array(result["shown"]["x"]), np.array(result["shown"]["y"]), result["shown"]["weights"]
    side = np.linspace(-EDGE, EDGE, 81)
    scores = w1 * side[None, :] + w2 * side[:, None] + b
    levels = [np.log(p / (1 - p)) for p in (0.1, 0.5, 0.9)]
    lines = plane.contour(
        side, side, scores, levels=levels, colors="black", linewidths=(1, 2, 1), linestyles=(":", "-", "--")
    )
    plane.clabel(lines, fmt=dict(zip(lines.levels, ("0.1", "0.5", "0.9"), strict=True)))
    for value, marker, colour in ((0, "o", figures.BLUE), (1, "s", figures.ORANGE)):
        style = {"marker": marker, "color": colour, "label": f"class {value}"}
        plane.scatter(*x[y == value].T, s=22, edgecolor="black", lw=0.4, **style)
    plane.set(aspect="equal", xlabel="$x_1$", ylabel="$x_2$", title="Probability of class 1, as learned")
    plane.legend(loc="lower left")
    risk.plot(
        THRESHOLDS, 100 * np.array(result["risks"]["learned"]), color=figures.BLUE, lw=2.5, label="learned units, mean"
    )
    risk.plot(
        THRESHOLDS,
        100 * np.array(result["risks"]["true"]),
        color=figures.ORANGE,
        lw=1.6,
        ls="--",
        label="the true unit",
    )
    risk.axvline(0.5, color="black", lw=1, ls=":")
    risk.set(
        title="Exact risk by the threshold", xlabel="decide for class 1 from this probability on", ylabel="errors (%)"
    )
    risk.legend()
    return {"logistic.svg": figure}
