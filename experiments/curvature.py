"""Question: are the hand-written second derivatives right, and how reliable are the bounds on the largest eigenvalue
and its rate?

Prediction: products agree with autodiff to 1e-12 and with differences to 1e-6. The lower end of the interval of the
largest eigenvalue and the certain bounds never fail; the probable upper end fails in no more nets than delta allows.
Descent on a quadratic converges at 0.98 of the largest rate and diverges at 1.02; near a minimum so does a net.
Kronecker factors are the block for a linear net under a squared error and for one example, and nowhere else.
Refuted by: a larger difference; a certain bound that fails; more failures than delta and three standard errors; descent
that behaves differently; factors that are off where they should be exact, or exact elsewhere.

Nets are drawn fresh, drawn and scaled by 3, and trained for 100 steps, a third each.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Products, intervals of the largest eigenvalue and Kronecker factors against dense matrices."""

    nets: int = frame.at_least(3, 1000)
    """How many nets the largest eigenvalue is computed for."""
    steps: tuple[int, ...] = frame.at_least(1, (5, 8, 12, 20, 39))
    """Numbers of Lanczos steps; the residual is predicted for the last one."""


EXPERIMENT = frame.Experiment(Options, x64=True, quick={"nets": 30, "steps": (5, 39)}, apart=True)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from rich.console import Console

import fnn
from experiments.frame import Prediction
from experiments.progress import Watch, silent

