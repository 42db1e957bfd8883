"""Question: is −∇E the steepest way down, when do the steps h_t converge, and does a linear loss make sense?

Prediction: among steps of the same small length, none lowers the cost of a net as far as the one along −∇E; measured by
the largest entry instead, −sign ∇E does it (C11). On a convex cost with a kink steps that fall as 1/√t converge, at a
rate of about t^(−1/2), and a fixed step does not; on a cost that is not convex the start decides where descent ends
(B22).
A linear loss has one and the same gradient everywhere and no minimum: its cost falls without end, while the squared and
the absolute loss level off (E9).
Refuted by: a random direction that lowers the cost further; a fixed step that converges, or falling ones that do not;
a linear loss that levels off.

Everything runs in float64. The cost with a kink is the mean absolute error of a line on points of one.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Try ways down: the steepest against random ones, fixed and falling steps, and a loss without a minimum."""

    directions: int = frame.at_least(10, 10_000)
    """Random directions beside −∇E."""
    steps: int = frame.at_least(100, 4000)
    """Steps on the cost with a kink."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "B22": ("falling", "rate", "fixed", "elsewhere"),
        "C11": ("steepest", "promised", "other_norm"),
        "E9": ("constant", "endless", "squared", "absolute"),
    },
    x64=True,
    quick={"directions": 1000, "steps": 1000},
    seeds=5,
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from rich.console import Console

import fnn
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

#: The length of the steps of C11: small beside the weights, large beside rounding.
LENGTH = 1e-5
#: Examples of the line with a kink, starts, and the first step.
POINTS, STARTS, FIRST = 21, 12, 0.5
#: Steps and rate of the three losses.
LOSS_STEPS, LOSS_RATE = 2000, 0.1


@dataclass(frozen=True, repr=False)
class Linear(fnn.Loss):
    """Σ (p − y), without a minimum: what the lecture asks about."""

    def values(self, prediction: Any, target: Any) -> Any:
        return jnp.sum(prediction - target, axis=-1), prediction

    def slope(self, residuals: Any) -> Any:
        return jnp.ones_like(residuals)


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Measure all three and return the numbers."""
    random = np.random.default_rng(options.seed)
    result = {"steepest": _steepest(random, options.directions)}
    watch("parts", 1, 3, f"{options.directions} directions")
    result["kink"] = _kink(random, options.steps)
    watch("parts", 2, 3, f"{options.steps} steps on a kink")
    result["losses"] = _losses(random)
    watch("parts", 3, 3, "three losses")
    return result


def _steepest(random: np.random.Generator, count: int) -> dict[str, Any]:
    """By how much the cost of a net falls along −∇E and along random directions of equal length, in two norms."""
    net = fnn.mlp(3, 5, 1)
    x, y = random.normal(size=(20, 3)), random.normal(size=(20, 1))
    params = net.init(jax.random.key(int(random.integers(2**31))), jnp.float64)
    flat, restore = ravel_pytree(params)
    cost, gradient = fnn.objective(net, fnn.half_squared_error), fnn.backprop(net, fnn.half_squared_error)
    slope = np.asarray(ravel_pytree(jax.jit(gradient)(params, x, y)[1])[0])
    ways = random.normal(size=(count, len(slope)))

    @jax.jit
    def falls(ways: jax.Array) -> jax.Array:
        before = cost(params, x, y)
        return jax.lax.map(lambda way: before - cost(restore(flat + LENGTH * way), x, y), ways, batch_size=500)

    def of_length_one(way: np.ndarray, order: float) -> np.ndarray:
        return way / np.linalg.norm(way, ord=order, axis=-1, keepdims=True)

    found = {}
    for name, order in (("euclidean", 2), ("largest entry", np.inf)):
        tried = np.asarray(falls(jnp.asarray(of_length_one(ways, order))))
        both = np.asarray(falls(jnp.asarray(of_length_one(np.stack([-slope, -np.sign(slope)]), order))))
        found[name] = {"gradient": float(both[0]), "sign": float(both[1]), "best": float(tried.max())}
    shown = of_length_one(ways[:400], 2)
    return found | {
        "promised": LENGTH * float(np.linalg.norm(slope)),
        "angles": (shown @ -of_length_one(slope, 2)).round(4),
        "falls": np.asarray(falls(jnp.asarray(shown))) / found["euclidean"]["gradient"],
    }


