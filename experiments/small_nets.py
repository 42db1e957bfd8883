"""Question: where few parameters meet few rows, how far do second-order methods come with the work of Adam?

Prediction: at the same work, counted in gradients, Levenberg-Marquardt ends below Adam on every set, in the median of
the starts; it ends no higher than SciPy's least_squares, in the median, give or take 5 %. On a convex problem, a linear
net, Optax's L-BFGS with the hand-written gradient reaches the loss of scikit-learn's to 1e-6 of it.
Refuted by: a median of Adam that is lower; a median 5 % above SciPy's; another loss on the convex problem.

The sets: 200 rows of a noisy sine, and the 442 rows of the diabetes data of scikit-learn, all columns standardized.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Train small nets to the end by Levenberg-Marquardt, Adam, L-BFGS and SciPy."""

    starts: int = frame.at_least(1, 5)
    """Nets on each set, each from parameters of its own."""
    steps: int = frame.at_least(2, 100)
    """Steps of Levenberg-Marquardt; the others get the same work."""


EXPERIMENT = frame.Experiment(Options, x64=True, quick={"starts": 2, "steps": 20})

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from rich.console import Console
from scipy.optimize import least_squares
from sklearn.datasets import load_diabetes
from sklearn.neural_network import MLPRegressor

import fnn
from experiments.frame import Prediction
from experiments.progress import Watch, silent

