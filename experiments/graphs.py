"""Question: does the glass box reproduce the graphs of the lectures, value by value and gradient by gradient?

Prediction: on each of the graphs (claims A10, C7, D3, E3, E4, E5) and on a two-layer net every node shows the
lecture's number, or ours where the lecture has letters, and the gradients equal those of autodiff.
Refuted by: one number that differs by more than rounding.

The gradients come from the local rules of `fnn.graph`, one per operation, in reverse topological order, with no
automatic differentiation; the witness is `jax.grad`. Each picture is the one that `Graph.svg` draws.

`python -m experiments.graphs` renews the pictures and pages of the docs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """The graphs that the lectures draw, forward and backward, node by node."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "A10": ("A10 *",),
        "C7": ("C7 *",),
        "D3": ("D3 *",),
        "E3": ("E3 *",),
        "E4": ("E4 *",),
        "E5": ("E5 *",),
    },
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import fnn
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent


def a10(x1, x2):
    c = 2 * x1 + 3 * x2
    e = c**2
    return e + 3


def c7(x, y, z):
    d = x + y
    e = d * z
    return (e - 1) ** 2


def d3(x1, x2):
    y1 = x1**2 * x2
    y2 = x1 + x2
    return y1**2 + y2**3


def e3(x, y, z):
    q = x + y
    return q * z


@jax.jit
def sigmoid(z):
    return 1 / (1 + jnp.exp(-z))


def e4(theta1, theta2, theta3, x1, x2):
    z = theta1 * x1 + theta2 * x2 + theta3
    return sigmoid(z)


def e5(a, b, c):
    largest = jnp.maximum(a, b)
    average = (a + b + c) / 3
    return largest * average


def branched(a, b, c):
    total = a + b
    largest = jnp.maximum(total, c)
    return largest * a


class Case(NamedTuple):
    """A graph of a lecture with numbers."""

    f: Callable[..., Any]
    at: tuple[float, ...]
    values: dict[str, float]
    """By name, what the lecture (or we, where it has letters) says of values."""
    gradients: tuple[float, ...]