def _kink(random: np.random.Generator, steps: int) -> dict[str, Any]:
    """Descent on a mean absolute error that is 0 at its minimum, by fixed and by falling steps; and on two valleys."""
    from experiments.learning_rate.curves import two_valleys_slope

    x = np.linspace(-1, 1, POINTS)[:, None]
    y = random.normal() * x + random.normal()
    net = fnn.dense(1, 1)
    gradient = fnn.backprop(net, fnn.absolute_error)
    starts = {"W": random.normal(size=(STARTS, 1, 1)) * 2, "b": random.normal(size=(STARTS, 1)) * 2}

    @jax.jit
    def descended(starts: Any, falling: jax.Array) -> jax.Array:
        def one(params: Any) -> jax.Array:
            def step(params: Any, t: jax.Array) -> Any:
                value, g = gradient(params, x, y)
                h = jnp.where(falling, FIRST / jnp.sqrt(t + 1), FIRST / 5)
                return jax.tree.map(lambda p, g: p - h * g, params, g), value

            return jax.lax.scan(step, params, jnp.arange(steps, dtype=jnp.float64))[1]

        return jax.vmap(one)(starts)

    curves = {name: np.asarray(descended(starts, name == "falling")) for name in ("falling", "fixed")}
    # the best so far, as the theorem has it
    best = np.minimum.accumulate(curves["falling"], axis=1)
    times = np.arange(1, steps + 1)
    late = times >= steps // 20
    rates = [float(np.polyfit(np.log(times[late]), np.log(row[late]), 1)[0]) for row in curves["falling"]]
    ends = [-0.8, 4.4]
    for _ in range(4000):
        ends = [end - 5e-4 * two_valleys_slope(end, 8.0) for end in ends]
    places = np.unique(np.geomspace(1, steps, 80).astype(int)) - 1
    return {
        "end": {name: float(np.median(curve[:, -50:].max(axis=1))) for name, curve in curves.items()},
        "begin": float(np.median(curves["falling"][:, 0])),
        "best": float(np.median(best[:, -1])),
        "rate": float(np.median(rates)),
        "valleys": ends,
        "places": places + 1,
        "curves": {name: np.median(curve, axis=0)[places] for name, curve in curves.items()},
    }  # fmt: skip


