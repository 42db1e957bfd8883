"""Question: how large may the learning rate be, what do one example, a mini-batch and all of them buy, where does
gradient descent get stuck, and is back-propagation a training algorithm?

Prediction: on a quadratic, descent converges just below 2/λ_max and diverges just above it (A11), the cost never rises
below it and the limit point has gradient zero (C6); near the minimum of a net the limit is the same 2/λ_max, with λ_max
measured by power iteration on Hessian-vector products. A rate too small leaves the gradient as it is: what vanishes is
progress (A11). The variance of a mini-batch gradient falls as 1/B, and at equal numbers of examples seen small batches
get further (B6, E7). The lecture's (x − 4)² x⁴ has two minima of equal height 0, so that a start decides between
them; tilted by −8x one of them is merely local, and descent gets stuck there (E1, E7). A net has strict local minima of
different height, and plateaus (B12). One gradient serves four optimizers (A19).
Refuted by: a quadratic that converges above or diverges below; a net whose limit is more than 2 % away; a mini-batch
variance off by 20 %; all starts at one height; optimizers that would need gradients of their own.

Everything but the digits runs in float64. Power iteration uses `jax.jvp` of `fnn.backprop`; its witness is the whole
Hessian by autodiff. Where the lectures give no numbers (tilt, data of the small net) they are ours.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Find the largest learning rate, and where gradient descent overshoots, crawls, or gets stuck.

    Curves, quadratics, the landscape of a small net, and digits by one example, mini-batch and full batch.
    """

    quadratics: int = frame.at_least(1, 200)
    """How many random quadratics are tried below and above their limit."""
    starts: int = frame.at_least(1, 64)
    """From how many random starts the small net descends to a minimum."""
    draws: int = frame.at_least(1, 2000)
    """How many mini-batches of each size are drawn for the variance of their gradient."""
    batches: tuple[int, ...] = (1, 32, 1024)
    """Sizes of batches of digits, from small to 1024, which is all of them."""
    epochs: int = frame.at_least(1, 10)
    """How often every digit is used, for each batch size and rate."""
    seeds: int = frame.at_least(1, 3)
    """How many nets read digits for each batch size and rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        increasing = list(self.batches) == sorted(set(self.batches)) and len(self.batches) > 1
        frame.require(
            increasing and min(self.batches) >= 1 and max(self.batches) == 1024,
            "--batches", self.batches, "two sizes or more, each larger than the last, from 1 to 1024",
        )  # fmt: skip


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "A11": (
            "below",
            "above",
            "slow",
            "limit",
        ),
        "A19": ("shared",),
        "B6": (
            "variance",
            "mean",
            "ahead",
        ),
        "B12": (
            "minima",
            "plateau",
        ),
        "C6": (
            "below",
            "rest",
        ),
        "E1": (
            "two",
            "stuck",
        ),
        "E7": (
            "both",
            "stuck",
            "above",
        ),
    },
    quick={"quadratics": 20, "starts": 16, "draws": 200, "batches": (32, 1024), "epochs": 6, "seeds": 1},
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from rich.console import Console
from rich.table import Table

import fnn
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

#: How far below and above the limit the quadratics are tried, and for how many steps: 0.98²⁰⁰⁰ = e⁻⁴⁰.
MARGIN, STEPS = 0.01, 2000
#: What counts as converged, and its inverse as diverged: the half of e⁻⁴⁰ in digits, so that no verdict is close.
SETTLED = 1e-8
#: Rates around the limit of the net, as a share of it.
SHARES = np.linspace(0.9, 1.1, 41)
#: The tilt of the lecture's second curve, that makes one of its two equal minima the lower one.
TILT = 8.0
#: Digits to learn; a batch of so many is the full batch.
ROWS = 1024
RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
NET = fnn.mlp(1, 3, 1)


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Measure everything and return the numbers."""
    with jax.enable_x64(True):
        result = {"curves": _curves()}
        result["quadratics"] = _quadratics(options)
        watch("quadratics", 1, 1, f"{options.quadratics} of them, below and above their limit")
        landscape, best = _landscape(options)
        result["landscape"] = landscape
        watch("landscape", 1, 1, f"{len(landscape['heights'])} minima of different height")
        result["net"] = _net_limit(options, best)
        result["optimizers"] = _optimizers(options)
        watch("net", 1, 1, f"limit at {result['net']['observed']:.3f} of 2/λ")
        result["variance"] = _variance(options)
    result["batches"] = _batches(options, watch)
    return result


# ---- curves and contours: the lecture's functions, and ours ---------------------------------------------------------


def bowl(x: Any) -> Any:
    """The lecture's (x − 4)²."""
    return (x - 4) ** 2


def two_valleys(x: Any, tilt: Any = 0.0) -> Any:
    """The lecture's (x − 4)² x⁴, with a tilt of ours."""
    return (x - 4) ** 2 * x**4 - tilt * x


def two_valleys_slope(x: Any, tilt: Any = 0.0) -> Any:
    """Its derivative x³ (x − 4)(6x − 16) − tilt: minima at 0 and 4 and a maximum at 8/3 without tilt."""
    return x**3 * (x - 4) * (6 * x - 16) - tilt


def plane(x: Any, y: Any) -> Any:
    """Two dimensions: the tilted curve along x, the bowl along y."""
    return two_valleys(x, TILT) + 20 * bowl(y)


