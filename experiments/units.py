"""Question: what can single units do: where does the bias put them, which activations can they have, when do their
likelihoods underflow, and what does a hidden layer make of exclusive-or?

Prediction: tanh a = 2σ(2a) − 1 to rounding, both are bounded and strictly increasing, and tanh as it is written
overflows beyond half the logarithm of the largest number (B25). The bias moves the ridge of a unit to −b/‖w‖ and leaves
its range (B26). A product of likelihoods ½ underflows after as many examples as its dtype has binary places, its
logarithm never does (B27). One unit computes exclusive-or after a hidden layer, and no unit does before it (B21).
Random units with five activations approximate a function better the more of them there are; those of a polynomial stay
above the error of the best polynomial (B23). Cross-entropy pairs with the sigmoid as well, as the softmax of two
classes, and softmax with the squared error (A21).
Refuted by: another identity, ridge, number of examples or error; a hidden layer after which no line gets all four
right.

Everything runs in float64 but the dtypes that are named. The function of B23 has a kink, |2x − 0.8|.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Examine single units: ridge, range, underflow, exclusive-or after a hidden layer, and which activations
    approximate."""

    units: int = frame.at_least(8, 256)
    """The most random units that approximate the function."""
    nets: int = frame.at_least(1, 20)
    """How many trained nets show what their hidden layer makes of exclusive-or."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "A21": ("pair", "apart"),
        "B21": ("before", "behind", "trained", "several"),
        "B23": ("falls", "polynomial", "bound"),
        "B25": ("identity", "range", "increasing", "overflow"),
        "B26": ("ridge", "same_range"),
        "B27": ("underflow", "logarithm"),
    },
    x64=True,
    quick={"units": 128, "nets": 5},
    seeds=5,
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
from rich.console import Console

import fnn
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

EPS = float(np.finfo(np.float64).eps)
ACTIVATIONS = ("sigmoid", "tanh", "relu", "softplus", "gelu")
#: Binary places below 1 of each dtype, subnormal numbers included: 2^−places is its smallest number.
PLACES = {"float64": 1074, "float32": 149, "float16": 24, "bfloat16": 133}
KINDS = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
GRID = np.linspace(0, 1, 401)


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Measure all six and return the numbers."""
    random = np.random.default_rng(options.seed)
    parts = {
        "curves": lambda: _curves(), "ridges": lambda: _ridges(random), "likelihoods": lambda: _likelihoods(),
        "exclusive_or": lambda: _exclusive_or(options), "approximation": lambda: _approximation(random, options.units),
        "pairs": lambda: _pairs(random),
    }  # fmt: skip
    result = {}
    for k, (name, part) in enumerate(parts.items(), start=1):
        result[name] = part()
        watch("parts", k, len(parts), name.replace("_", " "))
    return result


def _curves() -> dict[str, Any]:
    """Sigmoid and tanh of fnn beside each other, and where tanh as it is written ends."""
    a = np.linspace(-20, 20, 4001)
    sigma, tanh = (np.asarray(each(jnp.asarray(a))) for each in (fnn.sigmoid, fnn.tanh))
    double = np.asarray(fnn.sigmoid(jnp.asarray(2 * a)))
    inner = np.abs(a) <= 10
    ends = {}
    for name in ("float64", "float32"):
        z = np.arange(0, 1000 * 8).astype(KINDS[name]) / 8
        with np.errstate(over="ignore", invalid="ignore"):
            written = (np.exp(2 * z) - 1) / (np.exp(2 * z) + 1)
        limit = np.log(np.finfo(KINDS[name]).max.astype(np.longdouble)) / 2
        ends[name] = {"largest": float(z[np.isfinite(written)][-1]), "predicted": float(z[z <= limit][-1])}
    return {
        "identity": float(np.abs(tanh - (2 * double - 1)).max()),
        "outside": int(np.sum((np.abs(tanh) > 1) | (sigma < 0) | (sigma > 1))),
        "least_rise": {"sigmoid": float(np.diff(sigma[inner]).min()), "tanh": float(np.diff(tanh[inner]).min())},
        "ends": ends,
        "a": a[::40].round(3), "sigmoid": sigma[::40].round(5), "tanh": tanh[::40].round(5),
    }  # fmt: skip


