"""Question: can a stack of affine layers do more than a single one, and what are the gradients of a deep linear net?

Prediction: layers without activation between them are the single layer with the product of their matrices (C3), and
with a tanh between them they are not. L = ½‖W₃W₂W₁x − y‖² has the gradients W₂ᵀW₃ᵀe xᵀ, W₃ᵀe (W₁x)ᵀ and e (W₂W₁x)ᵀ with
e = W₃W₂W₁x − y, those of back-propagation (A16). One, two and many hidden layers compute the slides' formulas (C4).
Refuted by: an output or a gradient that differs from its formula by more than rounding.

The formulas are computed by NumPy from the same numbers, in another order of operations. The bound counts roundings: a
sum of n products is off by at most n ε times the sum of their sizes, so every output is computed once more from
absolute values, which gives that size.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Multiply stacked affine layers into one, and compare the gradients of a deep linear net with their closed form.

    With an activation between them nothing collapses.
    """

    nets: int = frame.at_least(1, 200)
    """How many random nets are tried."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "A16": ("closed", "numeric"),
        "C3": ("one", "bent"),
        "C4": ("formulas",),
    },
    x64=True,
    quick={"nets": 20},
    seeds=5,
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

SIZES = (4, 6, 5, 3)
EPS = float(np.finfo(np.float64).eps)
#: Roundings along the longest path: a product of every size and a sum per layer, there and back.
ROUNDINGS = 2 * (sum(SIZES) + 2 * len(SIZES))


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Try many random nets and return the largest differences beside their bounds."""
    result = {"nets": options.nets, "sizes": list(SIZES)}
    result |= {"collapse": _collapse(options), "deep": _deep_linear(options), "formulas": _formulas(options)}
    watch("nets", 1, 1, f"{options.nets} random nets")
    return result


def _parameters(random: np.random.Generator, sizes: tuple[int, ...], nets: int) -> Any:
    return tuple(
        {"W": random.normal(size=(nets, i, o)) / np.sqrt(i), "b": random.normal(size=(nets, o))}
        for i, o in pairwise(sizes)
    )


def _collapse(options: Options) -> dict[str, Any]:
    """Outputs of three layers against one with the product matrix, without and with tanh between."""
    random = np.random.default_rng(options.seed)
    params, x = _parameters(random, SIZES, options.nets), random.normal(size=(options.nets, 20, SIZES[0]))
    outputs = {
        name: np.asarray(jax.jit(jax.vmap(fnn.mlp(*SIZES, activation=name).apply))(params, x))
        for name in ("identity", "tanh")
    }
    one, two, three = params
    W = one["W"] @ two["W"] @ three["W"]
    b = ((one["b"][:, None] @ two["W"] + two["b"][:, None]) @ three["W"] + three["b"][:, None])[:, 0]
    single = np.asarray(jax.jit(jax.vmap(fnn.dense(SIZES[0], SIZES[-1]).apply))({"W": W, "b": b}, x))
    size = np.abs(x)
    for layer in params:
        size = size @ np.abs(layer["W"]) + np.abs(layer["b"])[:, None]
    # a line through input space: straight without activation, bent with it
    along = np.linspace(-4, 4, 81)
    first = tuple({name: leaf[0] for name, leaf in layer.items()} for layer in params)
    line = {
        name: np.asarray(
            jax.jit(fnn.mlp(*SIZES, activation=name).apply)(first, jnp.asarray(along[:, None] * np.ones(SIZES[0])))
        )[:, 0].round(4)
        for name in ("identity", "tanh")
    }
    collapsed = (along[:, None] * np.ones(SIZES[0]) @ W[0] + b[0])[:, 0].round(4)
    return {
        "apart": float(np.abs(outputs["identity"] - single).max()),
        "bound": float(ROUNDINGS * EPS * size.max()),
        "with_tanh": float(np.abs(outputs["tanh"] - single).max(axis=(1, 2)).min()),
        "along": along,
        "line": line | {"single layer": collapsed},
    }