def _descended(slope: Any, start: jax.Array, rate: jax.Array, steps: int) -> jax.Array:
    """The path of gradient descent, (steps + 1, …)."""

    def step(x: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        # a path that has left the picture stays out of it, and finite
        after = jnp.clip(x - rate * slope(x), -1e6, 1e6)
        return after, after

    return jnp.concatenate([start[None], jax.lax.scan(step, start, None, length=steps)[1]])


def _curves() -> dict[str, Any]:
    """Paths on the curves, and of four optimizers on the plane."""
    rates = np.array([0.02, 0.3, 0.95, 1.02])
    on_bowl = jax.jit(lambda rate: _descended(lambda x: 2 * (x - 4), jnp.full(4, 0.5), rate, 12))(rates)
    # the curvature at the deeper minimum is 6·4³ (4 − 8/3) = 512, so that the limit there is 2/512 = 0.0039
    starts, rate = np.array([-0.8, 2.4, 2.8, 4.4]), jnp.array(0.0005)
    paths = {
        name: jax.jit(lambda tilt: _descended(lambda x: two_valleys_slope(x, tilt), jnp.asarray(starts), rate, 20_000))(
            tilt
        )
        for name, tilt in (("as in the lecture", 0.0), ("tilted", TILT))
    }
    ends = {name: np.asarray(path[-1]) for name, path in paths.items()}
    tilts = {"as in the lecture": 0.0, "tilted": TILT}

    def slope(p: jax.Array) -> jax.Array:
        return jnp.stack([two_valleys_slope(p[0], TILT), 40 * (p[1] - 4)])

    def descend(optimizer: fnn.optimizers.Optimizer) -> jax.Array:
        def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
            p, state = carry
            updates, state = optimizer.update(slope(p), state, p)
            return (p + updates, state), p + updates

        start = jnp.array([-0.9, 1.0])
        path = jax.lax.scan(step, (start, optimizer.init(start)), None, length=300)[1]
        return jnp.concatenate([start[None], path])

    # the same gradient four times; rates are ours, below the limit of each
    four = {
        "gradient descent": fnn.optimizers.sgd(0.002),
        "momentum": fnn.optimizers.momentum(0.002),
        "Nesterov": fnn.optimizers.nesterov(0.002),
        "Adam": fnn.optimizers.adam(0.1),
    }
    contours = jax.jit(lambda: [descend(optimizer) for optimizer in four.values()])()
    return {
        "bowl": {"rates": rates, "paths": np.round(np.asarray(on_bowl), 4), "limit": 1.0},
        "valleys": {
            name: {
                "tilt": tilts[name],
                "starts": starts,
                "paths": np.round(np.asarray(path)[[0, 1, 2, 3, 5, 8, 12, 20, 40, 100, 400, 2000]], 4),
                "ends": np.round(ends[name], 6),
                "heights": np.round(two_valleys(ends[name], tilts[name]), 6),
                "slopes": np.abs(two_valleys_slope(ends[name], tilts[name])),
            }
            for name, path in paths.items()
        },
        "plane": {
            name: {"path": np.round(np.asarray(path), 3), "height": float(plane(*np.asarray(path[-1])))}
            for name, path in zip(four, contours, strict=True)
        },
    }


# ---- quadratics: the exact limit ------------------------------------------------------------------------------------


def _quadratics(options: Options) -> dict[str, Any]:
    """Random quadratics ½ wᵀ H w of five dimensions, at shares of 2/λ_max, and at a rate far too small."""
    random = np.random.default_rng(options.seed)
    count, size = options.quadratics, 5
    # eigenvalues over two decades, in random directions
    spectra = 10 ** random.uniform(-1, 1, (count, size))
    axes = np.linalg.qr(random.normal(size=(count, size, size)))[0]
    matrices = jnp.asarray(np.einsum("nij,nj,nkj->nik", axes, spectra, axes))
    start = jnp.asarray(random.normal(size=(count, size)))
    shares = np.array([1e-6, 0.5, 1 - MARGIN, 1 + MARGIN, 1.1])

    @jax.jit
    def trained(matrices: jax.Array, start: jax.Array, limit: jax.Array, shares: jax.Array) -> Any:
        def cost(H: jax.Array, w: jax.Array) -> jax.Array:
            return 0.5 * w @ H @ w

        def one(H: jax.Array, w: jax.Array, rate: jax.Array) -> Any:
            def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
                w, rose = carry
                after = w - rate * (H @ w)
                value = cost(H, after)
                # a cost that has already fallen to rounding may wobble in its last digit
                rose = rose | (value > cost(H, w) * (1 + 1e-12))
                return (after, rose), value

            (end, rose), values = jax.lax.scan(step, (w, jnp.array(False)), None, length=STEPS)
            return values / cost(H, w), rose, jnp.linalg.norm(H @ end) / jnp.linalg.norm(H @ w)

        over_rates = jax.vmap(one, in_axes=(None, None, 0))
        return jax.vmap(lambda H, w, l: over_rates(H, w, l * shares))(matrices, start, limit)

    limit = jnp.asarray(2 / spectra.max(axis=1))
    found = trained(matrices, start, limit, jnp.asarray(shares))
    # what has left the numbers is as large as numbers get
    values, rose, gradient = (np.nan_to_num(np.asarray(each), nan=1e300, posinf=1e300) for each in found)
    ends = values[:, :, -1]
    places = np.unique(np.geomspace(1, STEPS, 40).astype(int)) - 1
    return {
        "count": count,
        "shares": shares,
        "largest_end": ends.max(axis=0),
        "smallest_end": ends.min(axis=0),
        "rose": rose.mean(axis=0),
        "largest_gradient": gradient.max(axis=0),
        "smallest_gradient": gradient.min(axis=0),
        "curves": {"steps": places + 1, "median": np.median(values, axis=0)[:, places]},
    }


# ---- a small net: minima, plateaus, and the limit at a minimum ------------------------------------------------------

#: L2 keeps the minima strict: without it units may grow for ever. Small beside the loss.
STRENGTH = 1e-3


def _data() -> tuple[jax.Array, jax.Array]:
    """Thirty points of a wave with three turns: ours."""
    x = np.linspace(-2, 2, 30)[:, None]
    return jnp.asarray(x), jnp.asarray(np.sin(3 * x) + 0.3 * x)


def restored(vector: Any) -> Any:
    """The parameters of the net from one vector of ten: weights in, biases, weights out, bias."""
    return {"W": vector[None, :3], "b": vector[3:6]}, {"W": vector[6:9, None], "b": vector[9:]}


def flattened(params: Any) -> jax.Array:
    """The other way round."""
    return jnp.concatenate([params[0]["W"][0], params[0]["b"], params[1]["W"][:, 0], params[1]["b"]])


def _flat() -> tuple[Any, Any]:
    """(objective, gradient) as functions of one vector, by `fnn`."""
    x, y = _data()
    objective = fnn.objective(NET, fnn.half_squared_error, fnn.l2)
    by_hand = fnn.backprop(NET, fnn.half_squared_error, fnn.l2)

    def cost(vector: jax.Array, strength: Any) -> jax.Array:
        return objective(restored(vector), x, y, strength=strength)

    def gradient(vector: jax.Array) -> jax.Array:
        return flattened(by_hand(restored(vector), x, y, strength=STRENGTH)[1])

    return cost, gradient


def _hessian(gradient: Any, vector: jax.Array) -> jax.Array:
    """Column by column: the derivative of the hand-written gradient along each axis."""
    return jax.vmap(lambda axis: jax.jvp(gradient, (vector,), (axis,))[1])(jnp.eye(len(vector)))


def _landscape(options: Options) -> tuple[dict[str, Any], np.ndarray]:
    """Where many starts end, lines and a plane between the ends, and a plateau built by hand."""
    cost, gradient = _flat()

    @jax.jit
    def descended(start: jax.Array) -> Any:
        def newton(w: jax.Array, _: None) -> Any:
            g = gradient(w)
            curvatures, axes = jnp.linalg.eigh(_hessian(gradient, w))
            # along each axis downhill by slope over |curvature|: Newton's step, but never up to a saddle
            move = -axes @ ((axes.T @ g) / jnp.maximum(jnp.abs(curvatures), 1e-3))
            after = w + move * jnp.minimum(1, 0.3 / jnp.linalg.norm(move))
            return after, (w, jnp.linalg.norm(g), curvatures)

        def one(w: jax.Array) -> Any:
            return jax.tree.map(lambda each: each[-1], jax.lax.scan(newton, w, None, length=200)[1])

        return jax.vmap(one)(start)

    start = 1.5 * np.random.default_rng(options.seed).normal(size=(options.starts, 10))
    ends, slopes, spectra = map(np.asarray, descended(start))
    both = jax.jit(jax.vmap(lambda w: (cost(w, STRENGTH), cost(w, 0.0))))
    costs, losses = map(np.asarray, both(ends))
    # a strict minimum: gradient zero to rounding, all curvatures positive
    strict = (slopes <= 1e-10) & (spectra[:, 0] > 0)
    order = np.flatnonzero(strict)[np.argsort(costs[strict])]
    # starts that end at one height to six digits are one kind of minimum, up to order and sign of the units
    kinds: list[int] = []
    for k in order:
        if not kinds or costs[k] > costs[kinds[-1]] * (1 + 1e-6):
            kinds.append(int(k))
    if not kinds:
        raise FloatingPointError("no start reached a strict minimum. Raise --starts.")
    heights = [
        {
            "cost": costs[k],
            "loss": losses[k],
            "starts": int(np.sum(np.abs(costs / costs[k] - 1) < 1e-6)),
            "slope": slopes[k],
            "flattest": spectra[k, 0],
            "steepest": spectra[k, -1],
        }
        for k in kinds
    ]
    best, worst = ends[kinds[0]], ends[kinds[-1]]
    middle = ends[kinds[len(kinds) // 2]]
    share = np.linspace(-0.5, 1.5, 121)
    # two copies of the best minimum, the units of one in another order: equal height, a hill between
    turned = _turned(best)
    side = np.linspace(-0.4, 1.4, 61)
    across, up = (each.reshape(-1, 1) for each in np.meshgrid(side, side))
    third = middle if len(kinds) > 2 else turned
    places = [
        best + share[:, None] * (worst - best),
        best + share[:, None] * (turned - best),
        best + across * (worst - best) + up * (third - best),
    ]
    found = np.asarray(both(np.concatenate(places))[0])
    line, between, plane_heights = np.split(found, np.cumsum([len(each) for each in places])[:-1])
    return {
        "starts": options.starts,
        "strict": int(strict.sum()),
        "heights": heights[:1] + heights[1:][-11:],
        "line": {"share": share, "to_worst": np.round(line, 5), "to_turned": np.round(between, 5)},
        "plane": {
            "side": np.round(side, 4),
            "cost": np.round(plane_heights.reshape(61, 61), 4),
            "turned": len(kinds) <= 2,
        },
        "plateau": _plateau(options),
    }, best


def _turned(vector: np.ndarray) -> np.ndarray:
    """The same function with its hidden units in another order."""
    order = np.array([1, 2, 0])
    return np.concatenate([vector[order], vector[3 + order], vector[6 + order], vector[9:]])


def _plateau(options: Options) -> dict[str, Any]:
    """Saturated hidden units with the best output weights for them: nothing moves although much is to be gained."""
    x, y = _data()
    # three steps between data points: tanh of ±40 and more is ±1 to the last digit, its derivative 1 − a² is 0
    gap = float(x[1, 0] - x[0, 0])
    edges = np.asarray(x[[4, 14, 24], 0]) + gap / 2
    slope = 2 * 40 / gap
    W1, b1 = np.full((1, 3), slope), -slope * edges
    a = np.tanh(np.asarray(x) @ W1 + b1)
    design = np.column_stack([a, np.ones(len(a))])
    solution = np.linalg.lstsq(design, np.asarray(y)[:, 0], rcond=None)[0]
    start = (
        {"W": jnp.asarray(W1), "b": jnp.asarray(b1)},
        {"W": jnp.asarray(solution[:3, None]), "b": jnp.asarray(solution[3:])},
    )
    by_hand = fnn.backprop(NET, fnn.half_squared_error)

    @jax.jit
    def stayed(params: Any) -> Any:
        first = by_hand(params, x, y)
        params = jax.lax.fori_loop(
            0, STEPS, lambda _, p: jax.tree.map(lambda w, g: w - 0.1 * g, p, by_hand(p, x, y)[1]), params
        )
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(first[1])))
        return first[0], norm, by_hand(params, x, y)[0]

    # the same steps with all weights into the units scaled down: from a plateau to a slope
    shares = np.geomspace(1e-3, 1, 61)

    @jax.jit
    def scaled(shares: jax.Array) -> Any:
        def one(share: jax.Array) -> Any:
            params = jax.tree.map(lambda w: share * w, start[0]), start[1]
            value, g = by_hand(params, x, y)
            return value, jnp.sqrt(sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(g[0])))

        return jax.vmap(one)(shares)

    before, norm, after = map(float, stayed(start))
    values, norms = scaled(jnp.asarray(shares))
    return {
        "before": before, "gradient": norm, "after": after, "steps": STEPS,
        "slice": {
            "steepness": shares * slope, "cost": np.round(values, 5),
            # below the smallest that a logarithmic axis shows
            "gradient": np.maximum(np.asarray(norms), 1e-20),
        },
    }  # fmt: skip


