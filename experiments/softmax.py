"""Question: are softmax, its loss and their gradients what the lectures say, in numbers and for any logits?

Prediction: the lecture's four logits give its exponentials and probabilities (claim A6); the one-hot code is 1 at the
label alone (A5); rows add up to 1 with no entry below 0, and the loss is −log of the entry at the label (A7); the
gradient is −(e(y) − f(x)) before the softmax (B7) and −e(y)/f(x)_y after it (B20); a constant added to all logits
changes nothing, so the weights of one class are redundant (B15).
Refuted by: a printed digit that is not met; a row that differs from extended precision or from autodiff by more than
rounding; a curvature that is not zero along the constant, or zero along anything else.

Logits are drawn at scales from 0.1 to 300, so that the plain formula e^x / Σ e^x overflows in float32 where the
shifted one does not. The witness computes in NumPy's longest floating type.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Check the softmax and its loss: the numbers of the lecture, the identities, and the redundant parameters."""

    rows: int = frame.at_least(1, 20_000)
    """Random rows of logits on which the identities are checked, for each number of classes."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "A5": ("one_hot",),
        "A6": ("printed", "sum_minus_1", "probabilities", "not_negative", "finite"),
        "A7": ("loss",),
        "B7": ("before", "before_autodiff"),
        "B15": ("shifted_probabilities", "shifted_loss", "surplus", "two_outputs", "flat"),
        "B20": ("after", "after_autodiff"),
    },
    quick={"rows": 500},
    seeds=5,
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import fnn
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

#: The lecture's example, with what it prints.
LABELS = ("Tiger", "Airplane", "Boat", "Heavy Metal")
LOGITS = (-3.44, 1.16, -0.81, 3.91)
#: The class that is taken for the true one where a gradient is drawn: ours.
TRUE = 1
PRINTED = {"exponentials": (0.03, 3.19, 0.44, 49.90), "probabilities": (0.0006, 0.0596, 0.0083, 0.9315)}
#: Half a unit of the last digit that is printed.
HALF = {"exponentials": 0.005, "probabilities": 0.00005}
CLASSES, SCALES = (2, 10, 100), (0.1, 1.0, 30.0, 300.0)
#: How often eps = 2e-16 an identity may be off in float64: sums of 100 terms, each rounded, and logits of size 300,
#: whose last digit, 300 eps, becomes a relative error of e^x.
ROUNDINGS = 1000
#: The three classes in the plane of claim B15: their centres; and how many examples of each.
CENTRES, EACH = np.array([[1.5, 0.0], [-1.0, 1.0], [-0.5, -1.5]]), 60
#: The least curvature is some 0.005 where the classes lie far apart: 0.99 per step at this rate, 1e-15 after so many.
STEPS, RATE = 4000, 2.0
#: Along the directions of the figure.
ALONG = np.linspace(-4, 4, 41)


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Compute everything in float64, beside its witnesses."""
    random = np.random.default_rng(options.seed)
    with jax.enable_x64(True):
        identities = {}
        for k, classes in enumerate(CLASSES, start=1):
            identities[str(classes)] = _identities(random, classes, options.rows)
            watch("identities", k, len(CLASSES), f"{classes} classes")
        too_many = _too_many(random)
        lecture, shown = _lecture(), _shown(random)
    return {
        "lecture": lecture,
        "one_hot": _one_hot(random, options.rows),
        "identities": identities,
        "plain_formula": _plain_formula(random, options.rows),
        "too_many": too_many,
        "shown": shown,
    }


def _shown(random: np.random.Generator) -> dict[str, Any]:
    """What the pictures show: a few labels coded, the loss and its slope at the label, the gradient at the logits."""
    labels = random.integers(0, 10, 16)
    logits, classes = 2 * random.normal(size=(120, 4)), random.integers(0, 4, 120)
    losses, after = fnn.softmax_cross_entropy, fnn.negative_log_likelihood.sum
    p = fnn.softmax(jnp.asarray(logits))
    slopes = after.backward(after.forward(p, classes)[1])
    one = jnp.array([LOGITS])
    return {
        "labels": labels,
        "rows": np.asarray(fnn.one_hot(labels, 10)),
        "at_label": np.asarray(p)[np.arange(120), classes].round(5),
        "loss": np.asarray(jax.vmap(losses)(jnp.asarray(logits), jnp.asarray(classes))).round(5),
        "slope": np.asarray(slopes)[np.arange(120), classes].round(4),
        "gradient": losses.backward(losses.forward(one, np.array([TRUE]))[1])[0],
    }