E = math.exp(-1)
S = 1 / (1 + E)
CASES = {
    "A10": Case(a10, (1.0, 3.0), {"c": 11, "e": 121, "a10": 124}, (44.0, 66.0)),
    "C7": Case(c7, (1.0, 2.0, 4.0), {"d": 3, "e": 12, "c7": 121}, (88.0, 88.0, 66.0)),
    # 4 x1^3 x2^2 + 3 (x1 + x2)^2 and 2 x1^4 x2 + 3 (x1 + x2)^2
    "D3": Case(d3, (1.0, 2.0), {"y1": 2, "y2": 3, "d3": 31}, (43.0, 31.0)),
    "E3": Case(e3, (-2.0, 5.0, -4.0), {"q": 3, "e3": -12}, (-4.0, -4.0, 3.0)),
    # dz/dθ = (x1, x2, 1), dz/dx = (θ1, θ2), times σ(1)(1 − σ(1)) = 0.1966
    "E4": Case(
        e4, (2.0, -3.0, -3.0, -1.0, -2.0), {"z": 1, "exp": E, "e4": S},
        tuple(S * (1 - S) * slope for slope in (-1, -2, 1, 2, -3)),
    ),
    # a tie: the maximum hands ½ to each, the average ⅓ to all; both branches of a and b add up
    "E5": Case(e5, (3.0, 3.0, -1.0), {"largest": 3, "average": 5 / 3, "e5": 5}, (5 / 6 + 1, 5 / 6 + 1, 1.0)),
    # a sum, a maximum and a branch: the sum wins and takes all, the other gets 0; a adds what its two ways bring
    "E5 off the tie": Case(branched, (3.0, -1.0, 1.0), {"total": 2, "largest": 2, "branched": 6}, (5.0, 3.0, 0.0)),
}  # fmt: skip


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Every graph of the lectures, and a net of two layers with all its matrices."""
    rows, pictures = {}, {}
    for k, (claim, case) in enumerate(CASES.items(), start=1):
        box = fnn.graph(case.f, *case.at)
        pictures |= _pictures(claim, box)
        automatic = jax.grad(case.f, argnums=tuple(range(len(case.at))))(*case.at)
        rows[claim] = {
            "at": list(case.at),
            "values": {name: [float(box[name].value), float(want)] for name, want in case.values.items()},
            "gradients": [
                [float(g), float(want), float(a)]
                for g, want, a in zip(box.gradients, case.gradients, automatic, strict=True)
            ],
            "nodes": sum(node.operation != "constant" for node in box.nodes),
            "code": str(fnn.show_backward(case.f, *case.at)).split("\n\n\n")[1],
        }
        watch("graphs", k, len(CASES) + 1, claim)
    net, args = _net(options.seed)
    box = fnn.graph(e6, *args)
    rows["net"] = _agreement(net, args, box)
    watch("graphs", len(CASES) + 1, len(CASES) + 1, "a net")
    return {"graphs": rows, "pictures": pictures | _pictures("net", box)}


def pictures(seed: int = 0) -> dict[str, str]:
    """{file name: SVG} of docs/graphs."""
    return _units() | {file: text for name, box in _boxes(seed).items() for file, text in _pictures(name, box).items()}


def pages(seed: int = 0) -> dict[str, str]:
    """{file name: HTML}: every graph as a page to step through."""
    return {f"{name.replace(' ', '_')}.html": box.html() for name, box in _boxes(seed).items()}


def _boxes(seed: int) -> dict[str, fnn.glassbox.Graph]:
    return {claim: fnn.graph(case.f, *case.at) for claim, case in CASES.items()} | {
        "net": fnn.graph(e6, *_net(seed)[1]), "convolution": fnn.graph(convolution, *_image()),
    }  # fmt: skip


def _pictures(name: str, box: fnn.glassbox.Graph) -> dict[str, str]:
    """The pictures of a graph; those that would be too wide for a slide folded too, or folded only."""
    if name == "net":
        return {"net.svg": box.svg(fold=("loss",))}
    name = name.replace(" ", "_")
    return {f"{name}.svg": box.svg()} | ({f"{name}_folded.svg": box.svg(fold=True)} if name == "E4" else {})


def _net(seed: int) -> tuple[Any, tuple[Any, ...]]:
    """A net of two layers, and the arguments of `e6`: its parameters and three examples."""
    net = fnn.mlp(2, 3, 1, activation=fnn.sigmoid)
    x, y = jnp.array([[0.5, -1.0], [1.0, 0.25], [-0.75, 0.5]]), jnp.array([[1.0], [0.0], [1.0]])
    return net, (net.init(jax.random.key(seed)), x, y)


def e6(params, x, y):
    first, second = params
    z1 = x @ first["W"] + first["b"]
    a = jax.lax.logistic(z1)
    p = a @ second["W"] + second["b"]
    with jax.named_scope("loss"):
        return jnp.mean(jnp.sum((p - y) ** 2, axis=1)) / 2


def _image() -> tuple[Any, Any]:
    """A small image, and the kernel that finds its upright edges."""
    i, j = np.indices((6, 6))
    return jnp.asarray((3 * i + 5 * j + i * j) % 7 - 2.0), jnp.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])


def convolution(image, kernel):
    z = jax.lax.conv_general_dilated(image[None, None], kernel[None, None], (1, 1), "VALID")
    a = jnp.maximum(z, 0)
    m = jax.lax.reduce_window(a, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return jnp.sum(m)


def _agreement(net: Any, args: tuple[Any, ...], box: fnn.glassbox.Graph) -> dict[str, Any]:
    """How far the gradients of the net are from those of `fnn.backprop` and of autodiff."""
    _, by_hand = jax.jit(fnn.backprop(net, fnn.half_squared_error))(*args)
    automatic = jax.jit(jax.grad(fnn.objective(net, fnn.half_squared_error)))(*args)

    def apart(other: Any) -> float:
        pairs = zip(jax.tree.leaves(box.gradients[0]), jax.tree.leaves(other), strict=True)
        return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)

    return {"nodes": len(box.nodes), "from_backprop": apart(by_hand), "from_autodiff": apart(automatic)}


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    # a dozen float32 operations behind each number: sixteen roundings of it
    rounding = 16 * float(np.finfo(np.float32).eps)
    made = {}
    for claim, row in result["graphs"].items():
        if claim in CASES:
            slopes = row["gradients"]
            off = {
                "values": [abs(got - want) / max(1.0, abs(want)) for got, want in row["values"].values()],
                "gradients": [abs(got - want) / max(1.0, abs(want)) for got, want, _ in slopes],
                "autodiff": [abs(got - auto) / max(1.0, abs(auto)) for got, _, auto in slopes],
            }
            for what, each in off.items():
                words = f"{claim}: {what} as predicted" if what != "autodiff" else f"{claim}: gradients are autodiff's"
                made[f"{claim} {what}"] = Prediction(f"{words}, relative difference", each, "at most", rounding)
    return made


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """Each graph by its numbers."""
    made, found = predictions(result), {}
    for claim in EXPERIMENT.claims:
        texts = []
        for case, row in result["graphs"].items():
            if case.split()[0] == claim:
                values = ", ".join(f"{name} = {got:.4g} ({want:.4g})" for name, (got, want) in row["values"].items())
                slopes = ", ".join(f"{got:.4g} ({want:.4g})" for got, want, _ in row["gradients"])
                equal = "equal to autodiff" if made[f"{case} autodiff"].held else "not those of autodiff"
                texts.append(f"{values}; gradients {slopes}, predicted in brackets, {equal}.")
        found[claim] = Evidence(" ".join(texts), f"{claim}.svg")
    return found


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the numbers of every graph, and the backward pass of one as code."""
    rows = saved["result"]["graphs"]
    for claim in CASES:
        row = rows[claim]
        values = "  ".join(f"{name} {got:.6g}" for name, (got, _) in row["values"].items())
        slopes = "  ".join(f"{got:.6g}" for got, *_ in row["gradients"])
        console.print(f"{claim:<4} at {row['at']}: {values}; gradients {slopes}", highlight=False, markup=False)
    net = rows["net"]
    apart = f"from backprop {net['from_backprop']:.1e}, from autodiff {net['from_autodiff']:.1e}"
    console.print(f"net  {net['nodes']} nodes, {apart}", highlight=False, markup=False)
    console.print(f"\nThe backward pass of E3 as code:\n\n{rows['E3']['code']}\n", highlight=False, markup=False)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: picture as text}, as the glass box drew them."""
    return dict(saved["result"]["pictures"])


def _units() -> dict[str, str]:
    """The net of the slides of lecture C, as units and edges, with weights in quarters."""
    net = fnn.mlp(2, 4, 4, 1)
    params = [
        {"W": (np.add.outer(7 * np.arange(i), 5 * np.arange(o) + k) % 9 - 4) / 4, "b": (np.arange(o) - 1) / 4}
        for k, (i, o) in enumerate((layer.inputs, layer.outputs) for layer in net.layers)
    ]
    return {"units.svg": net.svg(params)}


if __name__ == "__main__":
    folder = Path(__file__).parents[1] / "docs" / "graphs"
    for name, text in pictures().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