def _net_limit(options: Options, minimum: np.ndarray) -> dict[str, Any]:
    """λ_max at a minimum by power iteration and by the whole Hessian, and the rate at which descent leaves it."""
    cost, gradient = _flat()
    here = jnp.asarray(minimum)
    direction = jnp.asarray(np.random.default_rng(options.seed + 1).normal(size=10))

    @jax.jit
    def power(vector: jax.Array) -> jax.Array:
        def step(v: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            Hv = jax.jvp(gradient, (here,), (v,))[1]
            return Hv / jnp.linalg.norm(Hv), v @ Hv

        return jax.lax.scan(step, vector / jnp.linalg.norm(vector), None, length=200)[1]

    estimates = np.asarray(power(direction))
    curvature = float(estimates[-1])
    whole = float(np.linalg.eigvalsh(np.asarray(jax.jit(jax.hessian(cost))(here, STRENGTH)))[-1])
    # small enough that the cost is its quadratic to six digits, large beside the rounding of 1e-16
    begin = here + 1e-7 * direction / jnp.linalg.norm(direction)
    steps = 4000

    @jax.jit
    def grown(rates: jax.Array) -> jax.Array:
        def one(rate: jax.Array) -> Any:
            end = jax.lax.fori_loop(0, steps, lambda _, w: w - rate * gradient(w), begin)
            return jnp.linalg.norm(end - here) / jnp.linalg.norm(begin - here)

        return jax.vmap(one)(rates)

    growth = np.nan_to_num(np.asarray(grown(jnp.asarray(SHARES * 2 / curvature))), nan=1e9, posinf=1e9)
    left = np.flatnonzero(growth > 1)
    return {
        "net": str(NET),
        "curvature": curvature,
        "by_hessian": whole,
        "power": {"iterations": len(estimates), "estimates": estimates[:30]},
        "steps": steps,
        "shares": SHARES,
        "growth": np.clip(growth, 1e-9, 1e9),
        # half way between the last rate that stayed and the first that left
        "observed": float(SHARES[left[0]] + SHARES[left[0] - 1]) / 2 if len(left) and left[0] else float("nan"),
        "apart": bool(len(left) and left[0] and np.all(growth[left[0] :] > 1)),
    }


def _optimizers(options: Options) -> dict[str, Any]:
    """One gradient function, four optimizers, one start: the first gradient, the curves, the ends."""
    x, y = _data()
    by_hand = fnn.backprop(NET, fnn.half_squared_error)
    start = restored(jnp.asarray(np.random.default_rng(options.seed).normal(size=10)))
    four = {
        "gradient descent": fnn.optimizers.sgd(0.1),
        "momentum": fnn.optimizers.momentum(0.1),
        "Nesterov": fnn.optimizers.nesterov(0.1),
        "Adam": fnn.optimizers.adam(0.03),
    }

    @jax.jit
    def trained(params: Any) -> Any:
        def with_one(optimizer: fnn.optimizers.Optimizer) -> Any:
            def step(carry: Any, _: None) -> tuple[Any, Any]:
                params, state = carry
                value, g = by_hand(params, x, y)
                updates, state = optimizer.update(g, state, params)
                return (jax.tree.map(jnp.add, params, updates), state), (value, g)

            (end, _), (values, gradients) = jax.lax.scan(step, (params, optimizer.init(params)), None, length=1500)
            return end, values, jax.tree.map(lambda g: g[0], gradients)

        return {name: with_one(optimizer) for name, optimizer in four.items()}, by_hand(params, x, y)[1]

    runs, first = trained(start)
    ends = {name: flattened(found[0]) for name, found in runs.items()}
    reference = flattened(first)
    places = np.unique(np.geomspace(1, 1500, 60).astype(int)) - 1
    names = list(four)
    return {
        "steps": places + 1,
        "curves": {name: np.asarray(found[1])[places] for name, found in runs.items()},
        "first_gradient_apart": {
            name: float(jnp.max(jnp.abs(flattened(found[2]) - reference))) for name, found in runs.items()
        },
        "nearest_ends": min(
            float(jnp.max(jnp.abs(ends[a] - ends[b]))) for k, a in enumerate(names) for b in names[k + 1 :]
        ),
    }


# ---- digits: one example, mini-batch, full batch --------------------------------------------------------------------


def _variance(options: Options) -> dict[str, Any]:
    """The variance of mini-batch gradients against σ²/B · (N − B)/(N − 1), batches drawn without repetition."""
    x, y = fnn.data.digits()
    net, count, draws = fnn.mlp(64, 16, 10), 512, options.draws
    by_hand = fnn.backprop(net, fnn.softmax_cross_entropy)
    params = jax.jit(lambda: net.init(jax.random.key(options.seed), jnp.float64))()
    images, labels = jnp.asarray(x[:count], jnp.float64), jnp.asarray(y[:count])

    @jax.jit
    def examples(params: Any) -> Any:
        each = jax.vmap(lambda a, b: ravel_pytree(by_hand(params, a, b)[1])[0])(images, labels)
        return each, ravel_pytree(by_hand(params, images, labels)[1])[0]

    each, whole = map(np.asarray, examples(params))
    spread = float(((each - whole) ** 2).sum(axis=1).mean())
    random = np.random.default_rng(options.seed)
    sizes, measured, predicted = [1, 4, 16, 64, 256], [], []
    for size in sizes:
        # one row per draw, with 1/B at the rows of the batch: a draw of the gradient is then a product
        chosen = np.argsort(random.random((draws, count)), axis=1)[:, :size]
        weights = np.zeros((draws, count))
        np.put_along_axis(weights, chosen, 1 / size, axis=1)
        measured.append(float(((weights @ each - whole) ** 2).sum(axis=1).mean()))
        predicted.append(spread / size * (count - size) / (count - 1))
    return {
        "sizes": sizes, "measured": measured, "predicted": predicted, "rows": count, "draws": draws,
        "mean_apart": float(np.abs(each.mean(axis=0) - whole).max() / np.abs(whole).max()),
    }  # fmt: skip


def _batches(options: Options, watch: Watch) -> dict[str, Any]:
    """The loss of small nets after some epochs, for each batch size and rate, several seeds at once."""
    x, y = fnn.data.digits()
    rows = np.random.default_rng(options.seed).permutation(len(x))[:ROWS]
    by_hand = fnn.backprop(fnn.mlp(64, 16, 10), fnn.softmax_cross_entropy)
    over = fnn.grid(seed=range(options.seed, options.seed + options.seeds), learning_rate=RATES)
    found = {}
    for k, size in enumerate(options.batches, start=1):
        name = {1: "one example", ROWS: "full batch"}.get(size, f"mini-batch of {size}")
        trained = fnn.sweep(
            by_hand, (x[rows], y[rows]), over=over, optimizer=optax.sgd, epochs=options.epochs, batch_size=size,
            shared_shuffle=True,
        )  # fmt: skip
        loss = trained.metrics["loss"].reshape(options.seeds, len(RATES), -1)
        # a run that left the finite numbers counts as worse than any
        loss = np.where(np.isfinite(loss), loss, np.inf)
        mean = loss.mean(axis=0)
        best = int(np.argmin(mean[:, -1]))
        found[name] = {
            "batch": size,
            "end": [float(v) if np.isfinite(v) else None for v in mean[:, -1]],
            "best_rate": RATES[best],
            "best": mean[best],
            # the worst seed at the best rate, and the best seeds at the lowest and the highest
            "best_seeds_worst": loss[:, best, -1].max(),
            "outer_seeds_best": [float(np.nan_to_num(loss[:, k, -1].min(), posinf=1e300)) for k in (0, -1)],
        }
        watch("digits", k, len(options.batches), f"{name}: loss {mean[best, -1]:.3f} at rate {RATES[best]}")
    return {"rates": RATES, "epochs": options.epochs, "rows": len(rows), "start": float(np.log(10)), "sizes": found}


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    q, net, land = result["quadratics"], result["net"], result["landscape"]
    lecture, tilted = result["curves"]["valleys"]["as in the lecture"], result["curves"]["valleys"]["tilted"]
    plateau, variance, sizes = land["plateau"], result["variance"], result["batches"]["sizes"]
    ratios = np.array(variance["measured"]) / np.array(variance["predicted"])
    *small, full = (each["best"][-1] for each in sizes.values())
    return {
        "below": Prediction(
            "just below 2/λ_max every quadratic converges, its cost never rising",
            q["largest_end"][2] <= SETTLED and q["rose"][2] == 0,
        ),
        "above": Prediction("just above 2/λ_max every quadratic diverges", q["smallest_end"][3] >= 1 / SETTLED),
        "slow": Prediction("far too small a rate leaves the gradient as it was", q["smallest_gradient"][0] >= 0.9),
        "rest": Prediction("where descent ends the gradient is zero", q["largest_gradient"][1] <= SETTLED),
        "limit": Prediction(
            "the limit of the net is 2/λ_max to 2 %",
            net["apart"] and abs(net["observed"] - 1) <= 0.02 and abs(net["curvature"] / net["by_hessian"] - 1) <= 1e-6,
        ),
        "two": Prediction(
            "the lecture's curve has two minima of equal height",
            len({round(e) for e in lecture["ends"]}) == 2 and max(lecture["heights"]) <= 1e-2,
        ),
        "stuck": Prediction(
            "tilted, descent gets stuck in the higher one",
            max(tilted["heights"]) - min(tilted["heights"]) >= 10 and max(tilted["slopes"]) <= 1e-6,
        ),
        "minima": Prediction(
            "a net has strict minima of different height",
            len(land["heights"]) >= 2 and land["heights"][-1]["cost"] >= 1.05 * land["heights"][0]["cost"],
        ),
        "plateau": Prediction(
            "a plateau holds descent far above the minimum",
            plateau["gradient"] <= 1e-10
            and plateau["after"] >= 0.999 * plateau["before"]
            and plateau["before"] >= 2 * land["heights"][0]["loss"],
        ),
        "variance": Prediction("the variance of a mini-batch falls as 1/B", bool(np.all(np.abs(ratios - 1) <= 0.2))),
        "mean": Prediction("the mean over the examples is the full gradient", variance["mean_apart"] <= 1e-12),
        "ahead": Prediction("after equal epochs smaller batches are ahead of the full batch", max(small) < full),
        "both": Prediction(
            "rates too low and too high are worse in every seed",
            all(min(each["outer_seeds_best"]) > each["best_seeds_worst"] for each in sizes.values()),
        ),
        "shared": Prediction(
            "four optimizers share one gradient and go different ways",
            max(result["optimizers"]["first_gradient_apart"].values()) <= 1e-15
            and result["optimizers"]["nearest_ends"] >= 1e-3,
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the numbers say of claims A11, A19, B6, B12, C6, E1 and E7."""
    q, net, land = result["quadratics"], result["net"], result["landscape"]
    valleys, batches, optimizers = result["curves"]["valleys"], result["batches"], result["optimizers"]
    ratios = [m / p for m, p in zip(result["variance"]["measured"], result["variance"]["predicted"], strict=True)]
    ends = {name: each["best"][-1] for name, each in batches["sizes"].items()}
    told = ", ".join(f"{name} {end:.3f}" for name, end in ends.items())
    lowest, highest, flat = land["heights"][0]["cost"], land["heights"][-1]["cost"], land["plateau"]
    lecture, tilted = valleys["as in the lecture"], valleys["tilted"]
    return {
        "A11": Evidence(
            f"{q['count']} quadratics, {STEPS} steps: at 0.99 of 2/λ_max the cost falls to {q['largest_end'][2]:.0e} "
            f"of its start or less, at 1.01 it grows {q['smallest_end'][3]:.0e} times or more. A net at its minimum: "
            f"descent leaves it at {net['observed']:.4f} of 2/λ_max (predicted 1; λ_max = {net['curvature']:.4f}). "
            f"At a millionth of the limit the gradient keeps {q['smallest_gradient'][0]:.1%} of its size: it is "
            "progress that vanishes, not the gradient, as the slide has it.",
            "rates.svg",
        ),
        "A19": Evidence(
            "One gradient function drives gradient descent, momentum, Nesterov and Adam: first gradients apart by "
            f"{max(optimizers['first_gradient_apart'].values()):.0e} (predicted 0), ends apart by at least "
            f"{optimizers['nearest_ends']:.2g} in some parameter. What is learned depends on the optimizer.",
            "paths.svg",
        ),
        "B6": Evidence(
            f"Variance of mini-batch gradients over the predicted σ²/B (N−B)/(N−1): {min(ratios):.2f} to "
            f"{max(ratios):.2f} (predicted 1) for B = 1 … 256; their mean is the full gradient to "
            f"{result['variance']['mean_apart']:.0e}. Loss on digits after {batches['epochs']} epochs, each at its "
            f"best rate: {told}.",
            "rates.svg",
        ),
        "B12": Evidence(
            f"{land['strict']} of {land['starts']} starts end in strict minima (gradient 0, all curvatures positive), "
            f"of cost {lowest:.4f} to {highest:.4f}. On a plateau of saturated units the gradient is "
            f"{flat['gradient']:.0e}, and the loss stays at {flat['after']:.4f} for {flat['steps']} steps, although "
            f"{land['heights'][0]['loss']:.4f} can be reached.",
            "landscape.svg",
        ),
        "C6": Evidence(
            f"At 0.99 of 2/λ_max the cost rose in {q['rose'][2]:.0%} of the runs (predicted 0), above it in "
            f"{q['rose'][3]:.0%}; where descent ended the gradient is {q['largest_gradient'][1]:.0e} of its start or "
            "less.",
            "rates.svg",
        ),
        "E1": Evidence(
            f"(x−4)² x⁴: starts end near {', '.join(f'{e:.2f}' for e in lecture['ends'])}, all at cost 0: its two "
            "minima, 0 and 4, are equally deep, so neither is worse. Tilted by −8x (ours) they end at "
            f"{max(tilted['heights']):.1f} and {min(tilted['heights']):.1f}: two of four starts get stuck in the "
            "higher one.",
            "paths.svg",
        ),
        "E7": Evidence(
            "Digits, loss at the lowest, the best and the highest rate: "
            + "; ".join(
                f"{name} {each['end'][0]:.2f}, {each['best'][-1]:.3f}, "
                + ("not finite" if each["end"][-1] is None else f"{each['end'][-1]:.2f}")
                for name, each in batches["sizes"].items()
            )
            + ": too low crawls, too high overshoots. Stuck in a local minimum: see E1.",
            "rates.svg",
        ),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the limits, the minima, the batches."""
    result = saved["result"]
    q = result["quadratics"]
    table = Table(title=f"{q['count']} quadratics after {STEPS} steps")
    for heading in ("rate / (2/λ_max)", "cost over its start, smallest", "largest", "cost rose in"):
        table.add_column(heading, justify="right")
    for row in zip(q["shares"], q["smallest_end"], q["largest_end"], q["rose"], strict=True):
        table.add_row(f"{row[0]:g}", f"{row[1]:.2e}", f"{row[2]:.2e}", f"{row[3]:.0%}")
    console.print(table)
    table = Table(title=f"Loss on digits after {result['batches']['epochs']} epochs")
    table.add_column("rate", justify="right")
    for name in result["batches"]["sizes"]:
        table.add_column(name, justify="right")
    for k, rate in enumerate(result["batches"]["rates"]):
        ends = [each["end"][k] for each in result["batches"]["sizes"].values()]
        table.add_row(f"{rate:g}", *("not finite" if end is None else f"{end:.3f}" for end in ends))
    console.print(table)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    result = saved["result"]
    return {"paths.svg": _paths(result), "rates.svg": _rates(result), "landscape.svg": _landscape_figure(result)}


def _paths(result: dict[str, Any]) -> Any:
    from experiments import figures

    colors = (figures.BLUE, figures.GREEN, figures.ORANGE, figures.RED)
    figure, axes = figures.blank(12, 8.6, 2, 2)
    bowl_axis, lecture_axis, tilted_axis, plane_axis = axes.flat
    curve = np.linspace(-1.6, 9.6, 200)
    bowl_axis.plot(curve, bowl(curve), color="0.6", lw=1.5)
    bowls = result["curves"]["bowl"]
    for k, (rate, color, marker) in enumerate(zip(bowls["rates"], colors, "osD^", strict=True)):
        path = np.array(bowls["paths"])[:, k]
        bowl_axis.plot(path, bowl(path), marker + "-", color=color, ms=5, lw=1, label=f"rate {rate:g}")
    bowl_axis.set(
        title="$(x-4)^2$: the limit is $2/\\lambda$ = 1", xlabel="x", ylabel="cost", xlim=(-1.6, 9.6), ylim=(-1, 42)
    )
    bowl_axis.legend(loc="upper center", ncols=2)
    for axis, each, title in zip(
        (lecture_axis, tilted_axis), result["curves"]["valleys"].values(),
        ("$(x-4)^2\\,x^4$, the lecture's: two minima, equally deep", "$(x-4)^2\\,x^4 - 8x$: one of them is only local"),
        strict=True,
    ):  # fmt: skip
        curve = np.linspace(-1.15, 4.65, 300)
        axis.plot(curve, two_valleys(curve, each["tilt"]), color="0.6", lw=1.5)
        for k, (color, marker) in enumerate(zip(colors, "osD^", strict=True)):
            path = np.append(np.array(each["paths"])[:, k], each["ends"][k])
            axis.plot(path, two_valleys(path, each["tilt"]), marker, color=color, ms=5)
            axis.annotate(
                "start", (path[0], two_valleys(path[0], each["tilt"])), xytext=(0, 9), textcoords="offset points",
                ha="center", fontsize=9, color=color,
            )  # fmt: skip
        axis.set(title=title, xlabel="x", ylabel="cost", xlim=(-1.15, 4.65), ylim=(-45, 100))
    across, up = np.meshgrid(np.linspace(-1.1, 4.9, 160), np.linspace(0.2, 6.2, 120))
    heights = plane(across, up)
    plane_axis.contour(across, up, np.log10(heights - heights.min() + 3), levels=18, colors="0.75", linewidths=0.8)
    for (name, each), color, style in zip(
        result["curves"]["plane"].items(), colors, ("-", "--", "-.", ":"), strict=True
    ):
        path = np.array(each["path"])
        plane_axis.plot(path[:, 0], path[:, 1], style, color=color, lw=2, label=name)
        plane_axis.plot(*path[-1], "o", color=color, ms=8, mec="black")
    plane_axis.set(
        title="One gradient, four optimizers", xlabel="x: $(x-4)^2x^4 - 8x$", ylabel="y: $20\\,(y-4)^2$",
        xlim=(-1.1, 4.9), ylim=(0.2, 6.2),
    )  # fmt: skip
    plane_axis.legend(loc="lower right")
    return figure


def _rates(result: dict[str, Any]) -> Any:
    from experiments import figures

    colors = (figures.BLUE, figures.GREEN, figures.ORANGE, figures.RED, "0.4")
    figure, ((quadratic, net), (digits, variance)) = figures.blank(12, 8.6, 2, 2)
    q = result["quadratics"]
    for share, curve, color, style in zip(
        q["shares"], q["curves"]["median"], ("0.4", *colors[:4]), (":", "-", "-", "--", "-."), strict=True
    ):
        # what lies below the picture is drawn along its lower edge
        quadratic.plot(q["curves"]["steps"], np.clip(curve, 1e-30, 1e30), style, color=color, lw=2, label=f"{share:g}")
    quadratic.set(
        xscale="log", yscale="log", ylim=(1e-20, 1e20), xlabel="step", ylabel="cost / cost at the start, median",
        title=f"{q['count']} random quadratics",
    )  # fmt: skip
    quadratic.legend(title="rate / $(2/\\lambda_{max})$", fontsize=9, loc="lower left")
    each = result["net"]
    net.plot(each["shares"], each["growth"], "o-", color=figures.BLUE, ms=4)
    net.axvline(1, color=figures.ORANGE, lw=2, ls="--", label="$2/\\lambda_{max}$ by power iteration")
    net.axhline(1, color="0.4", lw=1)
    net.set(
        yscale="log", xlabel="rate / $(2/\\lambda_{max})$",
        ylabel=f"distance after {each['steps']} steps / at the start", title="A net beside its minimum",
    )  # fmt: skip
    net.legend(loc="upper left")
    for (name, one), color, marker in zip(result["batches"]["sizes"].items(), colors, "osD", strict=False):
        finite = [
            (rate, end) for rate, end in zip(result["batches"]["rates"], one["end"], strict=True) if end is not None
        ]
        digits.plot(*zip(*finite, strict=True), marker + "-", color=color, label=name)
    digits.axhline(result["batches"]["start"], color="0.4", lw=1, ls=":", label="guessing, ln 10")
    digits.set(
        xscale="log", yscale="log", ylim=(None, 30), xlabel="learning rate", ylabel="loss (nats per image)",
        title=f"Digits after {result['batches']['epochs']} epochs",
    )  # fmt: skip
    digits.legend(fontsize=9)
    sizes = np.array(result["variance"]["sizes"])
    variance.plot(sizes, result["variance"]["measured"], "o", color=figures.BLUE, ms=8, label="measured")
    variance.plot(
        sizes, result["variance"]["predicted"], "--", color=figures.ORANGE, lw=2,
        label=r"$\frac{\sigma^2}{B}\,\frac{N-B}{N-1}$",
    )  # fmt: skip
    variance.set(
        xscale="log", yscale="log", xlabel="batch size B", ylabel="variance of the gradient",
        title="Noise of a mini-batch gradient",
    )  # fmt: skip
    variance.legend()
    return figure


def _landscape_figure(result: dict[str, Any]) -> Any:
    from experiments import figures

    land = result["landscape"]
    figure, ((line, plane_axis, plateau),) = figures.blank(15, 4.6, columns=3)
    line.plot(land["line"]["share"], land["line"]["to_worst"], color=figures.BLUE, lw=2, label="to the highest minimum")
    line.plot(
        land["line"]["share"], land["line"]["to_turned"], "--", color=figures.ORANGE, lw=2,
        label="to itself, units reordered",
    )  # fmt: skip
    for share in (0, 1):
        line.axvline(share, color="0.4", lw=1, ls=":")
    line.set(
        yscale="log",
        ylim=(0.03, 12),
        xlabel="0: lowest minimum, 1: the other",
        ylabel="cost",
        title="Lines between minima of a net 1-3-1",
    )
    line.legend(fontsize=9, loc="upper center")
    side, heights = np.array(land["plane"]["side"]), np.log10(np.array(land["plane"]["cost"]))
    shade = plane_axis.contourf(side, side, heights, levels=24, cmap="cividis_r")
    figure.colorbar(shade, ax=plane_axis, label="log10 cost")
    names = ("lowest", "highest", "reordered" if land["plane"]["turned"] else "another")
    for place, name in zip(((0, 0), (1, 0), (0, 1)), names, strict=True):
        plane_axis.plot(*place, "o", color="white", mec="black", ms=9)
        plane_axis.annotate(
            name, place, xytext=(8, 6), textcoords="offset points", fontsize=10,
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8},
        )  # fmt: skip
    plane_axis.grid(False)
    plane_axis.set(title="The plane through three minima", xlabel="towards the highest", ylabel="towards the third")
    cut = land["plateau"]["slice"]
    plateau.plot(cut["steepness"], cut["cost"], color=figures.BLUE, lw=2, label="loss")
    plateau.plot(
        cut["steepness"], cut["gradient"], "--", color=figures.ORANGE, lw=2, label="gradient of the hidden layer"
    )
    plateau.axhline(land["heights"][0]["loss"], color=figures.GREEN, lw=1.5, ls=":", label="lowest minimum")
    plateau.set(
        xscale="log", yscale="log", ylim=(1e-13, 1e2), xlabel="steepness of the hidden units",
        ylabel="loss, gradient norm", title="A plateau: saturated hidden units",
    )  # fmt: skip
    plateau.legend(fontsize=9, loc="lower left")
    return figure
