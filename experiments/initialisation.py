"""Question: why must weights start at random, and what happens to nets that start at zero, or with all weights equal?

Prediction: from zero weights with tanh every weight gradient and every hidden bias gradient is exactly 0, at the start
and along the run; only the output bias learns, down to the loss of guessing by the frequencies of the classes. The
lecture's "all gradients" holds if that bias is already right: with balanced classes it is 0 too. Equal weights keep all
hidden units equal for ever; random ones separate them (B10). Hidden units may be put in any order, connections and all:
the same function and the same gradients, in the same order (B11). Small positive biases of relu units work as well as 0
(B29).
Refuted by: a gradient from zero that is not 0; a loss other than the entropy of the classes; equal units that separate;
a permuted net with outputs that differ by more than rounding.

Everything runs in float64. Equal units are equal in exact arithmetic. A compiler may sum the columns of one matrix in
different orders, and equal units are on a ridge, from which descent drives them apart: they are compared to half of the
digits.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Start nets at zero, with equal weights and at random, and put hidden units in other orders.

    With zero or equal weights nothing distinguishes the hidden units.
    """

    steps: int = frame.at_least(1, 1000)
    """Steps of gradient descent from each start."""
    permutations: int = frame.at_least(1, 500)
    """How many orders of the hidden units are tried."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "B10": ("stuck", "learns", "guess", "balanced", "equal", "moved", "random", "better"),
        "B11": ("outputs", "gradients", "half"),
        "B29": ("as_well", "learns_too"),
    },
    x64=True,
    quick={"permutations": 50},
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

HIDDEN, RATE = 8, 0.3
#: The value of all weights where they start equal; any other shows the same.
EQUAL = 0.1
STARTS = {
    "zero": fnn.initializers.zeros,
    "equal": fnn.initializers.constant(EQUAL),
    "random": fnn.initializers.glorot_uniform,
}


#: Where the hidden biases of B29 begin.
BIASES = (0.0, 0.01, 0.1, 1.0)


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Train from the three starts, permute units, and return the numbers."""
    images, labels = fnn.data.digits()
    x, y = jnp.asarray(images[:500], jnp.float64), jnp.asarray(labels[:500])
    result, end = _trained(options, x, y)
    watch("training", 1, 1, "from zero, equal and random weights")
    result["balanced"] = _balanced(images, labels)
    result["permutations"] = _permuted(options, end, x, y)
    watch("permutations", 1, 1, f"{options.permutations} orders of {HIDDEN} hidden units")
    result["small"] = _small(options.seed)
    result["biases"] = _biases(options.seed, x, y)
    watch("biases", 1, 1, f"{len(BIASES)} initial biases")
    return result


def _small(seed: int) -> dict[str, Any]:
    """A net that can be drawn, before and after its hidden units are reordered."""
    net, order = fnn.mlp(2, 4, 1), np.array([2, 0, 3, 1])
    first, second = jax.tree.map(np.asarray, net.init(jax.random.key(seed), jnp.float64))
    moved = {"W": first["W"][:, order], "b": first["b"][order]}, second | {"W": second["W"][order]}
    x = np.random.default_rng(seed).normal(size=(50, 2))
    apart = np.abs(np.asarray(net.apply((first, second), x)) - np.asarray(net.apply(moved, x))).max()
    return {
        "order": order, "apart": float(apart), "before": [first["W"], second["W"]], "after": [e["W"] for e in moved],
    }  # fmt: skip


def _biases(seed: int, x: jax.Array, y: jax.Array) -> dict[str, Any]:
    """Losses of relu nets with hidden biases that start at each of these, several nets each."""
    images, labels = jnp.asarray(x[:200], jnp.float32), y[:200]

    @jax.jit
    def trained(keys: jax.Array, bias: jax.Array) -> jax.Array:
        net = fnn.mlp(64, 16, 16, 16, 10, activation="relu", weight_init="he_normal")
        by_hand = fnn.backprop(net, fnn.softmax_cross_entropy)

        def one(key: jax.Array) -> jax.Array:
            *hidden, last = net.init(key)
            ones = [fnn.initializers.constant(1.0)(key, layer["b"].shape, jnp.float32) for layer in hidden]
            begin = (*({"W": layer["W"], "b": bias * b} for layer, b in zip(hidden, ones, strict=True)), last)

            def step(params: Any, _: None) -> Any:
                return jax.tree.map(lambda p, g: p - 0.1 * g, params, by_hand(params, images, labels)[1]), None

            return by_hand(jax.lax.scan(step, begin, None, length=150)[0], images, labels)[0]

        return jax.vmap(one)(keys)

    keys = jax.random.split(jax.random.key(seed + 1), 10)
    return {str(bias): np.asarray(trained(keys, jnp.float32(bias)), np.float64).round(5) for bias in BIASES}


