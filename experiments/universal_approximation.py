"""Question: how well does one hidden layer approximate a function as it gets wider, and what does depth save?

Prediction: with F(x) = Σ vᵢ φ(wᵢᵀx + bᵢ) and a bounded, increasing φ the largest error falls as the number N of units
grows (claim A3): weights that are constructed stay below a proven bound that falls to 0, and trained ones, the median
of several starts, fall as well. One hidden layer suffices, but more may be cheaper (B16): a sawtooth of 2^k teeth takes
2k relu units in k layers and 2^k in one. The nets are the lecture's formulas of one, two and many hidden layers (C4).
Refuted by: a constructed net above its bound, or a bound that does not fall; a deep sawtooth that is not exact, or a
shallow one of fewer units that is; a net that differs from the formula. That the error of trained nets falls is not
part of the theorem, which says nothing about training: if it does not fall, the verdict stays open.

Constructed in one dimension: a staircase. With nodes x₀ … x_M a distance h apart,
    F(x) = f(x₀) + Σ (f(xᵢ) − f(xᵢ₋₁)) σ(s (x − (xᵢ₋₁ + xᵢ)/2))
is a mean of values of f at nodes, nearly all of its weight within h of x: the error is at most the largest change
of f over h, plus what the sigmoids weigh further out. In two dimensions f is first a sum of plane waves, its cosine
series, and each wave cos π(jx ± ky) is a staircase along its own direction; units go to the waves where they save
most. The error is measured on grids much finer than those of the training.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Approximate functions by one hidden layer: error against width, constructed and trained; depth against width."""

    steps: int = frame.at_least(1, 1500)
    """Updates of the trained nets."""
    dimensions: tuple[Literal[1, 2], ...] = (1, 2)
    """Of the functions: on the line, in the square."""
    seeds: int = frame.at_least(1, 20)
    """How many nets are trained for each function, activation and width; the median counts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        frame.require(len(self.dimensions) >= 1, "--dimensions", self.dimensions, "1, 2, or both")


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "A3": ("below", "sinks", "falls", "reached", "learns"),
        "B16": ("exact", "shallow", "half", "not_idle", "fewer"),
        "C4": ("formulas",),
    },
    quick={"steps": 20, "seeds": 1, "dimensions": (1,)},
    unjudged=("learns",),
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import fnn
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

#: Continuous functions on [0, 1] and on the square, of NumPy arrays; the root is not Lipschitz, the kinks not smooth.
CURVES = {
    "sine": lambda x: np.sin(2 * np.pi * x),
    "kink": lambda x: 2 * np.abs(x - 0.4),
    "root": lambda x: np.sqrt(x),
    "peak": lambda x: 1 / (1 + 100 * (x - 0.6) ** 2),
}
SURFACES = {
    "waves": lambda x, y: np.sin(np.pi * x) * np.cos(2 * np.pi * y),
    "product": lambda x, y: 2 * x * y,
    "bump": lambda x, y: np.exp(-12 * ((x - 0.5) ** 2 + (y - 0.4) ** 2)),
    "ridge": lambda x, y: np.abs(x - y),
}
#: Units of constructed and of trained nets.
CONSTRUCTED = {1: (4, 16, 64, 256, 1024), 2: (64, 256, 1024, 4096)}
TRAINED = (2, 8, 32)
#: Bounded and increasing, as the theorem asks.
ACTIVATIONS = ("sigmoid", "tanh")
#: Errors that constructed nets stay below, each for the number of units beside it, on every function of the dimension.
REACHED = {1: (0.7, 0.2, 0.1, 0.05, 0.01), 2: (0.5, 0.35, 0.2, 0.1)}
#: s h: at the next step but one, 1.5 h from the middle of a step, a sigmoid is within e⁻³⁰ of 0 or 1.
STEEPNESS = 20.0
#: Points to a side of the grids of errors, and of those on which nets are trained.
FINE, FINE_SQUARE = 2001, 65
TRAINING, TRAINING_SQUARE = 128, 16
RATE = 0.02
#: Teeth of the sawtooth: 2^k.
LEVELS = (1, 2, 3, 4, 5, 6)
#: Nets of one, two and three hidden layers with about 100, 300 and 900 parameters, for the surfaces; and how many of
#: the seeds train each.
DEPTHS = {
    "one hidden layer": ((2, 25, 1), (2, 76, 1), (2, 226, 1)),
    "two": ((2, 8, 8, 1), (2, 15, 15, 1), (2, 28, 28, 1)),
    "three": ((2, 6, 6, 6, 1), (2, 11, 11, 11, 1), (2, 20, 20, 20, 1)),
}
FEW = 5


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Construct, train, and count units; return the numbers."""
    with jax.enable_x64(True):
        constructed = {}
        for dimension in options.dimensions:
            one, functions = (_staircases, CURVES) if dimension == 1 else (_wave_sums, SURFACES)
            constructed[str(dimension)] = {name: one(f) for name, f in functions.items()}
            watch("constructed", len(constructed), len(options.dimensions), f"{dimension}-D")
        sawtooth = [_sawtooth(level) for level in LEVELS]
        formulas = _formulas(options.seed)
    trained, shown = {}, None
    for dimension in options.dimensions:
        trained[str(dimension)] = {}
        for activation in ACTIVATIONS:
            trained[str(dimension)][activation], curves = _widths(dimension, activation, options)
            shown = shown or curves
        watch("trained", len(trained), len(options.dimensions), f"{dimension}-D, {len(TRAINED)} widths")
    depths = _depths(options) if 2 in options.dimensions else {}
    return {
        "constructed": constructed,
        "trained": trained,
        "sawtooth": sawtooth,
        "formulas": formulas,
        "depths": depths,
        "shown": shown,
    }