def _deep_linear(options: Options) -> dict[str, Any]:
    """The three gradients in closed form, by back-propagation, and by central differences."""
    random = np.random.default_rng(options.seed + 1)
    params, nets = _parameters(random, SIZES, options.nets), options.nets
    params = tuple({"W": layer["W"], "b": 0 * layer["b"]} for layer in params)
    x, y = random.normal(size=(nets, SIZES[0])), random.normal(size=(nets, SIZES[-1]))
    net = fnn.mlp(*SIZES, activation="identity")
    got = jax.jit(jax.vmap(fnn.backprop(net, fnn.half_squared_error)))(params, x, y)[1]
    # the lecture multiplies columns: its W is our transpose
    W1, W2, W3 = (np.swapaxes(layer["W"], 1, 2) for layer in params)
    column, target = x[..., None], y[..., None]

    def closed(W1: Any, W2: Any, W3: Any, column: Any, e: Any) -> list[np.ndarray]:
        back3, back2 = np.swapaxes(W3, 1, 2), np.swapaxes(W2, 1, 2)
        return [
            back2 @ back3 @ e @ np.swapaxes(column, 1, 2),
            back3 @ e @ np.swapaxes(W1 @ column, 1, 2),
            e @ np.swapaxes(W2 @ W1 @ column, 1, 2),
        ]

    formulas = closed(W1, W2, W3, column, W3 @ W2 @ W1 @ column - target)
    sizes = [np.abs(each) for each in (W1, W2, W3, column)]
    scale = closed(sizes[0], sizes[1], sizes[2], sizes[3], sizes[2] @ sizes[1] @ sizes[0] @ sizes[3] + np.abs(target))
    one = tuple({name: jnp.asarray(leaf[0]) for name, leaf in layer.items()} for layer in params)
    objective = fnn.objective(net, fnn.half_squared_error)
    x1, y1 = jnp.asarray(x[0]), jnp.asarray(y[0])
    differences = jax.jit(fnn.central_differences(lambda params: objective(params, x1, y1)))(one)
    results = {}
    for k, (layer, formula, size) in enumerate(zip(got, formulas, scale, strict=True), start=1):
        error = np.abs(np.swapaxes(np.asarray(layer["W"]), 1, 2) - formula)
        numeric = np.abs(np.asarray(differences[k - 1]["W"]).T - formula[0])
        results[f"W{k}"] = {
            "apart": float(error.max()),
            "share_of_bound": float((error / (ROUNDINGS * EPS * size)).max()),
            "from_differences": float(numeric.max() / np.abs(formula[0]).max()),
            "largest": float(np.abs(formula).max()),
            # both, of the first nets, for the picture
            "shown": {
                "formula": formula[:6].reshape(-1).round(4),
                "by_hand": np.swapaxes(np.asarray(layer["W"]), 1, 2)[:6].reshape(-1).round(4),
            },
        }
    return results


