"""Question: compared with the best predictor, how much does a trained line lose because it is a line, and how much
because it has seen few points?

Prediction: the excess risk is the approximation error R(f*_S) − R(f*) plus the estimation error R(f) − R(f*_S), with
f*_S the best line of all (B24). The first does not depend on the number of points and is well above 0 here (B2); the
second is never below 0 and falls as points are added.
Refuted by: a trained line below the best of its class; a risk by the formula that fresh points contradict; an
estimation error that does not fall.

Two classes from the mixture of the experiment bias_variance. The risk of a line is exact there: each of the four clouds
is normal along its weights. The best line is sought on a grid of directions and places and then by Nelder and Mead.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Split the excess risk of trained lines into the approximation error of their class and the estimation error."""

    sets: int = frame.at_least(2, 50)
    """Training sets of each size."""
    fresh: int = frame.at_least(1000, 20_000)
    """Fresh points on which the exact risks are tried."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "B2": ("approximation",),
        "B24": ("approximation", "not_below", "shrinks", "fresh"),
    },
    quick={"sets": 10, "fresh": 2000},
    seeds=5,
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import fnn
from experiments.bias_variance import CENTRES, DEVIATION, bayes_risk, drawn
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

SIZES = (40, 160, 640)
STEPS, RATE = 300, 0.1


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Find the best line, train lines on sets of three sizes, and return their risks."""
    random = np.random.default_rng(options.seed)
    test_x, test_y = drawn(random, options.fresh)
    rows = []
    for k, size in enumerate(SIZES, start=1):
        x, y = drawn(random, options.sets, size)
        rules = np.asarray(_trained(jnp.asarray(x, jnp.float32), jnp.asarray(y[..., None], jnp.float32)), float)
        exact = line_risks(rules)
        reads = np.einsum("nd,sd->sn", test_x, rules[:, :2]) + rules[:, 2:] >= 0
        deviation = np.sqrt(exact * (1 - exact) / options.fresh)
        rows.append({
            "size": size, "risk": float(exact.mean()), "least": float(exact.min()), "risks": exact.round(5),
            "off": float((np.abs((reads != test_y).mean(axis=1) - exact) / deviation).max()),
        })  # fmt: skip
        watch("sizes", k, len(SIZES), f"{size} points: {rows[-1]['risk']:.4f}")
    return {"bayes": bayes_risk(600), "best_line": best_line(), "lines": rows}


@jax.jit
def _trained(x: jax.Array, y: jax.Array) -> jax.Array:
    """(w1, w2, b) of a logistic line for each set, by Adam on all its points."""
    net = fnn.dense(2, 1, weight_init="zeros")
    gradient, optimizer = fnn.backprop(net, fnn.sigmoid_cross_entropy), fnn.optimizers.adam(RATE)

    def one(x: jax.Array, y: jax.Array) -> jax.Array:
        def step(carry: Any, _: None) -> tuple[Any, None]:
            params, state = carry
            updates, state = optimizer.update(gradient(params, x, y)[1], state, params)
            return (jax.tree.map(jnp.add, params, updates), state), None

        start = net.init(jax.random.key(0))
        params = jax.lax.scan(step, (start, optimizer.init(start)), None, length=STEPS)[0][0]
        return jnp.concatenate([params["W"][:, 0], params["b"]])

    return jax.vmap(one)(x, y)


def line_risks(rules: np.ndarray) -> np.ndarray:
    """The exact risks of lines (w1, w2, b) that decide for 1 where w·x + b ≥ 0: each cloud is normal along w."""
    from scipy.stats import norm

    w, b = rules[:, :2], rules[:, 2]
    spread = DEVIATION * np.linalg.norm(w, axis=1)
    wrong = [
        norm.cdf((1 - 2 * label) * (w @ np.array(centre) + b) / spread)
        for label, centres in CENTRES.items()
        for centre in centres
    ]
    return np.mean(wrong, axis=0)


def best_line() -> float:
    """The least risk of all lines, that of f*_S: from the best of a grid of directions and places."""
    from scipy.optimize import minimize

    turns, places = np.meshgrid(np.linspace(0, 2 * np.pi, 60, endpoint=False), np.linspace(-3, 3, 41))
    grid = np.column_stack([np.cos(turns.ravel()), np.sin(turns.ravel()), places.ravel()])
    start = grid[np.argmin(line_risks(grid))]
    options = {"xatol": 1e-9, "fatol": 1e-12}
    return float(minimize(lambda rule: line_risks(rule[None])[0], start, method="Nelder-Mead", options=options).fun)


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    best, lines = result["best_line"], result["lines"]
    return {
        "approximation": Prediction(
            "the risk of the best line is above the Bayes risk: approximation error",
            best - result["bayes"],
            "above",
            0.01,
        ),
        "not_below": Prediction(
            "no trained line is below the best of its class: least estimation error",
            [each["least"] - best for each in lines],
            "at least",
            -1e-9,
        ),
        "shrinks": Prediction(
            "the estimation error falls with the points: that of most over that of fewest",
            (lines[-1]["risk"] - best) / (lines[0]["risk"] - best),
            "below",
            0.5,
        ),
        "fresh": Prediction(
            "the exact risks are those on fresh points: deviation in standard errors",
            [each["off"] for each in lines],
            "at most",
            5.0,
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the risks say of claims B2 and B24."""
    best, bayes = result["best_line"], result["bayes"]
    above = ", ".join(f"{each['risk'] - best:.4f} with {each['size']} points" for each in result["lines"])
    first = f"Bayes risk {bayes:.4f}, best of all lines {best:.4f}: approximation error {best - bayes:.4f}."
    return {
        "B2": Evidence(first, "parts.svg"),
        "B24": Evidence(
            f"{first} Trained lines lie above the best by {above} in the mean: estimation error. The exact "
            "risks are those "
            f"on fresh points to {max(each['off'] for each in result['lines']):.1f} standard errors.",
            "parts.svg",
        ),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the mean risk for each size."""
    result = saved["result"]
    console.print(f"Bayes {result['bayes']:.4f}, best line {result['best_line']:.4f}", highlight=False)
    for each in result["lines"]:
        console.print(f"{each['size']} points: {each['risk']:.4f} in the mean", highlight=False)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    figure, ((axes,),) = figures.blank(8, 4.4)
    names = [f"{each['size']} points" for each in result["lines"]]
    bayes, best = result["bayes"], result["best_line"]
    estimation = [each["risk"] - best for each in result["lines"]]
    axes.bar(names, bayes, color="0.75", width=0.55, label="Bayes risk")
    axes.bar(names, best - bayes, bottom=bayes, color=figures.ORANGE, width=0.55, label="approximation: the best line")
    axes.bar(names, estimation, bottom=best, color=figures.BLUE, width=0.55, label="estimation: the trained lines")
    for k, each in enumerate(result["lines"]):
        axes.plot(np.full(len(each["risks"]), k + 0.33), each["risks"], "o", color="black", ms=2.5, alpha=0.5)
    axes.set(title="Lines on two classes", ylabel="probability of error", ylim=(0, 1.7 * (best + max(estimation))))
    axes.grid(axis="x", visible=False)
    axes.legend()
    return {"parts.svg": figure}
