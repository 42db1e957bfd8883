"""Question: how large may the learning rate be, what is gained with one example, a mini-batch or all examples per step,
where does gradient descent get stuck, and is back-propagation a training algorithm?

Prediction: on a quadratic, descent converges just below 2/λ_max and diverges just above it (A11), the cost never rises
below it and the limit point has gradient zero (C6); near the minimum of a net the limit is the same 2/λ_max, with λ_max
measured by power iteration on Hessian-vector products. Too small a rate leaves the gradient unchanged: what vanishes is
progress (A11). The variance of a mini-batch gradient falls as 1/B, and at equal numbers of examples seen small batches
get further (B6, E7). The lecture's (x − 4)² x⁴ has two minima of equal height 0, so the start decides between them;
tilted by −8x, one of them is only local, and descent gets stuck there (E1, E7). A net has strict local minima of
different height, and plateaus (B12). One gradient serves four optimizers (A19).
Refuted by: a quadratic that converges above or diverges below; a net whose limit is more than 2 % away; a mini-batch
variance off by 20 %; all starts at one height; optimizers that need separate gradients.

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
        "A11": ("below", "never_rises", "above", "slow", "limit", "sharp", "power"),
        "A19": ("shared", "steps", "ways"),
        "B6": ("variance", "mean", "ahead"),
        "B12": ("minima", "heights", "plateau", "held", "far"),
        "C6": ("below", "never_rises", "rest", "nets_fall", "lemma", "nets_rest"),
        "E1": ("bowl", "two", "equal_height", "stuck", "flat", "plane", "plane_stuck"),
        "E7": ("both", "variance", "stuck", "flat", "above"),
    },
    quick={"quadratics": 20, "starts": 16, "draws": 200, "batches": (32, 1024), "epochs": 6, "seeds": 1},
    seeds=5,
)

# ---- the experiment: four subjects, each with its measurements, predictions, evidence and pictures -------------------

import jax
from rich.console import Console
from rich.table import Table

from experiments.frame import Evidence, Prediction
from experiments.learning_rate import batches, curves, landscape, quadratics
from experiments.progress import Watch, silent


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Measure everything and return the numbers."""
    with jax.enable_x64(True):
        result = {"curves": curves.measure()}
        result["quadratics"] = quadratics.measure(options)
        watch("quadratics", 1, 1, f"{options.quadratics} of them, below and above their limit")
        result["landscape"], best = landscape.measure(options)
        watch("landscape", 1, 1, f"{len(result['landscape']['heights'])} minima of different height")
        result["net"] = landscape.limit(options, best)
        result["optimizers"] = landscape.optimizers(options)
        watch("net", 1, 1, f"limit at {result['net']['observed']:.3f} of 2/λ")
        result["variance"] = batches.noise(options)
    result["batches"] = batches.measure(options, watch)
    return result


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    return (
        curves.predictions(result["curves"])
        | quadratics.predictions(result["quadratics"])
        | landscape.predictions(result["landscape"], result["net"], result["optimizers"])
        | batches.predictions(result["variance"], result["batches"])
    )


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the numbers say of each claim."""
    return (
        curves.evidence(result["curves"])
        | quadratics.evidence(result["quadratics"], result["net"], result["landscape"]["descent"])
        | landscape.evidence(result["landscape"], result["optimizers"])
        | batches.evidence(result["variance"], result["batches"])
    )


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the limits, the minima, the batches."""
    result = saved["result"]
    q = result["quadratics"]
    table = Table(title=f"{q['count']} quadratics after {quadratics.STEPS} steps")
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
    from experiments import figures

    result = saved["result"]
    colors = (figures.BLUE, figures.GREEN, figures.ORANGE, figures.RED, "0.4")
    rates, ((quadratic, net), below) = figures.blank(12, 8.6, 2, 2)
    quadratics.panel(quadratic, result["quadratics"], colors)
    landscape.panel(net, result["net"], (figures.BLUE, figures.ORANGE))
    batches.panels(below, result["batches"], result["variance"], colors)
    return {
        "paths.svg": curves.figure(result["curves"]),
        "optimizers.svg": landscape.optimizers_figure(result["optimizers"], result["landscape"]["descent"]),
        "rates.svg": rates,
        "landscape.svg": landscape.figure(result["landscape"]),
    }
