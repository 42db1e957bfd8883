"""Question: does the noise scale, measured in one run, tell how large a batch is worthwhile?

Prediction: the steps S to a given loss follow S = S_min (1 + B_crit / B) in the batch size B, within a factor of 1.3;
B_crit agrees within a factor of 3 with the noise scale tr Σ / ‖G‖², averaged over the steps of a run with a large
batch; doubling a batch below a quarter of the noise scale saves a factor of 1.4 or more in steps, and doubling one
above four times the noise scale saves a factor of 1.3 at most.
Refuted by: a point that is farther off the curve; a B_crit farther from the noise scale; a doubling that saves less, or
one that saves more.

The net 64-32-10 on the training rows of digits, plain descent, batches drawn with replacement. Every batch size takes
the best of its rates, a factor 1.6 apart, in the median of the seeds. The loss is that of all rows, measured a hundred
times in each run, with the step at which it is reached interpolated. S_min and B_crit are fitted by least squares in
the logarithm of S. That B_crit should be the noise scale holds for a Hessian that is a multiple of the identity
(McCandlish et al. 2018), which this one is not.

2026-11-26: the procedure was changed after preliminary runs; what was changed, and when, was not kept. The bounds stand
as they were first committed (372f849), before the committed run.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """The noise scale of the gradient against the batch sizes that pay off, on digits."""

    seeds: int = frame.at_least(1, 3)
    """Runs of every batch size and rate."""
    batches: tuple[int, ...] = frame.at_least(1, (1, 2, 4, 8, 16, 32, 64, 128, 256, 512))
    """Batch sizes."""
    rates: int = frame.at_least(1, 12)
    """How many rates each takes, from 0.015 upwards."""
    steps: int = frame.at_least(10, 10_000)
    """The most steps of a run."""
    target: float = frame.above(0, 0.2)
    """The loss that counts as reached, in nats per image."""


EXPERIMENT = frame.Experiment(
    Options, quick={"seeds": 1, "batches": (16, 64, 256), "rates": 3, "steps": 40, "target": 2.0}, apart=True
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from scipy.optimize import least_squares

import fnn
from experiments.frame import Prediction
from experiments.progress import Watch, silent

NET, LOSS = fnn.mlp(64, 32, 10), "softmax_cross_entropy"
BY_HAND = fnn.backprop(NET, LOSS)
LEAST_RATE, APART_RATES = 0.015, 1.6
#: How often the loss is looked at in a run, and how long a run may be: so many epochs, but at least so many steps.
LOOKS, EPOCHS, STEPS = 100, 6, 300
#: Of the curve; of B_crit against the noise scale; the least that doubling a small batch saves; the most for a large.
OFF, APART, PAYS, WASTED = 1.3, 3.0, 1.4, 1.3


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Steps to the target for every batch size; the noise scale along a run with the largest."""
    x, y = fnn.data.digits()
    x, y = x[:1437], y[:1437]
    rates = LEAST_RATE * APART_RATES ** np.arange(options.rates)
    table = []
    for done, batch in enumerate(options.batches, start=1):
        steps = min(options.steps, max(STEPS, EPOCHS * len(x) // batch))
        every = max(1, steps // LOOKS)
        losses = np.asarray(_losses(batch, every, steps // every, options, rates, x, y))
        needed = np.array([[_first(lane, options.target) * every for lane in lanes] for lanes in losses])
        medians = np.median(needed, axis=1)
        best = int(np.argmin(medians))
        reached = bool(np.isfinite(medians[best]))
        table.append(
            {
                "batch": batch,
                "rate": float(rates[best]),
                "steps": float(medians[best]) if reached else None,
                "seeds": [float(each) if np.isfinite(each) else None for each in needed[best]],
                "edge": best in (0, len(rates) - 1),
            }
        )
        watch("batch sizes", done, len(options.batches), f"{batch}: {medians[best]:.0f} steps")
    largest = table[-1]
    steps = int(largest["steps"] or 10)
    noise = _noise(largest["batch"], largest["rate"], steps, options, x, y)
    return {"table": table, "fit": _fitted(table), "noise": noise}


def _first(losses: np.ndarray, target: float) -> float:
    """The number of looks until the loss was reached, between two of them in proportion; a look 0 is the start."""
    reached = np.flatnonzero(losses <= target)
    if not len(reached):
        return np.inf
    k = int(reached[0])
    return 0.0 if k == 0 else k - float((target - losses[k]) / (losses[k - 1] - losses[k]))


def _descend(params: Any, key: Any, rate: Any, batch: int, steps: int, x: Any, y: Any) -> Any:
    """Steps of plain descent on batches drawn with replacement."""

    def step(k: Any, params: Any) -> Any:
        rows = jax.random.randint(jax.random.fold_in(key, k), (batch,), 0, len(x))
        return jax.tree.map(lambda p, g: p - rate * g, params, BY_HAND(params, x[rows], y[rows])[1])

    return jax.lax.fori_loop(0, steps, step, params)


def _losses(batch: int, every: int, looks: int, options: Options, rates: np.ndarray, x: Any, y: Any) -> Any:
    """The loss of all rows at the start and after each part of a run, (rates, seeds, 1 + looks)."""

    @jax.jit
    def all_of(rates: Any, seeds: Any, x: Any, y: Any) -> Any:
        def one(rate: Any, seed: Any) -> Any:
            key = jax.random.key(seed)

            def part(params: Any, k: Any) -> Any:
                after = _descend(params, jax.random.fold_in(key, k), rate, batch, every, x, y)
                return after, BY_HAND.objective(params, x, y)

            return jax.lax.scan(part, NET.init(key), jnp.arange(looks + 1))[1]

        return jax.vmap(lambda rate: jax.vmap(lambda seed: one(rate, seed))(seeds))(rates)

    seeds = np.arange(options.seed, options.seed + options.seeds)
    return all_of(np.float32(rates), seeds, jnp.asarray(x), jnp.asarray(y))


def _noise(batch: int, rate: float, steps: int, options: Options, x: Any, y: Any) -> dict[str, Any]:
    """The noise scale before each of some steps of a run, of the whole net and of each layer."""
    looks = min(steps, 40)
    every = max(1, steps // looks)

    @jax.jit
    def along(rate: Any, x: Any, y: Any) -> Any:
        key = jax.random.key(options.seed)

        def part(params: Any, k: Any) -> Any:
            noise = fnn.curvature.gradient_noise(BY_HAND, params, x, y)
            scales = noise.total_scale, jnp.stack(jax.tree.leaves(noise.scale)), BY_HAND.objective(params, x, y)
            return _descend(params, jax.random.fold_in(key, k), rate, batch, every, x, y), scales

        return jax.lax.scan(part, NET.init(key), jnp.arange(looks))[1]

    total, layers, losses = jax.device_get(along(jnp.float32(rate), jnp.asarray(x), jnp.asarray(y)))
    return {
        "steps": (every * np.arange(looks)).tolist(),
        "total": _finite(total),
        "layers": [_finite(layer) for layer in layers.T],
        "losses": losses.tolist(),
        "mean": float(total.mean()) if np.isfinite(total).all() else None,
    }


def _finite(values: np.ndarray) -> list[float | None]:
    """None where no signal was seen and the scale is infinite."""
    return [float(value) if np.isfinite(value) else None for value in values]


def _fitted(table: list[dict[str, Any]]) -> dict[str, float] | None:
    """S_min and B_crit of S = S_min (1 + B_crit / B), and the largest factor between a point and the curve."""
    reached = [each for each in table if each["steps"] is not None]
    if len(reached) < 3:
        return None
    B, S = (np.array([each[key] for each in reached]) for key in ("batch", "steps"))

    def errors(logs: np.ndarray) -> np.ndarray:
        least, critical = np.exp(logs)
        return np.log(least * (1 + critical / B)) - np.log(S)

    found = least_squares(errors, np.log([S.min(), np.median(B)]))
    least, critical = np.exp(found.x)
    return {"steps": float(least), "batch": float(critical), "off": float(np.exp(np.abs(found.fun).max()))}


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def savings(result: dict[str, Any]) -> list[tuple[int, float]]:
    """(batch size, by what the steps fall from there to twice the batch) for the sizes that stand in the table."""
    steps = {each["batch"]: each["steps"] for each in result["table"] if each["steps"] is not None}
    return [(batch, steps[batch] / steps[2 * batch]) for batch in steps if 2 * batch in steps]


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    fit, noise = result["fit"], result["noise"]["mean"]
    small = [saved for batch, saved in savings(result) if noise and batch < noise / 4]
    large = [saved for batch, saved in savings(result) if noise and batch > 4 * noise]
    more = "More steps and batch sizes (--steps, --batches) would decide."
    apart = None if fit is None or not noise else max(fit["batch"] / noise, noise / fit["batch"])
    return {
        "curve": Prediction(
            f"the steps follow S_min (1 + B_crit / B) within a factor of {OFF:g}",
            None if fit is None else fit["off"] <= OFF,
            decide=more,
        ),
        "critical": Prediction(
            f"B_crit is the noise scale within a factor of {APART:g}",
            None if apart is None else apart <= APART,
            decide=more,
        ),
        "pays": Prediction(
            f"doubling a batch below a quarter of the noise scale saves a factor of {PAYS:g} or more",
            min(small) >= PAYS if small else None,
            decide=more,
        ),
        "wasted": Prediction(
            f"doubling a batch above four times the noise scale saves a factor of {WASTED:g} at most",
            max(large) <= WASTED if large else None,
            decide=more,
        ),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the steps and the two numbers that are compared."""
    result = saved["result"]
    lines = ["", f"steps to a loss of {saved['options']['target']:g}, by batch size:"]
    lines += [
        f"  {each['batch']:5d}: {each['steps']} at rate {each['rate']:.3g}{', the edge of the rates' * each['edge']}"
        for each in result["table"]
    ]
    if result["fit"]:
        text = "S_min {steps:.1f}, B_crit {batch:.1f}, points off by a factor of at most {off:.3f}"
        lines.append(text.format(**result["fit"]))
    noise = result["noise"]
    lines.append(f"noise scale: {noise['mean']} on average, {noise['total'][0]} first, {noise['total'][-1]} last")
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    noise, fit = result["noise"], result["fit"]
    figure, (spots,) = figures.blank(12, 4.4, columns=2)
    steps, scale = spots
    reached = [each for each in result["table"] if each["steps"] is not None]
    for each in reached:
        seeds = [number for number in each["seeds"] if number is not None]
        steps.plot([each["batch"]] * len(seeds), seeds, ".", color="0.7")
    steps.plot([each["batch"] for each in reached], [each["steps"] for each in reached], "o", color=figures.BLUE,
               label="measured, best rate")  # fmt: skip
    if fit:
        B = np.geomspace(reached[0]["batch"], reached[-1]["batch"], 100)
        steps.plot(B, fit["steps"] * (1 + fit["batch"] / B), color=figures.ORANGE,
                   label="$S_{min} (1 + B_{crit} / B)$")  # fmt: skip
        steps.axvline(fit["batch"], color=figures.ORANGE, ls="--", label="$B_{crit}$")
    if noise["mean"]:
        steps.axvline(noise["mean"], color=figures.GREEN, ls=":", lw=2, label="noise scale, mean of the run")
    steps.set(
        xlabel="batch size", ylabel="steps",
        title=f"Steps to a loss of {saved['options']['target']:g}",
    )  # fmt: skip
    if reached:
        steps.legend(fontsize=9)
    curves = [("all layers", noise["total"], figures.GREEN, 2.2)]
    curves += [
        (f"layer {k}", layer, colour, 1.2)
        for k, (layer, colour) in enumerate(zip(noise["layers"], (figures.BLUE, figures.PINK), strict=True), start=1)
    ]
    for label, values, colour, width in curves:
        finite = [(step, value) for step, value in zip(noise["steps"], values, strict=True) if value and value > 0]
        if finite:
            scale.plot(*zip(*finite, strict=True), color=colour, lw=width, label=label)
    scale.set(xlabel="step", ylabel="noise scale (examples)", title="Along a run with the largest batch")
    # a short run may reach no target and estimate no scale above 0, and a logarithmic axis shows no other
    if reached:
        steps.set(xscale="log", yscale="log")
    if scale.lines:
        scale.set_yscale("log")
        scale.legend(fontsize=9)
    return {"noise_scale.svg": figure}