def _formulas(options: Options) -> dict[str, Any]:
    """C4: one, two and many hidden layers of sigmoids, as the slides write them, for columns."""
    random = np.random.default_rng(options.seed + 2)

    def sigma(z: np.ndarray) -> np.ndarray:
        return np.exp(z) / (np.exp(z) + 1)

    results = {}
    for words, sizes in (("one", (4, 6, 3)), ("two", (4, 6, 5, 3)), ("many", (4, 6, 5, 6, 5, 6, 3))):
        params, x = _parameters(random, sizes, options.nets), random.normal(size=(options.nets, 4))
        got = np.asarray(jax.jit(jax.vmap(fnn.mlp(*sizes, activation="sigmoid").apply))(params, x))[..., None]
        θ = [(np.swapaxes(layer["W"], 1, 2), layer["b"][..., None]) for layer in params]
        column = x[..., None]
        if words == "one":
            (w1, b1), (w2, b2) = θ
            wanted = w2 @ sigma(w1 @ column + b1) + b2
        elif words == "two":
            (w1, b1), (w2, b2), (w3, b3) = θ
            wanted = w3 @ sigma(w2 @ sigma(w1 @ column + b1) + b2) + b3
        else:
            *hidden, (w, b) = θ
            inner = column
            for w_hidden, b_hidden in hidden:
                inner = sigma(w_hidden @ inner + b_hidden)
            wanted = w @ inner + b
        # a sigmoid passes at most a quarter of an error on; its own rounding is a few ε
        size = max(float((np.abs(w) @ np.ones_like(w[:, :1].swapaxes(1, 2)) + np.abs(b)).max()) for w, b in θ)
        results[words] = {
            "apart": float(np.abs(got - wanted).max()),
            "bound": 2 * (sum(sizes) + 8 * len(sizes)) * EPS * size,
            "layers": len(sizes) - 1,
            # the first output along the first eighty nets, for the picture
            "shown": {"formula": wanted[:80, 0, 0].round(4), "by_hand": got[:80, 0, 0].round(4)},
        }
    return results


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    collapse, deep, formulas = result["collapse"], result["deep"].values(), result["formulas"].values()
    return {
        "one": Prediction(
            "three affine layers are one: difference over its rounding bound",
            collapse["apart"] / collapse["bound"],
            "at most",
            1.0,
        ),
        "bent": Prediction("with tanh between them they are not: difference", collapse["with_tanh"], "above", 0.01),
        "closed": Prediction(
            "the three closed gradients are those of back-propagation: difference over its rounding bound",
            [e["share_of_bound"] for e in deep],
            "at most",
            1.0,
        ),
        # central differences leave the rounding of the value over a step of 1e-5
        "numeric": Prediction(
            "the closed gradients are those of differences", [e["from_differences"] for e in deep], "at most", 1e-6
        ),
        "formulas": Prediction(
            "one, two and many hidden layers are their formulas: difference over its rounding bound",
            [e["apart"] / e["bound"] for e in formulas],
            "at most",
            1.0,
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the numbers say of claims A16, C3 and C4."""
    collapse, deep = result["collapse"], result["deep"]
    words = ", ".join(f"{name} {e['apart']:.0e} ({e['share_of_bound']:.2f} of the bound)" for name, e in deep.items())
    layers = ", ".join(f"{name} {e['apart']:.0e} (bound {e['bound']:.0e})" for name, e in result["formulas"].items())
    return {
        "A16": Evidence(
            f"Closed form against back-propagation over {result['nets']} nets, largest difference: {words}; against "
            f"central differences {max(e['from_differences'] for e in deep.values()):.0e} of the largest entry.",
            "gradients.svg",
        ),
        "C3": Evidence(
            f"Three affine layers against the one with the product matrix: {collapse['apart']:.0e} (rounding bound "
            f"{collapse['bound']:.0e}); with tanh between them at least {collapse['with_tanh']:.2f}.",
            "collapse.svg",
        ),
        "C4": Evidence(
            f"Outputs of one, two and many hidden layers against the slides' formulas: {layers}.",
            "formulas.svg",
        ),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the differences."""
    result = saved["result"]
    table = Table(title=f"Largest differences over {result['nets']} nets")
    for heading in ("what", "apart", "bound"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    table.add_row("three layers and their product", *(f"{result['collapse'][k]:.1e}" for k in ("apart", "bound")))
    for name, each in result["formulas"].items():
        table.add_row(f"formula of {name} hidden", f"{each['apart']:.1e}", f"{each['bound']:.1e}")
    for name, each in result["deep"].items():
        table.add_row(f"gradient of {name}, closed", f"{each['apart']:.1e}", f"{each['share_of_bound']:.2f} of it")
    console.print(table)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    collapse = saved["result"]["collapse"]
    figure, ((axis,),) = figures.blank(7, 4.4)
    words = {
        "identity": "three affine layers",
        "single layer": "one layer, the product",
        "tanh": "three layers with tanh",
    }
    styles = {
        "identity": (figures.BLUE, "-", 4), "single layer": (figures.ORANGE, "--", 2),
        "tanh": (figures.GREEN, "-.", 2.5),
    }  # fmt: skip
    for name, (color, style, width) in styles.items():
        axis.plot(collapse["along"], collapse["line"][name], style, color=color, lw=width, label=words[name])
    axis.set(
        title="Without an activation, depth adds nothing",
        xlabel="along a line through the inputs",
        ylabel="first output",
    )
    axis.legend()
    result = saved["result"]
    return {
        "collapse.svg": figure,
        "gradients.svg": _beside(
            result["deep"], "Three gradients of a deep linear net", {"W1": "$W_2^T W_3^T e\\,x^T$",
            "W2": "$W_3^T e\\,(W_1 x)^T$", "W3": "$e\\,(W_2 W_1 x)^T$"}, "by back-propagation",
        ),
        "formulas.svg": _beside(
            result["formulas"], "Nets beside the slides' formulas", {
                "one": r"$W_2\sigma(W_1x+b_1)+b_2$", "two": r"$W_3\sigma(W_2\sigma(W_1x+b_1)+b_2)+b_3$",
                "many": r"$W_L\sigma(\ldots\sigma(W_1x+b_1)\ldots)+b_L$",
            }, "output of the net",
        ),
    }  # fmt: skip


def _beside(rows: dict[str, Any], title: str, names: dict[str, str], measured: str) -> Any:
    """What the formula gives against what the library gives, a panel each: all points on the diagonal."""
    from experiments import figures

    figure, (spots,) = figures.blank(12, 4.7, columns=3)
    for axes, (name, row) in zip(spots, rows.items(), strict=True):
        formula, got = (np.array(row["shown"][key]) for key in ("formula", "by_hand"))
        limit = 1.05 * float(np.abs(formula).max())
        axes.plot([-limit, limit], [-limit, limit], color="0.6", lw=1)
        axes.plot(formula, got, "o", color=figures.BLUE, ms=3.5, alpha=0.6)
        axes.set(title=names[name], xlabel="by the formula", ylabel=measured, aspect="equal")
    figure.suptitle(title)
    return figure