NET, LOSS = fnn.mlp(3, 6, 4, 2), fnn.softmax_cross_entropy
DELTA = 0.05
#: The two descents, in largest rates, and their steps: 0.98 shrinks the steepest direction by 0.96 a step.
RATES, DESCENT = (0.98, 1.02), 2000
#: How far descent starts from the minimum of a net: near enough for the quadratic model.
NEAR = 1e-6
#: float64: products agree to rounding, differences to their truncation, exact factors to rounding.
AGREE, DIFFERENCES, ELSEWHERE = 1e-12, 1e-6, 1e-3


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Everything, part by part."""
    random = np.random.default_rng(options.seed)
    result: dict[str, Any] = {"products": _products(random)}
    watch("parts", 1, 4, "products")
    result["intervals"] = _intervals(options, random)
    watch("parts", 2, 4, "intervals")
    result["descent"] = _descent(random)
    watch("parts", 3, 4, "descent")
    result["factors"] = _factors(random)
    watch("parts", 4, 4, "Kronecker factors")
    return result


def _drawn(random: np.random.Generator, net: fnn.Layer, count: tuple[int, ...] = ()) -> Any:
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.float64))
    return jax.tree.map(lambda leaf: random.normal(0, 0.6, (*count, *leaf.shape)), shapes)


def _products(random: np.random.Generator) -> dict[str, dict[str, float]]:
    """Largest difference from autodiff and from central differences, relative to the largest entry."""
    tanh = fnn.dense(3, 3, activation="tanh")
    nets = {
        "dense": NET,
        "skip": fnn.sequential(fnn.skip(tanh), fnn.dense(3, 2)),
        "repeated": fnn.sequential(fnn.repeated(tanh, 3), fnn.dense(3, 2)),
    }
    apart = {}
    for name, net in nets.items():
        product, by_hand = fnn.curvature.hessian_vector_product(net, LOSS), fnn.backprop(net, LOSS)
        params, v = _drawn(random, net), _drawn(random, net)
        x, y = random.normal(size=(8, 3)), random.integers(0, 2, 8).astype(np.int32)

        @jax.jit
        def both(params: Any, v: Any, x: Any, y: Any, product: Any = product, by_hand: Any = by_hand) -> Any:
            def shifted(t: float) -> Any:
                return by_hand(jax.tree.map(lambda p, d: p + t * d, params, v), x, y)[1]

            gradient = jax.grad(lambda p: product.objective(p, x, y))
            differences = jax.tree.map(lambda up, down: (up - down) / 1e-5, shifted(5e-6), shifted(-5e-6))
            each = product(params, x, y, v), jax.jvp(gradient, (params,), (v,))[1], differences
            return [ravel_pytree(tree)[0] for tree in each]

        hand, automatic, differences = (np.asarray(each) for each in both(params, v, x, y))
        size = np.abs(automatic).max()
        apart[name] = {
            "automatic": float(np.abs(hand - automatic).max() / size),
            "differences": float(np.abs(hand - differences).max() / size),
        }
    return apart


def _intervals(options: Options, random: np.random.Generator) -> dict[str, Any]:
    """For each number of steps: in how many nets each bound held, and how wide the intervals were."""
    hessian = fnn.curvature.hessian_vector_product(NET, LOSS)
    newton = fnn.curvature.gauss_newton_vector_product(NET, LOSS)
    count, by_hand = options.nets, fnn.backprop(NET, LOSS)
    params = _drawn(random, NET, (count,))
    x, y = random.normal(size=(count, 8, 3)), random.integers(0, 2, (count, 8)).astype(np.int32)
    scale = np.where(np.arange(count) % 3 == 1, 3.0, 1.0)

    def descend(params: Any, x: Any, y: Any) -> Any:
        def step(params: Any, _: None) -> tuple[Any, None]:
            return jax.tree.map(lambda p, g: p - 0.3 * g, params, by_hand(params, x, y)[1]), None

        return jax.lax.scan(step, params, None, length=100)[0]

    @jax.jit
    def prepare(params: Any, x: Any, y: Any, scale: Any, trained: Any) -> Any:
        def one(params: Any, x: Any, y: Any, scale: Any, trained: Any) -> Any:
            after = descend(params, x, y)
            params = jax.tree.map(lambda a, b: jnp.where(trained, a, scale * b), after, params)
            return params, *(fnn.curvature.matrix(each, params, x, y) for each in (hessian, newton))

        return jax.vmap(one)(params, x, y, scale, trained)

    params, hessians, newtons = jax.device_get(prepare(params, x, y, scale, np.arange(count) % 3 == 2))
    values, newton_values = np.linalg.eigvalsh(hessians), np.linalg.eigvalsh(newtons)
    traces = np.trace(newtons, axis1=1, axis2=2)
    norms = np.linalg.norm(hessians, axis=(1, 2))
    keys = jax.random.split(jax.random.key(options.seed), count)
    table = []
    for steps in options.steps:
        lower = upper = narrow = 0
        widths, residuals = [], []
        for k in range(count):
            one = jax.tree.map(lambda leaf, k=k: leaf[k], params)
            each = fnn.curvature.largest_eigenvalue(
                hessian, one, x[k], y[k], key=keys[k], steps=steps, delta=DELTA, certain=False
            )
            lower += each.lower <= values[k, -1]
            upper += values[k, -1] <= each.upper
            narrow += each.residual <= 0.01 * abs(each.value)
            widths.append((each.upper - each.lower) / (values[k, -1] - values[k, 0]))
            residuals.append(each.residual / abs(each.value))
        table.append(
            {
                "steps": steps,
                "lower": int(lower),
                "upper": int(upper),
                "narrow": int(narrow),
                "width": float(np.median(widths)),
                "residual": float(np.median(residuals)),
            }
        )
    return {
        "nets": count,
        "by_steps": table,
        "trace": int(np.sum(newton_values[:, -1] <= traces)),
        "trace_over_largest": float(np.median(traces / newton_values[:, -1])),
        "norm": int(np.sum(values[:, -1] <= norms)),
        "norm_over_largest": float(np.median(norms / values[:, -1])),
    }


def _descent(random: np.random.Generator) -> dict[str, dict[str, float]]:
    """By what factor the distance from the minimum along the top vector grew in descent at each rate."""
    cases = {"quadratic": (fnn.mlp(3, 1), 1.0), "net": (fnn.mlp(3, 3, 1), NEAR)}
    grown = {}
    for name, (net, distance) in cases.items():
        loss = "half_squared_error"
        newton = fnn.curvature.gauss_newton_vector_product(net, loss)
        x = random.normal(size=(40, 3))
        y = np.tanh(x @ random.normal(size=(3, 1))) + 0.1 * random.normal(size=(40, 1))
        # to the last digits, so that descent can start near it
        fit = fnn.curvature.levenberg_marquardt(newton, _drawn(random, net), x, y, steps=2000)
        hessian, by_hand = fnn.curvature.hessian_vector_product(net, loss), fnn.backprop(net, loss)
        top = fnn.curvature.largest_eigenvalue(hessian, fit.params, x, y, key=jax.random.key(0))
        start = jax.tree.map(lambda p, u, d=distance: p + d * u, fit.params, top.vector)

        @jax.jit
        def after(rate: Any, start: Any, minimum: Any, u: Any, x: Any, y: Any, by_hand: Any = by_hand) -> Any:
            def along(params: Any) -> Any:
                moved = jax.tree.map(lambda p, q, d: jnp.sum((p - q) * d), params, minimum, u)
                return jnp.abs(sum(jax.tree.leaves(moved)))

            def step(_: Any, params: Any) -> Any:
                return jax.tree.map(lambda p, g: p - rate * g, params, by_hand(params, x, y)[1])

            # of a net only as long as it stays near: 100 steps grow by 1.04^100, about 50
            return along(jax.lax.fori_loop(0, 100, step, start)) / along(start)

        rates = {f"{r:g}": r * top.largest_rate for r in RATES}
        grown[name] = {r: float(after(v, start, fit.params, top.vector, x, y)) for r, v in rates.items()}
    return grown


def _factors(random: np.random.Generator) -> dict[str, float]:
    """‖A ⊗ G − block‖ / ‖block‖ of the first layer."""
    linear = fnn.sequential(fnn.dense(3, 4), fnn.dense(4, 2))
    cases = {
        "linear, squared error": (linear, "squared_error", 64),
        "tanh, one example": (fnn.mlp(3, 4, 2), LOSS, 1),
        "linear, cross-entropy": (linear, LOSS, 64),
        "tanh, squared error": (fnn.mlp(3, 4, 2), "squared_error", 64),
        "tanh, cross-entropy": (fnn.mlp(3, 4, 2), LOSS, 64),
        "relu, cross-entropy": (fnn.mlp(3, 4, 2, activation="relu"), LOSS, 64),
    }
    off = {}
    for name, (net, loss, rows) in cases.items():
        product = fnn.curvature.gauss_newton_vector_product(net, loss)
        params, x = _drawn(random, net), random.normal(size=(rows, 3))
        y: Any = random.integers(0, 2, rows).astype(np.int32) if loss is LOSS else random.normal(size=(rows, 2))

        @jax.jit
        def both(params: Any, x: Any, y: Any, product: Any = product) -> Any:
            first, *_ = fnn.curvature.kronecker_factors(product, params, x, y)
            return first.matrix(), fnn.curvature.layer_matrices(product, params, x, y)["[0]"]

        factored, block = jax.device_get(both(params, x, y))
        off[name] = float(np.linalg.norm(factored - block) / np.linalg.norm(block))
    return off


# ---- what a reader sees ---------------------------------------------------------------------------------------------

#: Where the factors are the block.
EXACT = ("linear, squared error", "tanh, one example")


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    products, intervals, factors = result["products"], result["intervals"], result["factors"]
    nets, table = intervals["nets"], intervals["by_steps"]
    least = nets * (1 - DELTA) - 3 * np.sqrt(nets * DELTA * (1 - DELTA))
    quadratic, net = result["descent"]["quadratic"], result["descent"]["net"]
    return {
        "automatic": Prediction(
            "products agree with autodiff to 1e-12", max(each["automatic"] for each in products.values()) <= AGREE
        ),
        "differences": Prediction(
            "products agree with differences to 1e-6",
            max(each["differences"] for each in products.values()) <= DIFFERENCES,
        ),
        "lower": Prediction("the lower end never fails", all(each["lower"] == nets for each in table)),
        "certain": Prediction("trace and norm never fail", intervals["trace"] == intervals["norm"] == nets),
        "upper": Prediction(
            f"the upper end fails in at most {DELTA:.0%} and three standard errors of the nets",
            all(each["upper"] >= least for each in table),
        ),
        "narrow": Prediction(
            "after 40 products the residual is below 1 % of the eigenvalue in 95 % of the nets",
            table[-1]["narrow"] >= 0.95 * nets,
        ),
        "quadratic": Prediction(
            "descent on a quadratic converges at 0.98 of the rate and diverges at 1.02",
            quadratic["0.98"] < 1 < quadratic["1.02"],
        ),
        "net": Prediction("near a minimum of a net it does the same", net["0.98"] < 1 < net["1.02"]),
        "exact": Prediction(
            "factors are the block where they should be", max(factors[name] for name in EXACT) <= AGREE
        ),
        "elsewhere": Prediction(
            "and nowhere else", min(off for name, off in factors.items() if name not in EXACT) > ELSEWHERE
        ),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the table of intervals and the distances of the factors."""
    result = saved["result"]
    nets = result["intervals"]["nets"]
    lines = [f"\nof {nets} nets, by steps of Lanczos:"]
    lines += [
        f"  {each['steps']:3d}: lower end right in {each['lower']}, upper in {each['upper']}, width "
        f"{each['width']:.2g} of the spread, residual {each['residual']:.1e} of the eigenvalue"
        for each in result["intervals"]["by_steps"]
    ]
    lines += [f"A ⊗ G, {name}: off by {off:.2g} of the block" for name, off in result["factors"].items()]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    figure, (spots,) = figures.blank(12, 4.4, columns=2)
    interval, kronecker = spots
    table = result["intervals"]["by_steps"]
    steps = [each["steps"] for each in table]
    finite = [(k, each["width"]) for k, each in zip(steps, table, strict=True) if np.isfinite(each["width"])]
    interval.plot(*zip(*finite, strict=True), "o-", color=figures.BLUE, label="width of the interval / spread")
    residuals = [each["residual"] for each in table]
    interval.plot(steps, residuals, "s--", color=figures.ORANGE, label="residual / eigenvalue")
    interval.set(
        yscale="log", xlabel="steps of Lanczos", title=f"The largest eigenvalue of {result['intervals']['nets']} nets"
    )
    interval.legend()
    names = list(result["factors"])[::-1]
    # exact ones have no place on a logarithmic axis: they stand at its edge
    off = [max(result["factors"][name], 1e-17) for name in names]
    kronecker.barh(names, off, left=1e-18, color=[figures.GREEN if name in EXACT else figures.RED for name in names])
    kronecker.set(xscale="log", xlim=(1e-17, 2), xlabel="‖A ⊗ G − block‖ / ‖block‖", title="Kronecker factors")
    return {"curvature.svg": figure, "valley.svg": valley()}


