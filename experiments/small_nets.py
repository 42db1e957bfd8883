"""Question: with few parameters and few rows, how far do second-order methods get with the work that Adam needs?

Prediction: at the same work, counted in gradients, Levenberg-Marquardt and L-BFGS both end below Adam on every set, in
the median of the starts, with the best of three rates for Adam; Levenberg-Marquardt ends no higher than SciPy's
least_squares from the same starts, and L-BFGS no higher than scikit-learn's, in the median, give or take 5 %. On a
convex problem, a linear net with a penalty, L-BFGS reaches scikit-learn's loss from the same start to 1e-6 of it.
Refuted by: a median of Adam that is lower; a median 5 % above that of the peer; another loss on the convex problem.

The sets: 200 rows of a noisy sine; the 442 rows of the diabetes data of scikit-learn; the wine-quality table of UCI
(1599 rows of red wine) if a folder with it is named, else the 178 wines of scikit-learn. All columns are standardized,
and all rows are in every batch. L-BFGS and Adam run in `fit`, with the hand-written gradient. Work: a gradient
is 1, a value alone 1/3, the Jacobian of one output per row 1; a step of `fit` with a line search is its gradient and
those of the search, and scikit-learn's calls of its function are a gradient each. The time is that of a second run,
without compilation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Train small nets to convergence by Levenberg-Marquardt, L-BFGS, Adam, scikit-learn and SciPy."""

    starts: int = frame.at_least(1, 5)
    """Nets on each set, each from parameters of its own."""
    work: int = frame.at_least(20, 600)
    """How much work each method may do, in gradients."""
    sets: tuple[Literal["sine", "diabetes", "wine"], ...] = ("sine", "diabetes", "wine")
    """On which data."""
    data: Path | None = None
    """Folder that holds winequality-red.csv; without it the variable FNN_DATA names one, if any."""