def _net(start: str = "random") -> fnn.network.Sequential:
    return fnn.mlp(64, HIDDEN, 10, weight_init=STARTS[start])


def _trained(options: Options, x: jax.Array, y: jax.Array) -> tuple[dict[str, Any], Any]:
    """The three runs as one program: losses, largest gradients, and how far the hidden units part."""
    by_hand = fnn.backprop(_net(), fnn.softmax_cross_entropy)

    @jax.jit
    def train(key: jax.Array) -> Any:
        begin = [_net(start).init(key, jnp.float64) for start in STARTS]

        def step(params: Any, _: None) -> Any:
            value, g = by_hand(params, x, y)
            # a hidden unit is its column of weights, its bias, and its row of output weights
            units = jnp.concatenate([params[0]["W"], params[0]["b"][None], params[1]["W"].T])
            apart = jnp.max(jnp.abs(units - units[:, :1]))
            largest = [jnp.max(jnp.abs(leaf)) for leaf in (g[0]["W"], g[0]["b"], g[1]["W"], g[1]["b"])]
            return jax.tree.map(lambda p, g: p - RATE * g, params, g), (value, apart, jnp.stack(largest))

        params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *begin)
        return jax.vmap(lambda p: jax.lax.scan(step, p, None, length=options.steps))(params)

    end, (values, apart, largest) = train(jax.random.key(options.seed))
    values, apart, largest = (np.asarray(each) for each in (values, apart, largest))
    shares = np.bincount(np.asarray(y), minlength=10) / len(y)
    places = np.unique(np.geomspace(1, options.steps, 60).astype(int)) - 1
    result = {
        "net": str(_net()),
        "steps": options.steps,
        "places": places + 1,
        "entropy": float(-np.sum(shares * np.log(shares))),
        "starts": {
            name: {
                "loss": values[k, places],
                "end": values[k, -1],
                "apart": apart[k, places],
                "most_apart": apart[k].max(),
                # along the whole run, leaf by leaf
                "largest_gradients": dict(zip(("W1", "b1", "W2", "b2"), largest[k].max(axis=0), strict=True)),
                "units": np.round(np.asarray(end[0]["W"][k]).T, 3),
                "moved": float(np.abs(np.asarray(end[0]["W"][k])).max()),
            }
            for k, name in enumerate(STARTS)
        },
    }
    return result, jax.tree.map(lambda leaf: leaf[list(STARTS).index("random")], end)


