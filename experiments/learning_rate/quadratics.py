"""Random quadratics at shares of 2/λ_max: the exact limit of the learning rate (claims A11, C6)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.frame import Evidence, Prediction
from experiments.learning_rate import Options

#: How far below and above the limit they are tried, and for how many steps: 0.98²⁰⁰⁰ = e⁻⁴⁰.
MARGIN, STEPS = 0.01, 2000
#: What counts as converged, and its inverse as diverged: the half of e⁻⁴⁰ in digits, so that no verdict is close.
SETTLED = 1e-8


def measure(options: Options) -> dict[str, Any]:
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

        def one(H: jax.Array, w: jax.Array, rate: Any) -> Any:
            def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
                w, rose = carry
                after = w + fnn.optimizers.sgd(rate).update(H @ w, ())[0]
                value = cost(H, after)
                # a cost that has already fallen to rounding may wobble in its last digit
                rose = rose | (value > cost(H, w) * (1 + 1e-12))
                return (after, rose), value

            (end, rose), values = jax.lax.scan(step, (w, jnp.array(False)), None, length=STEPS)
            return values / cost(H, w), rose, jnp.linalg.norm(H @ end) / jnp.linalg.norm(H @ w)

        over_rates = jax.vmap(one, in_axes=(None, None, 0))
        return jax.vmap(lambda H, w, l: over_rates(H, w, l * shares))(matrices, start, limit)

    limit = jnp.asarray(2 / spectra.max(axis=1))
    results = trained(matrices, start, limit, jnp.asarray(shares))
    # what has left the numbers is as large as numbers get
    values, rose, gradient = (np.nan_to_num(np.asarray(each), nan=1e300, posinf=1e300) for each in results)
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


def predictions(q: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted below and above the limit."""
    return {
        "below": Prediction(
            "just below 2/λ_max every quadratic converges: cost over its start", q["largest_end"][2], "at most", SETTLED
        ),
        "never_rises": Prediction("just below it the share of runs whose cost rises", q["rose"][2], "at most", 0.0),
        "above": Prediction(
            "just above 2/λ_max every quadratic diverges: cost over its start",
            q["smallest_end"][3],
            "at least",
            1 / SETTLED,
        ),
        "slow": Prediction(
            "far too small a rate leaves the gradient as it was: share that is left",
            q["smallest_gradient"][0],
            "at least",
            0.9,
        ),
        "rest": Prediction(
            "where descent ends the gradient is zero: share that is left", q["largest_gradient"][1], "at most", SETTLED
        ),
    }


def evidence(q: dict[str, Any], net: dict[str, Any], descent: dict[str, Any]) -> dict[str, Evidence]:
    """What the quadratics say of claims A11 and C6; of both a net speaks too."""
    return {
        "A11": Evidence(
            f"{q['count']} quadratics, {STEPS} steps: at 0.99 of 2/λ_max the cost falls to {q['largest_end'][2]:.0e} "
            f"of its start or less, at 1.01 it grows {q['smallest_end'][3]:.0e} times or more. A net at its minimum: "
            f"descent leaves it at {net['observed']:.4f} of 2/λ_max (predicted 1; λ_max = {net['curvature']:.4f}). "
            f"At a millionth of the limit the gradient keeps {q['smallest_gradient'][0]:.1%} of its size "
            "(the slide has "
            "it vanish; what vanishes is progress).",
            "rates.svg",
        ),
        "C6": Evidence(
            f"At 0.99 of 2/λ_max the cost rose in {q['rose'][2]:.0%} of the runs (predicted 0), above it in "
            f"{q['rose'][3]:.0%}; where descent ended the gradient is {q['largest_gradient'][1]:.0e} of its start or "
            f"less. A net from many starts at rate {descent['rate']:g}: {descent['rises']} steps raise its "
            "cost (predicted "
            f"0), each lowers it by {descent['least_ratio']:.2f} of α/2 ‖∇E‖² or more (predicted 1), and after "
            f"{descent['steps']} steps {descent['gradient_left']:.0e} of the gradient is left in the median.",
            "optimizers.svg",
        ),
    }


def panel(axis: Any, q: dict[str, Any], colors: tuple[str, ...]) -> None:
    """The median cost along the way, for each share of the limit."""
    for share, curve, color, style in zip(
        q["shares"], q["curves"]["median"], ("0.4", *colors[:4]), (":", "-", "-", "--", "-."), strict=True
    ):
        # what lies below the picture is drawn along its lower edge
        axis.plot(q["curves"]["steps"], np.clip(curve, 1e-30, 1e30), style, color=color, lw=2, label=f"{share:g}")
    axis.set(
        xscale="log", yscale="log", ylim=(1e-20, 1e20), xlabel="step", ylabel="cost / cost at the start, median",
        title=f"{q['count']} random quadratics",
    )  # fmt: skip
    axis.legend(title="rate / $(2/\\lambda_{max})$", fontsize=9, loc="lower left")