EXPERIMENT = frame.Experiment(
    Options,
    x64=True,
    quick={"starts": 1, "work": 40, "sets": ("diabetes",)},
    unjudged=("adam *", "peer *"),
    apart=True,
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import functools
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from rich.console import Console
from scipy.optimize import least_squares
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

import fnn
from experiments import wine
from experiments.frame import Prediction
from experiments.progress import Watch, silent

LOSS = "half_squared_error"
HIDDEN = {"sine": 10, "diabetes": 8, "wine": 8}
RATES = (1e-3, 1e-2, 1e-1)
#: Above the peer, in the median; and of scikit-learn's loss on the convex problem.
SLACK, CONVEX = 1.05, 1e-6
#: Of the convex problem: scikit-learn's alpha, which it halves and divides by the rows.
ALPHA = 1.0
#: Points of a curve that are kept for the picture.
KEPT = 60


class Curve(NamedTuple):
    """The objective along a run: `values` after so much `work`."""

    work: np.ndarray
    values: np.ndarray


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Every method from every start of every set."""
    result: dict[str, Any] = {"sets": {}, "measured": {}}
    every = tables(options)
    sets = {name: every[name] for name in options.sets}
    for done, (name, (x, y)) in enumerate(sets.items(), start=1):
        net = fnn.mlp(x.shape[1], HIDDEN[name], 1)
        methods = _methods(net, x, y, options.work)
        runs, seconds = [], {}
        for seed in range(options.seed, options.seed + options.starts):
            curves = {}
            for method, train in methods.items():
                params = net.init(jax.random.key(seed), jnp.float64)
                if method not in seconds:
                    train(params)
                    seconds[method] = []
                began = time.perf_counter()
                curves[method] = train(params)
                seconds[method].append(time.perf_counter() - began)
            runs.append({method: _spent(curve, options.work) for method, curve in curves.items()})
        result["sets"][name] = {"rows": len(x), "parameters": _size(net), "runs": runs}
        result["measured"][name] = {method: float(np.median(each)) for method, each in seconds.items()}
        watch("sets", done, len(sets) + 1, name)
    result["convex"] = _convex(*every["diabetes"])
    watch("sets", len(sets) + 1, len(sets) + 1, "a linear net")
    return result


def tables(options: Options) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{set: (x, y)}, standardized."""
    sine = np.linspace(-2, 2, 200)[:, None]
    noise = np.random.default_rng(options.seed).normal(size=sine.shape)
    diabetes: Any = load_diabetes()
    wines = wine.table(wine.Options(data=options.data))
    return {
        "sine": (sine, np.sin(3 * sine) + 0.01 * noise),
        "diabetes": (_standardized(diabetes.data), _standardized(diabetes.target[:, None])),
        "wine": (_standardized(wines.x), _standardized(wines.y[:, None])),
    }


def _standardized(columns: np.ndarray) -> np.ndarray:
    return (columns - columns.mean(axis=0)) / columns.std(axis=0)


def _size(net: fnn.Layer) -> int:
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def _spent(curve: Curve, work: int) -> dict[str, Any]:
    """What the curve shows within this work: the lowest value, and some points of it."""
    inside = curve.work <= work
    spent, values = curve.work[inside], np.minimum.accumulate(curve.values[inside])
    some = np.unique(np.geomspace(1, len(values), min(KEPT, len(values))).astype(int) - 1)
    return {
        "value": float(values[-1]),
        "work": float(spent[-1]),
        "curve": [[float(f"{spent[k]:.4g}"), float(f"{values[k]:.4g}")] for k in some],
    }


# ---- the methods: parameters -> the objective along the run ---------------------------------------------------------


def _methods(net: fnn.Layer, x: np.ndarray, y: np.ndarray, work: int) -> dict[str, Callable[[Any], Curve]]:
    product = fnn.curvature.gauss_newton_vector_product(net, LOSS)

    def levenberg_marquardt(params: Any) -> Curve:
        fit = fnn.curvature.levenberg_marquardt(product, params, x, y, steps=work)
        return Curve(fit.work, fit.values)

    return {
        "Levenberg-Marquardt": levenberg_marquardt,
        "L-BFGS": lambda params: lbfgs(net, params, x, y, work // 2),
        "Adam": lambda params: _adam(net, params, x, y, work),
        "scikit-learn": lambda params: _scikit_learn(params, x, y, work).curve,
        "SciPy": _scipy(net, x, y, work),
    }


class Counted(NamedTuple):
    """The state of an optimizer with a line search, and how many gradients each step took."""

    inner: Any
    step: jax.Array
    gradients: jax.Array


@functools.cache
def counted_lbfgs(steps: int) -> optax.GradientTransformationExtraArgs:
    """Optax's L-BFGS; its state tells the gradients of each step: the one at hand, and those of the search."""
    optimizer = optax.lbfgs()

    def init(params: Any) -> Counted:
        return Counted(optimizer.init(params), jnp.zeros((), jnp.int32), jnp.zeros(steps, jnp.int32))

    def update(updates: Any, state: Any, params: Any = None, **more: Any) -> tuple[Any, Any]:
        updates, inner = optimizer.update(updates, state.inner, params, **more)
        searched = optax.tree.get(inner, "num_linesearch_steps").astype(jnp.int32)
        return updates, Counted(inner, state.step + 1, state.gradients.at[state.step].set(1 + searched))

    return optax.GradientTransformationExtraArgs(init, update)


def lbfgs(
    net: fnn.Layer, params: Any, x: np.ndarray, y: np.ndarray, steps: int, strength: float | None = None
) -> Curve:
    """Optax's L-BFGS in `fit`, all rows in a batch."""
    gradient = fnn.backprop(net, LOSS, None if strength is None else "l2")
    # its linear algebra mixes dtypes, as NumPy does
    with jax.numpy_dtype_promotion("standard"):
        state, history = fnn.fit(
            gradient, params, (x, y), optimizer=counted_lbfgs(steps), epochs=steps, batch_size=len(x),
            key=jax.random.key(0), strength=strength,
        )  # fmt: skip
    # the loss of an epoch is that before its step; the gradient that gave it is part of that step
    gradients = np.asarray(state.optimizer_state.gradients)
    return Curve(np.cumsum(gradients) - gradients + 1, np.asarray(history.metrics["loss"]))


def _adam(net: fnn.Layer, params: Any, x: np.ndarray, y: np.ndarray, steps: int) -> Curve:
    """Adam in `fit`, at the rate that ends lowest."""
    curves = []
    for rate in RATES:
        _, history = fnn.fit(
            fnn.backprop(net, LOSS), params, (x, y), optimizer=fnn.optimizers.adam, learning_rate=rate, epochs=steps,
            batch_size=len(x), key=jax.random.key(0),
        )  # fmt: skip
        curves.append(Curve(np.arange(1, steps + 1), np.asarray(history.metrics["loss"])))
    return min(curves, key=lambda curve: curve.values.min())


class Peer(NamedTuple):
    """scikit-learn's model after a run, and the objective along it."""

    model: Any
    curve: Curve


def _scikit_learn(params: Any, x: np.ndarray, y: np.ndarray, calls: int, alpha: float = 0.0) -> Peer:
    """scikit-learn's L-BFGS from the same parameters, calls of the function bounded."""
    layers = jax.device_get(params)
    model: Any = MLPRegressor(
        hidden_layer_sizes=[len(layer["b"]) for layer in layers[:-1]], activation="tanh", solver="lbfgs", alpha=alpha,
        max_iter=calls, max_fun=calls, tol=1e-12, warm_start=True,
    )  # fmt: skip
    with warnings.catch_warnings():
        # that the work is bounded is the point
        warnings.simplefilter("ignore", ConvergenceWarning)
        # the first fit makes the places where the second finds its parameters
        model.set_params(max_iter=1).fit(x, y.ravel())
        model.coefs_ = [np.array(layer["W"]) for layer in layers]
        model.intercepts_ = [np.array(layer["b"]) for layer in layers]
        values: list[float] = []
        inner = model._backprop

        def watched(*arguments: Any) -> Any:
            value, *rest = inner(*arguments)
            values.append(float(value))
            return value, *rest

        model._backprop = watched
        model.set_params(max_iter=calls).fit(x, y.ravel())
    return Peer(model, Curve(np.arange(1, len(values) + 1), np.array(values)))


def _scipy(net: fnn.Layer, x: np.ndarray, y: np.ndarray, work: int) -> Callable[[Any], Curve]:
    """SciPy's least_squares with the Jacobian of JAX."""
    unravel = ravel_pytree(net.init(jax.random.key(0), jnp.float64))[1]

    def residuals(flat: jax.Array) -> jax.Array:
        return (net.apply(unravel(flat), x) - y).ravel()

    def of_one(flat: jax.Array, row: jax.Array) -> jax.Array:
        return net.apply(unravel(flat), row)[0]

    errors = jax.jit(residuals)
    # row by row: a pass back from all residuals at once would take a batch for each
    jacobian = jax.jit(lambda flat: jax.vmap(jax.grad(of_one), (None, 0))(flat, jnp.asarray(x)))

    def train(params: Any) -> Curve:
        spent, values, total = [], [], 0.0

        def value(flat: Any) -> np.ndarray:
            nonlocal total
            found = np.asarray(errors(flat))
            total += 1 / 3
            spent.append(total)
            values.append(float(found @ found) / (2 * len(x)))
            return found

        def slopes(flat: Any) -> np.ndarray:
            nonlocal total
            total += 1
            return np.asarray(jacobian(flat))

        solver: Any = least_squares
        start = ravel_pytree(params)[0]
        solver(value, start, jac=slopes, method="lm", max_nfev=work, xtol=1e-12, ftol=1e-12, gtol=1e-12)
        return Curve(np.array(spent), np.array(values))

    return train


def _convex(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The loss of a linear net with a penalty, by L-BFGS in `fit` and by scikit-learn's, from the same start."""
    net = fnn.mlp(x.shape[1], 1)
    params = net.init(jax.random.key(0), jnp.float64)
    ours = lbfgs(net, params, x, y, 60, strength=ALPHA / 2 / len(x))
    theirs = _scikit_learn(params, x, y, 1000, alpha=ALPHA)
    return {"start": float(ours.values[0]), "fit": float(ours.values[-1]), "scikit_learn": float(theirs.model.loss_)}


# ---- what a reader sees ---------------------------------------------------------------------------------------------

METHODS = ("Levenberg-Marquardt", "L-BFGS", "Adam", "scikit-learn", "SciPy")


def medians(result: dict[str, Any], name: str) -> dict[str, float]:
    """The value that each method reached on the set, in the median of the starts."""
    runs = result["sets"][name]["runs"]
    return {method: float(np.median([each[method]["value"] for each in runs])) for method in METHODS}


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    made = {}
    for name in result["sets"]:
        median = medians(result, name)
        for method, peer in (("Levenberg-Marquardt", "SciPy"), ("L-BFGS", "scikit-learn")):
            made[f"adam {name} {method}"] = Prediction(
                f"{name}: {method} ends below Adam at the same work", median[method] < median["Adam"]
            )
            made[f"peer {name} {method}"] = Prediction(
                f"{name}: {method} ends no higher than {peer}, give or take 5 %",
                median[method] <= SLACK * median[peer],
            )
    ours, theirs = result["convex"]["fit"], result["convex"]["scikit_learn"]
    made["convex"] = Prediction(
        "L-BFGS in fit reaches scikit-learn's loss on the convex problem", abs(ours - theirs) <= CONVEX * theirs
    )
    return made


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the medians and the times."""
    result, measured = saved["result"], saved["measured"]
    lines = [""]
    for name, each in result["sets"].items():
        median = medians(result, name)
        lines.append(f"{name}, {each['rows']} rows, {each['parameters']} parameters; half the mean squared error:")
        lines += [f"  {method:20} {median[method]:.6g}  in {measured[name][method]:.3f} s" for method in METHODS]
    lines.append("linear net: L-BFGS in fit {fit:.12f}, scikit-learn {scikit_learn:.12f}".format(**result["convex"]))
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    figure, (spots,) = figures.blank(14, 4.6, columns=len(result["sets"]))
    looks = dict(
        zip(
            METHODS,
            (
                {"color": figures.BLUE, "lw": 2},
                {"color": figures.GREEN, "lw": 2},
                {"color": figures.ORANGE, "lw": 1.5},
                {"color": figures.PINK, "ls": "--", "lw": 1.5},
                {"color": figures.RED, "ls": ":", "lw": 1.8},
            ),
            strict=True,
        )
    )
    for axes, (name, each) in zip(spots, result["sets"].items(), strict=True):
        for k, curves in enumerate(each["runs"]):
            for method in METHODS:
                work, values = zip(*curves[method]["curve"], strict=True)
                # a run that ended early stays where it ended
                work, values = (*work, saved["options"]["work"]), (*values, values[-1])
                axes.step(work, values, where="post", label=method if k == 0 else None, **looks[method])
        axes.set(
            xscale="log", yscale="log", xlabel="work (gradients)",
            title=f"{name}: {each['rows']} rows, {each['parameters']} parameters",
        )  # fmt: skip
    spots[0].set(ylabel="half the mean squared error, lowest so far")
    spots[0].legend(fontsize=9)
    return {"small_nets.svg": figure}
