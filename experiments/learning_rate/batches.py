"""Digits by one example, by mini-batch and by all: the noise of the gradient, and what it buys (claims B6, E7)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import fnn
from experiments.frame import Evidence, Prediction
from experiments.learning_rate import Options
from experiments.progress import Watch

#: Digits to learn; a batch of so many is the full batch.
ROWS = 1024
RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]


def noise(options: Options) -> dict[str, Any]:
    """The variance of mini-batch gradients against σ²/B · (N − B)/(N − 1), batches drawn by the library's shuffle."""
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
    # the first batch of so many epochs, as training would shuffle them
    keys = jax.random.split(jax.random.key(options.seed), draws)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: fnn.training.permutation(key, count)))(keys))
    sizes, measured, predicted = [1, 4, 16, 64, 256], [], []
    for size in sizes:
        # one row per draw, with 1/B at the rows of the batch: a draw of the gradient is then a product
        chosen = orders[:, :size]
        weights = np.zeros((draws, count))
        np.put_along_axis(weights, chosen, 1 / size, axis=1)
        measured.append(float(((weights @ each - whole) ** 2).sum(axis=1).mean()))
        predicted.append(spread / size * (count - size) / (count - 1))
    return {
        "sizes": sizes, "measured": measured, "predicted": predicted, "rows": count, "draws": draws,
        "mean_apart": float(np.abs(each.mean(axis=0) - whole).max() / np.abs(whole).max()),
    }  # fmt: skip


def measure(options: Options, watch: Watch) -> dict[str, Any]:
    """The loss of small nets after some epochs, for each batch size and rate, several seeds at once."""
    x, y = fnn.data.digits()
    rows = np.random.default_rng(options.seed).permutation(len(x))[:ROWS]
    by_hand = fnn.backprop(fnn.mlp(64, 16, 10), fnn.softmax_cross_entropy)
    over = fnn.grid(seed=range(options.seed, options.seed + options.seeds), learning_rate=RATES)
    results = {}
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
        results[name] = {
            "batch": size,
            "end": [float(v) if np.isfinite(v) else None for v in mean[:, -1]],
            "best_rate": RATES[best],
            "best": mean[best],
            # the worst seed at the best rate, and the best seeds at the lowest and the highest
            "best_seeds_worst": loss[:, best, -1].max(),
            "outer_seeds_best": [float(np.nan_to_num(loss[:, k, -1].min(), posinf=1e300)) for k in (0, -1)],
        }
        watch("digits", k, len(options.batches), f"{name}: loss {mean[best, -1]:.3f} at rate {RATES[best]}")
    return {"rates": RATES, "epochs": options.epochs, "rows": len(rows), "start": float(np.log(10)), "sizes": results}


def predictions(variance: dict[str, Any], batches: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted of the noise and of the batch sizes."""
    sizes = batches["sizes"]
    *small, full = (each["best"][-1] for each in sizes.values())
    return {
        "variance": Prediction(
            "the variance of a mini-batch falls as 1/B: measured over predicted",
            np.array(variance["measured"]) / np.array(variance["predicted"]),
            "within",
            (0.8, 1.2),
        ),
        "mean": Prediction("the mean over the examples is the full gradient", variance["mean_apart"], "at most", 1e-12),
        "ahead": Prediction(
            "after equal epochs smaller batches are ahead: their loss over that of the full batch",
            [each / full for each in small],
            "below",
            1.0,
        ),
        "both": Prediction(
            "rates too low and too high are worse in every seed: their best loss over the worst at the best rate",
            [end / each["best_seeds_worst"] for each in sizes.values() for end in each["outer_seeds_best"]],
            "above",
            1.0,
        ),
    }


def evidence(variance: dict[str, Any], batches: dict[str, Any]) -> dict[str, Evidence]:
    """What the digits say of claims B6 and E7."""
    ratios = [m / p for m, p in zip(variance["measured"], variance["predicted"], strict=True)]
    ends = ", ".join(f"{name} {each['best'][-1]:.3f}" for name, each in batches["sizes"].items())
    return {
        "B6": Evidence(
            f"Variance of mini-batch gradients over the predicted σ²/B (N−B)/(N−1): {min(ratios):.2f} to "
            f"{max(ratios):.2f} (predicted 1) for B = 1 … 256; their mean is the full gradient to "
            f"{variance['mean_apart']:.0e}. Loss on digits after {batches['epochs']} epochs, each at its "
            f"best rate: {ends}.",
            "rates.svg",
        ),
        "E7": Evidence(
            "Digits, loss at the lowest, the best and the highest rate: "
            + "; ".join(
                f"{name} {each['end'][0]:.2f}, {each['best'][-1]:.3f}, "
                + ("not finite" if each["end"][-1] is None else f"{each['end'][-1]:.2f}")
                for name, each in batches["sizes"].items()
            )
            + ". Stuck in a local minimum: see E1.",
            "rates.svg",
        ),
    }


def panels(axes: Any, batches: dict[str, Any], variance: dict[str, Any], colors: tuple[str, ...]) -> None:
    """The loss against the rate for each batch size, and the variance against the batch size."""
    digits, spread = axes
    for (name, one), color, marker in zip(batches["sizes"].items(), colors, "osD", strict=False):
        finite = [(rate, end) for rate, end in zip(batches["rates"], one["end"], strict=True) if end is not None]
        digits.plot(*zip(*finite, strict=True), marker + "-", color=color, label=name)
    digits.axhline(batches["start"], color="0.4", lw=1, ls=":", label="guessing, ln 10")
    digits.set(
        xscale="log", yscale="log", ylim=(None, 30), xlabel="learning rate", ylabel="loss (nats per image)",
        title=f"Digits after {batches['epochs']} epochs",
    )  # fmt: skip
    digits.legend(fontsize=9)
    spread.plot(np.array(variance["sizes"]), variance["measured"], "o", color=colors[0], ms=8, label="measured")
    spread.plot(
        np.array(variance["sizes"]), variance["predicted"], "--", color=colors[2], lw=2,
        label=r"predicted, $\sigma^2 (N - B)\,/\,B\,(N - 1)$",
    )  # fmt: skip
    spread.set(
        xscale="log", yscale="log", xlabel="batch size B", ylabel="variance of the gradient",
        title="Noise of a mini-batch gradient",
    )  # fmt: skip
    spread.legend()
