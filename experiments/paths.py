"""Question: what does back-propagation save, how far back must it go, and what do networks look like?

Prediction: the gradient is the sum over all paths of the products along them; the paths grow exponentially with depth,
while the sweep, which computes once what several paths share, grows linearly: both counted, with equal gradients (A20).
Back-propagation only needs to reach the parameters: without the gradient of the first input it saves the products of
the first layer, 2 N I H operations, counted by XLA (B28). The chain Φ = α ∘ β ∘ F of the notes, with Dα = 2z and
Dβ = Id, is drawn as a graph with our numbers (D9). A network drawn from its description has a circle for every unit, a
line for every weight, as wide as it is large and coloured by its sign (C12).
Refuted by: another count or another gradient; a unit or a weight that is not drawn.
"""

import re
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Count the paths through a net and the products of the sweep, and draw networks as units and edges."""

    deepest: int = frame.at_least(3, 8)
    """How many hidden layers the deepest net has; its paths are counted."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "A20": ("equal", "paths", "sweep"),
        "B28": ("saved",),
        "C12": ("units", "edges", "widths", "colours"),
        "D9": ("values", "gradients"),
    },
    x64=True,
    quick={"deepest": 5},
    seeds=5,
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import fnn
from experiments import costs
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

#: Units of every layer of the nets whose paths are counted.
WIDTH = 3
#: Examples, inputs and units of the nets whose operations are counted.
ROWS, INPUTS, UNITS = 32, 50, 20
#: The network of the slides.
SLIDES = (2, 4, 4, 1)


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Count, draw, and return the numbers."""
    random = np.random.default_rng(options.seed)
    rows = []
    for depth in range(1, options.deepest + 1):
        rows.append(_both_ways(random, depth))
        watch("depths", depth, options.deepest, f"{rows[-1]['paths']} paths")
    return {"depths": rows, "operations": _operations(), "chain": _chain(), "drawn": _drawn(options.seed)}


def _both_ways(random: np.random.Generator, depth: int) -> dict[str, Any]:
    """The gradient of a net at its first input by the sum over all paths, and by back-propagation."""
    net = fnn.mlp([WIDTH] * (depth + 1) + [1])
    params = tuple(
        {"W": random.normal(size=(layer.inputs, layer.outputs)), "b": 0.3 * random.normal(size=layer.outputs)}
        for layer in net.layers
    )
    x = random.normal(size=WIDTH)
    y, residuals = jax.jit(net.forward)(params, x)
    by_sweep = np.asarray(jax.jit(net.backward)(params, residuals, jnp.ones_like(y))[1])
    # an edge carries weight times the slope of the unit that it leads to
    edges, a = [], x
    for k, layer in enumerate(params):
        z = a @ layer["W"] + layer["b"]
        a = np.tanh(z) if k < depth else z
        edges.append(layer["W"] * (1 - a**2 if k < depth else 1.0))
    multiplications, by_paths = 0, np.zeros(WIDTH)
    for path in product(range(WIDTH), repeat=depth + 1):
        value = 1.0
        for k, edge in enumerate(edges):
            value *= edge[path[k], path[k + 1] if k < depth else 0]
            multiplications += k > 0
        by_paths[path[0]] += value
    return {
        "depth": depth, "paths": WIDTH ** (depth + 1), "by_paths": multiplications,
        # each layer of the sweep multiplies its matrix by a vector, once for all that pass through
        "by_sweep": (depth - 1) * WIDTH**2 + WIDTH**2,
        "apart": float(np.abs(by_paths - by_sweep).max() / np.abs(by_sweep).max()),
    }  # fmt: skip


def _operations() -> dict[str, int]:
    """Operations of the gradient of a net with and without that of its input, as XLA counts them."""
    net = fnn.mlp(INPUTS, UNITS, 1)
    by_hand = fnn.backprop(net, fnn.half_squared_error)
    params = jax.jit(net.init)(jax.random.key(0))
    x, y = jnp.ones((ROWS, INPUTS)), jnp.ones((ROWS, 1))
    params, x, y = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, x, y))
    counted = {}
    for name, way in (("parameters", by_hand), ("with the input", by_hand.with_inputs)):
        counted[name] = int(costs.operations(jax.jit(way).lower(params, x, y).compile()))
    return counted | {"predicted": 2 * ROWS * INPUTS * UNITS}


def _chain() -> dict[str, Any]:
    """Φ = α ∘ β ∘ F at numbers of ours: F = w x + b, β takes the target away, α squares."""

    def chain(w, b, x):
        F = w * x + b
        z = F - 2.0
        return z**2

    box = fnn.graph(chain, 2.0, -1.0, 3.0)
    return {
        "values": {"F": [float(box["F"].value), 5.0], "z": [float(box["z"].value), 3.0],
                   "Φ": [float(box.value), 9.0]},
        "gradients": [[float(got), want] for got, want in zip(box.gradients, (18.0, 6.0, 12.0), strict=True)],
        "picture": box.svg(),
    }  # fmt: skip


def _drawn(seed: int) -> dict[str, Any]:
    """The network of the slides with weights of fnn, and what of it stands in the picture."""
    net = fnn.mlp(SLIDES)
    params = net.init(jax.random.key(seed), jnp.float64)
    picture = net.svg(params)
    lines = re.findall(r'<line class="edge (\w+)" [^>]* stroke-width="([^"]+)"', picture)
    flat = np.concatenate([np.asarray(layer["W"]).ravel() for layer in params])
    flat_sizes, whole = np.abs(flat) / np.abs(flat).max(), len(lines) == len(flat)
    widths = np.array([float(width) for _, width in lines])
    signs = np.array([{"positive": 1, "negative": -1}.get(kind, 0) for kind, _ in lines])
    return {
        "net": str(net), "sizes": SLIDES, "units": picture.count("<circle "), "edges": len(lines),
        "widths_off": float(np.abs(widths / widths.max() - flat_sizes).max()) if whole else np.nan,
        "wrong_colours": int(np.sum(signs != np.sign(flat))) if whole else len(flat),
        "weights": [layer["W"] for layer in params],
    }  # fmt: skip


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    depths, operations, chain, drawn = (result[key] for key in ("depths", "operations", "chain", "drawn"))
    units, edges = sum(drawn["sizes"]), sum(a * b for a, b in pairwise(drawn["sizes"]))
    return {
        "equal": Prediction(
            "both ways give one gradient: relative difference", [r["apart"] for r in depths], "at most", 1e-11
        ),
        "paths": Prediction(
            "the sum over paths multiplies three times as many with each layer: growth of the paths",
            [b["paths"] / a["paths"] for a, b in pairwise(depths)],
            "within",
            (WIDTH, WIDTH),
        ),
        "sweep": Prediction(
            "the sweep adds the same number with each layer",
            sorted({b["by_sweep"] - a["by_sweep"] for a, b in pairwise(depths)}),
            "is",
            [WIDTH**2],
        ),
        "saved": Prediction(
            "without the gradient of the first input 2 N I H operations are saved: measured over predicted",
            (operations["with the input"] - operations["parameters"]) / operations["predicted"],
            "within",
            (0.99, 1.01),
        ),
        "units": Prediction("units that are not drawn", units - drawn["units"], "is", 0),
        "edges": Prediction("weights that are not drawn", edges - drawn["edges"], "is", 0),
        "widths": Prediction(
            "lines are as wide as weights are large: difference", drawn["widths_off"], "at most", 1e-12
        ),
        "colours": Prediction("weights whose colour is not their sign's", drawn["wrong_colours"], "is", 0),
        "values": Prediction(
            "F, z and Φ on the graph", [got for got, _ in chain["values"].values()], "is", [5.0, 3.0, 9.0]
        ),
        "gradients": Prediction(
            "its gradients 2z·x, 2z and 2z·w", [got for got, _ in chain["gradients"]], "is", [18.0, 6.0, 12.0]
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the counts say of claims A20, B28, C12 and D9."""
    depths, operations, chain, drawn = (result[key] for key in ("depths", "operations", "chain", "drawn"))
    last = depths[-1]
    saved = operations["with the input"] - operations["parameters"]
    values = ", ".join(f"{name} = {got:g} ({want:g})" for name, (got, want) in chain["values"].items())
    slopes = ", ".join(f"{got:g} ({want:g})" for got, want in chain["gradients"])
    return {
        "A20": Evidence(
            f"Through {last['depth']} hidden layers of {WIDTH} units lead {last['paths']:,} paths, "
            f"{last['by_paths']:,} "
            f"multiplications; the sweep takes {last['by_sweep']}. The gradients differ by "
            f"{max(r['apart'] for r in depths):.0e}.",
            "paths.svg",
        ),
        "B28": Evidence(
            f"The gradient of the parameters takes {operations['parameters']:,} operations, with that of the input "
            f"{operations['with the input']:,}: {saved:,} more (predicted 2 N I H = {operations['predicted']:,}).",
            "saved.svg",
        ),
        "C12": Evidence(
            f"{drawn['net']} from its description: {drawn['units']} units and {drawn['edges']} edges (predicted "
            f"{sum(drawn['sizes'])} and 28), widths off by {drawn['widths_off']:.0e}, {drawn['wrong_colours']} wrong "
            "colours.",
            "network.svg",
        ),
        "D9": Evidence(f"{values}; gradients {slopes}, predicted in brackets.", "chain.svg"),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print both counts for every depth."""
    for row in saved["result"]["depths"]:
        console.print(
            f"{row['depth']} hidden layers: {row['by_paths']:,} multiplications by paths, {row['by_sweep']} "
            "by the sweep",
            highlight=False,
        )


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    paths, ((axes,),) = figures.blank(8, 4.4)
    depths = [row["depth"] for row in result["depths"]]
    for key, colour, marker, label in (
        ("by_paths", figures.RED, "s", "sum over all paths"), ("by_sweep", figures.BLUE, "o", "back-propagation")
    ):  # fmt: skip
        counts = [max(row[key], 1) for row in result["depths"]]
        axes.plot(depths, counts, color=colour, marker=marker, lw=2, label=label)
    axes.set(yscale="log", xlabel="hidden layers of 3 units", ylabel="multiplications",
             title="What several paths share is computed once")  # fmt: skip
    axes.set_xticks(depths)
    axes.legend()
    saved_operations, ((axes,),) = figures.blank(8, 3.2)
    names = ("parameters", "with the input")
    bars = axes.barh(names, [result["operations"][name] for name in names], color=(figures.BLUE, figures.ORANGE))
    axes.bar_label(bars, [f"{result['operations'][name]:,}" for name in names], padding=4)
    axes.set(
        xlabel="operations of one gradient, counted by XLA", title="Back-propagation stops at the parameters",
        xlim=(0, 1.25 * result["operations"]["with the input"]),
    )  # fmt: skip
    axes.grid(axis="y", visible=False)
    return {
        "paths.svg": paths,
        "saved.svg": saved_operations,
        "network.svg": _network(result["drawn"]),
        "chain.svg": result["chain"]["picture"],
    }  # fmt: skip


def _network(drawn: dict[str, Any]) -> str:
    # biases begin at 0
    params = [{"W": np.array(W), "b": np.zeros(len(W[0]))} for W in drawn["weights"]]
    return fnn.mlp(drawn["sizes"]).svg(params)