# ---- constructed weights --------------------------------------------------------------------------------------------


def _staircase(f: Any, low: float, high: float, units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(w, b, v) of N sigmoids: the first, with w = 0, is the constant f(low); the others are the steps."""
    nodes = np.linspace(low, high, units)
    values = f(nodes)
    steepness = STEEPNESS / (nodes[1] - nodes[0]) if units > 1 else 0.0
    w = np.concatenate([[0.0], np.full(units - 1, steepness)])
    b = np.concatenate([[0.0], -steepness * (nodes[1:] + nodes[:-1]) / 2])
    # σ(0) = ½
    return w, b, np.concatenate([[2 * values[0]], np.diff(values)])


def _applied(w: np.ndarray, b: np.ndarray, v: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Σ v σ(w·x + b) as a net of `fnn`; w (N, I), x (points, I)."""
    net = fnn.mlp(x.shape[1], len(b), 1, activation="sigmoid")
    params = ({"W": w.T, "b": b}, {"W": v[:, None], "b": np.zeros(1)})
    return _output(net, params, x)[:, 0]


def _output(net: fnn.Layer, params: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(_compiled(net, params, x))


@partial(jax.jit, static_argnums=0)
def _compiled(net: fnn.Layer, params: Any, x: jax.Array) -> jax.Array:
    return net.apply(params, x)


def _staircases(f: Any) -> dict[str, list[float]]:
    x = np.linspace(0, 1, FINE)
    results = {"units": [], "errors": [], "bounds": []}
    for units in CONSTRUCTED[1]:
        w, b, v = _staircase(f, 0, 1, units)
        error = np.abs(_applied(w[:, None], b, v, x[:, None]) - f(x)).max()
        # the largest change over h, on a grid finer than h; beyond h there is at most e^(−s h / 2) of every step
        h = 1 / (units - 1)
        apart = int(np.ceil(h * (FINE - 1)))
        change = max(np.abs(f(x[k:]) - f(x[:-k])).max() for k in range(1, min(apart, FINE - 1) + 1))
        _append(results, units, error, change + np.exp(-STEEPNESS / 2) * np.abs(v[1:]).sum())
    return results


def _wave_sums(f: Any) -> dict[str, list[float]]:
    from scipy.fft import dctn

    side = np.linspace(0, 1, FINE_SQUARE)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    values = f(*np.meshgrid(side, side, indexing="ij"))
    # f = Σ a_jk cos πjx cos πky at all points of the grid; the first and the last cosine count half
    n = FINE_SQUARE - 1
    half = np.ones(FINE_SQUARE)
    half[[0, -1]] = 0.5
    a = np.asarray(dctn(values, type=1)) * np.outer(half, half) / n**2
    # cos A cos B = ½ cos(A + B) + ½ cos(A − B)
    j, k = (each.ravel() for each in np.meshgrid(np.arange(FINE_SQUARE), np.arange(FINE_SQUARE), indexing="ij"))
    waves = np.concatenate([np.stack([j, k, a.ravel() / 2], 1), np.stack([j, -k, a.ravel() / 2], 1)])
    constant = waves[(waves[:, :2] == 0).all(1), 2].sum()
    waves = waves[(waves[:, :2] != 0).any(1)]
    waves = waves[np.argsort(-np.abs(waves[:, 2]), kind="stable")]
    size, length = np.abs(waves[:, 2]), np.abs(waves[:, :2]).sum(1)
    results = {"units": [], "errors": [], "bounds": []}
    for units in CONSTRUCTED[2]:
        # c π L / M each, least in sum if M goes as √(c L); what is left out counts with its size
        shares = np.cumsum(np.sqrt(size * length))
        count = int(np.argmin(np.pi * shares**2 / units + size.sum() - np.cumsum(size))) + 1
        # two at least: a constant and a step
        number = np.maximum((units - 1) * np.sqrt(size * length)[:count] / shares[count - 1], 2).astype(int)
        while number.sum() > units - 1:
            number[np.argmax(number)] -= 1
        parts, bound = [(np.zeros((1, 2)), np.zeros(1), np.array([2 * constant]))], size[count:].sum()
        for (p, q, c), steps in zip(waves[:count], number, strict=True):
            low, high = min(p, 0) + min(q, 0), max(p, 0) + max(q, 0)
            w, b, v = _staircase(lambda t, c=c: c * np.cos(np.pi * t), low, high, steps)
            parts.append((w[:, None] * [p, q], b, v))
            # cos πt changes by at most π h over h, and by 2 in all
            h = (high - low) / (steps - 1)
            bound += abs(c) * min(np.pi * h, 2) + np.exp(-STEEPNESS / 2) * np.abs(v[1:]).sum()
        w, b, v = (np.concatenate(each) for each in zip(*parts, strict=True))
        error = np.abs(_applied(w, b, v, grid) - values.ravel()).max()
        _append(results, units, error, bound)
    return results


def _append(results: dict[str, list[float]], units: int, error: float, bound: float) -> None:
    for name, value in (("units", units), ("errors", float(f"{error:.4g}")), ("bounds", float(f"{bound:.4g}"))):
        results[name].append(value)


def _sawtooth(level: int) -> dict[str, float]:
    """2^k teeth by k layers of two relu units, by one layer of as many units as it takes, and by one with half of them.

    The tent t(x) = 2 relu(x) − 4 relu(x − ½) folds [0, 1] once; k times one after the other it makes 2^k slopes. No
    function of fewer straight pieces comes nearer than ½: between two ends of a slope, where the sawtooth is 0 and 1,
    an error below ½ would have it cross ½, 2^k times in all, and a straight piece crosses it once.
    """
    x = np.linspace(0, 1, 2**12 + 1)
    wanted = 1 - np.abs(2 * ((x * 2 ** (level - 1)) % 1) - 1)
    deep = fnn.mlp([1, *[2] * level, 1], activation="relu")
    tent = np.array([[2.0], [-4.0]])
    first = {"W": np.ones((1, 2)), "b": np.array([0.0, -0.5])}
    # a layer takes the two units of the one below, makes the tent of them, and both units of that
    between = {"W": tent @ np.ones((1, 2)), "b": np.array([0.0, -0.5])}
    params = (first, *[between] * (level - 1), {"W": tent, "b": np.zeros(1)})

    def error(net: fnn.Layer, params: Any) -> float:
        return float(np.abs(_output(net, params, x[:, None])[:, 0] - wanted).max())

    def shallow(units: int) -> tuple[fnn.Layer, Any]:
        """The piecewise linear interpolation of the sawtooth between `units` equal pieces, one relu at each kink."""
        kinks = np.arange(units) / units
        return relus(kinks, np.diff(np.interp(np.arange(units + 1) / units, x, wanted)) * units)

    def first_half() -> tuple[fnn.Layer, Any]:
        """Half the units of `shallow`: the teeth of the left half but the last, then up to ½ and no further."""
        units = 2 ** (level - 1)
        teeth = np.arange(units) / 2**level
        slopes = np.diff(np.interp(np.arange(units + 1) / 2**level, x, wanted)) * 2**level
        # the last unit ends the rise of the last tooth half way up
        return relus(np.append(teeth[:-1], teeth[-1] - 0.5 / 2**level), np.append(slopes[:-1], 0.0))

    def mean(net: fnn.Layer, params: Any) -> float:
        return float(np.abs(_output(net, params, x[:, None])[:, 0] - wanted).mean())

    def relus(kinks: np.ndarray, slopes: np.ndarray) -> tuple[fnn.Layer, Any]:
        """The function that begins at 0 and has these slopes from these kinks on, a unit each."""
        units, weights = len(kinks), np.diff(slopes, prepend=0)
        return fnn.mlp(1, units, 1, activation="relu"), (
            {"W": np.ones((1, units)), "b": -kinks}, {"W": weights[:, None], "b": np.zeros(1)}
        )  # fmt: skip

    return {
        "slopes": 2**level,
        "deep_units": 2 * level,
        "deep_parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "deep_error": error(deep, params),
        "shallow_units": 2**level,
        "shallow_parameters": 3 * 2**level + 1,
        "shallow_error": error(*shallow(2**level)),
        # as many slopes in the first half of the square as it has teeth there, and the constant ½ beyond
        "half_error": error(*first_half()),
        "half_mean": mean(*first_half()),
        "constant_mean": float(np.abs(0.5 - wanted).mean()),
    }


def _formulas(seed: int) -> dict[str, float]:
    """The largest difference between nets of one, two and four hidden layers and the formulas (claim C4)."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(50, 3))

    def sigma(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    results = {}
    for name, sizes in (("one", (3, 5, 2)), ("two", (3, 5, 4, 2)), ("many", (3, 5, 4, 6, 5, 2))):
        net = fnn.mlp(sizes, activation="sigmoid")
        layers = [(random.normal(size=(i, o)), random.normal(size=o)) for i, o in pairwise(sizes)]
        # one: σ(x W₁ + b₁) W₂ + b₂; two: σ(σ(x W₁ + b₁) W₂ + b₂) W₃ + b₃; and so on
        a = x
        for W, b in layers[:-1]:
            a = sigma(a @ W + b)
        wanted = a @ layers[-1][0] + layers[-1][1]
        params = tuple({"W": W, "b": b} for W, b in layers)
        results[name] = float(np.abs(_output(net, params, x) - wanted).max())
    return results


# ---- trained weights ------------------------------------------------------------------------------------------------


def _grids(dimension: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """(points to train on, points to measure on, {name: f of rows})."""
    if dimension == 1:
        # both with the ends, beyond which nobody promises anything
        coarse, fine = (np.linspace(0, 1, points)[:, None] for points in (TRAINING, 501))
        return coarse, fine, {name: lambda x, f=f: f(x[:, 0]) for name, f in CURVES.items()}
    sides = (np.linspace(0, 1, points) for points in (TRAINING_SQUARE, FINE_SQUARE))
    coarse, fine = (np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2) for side in sides)
    return coarse, fine, {name: lambda x, f=f: f(x[:, 0], x[:, 1]) for name, f in SURFACES.items()}


def _trained(net: fnn.Layer, start: Any, x: jax.Array, y: jax.Array, keep: Any, steps: int) -> Any:
    """Adam on all points, its rate falling to 0 along a cosine; gradients are multiplied by `keep`."""
    gradient, state = fnn.backprop(net, fnn.squared_error), fnn.optimizers.adam(RATE).init(start)

    def step(carry: Any, k: jax.Array) -> tuple[Any, None]:
        params, state = carry
        results = jax.tree.map(jnp.multiply, gradient(params, x, y)[1], keep)
        rate = RATE * (1 + jnp.cos(jnp.pi * k / steps)) / 2
        updates, state = fnn.optimizers.Adam(rate).update(results, state)
        return (jax.tree.map(jnp.add, params, updates), state), None

    return jax.lax.scan(step, (start, state), jnp.arange(steps, dtype=jnp.float32))[0][0]


def _widths(dimension: int, activation: str, options: Options) -> tuple[dict[str, Any], Any]:
    """All functions, widths and seeds in one program: a net of N units is one of 32 whose others are held at 0."""
    coarse, fine, functions = _grids(dimension)
    widest = TRAINED[-1]
    net = fnn.mlp(dimension, widest, 1, activation=activation)
    x, measured = jnp.asarray(coarse, jnp.float32), jnp.asarray(fine, jnp.float32)
    targets = jnp.asarray(np.stack([f(coarse) for f in functions.values()]), jnp.float32)[..., None]
    truths = np.stack([f(fine) for f in functions.values()])
    masks = jnp.asarray(np.arange(widest) < np.array(TRAINED)[:, None], jnp.float32)

    def one(y: jax.Array, mask: jax.Array, seed: jax.Array) -> jax.Array:
        slopes, places, heights = jax.random.split(jax.random.key(seed), 3)
        # steps of random direction and steepness through random points of the domain
        w = 10 * jax.random.normal(slopes, (dimension, widest))
        b = -jnp.sum(w * jax.random.uniform(places, (dimension, widest)), axis=0)
        v = mask[:, None] * jax.random.normal(heights, (widest, 1)) / jnp.sqrt(mask.sum())
        start = ({"W": w, "b": b}, {"W": v, "b": jnp.zeros(1)})
        keep = ({"W": jnp.ones_like(w), "b": jnp.ones_like(b)}, {"W": mask[:, None], "b": jnp.ones(1)})
        return net.apply(_trained(net, start, x, y, keep, options.steps), measured)[:, 0]

    every = jax.vmap(jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, None)), (0, None, None))
    seeds = options.seed + jnp.arange(options.seeds, dtype=jnp.uint32)
    values = np.asarray(jax.jit(every)(targets, masks, seeds), np.float64)
    errors = np.abs(values - truths[:, None, None]).max(-1)
    results = {
        name: {
            "units": TRAINED,
            "median": np.round(np.median(each, axis=-1), 6),
            "best": np.round(each.min(-1), 6),
            "worst": np.round(each.max(-1), 6),
            # of each start: the error of the fewest units over that of the most
            "falls": np.round(each[0] / each[-1], 3),
        }
        for name, each in zip(functions, errors, strict=True)
    }
    if dimension == 2:
        return results, None
    best = errors.argmin(-1)
    shown = {
        "x": np.round(fine[::5, 0], 4),
        "functions": {
            name: {str(TRAINED[w]): np.round(values[k, w, best[k, w], ::5], 4) for w in (0, 1, 2)}
            for k, name in enumerate(functions)
        },
    }
    return results, shown


def _depths(options: Options) -> dict[str, Any]:
    """About 100, 300 and 900 parameters in one, two and three hidden layers, on the surfaces."""
    coarse, fine, functions = _grids(2)
    x, measured = jnp.asarray(coarse, jnp.float32), jnp.asarray(fine, jnp.float32)
    targets = jnp.asarray(np.stack([f(coarse) for f in functions.values()]), jnp.float32)[..., None]
    truths = np.stack([f(fine) for f in functions.values()])
    seeds = options.seed + jnp.arange(min(options.seeds, FEW), dtype=jnp.uint32)
    results: dict[str, Any] = {name: [] for name in DEPTHS}
    for name, nets in DEPTHS.items():
        for sizes in nets:
            net = fnn.mlp(sizes, activation="tanh")

            def one(y: jax.Array, seed: jax.Array, net: fnn.Layer = net) -> jax.Array:
                start = net.init(jax.random.key(seed))
                keep = jax.tree.map(jnp.ones_like, start)
                return net.apply(_trained(net, start, x, y, keep, options.steps), measured)

            values = np.asarray(jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(targets, seeds), np.float64)
            errors = np.abs(values[..., 0] - truths[:, None]).max(-1)
            parameters = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(net.init, jax.random.key(0))))
            results[name].append({
                "parameters": parameters,
                "median": dict(zip(functions, np.round(np.median(errors, axis=-1), 6).tolist(), strict=True)),
            })  # fmt: skip
    return results


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the largest errors, constructed and trained, and the sawteeth."""
    result = saved["result"]
    for dimension, rows in result["constructed"].items():
        table = Table("function", *(f"{n} units" for n in CONSTRUCTED[int(dimension)]),
                      title=f"{dimension}-D, constructed: largest error (bound)")  # fmt: skip
        for name, each in rows.items():
            pairs = zip(each["errors"], each["bounds"], strict=True)
            table.add_row(name, *(f"{error:.2g} ({bound:.2g})" for error, bound in pairs))
        console.print(table)
        table = Table(
            "function", *(f"{n} units" for n in TRAINED), title=f"{dimension}-D, trained: median of the seeds"
        )
        for activation, rows in result["trained"][dimension].items():
            for name, each in rows.items():
                table.add_row(f"{name}, {activation}", *(f"{error:.2g}" for error in each["median"]))
        console.print(table)
    for name, nets in result["depths"].items():
        words = "; ".join(f"{each['parameters']} parameters {_mean_of(each):.2g}" for each in nets)
        console.print(f"{name}: {words}", highlight=False, soft_wrap=True)


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    constructed, trained, saw = _constructed(result), _trained_nets(result), result["sawtooth"]
    last = saw[-1]
    return {
        "below": Prediction(
            "largest error of a constructed net over its bound",
            [e / b for each in constructed for e, b in zip(each["errors"], each["bounds"], strict=True)],
            "at most",
            1.0,
        ),
        "sinks": Prediction(
            "more units lower the bound: last over first",
            [each["bounds"][-1] / each["bounds"][0] for each in constructed],
            "below",
            1.0,
        ),
        "falls": Prediction(
            "more units lower the error: last over first",
            [each["errors"][-1] / each["errors"][0] for each in constructed],
            "below",
            1.0,
        ),
        "reached": Prediction(
            "constructed nets reach the errors stated for their units: error over what is stated",
            [
                e / most
                for dimension, rows in result["constructed"].items()
                for each in rows.values()
                for e, most in zip(each["errors"], REACHED[int(dimension)], strict=False)
            ],
            "at most",
            1.0,
        ),
        "learns": Prediction(
            "trained nets fall: median error of the fewest units over that of the most",
            [each["median"][0] / each["median"][-1] for each in trained],
            "at least",
            2.0,
            None,
            "More --steps or --seeds would decide for them.",
        ),
        # a dozen operations with powers of two, which float64 computes exactly
        "exact": Prediction("error of the deep nets on the sawtooth", [e["deep_error"] for e in saw], "at most", 0.0),
        "shallow": Prediction("error of shallow nets as wide", [e["shallow_error"] for e in saw], "at most", 1e-12),
        "half": Prediction(
            "half the units in one layer leave an error of ½", [each["half_error"] for each in saw], "at least", 0.5
        ),
        "not_idle": Prediction(
            "though it makes the left half right: its mean error over that of the constant ½",
            last["half_mean"] / last["constant_mean"],
            "at most",
            0.6,
        ),
        "fewer": Prediction(
            "parameters of the deep net over those of the shallow",
            last["deep_parameters"] / last["shallow_parameters"],
            "below",
            1.0,
        ),
        "formulas": Prediction(
            "one, two and four hidden layers are their formulas", result["formulas"], "at most", 1e-13
        ),
    }


def _constructed(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for rows in result["constructed"].values() for each in rows.values()]


def _trained_nets(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for both in result["trained"].values() for rows in both.values() for each in rows.values()]


def _mean_of(net: dict[str, Any]) -> float:
    """The geometric mean over the surfaces."""
    return float(np.exp(np.mean(np.log(list(net["median"].values())))))


def _above(constructed: list[dict[str, Any]]) -> int:
    return sum(e > b for each in constructed for e, b in zip(each["errors"], each["bounds"], strict=True))


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the errors say of claims A3, B16 and C4."""
    constructed, trained = _constructed(result), _trained_nets(result)
    falls = [each["errors"][0] / each["errors"][-1] for each in constructed]
    learned = [each["median"][0] / each["median"][-1] for each in trained]
    spread = max(w / b for each in trained for w, b in zip(each["worst"], each["best"], strict=True))
    saw, depths = result["sawtooth"], result["depths"]
    last, fewer = saw[-1], min(each["half_error"] for each in saw)
    means = "; ".join(
        f"{name} " + ", ".join(f"{each['parameters']} parameters {_mean_of(each):.2g}" for each in nets)
        for name, nets in depths.items()
    )
    return {
        "A3": Evidence(
            f"{len(constructed)} functions on the line and the square: {_above(constructed)} constructed nets above "
            f"their bound (predicted 0); from the fewest to the most units their largest error falls {min(falls):.1f} "
            f"to {max(falls):,.0f} times. Trained, {' and '.join(ACTIVATIONS)}, from {TRAINED[0]} to {TRAINED[-1]} "
            f"units, the median of {len(trained[0]['falls'])} starts falls {min(learned):.1f} to "
            f"{max(learned):.0f} times "
            f"(predicted 2 or more), and one start may do {spread:.1f} times worse than another: the "
            "theorem says nothing "
            "about how to train.",
            "error_by_width.svg",
        ),
        "B16": Evidence(
            f"A sawtooth of {last['slopes']} slopes is exact with {last['deep_units']} relu units in {LEVELS[-1]} "
            f"layers ({last['deep_parameters']} parameters) and with {last['shallow_units']} in one "
            f"({last['shallow_parameters']}); half of these leave an error of {fewer:g} (predicted: at least ½) "
            f"although their mean error is {last['half_mean']:.3f}, that of the constant ½ "
            f"{last['constant_mean']:.3f}. The "
            f"geometric mean of the largest errors on the surfaces, trained: {means or 'not measured'}.",
            "depth.svg",
        ),
        "C4": Evidence(
            f"Nets of one, two and four hidden layers differ from the formulas by at most "
            f"{max(result['formulas'].values()):.0e} (predicted 0, to the rounding of sums of six terms).",
        ),
    }


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    result = saved["result"]
    results = {
        "error_by_width.svg": _by_width(result), "depth.svg": _by_depth(result["sawtooth"], result["depths"]),
    }  # fmt: skip
    return results | ({"trained.svg": _fits(result["shown"])} if result["shown"] else {})


def _by_width(result: dict[str, Any]) -> Any:
    from experiments import figures

    rows = len(result["constructed"])
    figure, spots = figures.blank(11.5, 4 * rows, rows=rows, columns=2)
    colours = (figures.BLUE, figures.RED, figures.GREEN, figures.ORANGE)
    for row, dimension in zip(spots, result["constructed"], strict=True):
        where = {"1": "on the line", "2": "in the square"}[dimension]
        for kind, key, axes in (("constructed", "errors", row[0]), ("trained", "median", row[1])):
            rows_of = result[kind][dimension] if kind == "constructed" else result[kind][dimension]["sigmoid"]
            for (name, each), colour, marker in zip(rows_of.items(), colours, "os^D", strict=True):
                axes.plot(each["units"], each[key], color=colour, marker=marker, lw=2, label=name)
                if kind == "constructed":
                    axes.plot(each["units"], each["bounds"], color=colour, lw=1, ls=":")
                else:
                    axes.fill_between(each["units"], each["best"], each["worst"], color=colour, alpha=0.12)
            words = (
                "constructed (dotted: bound)" if kind == "constructed" else "trained (median; shaded: best to worst)"
            )
            axes.set(xscale="log", yscale="log", title=f"{where.capitalize()}, {words}", xlabel="hidden units N")
            axes.set_xticks(units := next(iter(rows_of.values()))["units"], [str(n) for n in units])
            axes.minorticks_off()
            axes.legend(fontsize=9)
        row[0].set_ylabel("largest error")
    return figure


def _fits(shown: dict[str, Any]) -> Any:
    from experiments import figures

    figure, (spots,) = figures.blank(13, 3.6, columns=4)
    styles = ((figures.RED, ":"), (figures.ORANGE, "--"), (figures.BLUE, "-"))
    x = np.array(shown["x"])
    for axes, (name, widths) in zip(spots, shown["functions"].items(), strict=True):
        axes.plot(x, CURVES[name](x), color="0.75", lw=6, label="the function")
        for (units, values), (colour, line) in zip(widths.items(), styles, strict=True):
            axes.plot(x, values, line, color=colour, lw=1.8, label=f"{units} units")
        axes.set(title=name, xlabel="x")
    figure.legend(*spots[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _by_depth(sawtooth: list[dict[str, Any]], depths: dict[str, Any]) -> Any:
    from experiments import figures

    figure, (spots,) = figures.blank(16, 4.4, columns=3)
    styles = ((figures.RED, "s-"), (figures.GREEN, "^--"), (figures.BLUE, "o-."))
    for (name, nets), (colour, style) in zip(depths.items(), styles, strict=False):
        points = [(each["parameters"], _mean_of(each)) for each in nets]
        spots[2].plot(*zip(*points, strict=True), style, color=colour, lw=2, label=f"{name}, tanh")
    spots[2].set(
        xscale="log", yscale="log", title="Trained on four surfaces", xlabel="parameters",
        ylabel="largest error, mean of the surfaces",
    )  # fmt: skip
    if depths:
        spots[2].legend()
    x = np.linspace(0, 1, 513)
    spots[0].plot(x, 1 - np.abs(2 * ((x * 8) % 1) - 1), color=figures.BLUE, lw=2)
    spots[0].set(title="A sawtooth of 16 slopes: four tents, one in the other", xlabel="x", ylabel="f(x)")
    slopes = [each["slopes"] for each in sawtooth]
    for kind, colour, marker, label in (
        ("deep", figures.BLUE, "o", "k layers of 2 units"), ("shallow", figures.RED, "s", "one hidden layer")
    ):  # fmt: skip
        counts = [each[f"{kind}_parameters"] for each in sawtooth]
        spots[1].plot(slopes, counts, color=colour, marker=marker, lw=2, label=label)
    spots[1].set(
        xscale="log", yscale="log", title="What an exact net takes", xlabel="slopes $2^k$", ylabel="parameters"
    )
    spots[1].set_xticks(slopes, [str(n) for n in slopes])
    spots[1].minorticks_off()
    spots[1].legend()
    return figure