LOSS = "half_squared_error"
NETS = {"sine": fnn.mlp(1, 10, 1), "diabetes": fnn.mlp(10, 8, 1)}
RATE = 1e-2
#: Of SciPy's optimum, in the median; and of scikit-learn's loss.
SLACK, CONVEX = 1.05, 1e-6


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Every method from every start."""
    random = np.random.default_rng(options.seed)
    sine = np.linspace(-2, 2, 200)[:, None]
    diabetes: Any = load_diabetes()
    sets = {
        "sine": (sine, np.sin(3 * sine) + 0.01 * random.normal(size=sine.shape)),
        "diabetes": (_standardized(diabetes.data), _standardized(diabetes.target[:, None])),
    }
    result: dict[str, Any] = {}
    for name, (x, y) in sets.items():
        programs = _programs(NETS[name], x, y, options.steps)
        result[name] = [_one(programs, NETS[name], options.seed + k) for k in range(options.starts)]
        watch("sets", len(result), 3, name)
    result["convex"] = _convex(*sets["diabetes"])
    watch("sets", 3, 3, "a linear net")
    return result


def _standardized(columns: np.ndarray) -> np.ndarray:
    return (columns - columns.mean(axis=0)) / columns.std(axis=0)


class Programs(NamedTuple):
    """The methods on one set, each compiled once for all starts."""

    fit: Callable[[Any], fnn.curvature.LeastSquaresFit]
    adam: Callable[[Any], jax.Array]
    scipy: Callable[[Any], float]


def _programs(net: fnn.Layer, x: np.ndarray, y: np.ndarray, steps: int) -> Programs:
    product = fnn.curvature.gauss_newton_vector_product(net, LOSS)
    unravel = ravel_pytree(net.init(jax.random.key(0), jnp.float64))[1]

    def residuals(flat: jax.Array) -> jax.Array:
        return (net.apply(unravel(flat), x) - y).ravel()

    errors, jacobian = jax.jit(residuals), jax.jit(jax.jacobian(residuals))

    def scipy(params: Any) -> float:
        # its annotations know no function as jac
        solver: Any = least_squares
        found = solver(
            lambda w: np.asarray(errors(w)),
            ravel_pytree(params)[0],
            jac=lambda w: np.asarray(jacobian(w)),
            max_nfev=steps,
        )
        return float(found.cost / len(x))

    return Programs(
        lambda params: fnn.curvature.levenberg_marquardt(product, params, x, y, steps=steps),
        # a step counts at most 2 1/3 gradients, and the start 2
        _adam(net, x, y, 3 * steps + 2),
        scipy,
    )


def _one(programs: Programs, net: fnn.Layer, seed: int) -> dict[str, Any]:
    """The values that each method ends with, and how they came there."""
    params = net.init(jax.random.key(seed), jnp.float64)
    fit = programs.fit(params)
    work = int(np.ceil(fit.gradients))
    adam = np.asarray(programs.adam(params))[:work]
    return {
        "work": work,
        "levenberg_marquardt": fit.value,
        "adam": float(adam[-1]),
        "scipy": programs.scipy(params),
        "curves": {
            "levenberg_marquardt": [float(f"{v:.4g}") for v in fit.values],
            "adam": [float(f"{v:.4g}") for v in adam[:: max(1, work // 100)]],
        },
    }


def _adam(net: fnn.Layer, x: np.ndarray, y: np.ndarray, steps: int) -> Callable[[Any], jax.Array]:
    """The program that gives the loss before each step, all rows in a batch."""
    by_hand, optimizer = fnn.backprop(net, LOSS), optax.adam(RATE)

    @jax.jit
    def train(params: Any) -> jax.Array:
        def step(carry: tuple, _: None) -> tuple[Any, Any]:
            params, state = carry
            value, slope = by_hand(params, x, y)
            updates, state = optimizer.update(slope, state, params)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)[1]

    return train


def _convex(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The loss of a linear net by L-BFGS with the hand-written gradient, and by scikit-learn's."""
    net = fnn.mlp(10, 1)
    value, optimizer = fnn.custom_vjp(fnn.backprop(net, LOSS)), optax.lbfgs()

    def f(params: Any) -> jax.Array:
        return value(params, x, y)

    @jax.jit
    def train(params: Any) -> jax.Array:
        def step(carry: tuple, _: None) -> tuple[Any, Any]:
            params, state = carry
            loss, slope = optax.value_and_grad_from_state(f)(params, state=state)
            updates, state = optimizer.update(slope, state, params, value=loss, grad=slope, value_fn=f)
            return (optax.apply_updates(params, updates), state), loss

        return jax.lax.scan(step, (params, optimizer.init(params)), None, length=60)[1]

    losses = train(net.init(jax.random.key(0), jnp.float64))
    theirs = MLPRegressor(
        hidden_layer_sizes=(), solver="lbfgs", alpha=0.0, max_iter=1000, tol=1e-12, random_state=0
    ).fit(x, y.ravel())
    return {"lbfgs": float(losses[-1]), "scikit_learn": float(theirs.loss_)}


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def _medians(result: dict[str, Any], name: str) -> dict[str, float]:
    methods = "levenberg_marquardt", "adam", "scipy", "work"
    return {method: float(np.median([each[method] for each in result[name]])) for method in methods}


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    made = {}
    for name in NETS:
        median = _medians(result, name)
        made[f"adam {name}"] = Prediction(
            f"{name}: Levenberg-Marquardt ends below Adam at the same work",
            median["levenberg_marquardt"] < median["adam"],
        )
        made[f"scipy {name}"] = Prediction(
            f"{name}: it ends no higher than SciPy's least_squares, give or take 5 %",
            median["levenberg_marquardt"] <= SLACK * median["scipy"],
        )
    ours, theirs = result["convex"]["lbfgs"], result["convex"]["scikit_learn"]
    made["convex"] = Prediction(
        "L-BFGS with the hand-written gradient reaches scikit-learn's loss", abs(ours - theirs) <= CONVEX * theirs
    )
    return made


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the medians."""
    result = saved["result"]
    lines = [""]
    for name in NETS:
        median = _medians(result, name)
        lines.append(
            f"{name}, half the mean squared error after {median['work']:.0f} gradients: Levenberg-Marquardt "
            f"{median['levenberg_marquardt']:.4g}, Adam {median['adam']:.4g}, SciPy {median['scipy']:.4g}"
        )
    lines.append("linear net: L-BFGS {lbfgs:.10f}, scikit-learn {scikit_learn:.10f}".format(**result["convex"]))
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    figure, (spots,) = figures.blank(11.5, 4.4, columns=2)
    for axes, name in zip(spots, NETS, strict=True):
        for k, each in enumerate(result[name]):
            for method, colour, words in (
                ("levenberg_marquardt", figures.BLUE, "Levenberg-Marquardt"),
                ("adam", figures.ORANGE, f"Adam, rate {RATE:g}"),
            ):
                curve = each["curves"][method]
                label = words if k == 0 else None
                axes.plot(np.linspace(0, each["work"], len(curve)), curve, color=colour, lw=1.2, label=label)
        axes.set(yscale="log", title=name, xlabel="work (gradients)")
        axes.legend()
    spots[0].set(ylabel="half the mean squared error")
    return {"small_nets.svg": figure}