def _balanced(images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The largest gradient of each leaf from zero weights where every class has as many examples."""
    rows = np.concatenate([np.flatnonzero(labels == digit)[:20] for digit in range(10)])
    x, y = jnp.asarray(images[rows], jnp.float64), jnp.asarray(labels[rows])
    by_hand = fnn.backprop(_net("zero"), fnn.softmax_cross_entropy)
    g = jax.jit(lambda: by_hand(_net("zero").init(jax.random.key(0), jnp.float64), x, y)[1])()
    return {
        f"{name}{k}": float(np.abs(np.asarray(leaf)).max())
        for k, layer in enumerate(g, start=1)
        for name, leaf in layer.items()
    }


def _permuted(options: Options, params: Any, x: jax.Array, y: jax.Array) -> dict[str, Any]:
    """Outputs and gradients of the trained net with its units in other orders, against those of the first."""
    by_hand = fnn.backprop(_net(), fnn.softmax_cross_entropy)
    random = np.random.default_rng(options.seed)
    orders = np.array([random.permutation(HIDDEN) for _ in range(options.permutations)])

    @jax.jit
    def compared(params: Any, orders: jax.Array) -> Any:
        def reorder(p: Any, order: jax.Array) -> Any:
            hidden = {"W": p[0]["W"][:, order], "b": p[0]["b"][order]}
            return hidden, {"W": p[1]["W"][order], "b": p[1]["b"]}

        output, gradient = _net().apply(params, x), by_hand(params, x, y)[1]

        def one(order: jax.Array) -> Any:
            moved = reorder(params, order)
            differences = jax.tree.map(
                lambda a, b: jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)),
                by_hand(moved, x, y)[1], reorder(gradient, order),
            )  # fmt: skip
            # only the second layer in another order: another function
            half = reorder(params, order)[1]
            return (
                jnp.max(jnp.abs(_net().apply(moved, x) - output)),
                jnp.max(jnp.stack(jax.tree.leaves(differences))),
                jnp.max(jnp.abs(_net().apply((params[0], half), x) - output)),
                jnp.max(jnp.abs(moved[0]["W"] - params[0]["W"])),
            )

        a = jnp.tanh(x @ params[0]["W"] + params[0]["b"][None])
        # two sums of H products each, every product and partial sum rounded once
        bound = 2 * (HIDDEN + 1) * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(a) @ jnp.abs(params[1]["W"]) + 1)
        return jax.vmap(one)(orders), bound

    (output, gradient, half, moved), bound = compared(params, jnp.asarray(orders))
    other = np.asarray(moved) > 0
    return {
        "orders": len(orders),
        "different": int(other.sum()),
        "output": float(output.max()),
        "output_bound": float(bound),
        "gradient": float(gradient.max()),
        # 500 examples: sums of 500 rounded terms that partly cancel
        "gradient_bound": 500 * float(np.finfo(np.float64).eps),
        "half_permuted": float(np.asarray(half)[other].min()) if other.any() else 0.0,
    }


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    zero, equal, random = (result["starts"][name] for name in ("zero", "equal", "random"))
    stuck = [value for name, value in zero["largest_gradients"].items() if name != "b2"]
    permuted = result["permutations"]
    # sums may be rounded differently for each unit, and equal units are a ridge from which descent drives them apart:
    # half the digits are left to that
    rounding = float(np.sqrt(np.finfo(np.float64).eps))
    return {
        "stuck": Prediction(
            "from zero the largest gradient of weights and hidden biases, all along", stuck, "at most", 0.0
        ),
        "learns": Prediction("from zero the output bias has a gradient", zero["largest_gradients"]["b2"], "above", 0.0),
        "guess": Prediction(
            "it learns to guess by the shares of the classes: loss less their entropy",
            abs(zero["end"] - result["entropy"]),
            "at most",
            1e-3,
        ),
        "balanced": Prediction("with balanced classes its gradient is 0 too", result["balanced"], "at most", 1e-15),
        "equal": Prediction("equal units stay equal: they part by", equal["most_apart"], "at most", rounding),
        "moved": Prediction("while they move by", equal["moved"], "above", 2 * EQUAL),
        "random": Prediction("random units part by", random["most_apart"], "above", 0.1),
        "better": Prediction(
            "random units read better: their loss over that of equal ones", random["end"] / equal["end"], "below", 0.7
        ),
        "outputs": Prediction(
            "units in another order, the same outputs: difference over its rounding bound",
            permuted["output"] / permuted["output_bound"],
            "at most",
            1.0,
        ),
        "gradients": Prediction(
            "and the same gradients in that order: difference over its rounding bound",
            permuted["gradient"] / permuted["gradient_bound"],
            "at most",
            1.0,
        ),
        "as_well": Prediction(
            "relu nets whose biases begin at 0.1 end as well: median loss over that from 0",
            float(np.median(result["biases"]["0.1"]) / np.median(result["biases"]["0.0"])),
            "at most",
            1.25,
        ),
        "learns_too": Prediction(
            "they learn: median loss over that of guessing",
            float(np.median(result["biases"]["0.1"]) / np.log(10)),
            "at most",
            0.5,
        ),
        "half": Prediction(
            "their output weights alone in another order, another function: difference",
            permuted["half_permuted"],
            "above",
            0.1,
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the numbers say of claims B10 and B11."""
    starts, permuted = result["starts"], result["permutations"]
    zero = starts["zero"]["largest_gradients"]
    return {
        "B10": Evidence(
            f"From zero weights, largest gradients in {result['steps']} steps: W1 {zero['W1']:g}, b1 {zero['b1']:g}, "
            f"W2 {zero['W2']:g} (predicted 0), output bias {zero['b2']:.3f}; the loss ends at "
            f"{starts['zero']['end']:.4f} (predicted entropy of the classes {result['entropy']:.4f}). 'All gradients' "
            "are 0 where that bias is right: with balanced classes the largest is "
            f"{max(result['balanced'].values()):.0e}. Equal units part by {starts['equal']['most_apart']:.0e}, random "
            f"ones by {starts['random']['most_apart']:.2f}; losses {starts['equal']['end']:.2f} and "
            f"{starts['random']['end']:.2f}.",
            "starts.svg",
        ),
        "B11": Evidence(
            f"{permuted['orders']} orders of the hidden units: outputs differ by {permuted['output']:.0e} (rounding "
            f"bound {permuted['output_bound']:.0e}), gradients in that order by {permuted['gradient']:.0e} of the "
            "largest; with only the output weights permuted the outputs differ by at least "
            f"{permuted['half_permuted']:.2f}.",
            "reordered.svg",
        ),
        "B29": Evidence(
            "Relu nets on digits, median loss after 150 steps by the bias at which hidden units begin: "
            + ", ".join(f"{bias} {np.median(each):.3f}" for bias, each in result["biases"].items())
            + ".",
            "biases.svg",
        ),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print what the three starts came to."""
    result = saved["result"]
    table = Table(title=f"{result['net']} after {result['steps']} steps")
    for heading in ("start", "loss", "hidden units apart", "largest gradient: W1", "b1", "W2", "b2"):
        table.add_column(heading, justify="left" if heading == "start" else "right")
    for name, each in result["starts"].items():
        gradients = (f"{value:.1e}" for value in each["largest_gradients"].values())
        table.add_row(name, f"{each['end']:.4f}", f"{each['most_apart']:.1e}", *gradients)
    console.print(table)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    figure = figures.Figure(figsize=(14, 5))
    figures.FigureCanvasAgg(figure)
    halves: Any = figure.subfigures(1, 2, width_ratios=(1, 1.25))
    left, right = halves
    loss, apart = left.subplots(2, 1, sharex=True)
    colors = dict(zip(STARTS, (figures.RED, figures.ORANGE, figures.BLUE), strict=True))
    for (name, each), style in zip(result["starts"].items(), ("-", "--", "-"), strict=True):
        loss.plot(result["places"], each["loss"], ls=style, color=colors[name], lw=2, label=f"{name} weights")
        # exactly 0 has no place on a logarithmic axis: it is drawn along the lower edge
        apart.plot(
            result["places"], np.maximum(each["apart"], 1e-17), ls=style, color=colors[name], lw=2,
            label=f"{name} weights",
        )  # fmt: skip
    loss.axhline(result["entropy"], color="0.3", lw=1, ls=":", label="guessing by class shares")
    loss.set(ylabel="loss (nats per image)", ylim=(0, None), title="Digits from three starts")
    loss.legend(fontsize=9)
    apart.set(
        xscale="log", yscale="log", ylim=(1e-17, 30), xlabel="step", ylabel="hidden units apart by",
        title="Do the hidden units part? (lower edge: 0)",
    )  # fmt: skip
    rows = ("zero", "equal", "random")
    spots = right.subplots(3, HIDDEN)
    limit = max(np.abs(np.array(result["starts"][name]["units"])).max() for name in rows)
    pictures = []
    for row, name in zip(spots, rows, strict=True):
        for spot, unit in zip(row, result["starts"][name]["units"], strict=True):
            pictures.append(spot.imshow(np.reshape(unit, (8, 8)), cmap="PuOr", vmin=-limit, vmax=limit))
            spot.set(xticks=[], yticks=[])
            spot.grid(False)
        row[0].set_ylabel(f"{name}\nweights", fontsize=11)
    right.colorbar(pictures[0], ax=spots, label="weight", shrink=0.8)
    right.suptitle(f"Weights into the {HIDDEN} hidden units after {result['steps']} steps")
    return {
        "starts.svg": figure, "reordered.svg": _reordered(result["small"]), "biases.svg": _begun(result["biases"])
    }  # fmt: skip


def _reordered(small: dict[str, Any]) -> str:
    from experiments import figures

    net, pictures = fnn.mlp(2, 4, 1), []
    for key, order in (("before", range(4)), ("after", small["order"])):
        # biases begin at 0
        params = [{"W": np.array(W), "b": np.zeros(len(W[0]))} for W in small[key]]
        pictures.append(net.svg(params, names=[["x₁", "x₂"], [str(unit + 1) for unit in order], ["y"]]))
    titles = ("a net", "its hidden units in another order")
    return figures.beside(pictures, titles, f"The same function: outputs differ by {small['apart']:.0e}")


def _begun(biases: dict[str, list[float]]) -> Any:
    from experiments import figures

    figure, ((axes,),) = figures.blank(8, 4.2)
    for k, values in enumerate(biases.values()):
        axes.plot(np.full(len(values), k), values, "o", color=figures.BLUE, alpha=0.6)
        axes.plot(k, np.median(values), "_", color="black", ms=34, mew=2.5)
    axes.axhline(np.log(10), color="0.4", lw=1, ls=":", label="guessing, ln 10")
    axes.set_xticks(range(len(biases)), list(biases))
    axes.set(xlabel="hidden biases begin at", ylabel="loss after 150 steps", title="Relu nets on digits; bar: median",
             ylim=(0, None))  # fmt: skip
    axes.legend()
    return figure