def _losses(random: np.random.Generator) -> dict[str, Any]:
    """Descent with the linear, the squared and the absolute loss on one line."""
    x = random.uniform(0.5, 1.5, (30, 1))
    y, net = 2 * x - 1 + 0.0 * x, fnn.dense(1, 1)
    start = {"W": jnp.zeros((1, 1)), "b": jnp.zeros(1)}
    found = {}
    for name, loss in (("linear", Linear()), ("squared", fnn.half_squared_error), ("absolute", fnn.absolute_error)):
        gradient = fnn.backprop(net, loss)

        def step(params: Any, _: None, gradient: Any = gradient) -> Any:
            value, g = gradient(params, x, y)
            squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(g))
            return jax.tree.map(lambda p, g: p - LOSS_RATE * g, params, g), (value, squares)

        values, squares = map(
            np.asarray, jax.jit(lambda p, step=step: jax.lax.scan(step, p, None, LOSS_STEPS)[1])(start)
        )
        found[name] = {
            "curve": values[:: LOSS_STEPS // 100], "end": float(values[-1]), "begin": float(values[0]),
            "gradient_spread": float(np.ptp(np.sqrt(squares))),
            "promised": float(-LOSS_RATE * squares[0] * (LOSS_STEPS - 1)),
            "late_range": float(np.ptp(values[-50:])),
        }  # fmt: skip
    return found


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    steepest, kink, losses = result["steepest"], result["kink"], result["losses"]
    euclidean, entry = steepest["euclidean"], steepest["largest entry"]
    linear = losses["linear"]
    return {
        "falling": Prediction(
            "falling steps converge: cost at the end over that at the start",
            kink["end"]["falling"] / kink["begin"],
            "at most",
            0.02,
        ),
        "rate": Prediction("their cost falls as a power of t", kink["rate"], "within", (-0.8, -0.3)),
        "fixed": Prediction(
            "a fixed step does not converge: its cost at the end over that of falling steps",
            kink["end"]["fixed"] / kink["end"]["falling"],
            "at least",
            3.0,
        ),
        "elsewhere": Prediction(
            "on two valleys the start decides: distance of the two ends",
            abs(kink["valleys"][1] - kink["valleys"][0]),
            "at least",
            3.0,
        ),
        "steepest": Prediction(
            "the best random direction of equal length, over −∇E",
            euclidean["best"] / euclidean["gradient"],
            "below",
            1.0,
        ),
        "promised": Prediction(
            "along −∇E the cost falls by the length times ‖∇E‖: ratio",
            euclidean["gradient"] / steepest["promised"],
            "within",
            (0.999, 1.001),
        ),
        "other_norm": Prediction(
            "with the largest entry as length −sign ∇E falls further than −∇E: ratio",
            entry["sign"] / entry["gradient"],
            "above",
            1.05,
        ),
        "constant": Prediction(
            "the gradient of the linear loss is the same everywhere", linear["gradient_spread"], "at most", 1e-12
        ),
        "endless": Prediction(
            "its cost falls in every step by α‖∇E‖²: what it fell over what it should",
            (linear["end"] - linear["begin"]) / linear["promised"],
            "within",
            (1 - 1e-9, 1 + 1e-9),
        ),
        "squared": Prediction(
            "the squared loss comes to rest: range of its last 50 values",
            losses["squared"]["late_range"],
            "at most",
            1e-3,
        ),
        "absolute": Prediction(
            "the absolute loss too, but for its step: range of its last 50 values",
            losses["absolute"]["late_range"],
            "at most",
            3 * LOSS_RATE,
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the numbers say of claims B22, C11 and E9."""
    steepest, kink, losses = result["steepest"], result["kink"], result["losses"]
    euclidean, entry = steepest["euclidean"], steepest["largest entry"]
    return {
        "B22": Evidence(
            f"On a convex cost with a kink, from {kink['begin']:.2f}: steps h/√t end at "
            f"{kink['end']['falling']:.4f}, falling "
            f"as t^{kink['rate']:.2f} (predicted about −0.5), a fixed step at {kink['end']['fixed']:.4f}. "
            "On two valleys "
            f"two starts end at {kink['valleys'][0]:.2f} and {kink['valleys'][1]:.2f}.",
            "steps.svg",
        ),
        "C11": Evidence(
            "Of all random directions the best lowers the cost by "
            f"{euclidean['best'] / euclidean['gradient']:.2f} of what "
            f"−∇E does (predicted below 1), which is {euclidean['gradient'] / steepest['promised']:.4f} of "
            "length times "
            "‖∇E‖. With the largest entry as length −sign ∇E lowers it "
            f"{entry['sign'] / entry['gradient']:.2f} times as "
            "far as −∇E.",
            "steepest.svg",
        ),
        "E9": Evidence(
            f"After {LOSS_STEPS} steps the linear loss is at {losses['linear']['end']:.1f} and falls on, "
            "its gradient the "
            f"same to {losses['linear']['gradient_spread']:.0e}; the squared loss is at "
            f"{losses['squared']['end']:.4f}, the "
            f"absolute at {losses['absolute']['end']:.4f}.",
            "losses.svg",
        ),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print where each descent ends."""
    result = saved["result"]
    for name, end in result["kink"]["end"].items():
        console.print(f"{name} steps end at {end:.5f}", highlight=False)
    for name, each in result["losses"].items():
        console.print(f"{name} loss: from {each['begin']:.3f} to {each['end']:.3f}", highlight=False)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    steps, ((axes,),) = figures.blank(8, 4.4)
    for name, colour, style in (("falling", figures.BLUE, "-"), ("fixed", figures.RED, "--")):
        label = "steps h/√t" if name == "falling" else "a fixed step"
        axes.plot(result["kink"]["places"], result["kink"]["curves"][name], style, color=colour, lw=2, label=label)
    axes.set(
        xscale="log", yscale="log", xlabel="step", ylabel="mean absolute error, median of the starts",
        title="A convex cost with a kink",
    )  # fmt: skip
    axes.legend()
    steepest, ((axes,),) = figures.blank(8, 4.6)
    axes.plot(result["steepest"]["angles"], result["steepest"]["falls"], "o", color=figures.BLUE, ms=3.5, alpha=0.6,
              label="random directions")  # fmt: skip
    axes.plot([-1, 1], [-1, 1], color="0.5", lw=1.2, label="cos of the angle")
    axes.plot(1, 1, "D", color=figures.RED, ms=9, label="−∇E")
    axes.set(
        xlabel="cosine of the angle with −∇E", ylabel="fall of the cost / fall along −∇E",
        title="Steps of one length: the gradient is the steepest",
    )  # fmt: skip
    axes.legend()
    losses, ((axes,),) = figures.blank(8, 4.4)
    for (name, each), colour, style in zip(
        result["losses"].items(), (figures.RED, figures.BLUE, figures.GREEN), ("--", "-", "-."), strict=True
    ):
        axes.plot(
            np.arange(len(each["curve"])) * (LOSS_STEPS // 100), each["curve"], style, color=colour, lw=2, label=name
        )
    axes.set(xlabel="step", ylabel="cost", title="A linear loss never comes to rest", ylim=(-12, 2), xlim=(0, 200))
    axes.legend()
    return {"steps.svg": steps, "steepest.svg": steepest, "losses.svg": losses}