def _lecture() -> dict[str, Any]:
    z = jnp.array(LOGITS)
    return {"exponentials": jnp.exp(z), "probabilities": fnn.softmax(z)}


def _one_hot(random: np.random.Generator, rows: int) -> dict[str, int]:
    """Rows of the one-hot code that are not the rows of the unit matrix."""
    labels = random.integers(0, 10, rows)
    return {"rows": rows, "wrong": int(np.sum((np.asarray(fnn.one_hot(labels, 10)) != np.eye(10)[labels]).any(1)))}


def _drawn(random: np.random.Generator, classes: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    scales = random.choice(SCALES, rows)[:, None]
    return scales * random.normal(size=(rows, classes)), random.integers(0, classes, rows)


def _identities(random: np.random.Generator, classes: int, rows: int) -> dict[str, float]:
    """The largest deviations from what each claim says, over all rows."""
    logits, labels = _drawn(random, classes, rows)
    shifts = random.choice(SCALES, rows)[:, None] * random.normal(size=(rows, 1))

    @jax.jit
    def computed(z: jax.Array, shifted: jax.Array) -> dict[str, jax.Array]:
        p = fnn.softmax(z)
        each = jax.vmap(fnn.softmax_cross_entropy)
        losses, after = fnn.softmax_cross_entropy.sum, fnn.negative_log_likelihood.sum
        return {
            "p": p,
            "loss": each(z, labels),
            "before": losses.backward(losses.forward(z, labels)[1]),
            "after": after.backward(after.forward(p, labels)[1]),
            # JAX's own functions, differentiated: the witnesses of the two gradients
            "auto_before": jax.grad(lambda z: -jnp.sum(jax.nn.log_softmax(z)[jnp.arange(rows), labels]))(z),
            "auto_after": jax.grad(lambda p: -jnp.sum(jnp.log(p[jnp.arange(rows), labels])))(p),
            "shifted_p": fnn.softmax(shifted),
            "shifted_loss": each(shifted, labels),
        }

    got = {name: np.asarray(value) for name, value in computed(logits, logits + shifts).items()}
    wide = logits.astype(np.longdouble)
    exponentials = np.exp(wide - wide.max(1, keepdims=True))
    p = exponentials / exponentials.sum(1, keepdims=True)
    loss = np.log(exponentials.sum(1)) - (wide - wide.max(1, keepdims=True))[np.arange(rows), labels]
    hot = np.eye(classes)[labels]
    # an entry that underflowed has the slope −1/0 by hand, by autodiff, and in the claim; below the normal numbers
    # its digits are gone
    at_label = got["p"][np.arange(rows), labels, None]
    nonzero = at_label[:, 0] > 1e-300
    sizes = 1 / at_label[nonzero]
    slope = -hot[nonzero] * sizes

    def apart(one: Any, other: Any, size: Any = 1.0) -> float:
        return float(np.max(np.abs(one - other) / size))

    return {
        "sum_minus_1": apart(got["p"].sum(1), 1),
        "least": float(got["p"].min()),
        "probabilities": apart(got["p"], p),
        "loss": apart(got["loss"], loss, np.maximum(loss, 1)),
        "before": apart(got["before"], -(hot - p)),
        "before_autodiff": apart(got["before"], got["auto_before"]),
        "after": apart(got["after"][nonzero], slope, sizes),
        "after_autodiff": apart(got["after"][nonzero], got["auto_after"][nonzero], sizes),
        "shifted_probabilities": apart(got["shifted_p"], got["p"]),
        "shifted_loss": apart(got["shifted_loss"], got["loss"], np.maximum(loss, 1)),
    }


def _plain_formula(random: np.random.Generator, rows: int) -> dict[str, float]:
    """The share of rows that are not finite in float32: by e^x / Σ e^x as written, and by `fnn.softmax`."""
    z = jnp.asarray(_drawn(random, 10, rows)[0], jnp.float32)

    @jax.jit
    def both(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.exp(z) / jnp.exp(z).sum(-1, keepdims=True), fnn.softmax(z)

    return {
        name: float(np.mean(~np.isfinite(np.asarray(p)).all(1)))
        for name, p in zip(("as_written", "fnn"), both(z), strict=True)
    }


def _too_many(random: np.random.Generator) -> dict[str, Any]:
    """Three classes by a layer of three outputs and by one of two beside a constant 0: likelihood and curvature."""
    labels = np.repeat(np.arange(3), EACH)
    x = jnp.asarray(CENTRES[labels] + random.normal(size=(len(labels), 2)))
    y = jnp.asarray(labels)
    full, fewer = fnn.dense(2, 3), fnn.dense(2, 2)
    loss = fnn.softmax_cross_entropy

    def with_zero(params: Any) -> Any:
        """The smaller layer as one of three outputs, the last of which is always 0."""
        return {"W": jnp.pad(params["W"], ((0, 0), (0, 1))), "b": jnp.pad(params["b"], (0, 1))}

    gradient = fnn.backprop(full, loss)

    @jax.jit
    def trained(start: Any, smaller: Any) -> tuple[Any, Any]:
        def step(carry: Any, _: None) -> tuple[Any, None]:
            params, smaller = carry
            # the last column of the gradient of the padded weights belongs to the constant 0, which does not learn
            results, padded = gradient(params, x, y)[1], gradient(with_zero(smaller), x, y)[1]
            cut = {"W": padded["W"][:, :2], "b": padded["b"][:2]}
            return (_moved(params, results), _moved(smaller, cut)), None

        return jax.lax.scan(step, (start, smaller), None, length=STEPS)[0]

    start = full.init(jax.random.key(0), jnp.float64)
    start_of_fewer = fewer.init(jax.random.key(1), jnp.float64)
    params, smaller = trained(start, start_of_fewer)
    flat, restore = jax.flatten_util.ravel_pytree(params)
    value = jax.jit(lambda flat: loss(full.apply(restore(flat), x), y))
    curvatures = np.linalg.eigvalsh(np.asarray(jax.jit(jax.hessian(value))(flat)))
    # the same number added to the bias of every class, and one added to that of the first class alone
    common = jax.flatten_util.ravel_pytree({"W": jnp.zeros((2, 3)), "b": jnp.ones(3)})[0]
    single = jax.flatten_util.ravel_pytree({"W": jnp.zeros((2, 3)), "b": jnp.array([1.0, 0.0, 0.0])})[0]
    steps = jnp.asarray(ALONG)[:, None]
    along = jax.jit(jax.vmap(value))
    slices = {name: along(flat + steps * way) for name, way in (("all", common), ("one", single))}
    same = jax.flatten_util.ravel_pytree(with_zero(smaller))[0]
    p, q = (np.asarray(fnn.softmax(full.apply(each, x))) for each in (params, with_zero(smaller)))
    return {
        "losses": {"three outputs": float(value(flat)), "two outputs": float(value(same))},
        "probabilities_apart": float(np.abs(p - q).max()),
        "drift": float(np.abs(np.asarray(params["W"].sum(1) - start["W"].sum(1))).max()),
        "curvatures": np.sort(np.abs(curvatures)),
        "surplus": 3,
        "slices": slices,
    }


def _moved(params: Any, gradient: Any) -> Any:
    return jax.tree.map(lambda p, g: p - RATE * g, params, gradient)


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the lecture's numbers, and the largest deviation from each identity."""
    result = saved["result"]
    lines = [
        f"{name}: " + ", ".join(f"{value:.4f}" for value in result["lecture"][name]) + f"; printed {PRINTED[name]}"
        for name in PRINTED
    ]
    worst = {name: max(row[name] for row in result["identities"].values()) for name in result["identities"]["2"]}
    lines += [f"largest deviation, {name}: {value:.1e}" for name, value in worst.items() if name != "least"]
    lines.append(f"rows not finite in float32: {result['plain_formula']}")
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


#: What each identity is called in the result, and what it says.
IDENTITIES = {
    "loss": "the loss is −log softmax at the label",
    "before": "the gradient at the logits is −(e(y) − f(x))",
    "before_autodiff": "the gradient at the logits is that of autodiff",
    "shifted_probabilities": "a constant added to all logits leaves the probabilities",
    "shifted_loss": "a constant added to all logits leaves the loss",
    "after": "the gradient at the softmax output is −e(y)/f(x)_y",
    "after_autodiff": "the gradient at the softmax output is that of autodiff",
    "sum_minus_1": "rows add up to 1",
    "probabilities": "probabilities are those of extended precision",
}
ROUNDING = ROUNDINGS * float(np.finfo(np.float64).eps)


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    lecture, plain, many = result["lecture"], result["plain_formula"], result["too_many"]
    rows = result["identities"].values()
    off = [np.abs(np.array(lecture[name]) - PRINTED[name]).max() / HALF[name] for name in PRINTED]
    losses = many["losses"]
    made = {
        key: Prediction(f"{sentence}, to rounding", [row[key] for row in rows], "at most", ROUNDING)
        for key, sentence in IDENTITIES.items()
    }
    return made | {
        "one_hot": Prediction("one-hot rows that are no unit rows", result["one_hot"]["wrong"], "is", 0),
        "printed": Prediction("the lecture's numbers, in half units of their last printed digit", off, "at most", 1.0),
        "not_negative": Prediction("the least probability", [row["least"] for row in rows], "at least", 0.0),
        "finite": Prediction("shifted by the largest logit, no row overflows in float32", plain["fnn"], "is", 0),
        "surplus": Prediction(
            "as many curvatures are 0 as there are parameters too many", len(_zeros(many)), "is", many["surplus"]
        ),
        "two_outputs": Prediction(
            "two outputs beside a constant 0 reach the loss of three: the losses differ by",
            abs(losses["three outputs"] - losses["two outputs"]),
            "at most",
            1e-9,
        ),
        "flat": Prediction(
            "along a constant added to all, the loss is flat", float(np.ptp(many["slices"]["all"])), "at most", ROUNDING
        ),
    }


def _worst(result: dict[str, Any]) -> dict[str, float]:
    rows = result["identities"].values()
    return {name: max(row[name] for row in rows) for name in next(iter(rows))}


def _zeros(many: dict[str, Any]) -> list[float]:
    return [each for each in many["curvatures"] if each <= ROUNDING]


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the numbers say of claims A5, A6, A7, B7, B15 and B20."""
    worst = _worst(result)
    least = min(row["least"] for row in result["identities"].values())
    probabilities = ", ".join(f"{p:.4f}" for p in result["lecture"]["probabilities"])
    hot, plain, many = result["one_hot"], result["plain_formula"], result["too_many"]
    smallest = min((each for each in many["curvatures"] if each > ROUNDING), default=float("nan"))
    losses = many["losses"]
    return {
        "A5": Evidence(f"{hot['wrong']} of {hot['rows']} rows differ from the unit rows (predicted 0).", "one_hot.svg"),
        "A6": Evidence(
            f"The lecture's logits give {probabilities} (printed 0.0006, 0.0596, 0.0083, 0.9315). Rows add up to 1 "
            f"within {worst['sum_minus_1']:.0e}, the least entry is {least:g} (predicted: none below 0). As written "
            f"the formula overflows in float32 on {plain['as_written']:.0%} of the rows, shifted by the largest logit "
            f"on {plain['fnn']:.0%}.",
            "softmax.svg",
        ),
        "A7": Evidence(
            f"The loss is −log softmax at the label, in extended precision, within {worst['loss']:.0e} of it "
            "(predicted 0).",
            "at_label.svg",
        ),
        "B7": Evidence(
            f"The gradient at the logits is −(e(y) − f(x)) within {worst['before']:.0e} and that of autodiff within "
            f"{worst['before_autodiff']:.0e} (predicted 0 and 0).",
            "gradient.svg",
        ),
        "B15": Evidence(
            f"A constant added to all logits moves the probabilities by {worst['shifted_probabilities']:.0e}. Of the 9 "
            f"curvatures of a layer with 3 outputs {len(_zeros(many))} are 0 (predicted {many['surplus']}: one class "
            f"too many; the next is {smallest:.1e}), and 2 outputs beside a constant 0 reach the same loss: "
            f"{losses['three outputs']:.6f} and {losses['two outputs']:.6f}.",
            "too_many.svg",
        ),
        "B20": Evidence(
            f"The gradient at the softmax output is −e(y)/f(x)_y within {worst['after']:.0e} of its size and that of "
            f"autodiff within {worst['after_autodiff']:.0e} (predicted 0 and 0).",
            "at_label.svg",
        ),
    }


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    figure, (spots,) = figures.blank(11.5, 3.8, columns=3)
    columns = (LOGITS, result["lecture"]["exponentials"], result["lecture"]["probabilities"])
    titles = ("logits $x_k$", "exponentials $e^{x_k}$", r"softmax $e^{x_k} / \sum_j e^{x_j}$")
    for axes, values, title, form in zip(spots, columns, titles, ("{:.2f}", "{:.2f}", "{:.4f}"), strict=True):
        bars = axes.barh(LABELS, values, color=(figures.BLUE, figures.ORANGE, figures.GREEN, figures.RED))
        axes.bar_label(bars, [form.format(value) for value in values], padding=4)
        axes.set_title(title)
        low, high = min(0, *values), max(values)
        axes.set_xlim(low - 0.35 * (high - low) * (low < 0), high + 0.3 * (high - low))
        axes.axvline(0, color="black", lw=0.8)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        if axes is not spots[0]:
            axes.set_yticklabels([])
    many, ((flat, spectrum),) = figures.blank(11, 4.4, columns=2)
    slices = result["too_many"]["slices"]
    flat.plot(ALONG, slices["all"], color=figures.BLUE, lw=2.5, label="added to all classes")
    flat.plot(ALONG, slices["one"], color=figures.RED, lw=2, ls="--", label="added to the first class alone")
    flat.set(title="Loss around its minimum", xlabel="added to the biases", ylabel="cross-entropy (nats)")
    flat.legend()
    curvatures = np.array(result["too_many"]["curvatures"])
    # exact zeros have no place on a logarithmic axis
    spectrum.bar(range(1, len(curvatures) + 1), np.maximum(curvatures, 1e-20), color=figures.BLUE)
    spectrum.set(
        yscale="log", title="Three of nine directions are flat to rounding", xlabel="eigenvalue of the Hessian"
    )
    spectrum.set(xticks=range(1, len(curvatures) + 1), ylabel="its size (nats)")
    spectrum.set_ylim(1e-20, 10)
    shown = result["shown"]
    return {
        "softmax.svg": figure, "too_many.svg": many, "one_hot.svg": _coded(shown), "at_label.svg": _at_label(shown),
        "gradient.svg": _gradient(result["lecture"]["probabilities"], shown["gradient"]),
    }  # fmt: skip


def _coded(shown: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((axes,),) = figures.blank(6.5, 5)
    axes.imshow(shown["rows"], cmap="Blues", vmin=0, vmax=1.4)
    for row, label in enumerate(shown["labels"]):
        axes.text(label, row, "1", ha="center", va="center", color="white", fontsize=10)
    axes.set_yticks(range(len(shown["labels"])), [str(label) for label in shown["labels"]])
    axes.set(xticks=range(10), xlabel="class k", ylabel="label", title="One-hot rows: 1 at the label, 0 elsewhere")
    axes.grid(False)
    return figure


def _at_label(shown: dict[str, Any]) -> Any:
    from experiments import figures

    figure, (spots,) = figures.blank(11, 4.4, columns=2)
    p = np.linspace(0.02, 1, 200)
    for axes, curve, key, name in (
        (spots[0], -np.log(p), "loss", "−log p"), (spots[1], -1 / p, "slope", "−1/p")
    ):  # fmt: skip
        inside = np.array(shown["at_label"]) >= p[0]
        axes.plot(p, curve, color=figures.ORANGE, lw=2, label=name)
        axes.plot(np.array(shown["at_label"])[inside], np.array(shown[key])[inside], "o", color=figures.BLUE, ms=4,
                  label="by fnn, random logits")  # fmt: skip
        axes.set(xlabel="softmax at the true class, $p$")
        axes.legend()
    spots[0].set(title="Cross-entropy of a one-hot target", ylabel="loss (nats)")
    spots[1].set(title="Its gradient at the softmax output", ylabel="gradient at the true class")
    return figure


def _gradient(probabilities: list[float], gradient: list[float]) -> Any:
    from experiments import figures

    figure, ((axes,),) = figures.blank(8, 4.4)
    places, hot = np.arange(4), np.eye(4)[TRUE]
    for shift, values, colour, name in (
        (-0.3, hot, "0.6", "e(y), the truth"), (-0.1, probabilities, figures.BLUE, "f(x), softmax"),
        (0.1, np.array(probabilities) - hot, figures.ORANGE, "f(x) − e(y)"),
        (0.3, gradient, figures.RED, "gradient by fnn"),
    ):  # fmt: skip
        axes.bar(places + shift, values, width=0.19, color=colour, label=name)
    axes.axhline(0, color="black", lw=0.8)
    axes.set_xticks(places, LABELS)
    axes.set(title=f"The gradient at the logits, true class: {LABELS[TRUE]}", ylabel="probability, gradient")
    axes.grid(axis="x", visible=False)
    axes.legend()
    return figure
