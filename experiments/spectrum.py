"""Question: how does the curvature of a net change while it is trained, and does the learning rate bound it?

Prediction: with the whole set in every step the largest eigenvalue of the Hessian rises from where it starts, and in
the last quarter of the run its median is at most 1.2 times 2 / rate, the largest at which descent with this rate is
stable (A11); with half the rate it ends higher. Most of the spectrum is near 0: at least 90 % of it lies within a tenth
of the largest eigenvalue.
Refuted by: a largest eigenvalue that does not rise; a median above that; a smaller rate that ends lower; less than 90 %
near 0.

A net 64-16-10 with tanh on 200 digits, half the squared error against rows of zeros with a one; the rates are set by
the sharpness at the start, so that 2 / rate is twice and four times as large. The eigenvalue comes from `on_epoch` of
`fit`, by Lanczos; the density of the spectrum by stochastic Lanczos, before and after. That descent ends at the edge of
stability was seen by Cohen et al. 2021; nobody has proved it. (2026-11-26: after 2000 steps the eigenvalue had fallen
from 27 to 20 and 22. The run was made five times as long, the predictions are the same.)
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """The largest eigenvalue along a run of plain descent, and the density of the spectrum before and after."""

    epochs: int = frame.at_least(8, 10_000)
    """Steps of each run."""
    every: int = frame.at_least(1, 100)
    """Steps between two measurements of the largest eigenvalue."""
    starts: int = frame.at_least(1, 8)
    """Of Lanczos, for the density."""


EXPERIMENT = frame.Experiment(Options, quick={"epochs": 8, "every": 4, "starts": 1})

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import numpy as np
from rich.console import Console

import fnn
from experiments.frame import Prediction
from experiments.progress import Watch, silent

NET, LOSS, ROWS = fnn.mlp(64, 16, 10, activation="tanh"), "half_squared_error", 200
#: 2 / rate over the sharpness at the start.
ROOM = (2.0, 4.0)
STEPS = 20
#: Above 2 / rate at most; near 0: below this share of the largest; and the share of the spectrum that lies there.
ABOVE, NEAR, SHARE = 1.2, 0.1, 0.9


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Train at both rates, with a look at the curvature now and then."""
    x, labels = fnn.data.digits()
    x, y = x[:ROWS], np.eye(10, dtype=np.float32)[labels[:ROWS]]
    by_hand, hessian = fnn.backprop(NET, LOSS), fnn.curvature.hessian_vector_product(NET, LOSS)
    params = NET.init(jax.random.key(options.seed))

    def sharpness(params: Any) -> fnn.curvature.LargestEigenvalue:
        return fnn.curvature.largest_eigenvalue(hessian, params, x, y, key=jax.random.key(1), steps=STEPS)

    def density(params: Any) -> dict[str, Any]:
        found = fnn.curvature.spectrum_density(
            hessian, params, x, y, key=jax.random.key(2), steps=STEPS, starts=options.starts
        )
        near = np.abs(found.values) <= NEAR * np.abs(found.values).max()
        return {
            "grid": found.grid[::2].tolist(),
            "density": found.density[::2].tolist(),
            "near": float((found.shares * near).sum(axis=1).mean()),
        }

    start = sharpness(params).value
    result: dict[str, Any] = {"start": start, "before": density(params), "runs": []}
    for done, room in enumerate(ROOM, start=1):
        epochs, values, widths = [], [], []

        def look(epoch: int, _: Any, state: Any, seen: tuple = (epochs, values, widths)) -> None:
            if epoch % options.every == 0:
                found = sharpness(state.params)
                for each, value in zip(seen, (epoch, found.value, found.upper - found.lower), strict=True):
                    each.append(value)

        rate = 2 / (room * start)
        state, history = fnn.fit(
            by_hand, params, (x, y), optimizer=fnn.optimizers.sgd, learning_rate=rate, epochs=options.epochs,
            batch_size=ROWS, key=jax.random.key(0), on_epoch=look,
        )  # fmt: skip
        loss = history.metrics["loss"]
        result["runs"].append(
            {
                "rate": rate,
                "epochs": epochs,
                "sharpness": values,
                "width": float(np.median(widths)),
                "losses": [float(loss[k - 1]) for k in epochs],
                "after": density(state.params),
            }
        )
        watch("runs", done, len(ROOM), f"rate {rate:.3g}: sharpness {start:.3g} at first, {values[-1]:.3g} at last")
    return result


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def late(run: dict[str, Any]) -> float:
    """The median of the sharpness in the last quarter of a run."""
    values = run["sharpness"]
    return float(np.median(values[-max(1, len(values) // 4) :]))


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    runs = result["runs"]
    shares = [result["before"]["near"], *(each["after"]["near"] for each in runs)]
    return {
        "rises": Prediction(
            "the largest eigenvalue rises from its start at both rates",
            all(late(each) > result["start"] for each in runs),
        ),
        "edge": Prediction(
            f"late in the run it is at most {ABOVE:g} times 2 / rate",
            all(late(each) <= ABOVE * 2 / each["rate"] for each in runs),
        ),
        "higher": Prediction("with half the rate it ends higher", late(runs[1]) > late(runs[0])),
        "near": Prediction(
            f"at least {SHARE:.0%} of the spectrum lies within a tenth of the largest", min(shares) >= SHARE
        ),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print where the sharpness began and ended."""
    result = saved["result"]
    lines = [f"\nsharpness at the start {result['start']:.4g}"]
    lines += [
        f"rate {each['rate']:.4g}: late in the run {late(each):.4g}, 2 / rate is {2 / each['rate']:.4g}; the interval "
        f"is {each['width']:.2g} wide; {each['after']['near']:.1%} of it near 0; loss {each['losses'][-1]:.2g}"
        for each in result["runs"]
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    figure, (spots,) = figures.blank(12, 4.4, columns=2)
    along, spectrum = spots
    for each, colour in zip(result["runs"], (figures.BLUE, figures.ORANGE), strict=True):
        along.plot([0, *each["epochs"]], [result["start"], *each["sharpness"]], color=colour,
                   label=f"rate {each['rate']:.3g}")  # fmt: skip
        along.axhline(2 / each["rate"], color=colour, ls="--", lw=1, label="2 / rate")
    along.set(xlabel="step", ylabel="largest eigenvalue of the Hessian", title="Along a run, all rows in a batch")
    along.legend(fontsize=9)
    curves = [("before", result["before"], "0.5", ":")]
    curves += [
        (f"after, rate {each['rate']:.3g}", each["after"], colour, "-")
        for each, colour in zip(result["runs"], (figures.BLUE, figures.ORANGE), strict=True)
    ]
    for label, each, colour, style in curves:
        spectrum.plot(each["grid"], each["density"], color=colour, ls=style, label=label)
    spectrum.set(
        yscale="log", ylim=(1e-5, None), xlabel="eigenvalue", ylabel="density", title="The spectrum of the Hessian"
    )
    spectrum.legend(fontsize=9)
    return {"spectrum.svg": figure}