def valley() -> Any:
    """Two descents on ½ (λ₁ u² + λ₂ v²): the picture of the page on curvature."""
    from experiments import figures

    values, start = np.array([1.0, 0.08]), np.array([0.9, -4.0])
    figure, (spots,) = figures.blank(11, 3.4, columns=2)
    u, v = np.linspace(-2.2, 2.2, 80), np.linspace(-4.6, 4.6, 120)
    height = 0.5 * (values[0] * u[:, None] ** 2 + values[1] * v[None] ** 2)
    for axes, share, colour in zip(spots, RATES, (figures.BLUE, figures.RED), strict=True):
        path = [start]
        for _ in range(22):
            path.append(path[-1] * (1 - share * 2 / values[0] * values))
        points = np.array(path)
        axes.contour(v, u, height, levels=12, colors="0.75", linewidths=0.8)
        axes.plot(points[:, 1], points[:, 0], "o-", color=colour, ms=3, lw=1.2)
        axes.plot(0, 0, "+", color="black", ms=10)
        axes.set(
            title=f"rate {share:g} · 2 / $\\lambda_{{max}}$",
            xlim=(-4.6, 1.5),
            ylim=(-2.2, 2.2),
            xlabel="flat direction",
        )
        axes.grid(False)
    spots[0].set(ylabel="steep direction")
    return figure