def _ridges(random: np.random.Generator) -> dict[str, Any]:
    """Where random units of two inputs cross the middle of their range, along their weights."""
    unit = fnn.dense(2, 1, activation="sigmoid")
    w, b = 2 * random.normal(size=(200, 2)), 3 * random.normal(size=200)
    along = w / np.linalg.norm(w, axis=1, keepdims=True)

    @jax.jit
    @jax.vmap
    def outputs(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
        return unit.apply({"W": w[:, None], "b": b[None]}, x)[..., 0]

    low, high = np.full(200, -1e4), np.full(200, 1e4)
    for _ in range(80):
        middle = (low + high) / 2
        above = np.asarray(outputs(w, b, along * middle[:, None])) >= 0.5
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    predicted = -b / np.linalg.norm(w, axis=1)
    ends = np.stack([np.asarray(outputs(w, b, sign * 1e3 * along / np.abs(w).min())) for sign in (-1, 1)])
    side = np.linspace(-4, 4, 41)
    plane = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    shown = {
        str(bias): np.asarray(
            unit.apply({"W": jnp.array([[1.5], [1.0]]), "b": jnp.array([float(bias)])}, jnp.asarray(plane))
        ).reshape(41, 41).round(3)
        for bias in (-4, 0, 4)
    }  # fmt: skip
    return {
        "off": float((np.abs(low - predicted) / np.maximum(1, np.abs(predicted))).max()),
        "range_off": float(max(np.abs(ends[0]).max(), np.abs(ends[1] - 1).max())),
        "side": side, "shown": shown,
    }  # fmt: skip


def _likelihoods() -> dict[str, Any]:
    """After how many examples of probability ½ their product is 0, and what fnn says of their −log-likelihood."""
    found = {}
    for name, kind in KINDS.items():
        product, count = kind(1), 0
        while product > 0 and count < 5000:
            product, count = kind(product * kind(0.5)), count + 1
        found[name] = {"zero_at": count, "predicted": PLACES[name] + 1}
    half, labels = jnp.full((2000, 2), 0.5), np.zeros(2000, int)
    loss = float(fnn.negative_log_likelihood.sum(half, labels))
    return {"dtypes": found, "loss": loss, "predicted_loss": 2000 * float(np.log(2))}


def _exclusive_or(options: Options) -> dict[str, Any]:
    """Lines before and behind a hidden layer: one written down, and those of trained nets, by the perceptron."""
    x, labels = fnn.data.xor()
    signs = 2.0 * labels - 1
    learn = jax.jit(lambda x: fnn.lectures.perceptron(x, jnp.asarray(signs), epochs=2000))
    # or and and of the inputs, as relus
    layer = fnn.dense(2, 2, activation="relu")
    hidden = np.asarray(layer.apply({"W": jnp.ones((2, 2)), "b": jnp.array([0.0, -1.0])}, jnp.asarray(x, float)))
    run_before, run_behind = learn(jnp.asarray(x, float)), learn(jnp.asarray(hidden))
    net = fnn.mlp(2, 4, 1)
    with jax.enable_x64(False):
        trained = fnn.sweep(
            fnn.backprop(net, fnn.sigmoid_cross_entropy),
            (np.asarray(x, np.float32), np.asarray(labels, np.float32)[:, None]),
            over=fnn.grid(seed=range(options.seed, options.seed + options.nets)), optimizer=optax.adam(0.1),
            epochs=300, batch_size=4,
        )  # fmt: skip
    first = fnn.dense(2, 4, activation="tanh")
    behind = [
        bool(learn(first.apply(jax.tree.map(lambda leaf: np.asarray(leaf, float), params[0]), jnp.asarray(x, float)))
             .converged)
        for params in trained.params
    ]  # fmt: skip
    return {
        "before": bool(run_before.converged), "behind": bool(run_behind.converged), "trained": behind,
        "different": len({np.asarray(params[0]["W"]).tobytes() for params in trained.params}),
        "points": x, "labels": labels, "hidden": hidden,
        "w": [float(each) for each in run_behind.w], "b": float(run_behind.b),
    }  # fmt: skip


def _approximation(random: np.random.Generator, most: int) -> dict[str, Any]:
    """The largest error of the best combination of random units, against their number."""
    from scipy.optimize import linprog

    target = np.abs(2 * GRID - 0.8)
    counts = [each for each in (4, 16, 64, 256) if each <= most]
    w = 12 * random.normal(size=counts[-1])
    b = -w * random.uniform(size=counts[-1])
    z = GRID[:, None] * w + b
    functions = {name: np.asarray(fnn.activations.get(name)(jnp.asarray(z))) for name in ACTIVATIONS}
    functions["polynomial"] = z**2
    errors = {}
    for name, values in functions.items():
        errors[name] = []
        for count in counts:
            columns = np.column_stack([values[:, :count], np.ones(len(GRID))])
            weights = np.linalg.lstsq(columns, target, rcond=1e-10)[0]
            errors[name].append(float(np.abs(columns @ weights - target).max()))
    # the best polynomial of degree 2 in the largest error: a linear program
    powers = np.column_stack([np.ones_like(GRID), GRID, GRID**2])
    ones = np.ones((len(GRID), 1))
    best = linprog(
        [0, 0, 0, 1], A_ub=np.vstack([np.hstack([powers, -ones]), np.hstack([-powers, -ones])]),
        b_ub=np.concatenate([target, -target]), bounds=(None, None),
    )  # fmt: skip
    return {"counts": counts, "errors": errors, "best_polynomial": float(best.fun)}


def _pairs(random: np.random.Generator) -> dict[str, Any]:
    """Sigmoid with cross-entropy beside softmax of two classes, and softmax with the squared error on digits."""
    z, y = 5 * random.normal(size=300), random.integers(0, 2, 300)
    two = jax.vmap(fnn.softmax_cross_entropy)(jnp.asarray(np.column_stack([np.zeros(300), z])), jnp.asarray(y))
    one = jax.vmap(fnn.sigmoid_cross_entropy)(jnp.asarray(z)[:, None], jnp.asarray(y, float)[:, None])
    images, digits = fnn.data.digits()
    images, digits = jnp.asarray(images[:500], float), np.asarray(digits[:500])
    net = fnn.dense(64, 10, activation="softmax")
    gradient = fnn.backprop(net, fnn.half_squared_error)
    hot = jnp.asarray(np.eye(10)[digits])

    def step(params: Any, _: None) -> tuple[Any, None]:
        return jax.tree.map(lambda p, g: p - 3.0 * g, params, gradient(params, images, hot)[1]), None

    start = net.init(jax.random.key(0), jnp.float64)
    end = jax.jit(lambda params: jax.lax.scan(step, params, None, length=300)[0])(start)
    read = np.asarray(jnp.argmax(net.apply(end, images), axis=1))
    both = np.asarray(one), np.asarray(two)
    return {
        "off": float(np.abs(both[0] - both[1]).max()), "read": float(np.mean(read == digits)),
        "z": z[:100].round(3), "y": y[:100], "loss": both[0][:100].round(4),
    }  # fmt: skip


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    curves, ridges, likelihoods, xor = (result[k] for k in ("curves", "ridges", "likelihoods", "exclusive_or"))
    approximation, pairs = result["approximation"], result["pairs"]
    errors, best = approximation["errors"], approximation["best_polynomial"]
    return {
        "pair": Prediction(
            "sigmoid with cross-entropy is the softmax of two classes with it: difference",
            pairs["off"],
            "at most",
            1e-12,
        ),
        "apart": Prediction(
            "softmax with the squared error learns as well: share of digits read", pairs["read"], "at least", 0.9
        ),
        "before": Prediction("the perceptron never settles on exclusive-or itself", xor["before"], "is", False),
        "behind": Prediction("behind a hidden layer of or and and it settles, all four right", xor["behind"]),
        "trained": Prediction(
            "so it does behind the hidden layers of trained nets: share",
            float(np.mean(xor["trained"])),
            "at least",
            0.9,
        ),
        # a share over nets means something if they are not one net
        "several": Prediction(
            "hidden layers that differ, over the nets that were trained",
            xor["different"] / len(xor["trained"]),
            "is",
            1.0,
        ),
        "falls": Prediction(
            "random units of five activations fall: error of the most units over that of the fewest",
            [errors[name][-1] / errors[name][0] for name in ACTIVATIONS],
            "at most",
            0.25,
        ),
        "polynomial": Prediction(
            "polynomial units stay above the error of the best polynomial: least error over it",
            min(errors["polynomial"]) / best,
            "at least",
            1 - 1e-6,
        ),
        "bound": Prediction("which is not small", best, "at least", 0.05),
        "identity": Prediction("tanh a − (2σ(2a) − 1)", curves["identity"], "at most", 4 * EPS),
        "range": Prediction("values outside (0, 1) and (−1, 1), ends included", curves["outside"], "is", 0),
        "increasing": Prediction("the least rise from one number to the next", curves["least_rise"], "above", 0.0),
        "overflow": Prediction(
            "tanh as it is written is finite up to half the logarithm of the largest number",
            [each["largest"] - each["predicted"] for each in curves["ends"].values()],
            "is",
            [0.0, 0.0],
        ),
        "ridge": Prediction("the ridge lies at −b/‖w‖: relative difference", ridges["off"], "at most", 1e-12),
        "same_range": Prediction(
            "far away on both sides 0 and 1 are reached: off by", ridges["range_off"], "at most", 1e-12
        ),
        "underflow": Prediction(
            "a product of ½ is 0 after one example more than there are binary places",
            [each["zero_at"] - each["predicted"] for each in likelihoods["dtypes"].values()],
            "is",
            [0, 0, 0, 0],
        ),
        "logarithm": Prediction(
            "the −log-likelihood of 2000 such examples is 2000 ln 2: relative difference",
            abs(likelihoods["loss"] / likelihoods["predicted_loss"] - 1),
            "at most",
            1e-12,
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the numbers say of claims A21, B21, B23, B25, B26 and B27."""
    curves, ridges, likelihoods, xor = (result[k] for k in ("curves", "ridges", "likelihoods", "exclusive_or"))
    approximation, pairs = result["approximation"], result["pairs"]
    errors = approximation["errors"]
    falls = ", ".join(f"{name} {errors[name][0]:.2g} to {errors[name][-1]:.2g}" for name in ACTIVATIONS)
    counts = ", ".join(
        f"{name} {each['zero_at']} ({each['predicted']})" for name, each in likelihoods["dtypes"].items()
    )
    ends = ", ".join(f"{name} {each['largest']:g} ({each['predicted']:g})" for name, each in curves["ends"].items())
    return {
        "A21": Evidence(
            f"Sigmoid with cross-entropy and the softmax of (0, z) with it differ by {pairs['off']:.0e} (predicted 0); "
            f"softmax with the squared error reads {pairs['read']:.0%} of 500 digits: mostly together, not "
            "exclusively.",
            "pairs.svg",
        ),
        "B21": Evidence(
            f"On the four points the perceptron {'settles' if xor['before'] else 'never settles'}, behind a "
            "layer of or "
            f"and and it {'settles' if xor['behind'] else 'does not'}; behind {sum(xor['trained'])} of "
            f"{len(xor['trained'])} trained hidden layers a line reads all four.",
            "representation.svg",
        ),
        "B23": Evidence(
            f"Largest error from {approximation['counts'][0]} to {approximation['counts'][-1]} random units: {falls}. "
            f"With z² it stays at {min(errors['polynomial']):.3f}; the best polynomial of degree 2 leaves "
            f"{approximation['best_polynomial']:.3f}.",
            "activations.svg",
        ),
        "B25": Evidence(
            f"tanh a and 2σ(2a) − 1 differ by {curves['identity']:.0e} (predicted rounding, {4 * EPS:.0e}); "
            f"{curves['outside']} values leave their range; the least rise on [−10, 10] is "
            f"{min(curves['least_rise'].values()):.0e}. Largest a at which tanh as it is written is finite "
            "(predicted): "
            f"{ends}.",
            "curves.svg",
        ),
        "B26": Evidence(
            f"The ridges of 200 random units lie at −b/‖w‖ to {ridges['off']:.0e}; far away the outputs are 0 and 1 to "
            f"{ridges['range_off']:.0e}, whatever the bias.",
            "ridges.svg",
        ),
        "B27": Evidence(
            f"Examples of probability ½ after which the product is 0 (predicted): {counts}. The "
            "−log-likelihood of 2000 "
            f"is {likelihoods['loss']:.3f} (2000 ln 2 = {likelihoods['predicted_loss']:.3f}).",
            "underflow.svg",
        ),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the errors of every activation and the numbers of examples."""
    result = saved["result"]
    for name, errors in result["approximation"]["errors"].items():
        console.print(f"{name}: largest error {', '.join(f'{e:.3g}' for e in errors)}", highlight=False)
    for name, each in result["likelihoods"]["dtypes"].items():
        console.print(f"{name}: ½ⁿ is 0 from n = {each['zero_at']} on", highlight=False)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    result = saved["result"]
    return {
        "curves.svg": _drawn_curves(result["curves"]),
        "ridges.svg": _drawn_ridges(result["ridges"]),
        "underflow.svg": _drawn_likelihoods(result["likelihoods"]),
        "representation.svg": _drawn_representation(result["exclusive_or"]),
        "activations.svg": _drawn_errors(result["approximation"]),
        "pairs.svg": _drawn_pairs(result["pairs"]),
    }


def _drawn_curves(curves: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((axes,),) = figures.blank(8, 4.4)
    a = np.array(curves["a"])
    fine = np.linspace(-6, 6, 400)
    axes.plot(fine, 2 / (1 + np.exp(-2 * fine)) - 1, color=figures.ORANGE, lw=2, label="2σ(2a) − 1")
    axes.plot(fine, 1 / (1 + np.exp(-fine)), color=figures.GREEN, lw=2, label="σ(a)")
    axes.plot(a, curves["tanh"], "o", color=figures.BLUE, ms=5, label="tanh a by fnn")
    axes.plot(a, curves["sigmoid"], "s", color="0.3", ms=4, label="σ(a) by fnn")
    for level in (-1, 0, 1):
        axes.axhline(level, color="0.6", lw=0.8, ls=":")
    axes.set(xlim=(-6, 6), xlabel="a", title="Sigmoid and tanh: bounded, increasing, and one made of the other")
    axes.legend()
    return figure


def _drawn_ridges(ridges: dict[str, Any]) -> Any:
    from experiments import figures

    figure, (spots,) = figures.blank(12, 4.4, columns=3)
    side, shade = np.array(ridges["side"]), None
    for axes, (bias, values) in zip(spots, ridges["shown"].items(), strict=True):
        shade = axes.contourf(side, side, values, levels=20, cmap="cividis")
        axes.contour(side, side, values, levels=[0.5], colors="white", linewidths=2)
        axes.annotate("", (1.5, 1.0), (0, 0), arrowprops={"arrowstyle": "->", "color": "white", "lw": 2})
        axes.plot(0, 0, "o", color="white", ms=4)
        axes.set(title=f"bias {bias}", xlabel="$x_1$", aspect="equal")
        axes.grid(False)
    spots[0].set_ylabel("$x_2$")
    assert shade is not None
    figure.colorbar(shade, ax=spots, label="output", shrink=0.9)
    figure.suptitle("The bias moves the ridge along the weights (arrow) and leaves the range")
    return figure


def _drawn_likelihoods(likelihoods: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((axes,),) = figures.blank(8, 4.4)
    names = list(likelihoods["dtypes"])
    counts = [likelihoods["dtypes"][name]["zero_at"] for name in names]
    bars = axes.barh(names, counts, color=(figures.BLUE, figures.GREEN, figures.RED, figures.ORANGE))
    axes.bar_label(bars, [f"{count} examples" for count in counts], padding=4)
    axes.set(
        xscale="log", xlim=(10, 5000), xlabel="examples of probability ½ whose product is 0",
        title="Where a product of likelihoods underflows; its logarithm never does",
    )  # fmt: skip
    axes.grid(axis="y", visible=False)
    return figure


def _drawn_representation(xor: dict[str, Any]) -> Any:
    from experiments import figures

    figure, (spots,) = figures.blank(10.5, 4.6, columns=2)
    labels = np.array(xor["labels"])
    for axes, key, title, names in (
        (spots[0], "points", "The inputs: no line", ("$x_1$", "$x_2$")),
        (spots[1], "hidden", "Behind the hidden layer: one unit", ("relu($x_1+x_2$)", "relu($x_1+x_2-1$)")),
    ):
        points = np.array(xor[key], float)
        for value, marker, colour in ((0, "o", figures.BLUE), (1, "s", figures.ORANGE)):
            axes.plot(*points[labels == value].T, marker, color=colour, ms=12, mec="black", label=f"class {value}")
        axes.set(title=title, xlabel=names[0], ylabel=names[1], xlim=(-0.5, 2.5 if key == "hidden" else 1.5),
                 ylim=(-0.5, 1.5))  # fmt: skip
        axes.legend(loc="upper left")
    (w1, w2), b = xor["w"], xor["b"]
    x = np.linspace(-0.5, 2.5, 2)
    if w2:
        spots[1].plot(x, -(w1 * x + b) / w2, color="black", lw=2)
    spots[1].annotate("two of the points\nlie here", (1, 0), (1.5, -0.35), arrowprops={"arrowstyle": "->"})
    return figure


def _drawn_errors(approximation: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((axes,),) = figures.blank(8, 4.6)
    colours = (figures.BLUE, figures.GREEN, figures.ORANGE, figures.PINK, "0.4", figures.RED)
    for (name, errors), colour, marker in zip(approximation["errors"].items(), colours, "os^Dvx", strict=True):
        label = "z², a polynomial" if name == "polynomial" else name
        axes.plot(approximation["counts"], errors, color=colour, marker=marker, lw=2, label=label)
    # what is exact, to rounding, stands on the lower edge
    lowest = 1e-3
    axes.set_ylim(lowest, 1)
    for name, errors in approximation["errors"].items():
        for count, error in zip(approximation["counts"], errors, strict=True):
            if error < lowest:
                axes.annotate(
                    f"{name}: {error:.0e}", (count, lowest), xytext=(-62, 8), textcoords="offset points", fontsize=9
                )
    axes.axhline(approximation["best_polynomial"], color="black", lw=1.2, ls=":", label="best polynomial")
    axes.set(xscale="log", yscale="log", xlabel="random units", ylabel="largest error", title="Units on |2x − 0.8|")
    axes.set_xticks(approximation["counts"], [str(count) for count in approximation["counts"]])
    axes.minorticks_off()
    axes.legend(ncols=2, fontsize=9)
    return figure


def _drawn_pairs(pairs: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((axes,),) = figures.blank(8, 4.4)
    z, y, grid = np.array(pairs["z"]), np.array(pairs["y"]), np.linspace(-12, 12, 200)
    for value, colour in ((0, figures.BLUE), (1, figures.ORANGE)):
        curve = np.logaddexp(0, grid) - value * grid
        axes.plot(grid, curve, color="0.6", lw=2, label=None if value else "−log softmax(0, z) at the class")
        axes.plot(z[y == value], np.array(pairs["loss"])[y == value], "o", color=colour, ms=4,
                  label=f"sigmoid cross-entropy by fnn, class {value}")  # fmt: skip
    axes.set(xlabel="score z", ylabel="loss (nats)", title="A sigmoid with cross-entropy is a softmax of two classes")
    axes.legend()
    return figure
