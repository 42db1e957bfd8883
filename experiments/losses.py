"""Question: which training loss bounds the 0–1 loss, and with which constant; in what range is each form of the sigmoid
right; and what exactly do two formulas of the notes say?

Prediction: the 0–1 loss is a step, its derivative 0 wherever there is one; c times a loss bounds it with c the inverse
of the smallest loss of a wrong decision: 1 for hinge, squared and absolute error, 2 for half squared error and Huber,
1/ln 2 for the cross-entropies, and no constant at all for the perceptron loss, which is 0 at the boundary (B19).
e^z/(e^z + 1) as written is right up to ln of the dtype's largest number, and NaN beyond; 1/(1 + e^(−z)) is right: where
its exponential overflows, the value is below the smallest number; so is the stable form (C10). The mean squared loss
sums over outputs and averages over examples, without ½ (D1). The binary cross-entropy needs its brackets: as printed,
being certain and wrong on class 0 is rewarded without bound (D7).
Refuted by: a wrong decision whose scaled loss is below 1, or a smaller constant that would do; another largest z.

Labels are ±1 and a score decides by its sign, 0 counting as wrong; cross-entropies take two or ten classes. The sigmoid
is computed operation by operation, as it is written: a compiler may keep half precisions in float32 in between.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Find which losses bound the 0–1 loss, where the sigmoid overflows, and what two formulas of the notes say.

    The sigmoid is tried in four dtypes and three forms.
    """

    draws: int = 20_000
    """How many scores are tried."""

    def __post_init__(self) -> None:
        super().__post_init__()
        frame.require(self.draws >= 1000, "--draws", self.draws, "at least 1000, so that some decisions are wrong")


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "B19": ("bounds", "tried", "tight", "none", "slope"),
        "C10": ("overflow", "beyond", "stable"),
        "D1": ("squared", "other_means"),
        "D7": ("entropy", "printed", "rewarded", "punished"),
    },
    x64=True,
    quick={"draws": 2000},
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

LN2 = float(np.log(2))
#: The constant that each loss needs; none helps the perceptron loss.
CONSTANTS: dict[str, float | None] = {
    "hinge": 1.0, "squared_error": 1.0, "absolute_error": 1.0, "half_squared_error": 2.0, "huber": 2.0,
    "sigmoid_cross_entropy": 1 / LN2, "binary_cross_entropy": 1 / LN2, "softmax_cross_entropy": 1 / LN2,
    "negative_log_likelihood": 1 / LN2, "perceptron_loss": None,
}  # fmt: skip
DTYPES = ("float64", "float32", "bfloat16", "float16")


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Measure the bounds, the ranges and the two formulas, and return the numbers."""
    result = {"bounds": _bounds(options), "sigmoid": _sigmoids()}
    watch("bounds", 1, 1, f"{len(CONSTANTS)} losses, {options.draws} scores")
    result["formulas"] = _formulas(options)
    return result


# ---- bounds on the 0–1 loss -----------------------------------------------------------------------------------------


def _bounds(options: Options) -> dict[str, Any]:
    """The smallest loss of a wrong decision, loss by loss, and the losses along the margin."""
    random = np.random.default_rng(options.seed)
    scores = np.concatenate([random.normal(0, 2, options.draws), [0.0, -1e-9, -1e-3, 1e-9]])
    signs = np.where(random.random(len(scores)) < 0.5, -1.0, 1.0)
    wrong = signs * scores <= 0
    logits = random.normal(0, 2, (options.draws, 10))
    labels = random.integers(0, 10, options.draws)
    # half of them nearly ties of the two largest: there the bound is tight
    order = np.argsort(logits, axis=1)
    half = np.arange(options.draws // 2)
    logits[half, order[half, -1]] = logits[half, order[half, -2]] + 1e-9
    logits[half[: len(half) // 2]] *= 50
    many = np.argmax(logits, axis=1) != labels

    def each(name: str) -> tuple[jax.Array, np.ndarray]:
        """(loss of every example, which are wrong)."""
        loss = fnn.losses.get(name)
        if name in ("softmax_cross_entropy", "negative_log_likelihood"):
            prediction = jnp.asarray(logits)
            if name == "negative_log_likelihood":
                prediction = fnn.softmax(prediction)
            return jax.jit(jax.vmap(loss))(prediction, jnp.asarray(labels)), many
        prediction, target = jnp.asarray(scores)[:, None], jnp.asarray(signs)[:, None]
        if name.endswith("entropy"):
            target = (target + 1) / 2
            if name == "binary_cross_entropy":
                prediction = fnn.sigmoid(prediction)
        return jax.jit(jax.vmap(loss))(prediction, target), wrong

    results = {}
    for name, constant in CONSTANTS.items():
        values, off = each(name)
        values = np.asarray(values)
        # no −0
        smallest = float(values[off].min()) + 0.0
        results[name] = {
            "constant": constant,
            "smallest_wrong": smallest,
            # below 1 somewhere: the bound would not hold
            "smallest_bound": None if constant is None else constant * smallest,
            "examples_wrong": int(off.sum()),
        }
    margins = np.linspace(-2, 2.5, 91)
    ones = jnp.ones((91, 1))
    along = {
        name: np.asarray(jax.jit(jax.vmap(getattr(fnn, name)))(jnp.asarray(margins)[:, None], ones)).round(5)
        for name in ("hinge", "squared_error", "sigmoid_cross_entropy", "perceptron_loss", "huber")
    }
    step = jnp.asarray([-1.5, -0.5, 0.5, 1.5])
    slope = jax.grad(lambda s: jnp.sum(fnn.hard_threshold(-s)))(step)
    return {
        "losses": results,
        "margins": margins.round(4),
        "along": along,
        "slope_of_step": float(jnp.abs(slope).max()),
    }


# ---- the sigmoid in three forms -------------------------------------------------------------------------------------


def numbers(dtype: str) -> np.ndarray:
    """Values of z to try, rising: all of a 16-bit dtype, and near the limits of the others every 1/64."""
    if dtype in ("float16", "bfloat16"):
        all_of = np.arange(2**16, dtype=np.uint16).view(jnp.dtype(dtype))
        with np.errstate(invalid="ignore"):
            # NaN is neither below nor above
            return np.unique(all_of[np.abs(all_of) <= 1000].astype(np.float64))
    return np.arange(-1000 * 64, 1000 * 64 + 1) / 64


def _sigmoids() -> dict[str, Any]:
    """For each dtype and form, between which z it is right to a few of its last digits."""
    results: dict[str, Any] = {}
    for dtype in DTYPES:
        wide = numbers(dtype)
        z = jnp.asarray(wide, dtype)
        exact = wide.astype(np.longdouble)
        # each half by the form that does not overflow, in extended precision
        truth = np.where(
            exact >= 0, 1 / (1 + np.exp(-np.abs(exact))), np.exp(-np.abs(exact)) / (1 + np.exp(-np.abs(exact)))
        )
        info = jnp.finfo(dtype)
        e, e_minus = jnp.exp(z), jnp.exp(-z)
        forms = {"e^z/(e^z+1)": e / (e + 1), "1/(1+e^-z)": 1 / (1 + e_minus), "fnn.sigmoid": fnn.sigmoid(z)}
        rows = {}
        for name, values in forms.items():
            got = np.asarray(values.astype(jnp.float64)).astype(np.longdouble)
            # five roundings, and e^z of a rounded exponent: 8 last digits, and nothing below the smallest normal
            right = np.abs(got - truth) <= 8 * float(info.eps) * truth + float(info.tiny)
            right &= np.isfinite(got)
            zero = int(np.searchsorted(wide, 0.0))
            above, below = np.flatnonzero(~right[zero:]), np.flatnonzero(~right[: zero + 1][::-1])
            rows[name] = {
                "largest": float(wide[-1] if not len(above) else wide[zero + above[0] - 1]),
                "smallest": float(wide[0] if not len(below) else wide[zero - below[0] + 1]),
                "not_finite": int((~np.isfinite(got)).sum()),
            }
        limit = float(np.log(np.longdouble(float(info.max))))
        results[dtype] = {
            "forms": rows,
            "ln_max": limit,
            # the largest number of the dtype, among those tried, whose exponential is finite
            "predicted": float(wide[wide <= limit][-1]),
            "tried_to": float(wide[-1]),
        }
    return results


# ---- the two formulas -----------------------------------------------------------------------------------------------


def _formulas(options: Options) -> dict[str, Any]:
    """D1 and D7 summed one by one, beside the package and beside the readings that are not meant."""
    random = np.random.default_rng(options.seed)
    F, y = random.normal(size=(50, 3)), random.normal(size=(50, 3))
    one_by_one = sum(sum((F[n, k] - y[n, k]) ** 2 for k in range(3)) for n in range(50)) / 50
    ours = float(fnn.squared_error(jnp.asarray(F), jnp.asarray(y)))
    p, t = random.uniform(0.02, 0.98, (50, 1)), (random.random((50, 1)) < 0.5).astype(float)
    bracketed = -sum(t[n, 0] * np.log(p[n, 0]) + (1 - t[n, 0]) * np.log(1 - p[n, 0]) for n in range(50)) / 50
    printed = sum(-t[n, 0] * np.log(p[n, 0]) + (1 - t[n, 0]) * np.log(1 - p[n, 0]) for n in range(50)) / 50
    entropy = float(fnn.binary_cross_entropy(jnp.asarray(p), jnp.asarray(t)))
    certain = 1 - np.geomspace(0.9, 1e-9, 60)
    return {
        "squared": {
            "one_by_one": one_by_one,
            "ours": ours,
            "with_half": one_by_one / 2,
            "over_outputs": one_by_one / 3,
        },
        "residuals": {
            "prediction": F[:7, 0].round(3),
            "target": y[:7, 0].round(3),
            "mean": float(fnn.squared_error(jnp.asarray(F[:7, :1]), jnp.asarray(y[:7, :1]))),
        },
        "entropy": {"bracketed": bracketed, "ours": entropy, "printed": printed},
        # an example of class 0, read as class 1 with more and more certainty
        "wrong_by": 1 - certain,
        "with_brackets": -np.log(1 - certain),
        "as_printed": np.log(1 - certain),
        # fifty terms, each rounded a few times
        "bound": 200 * float(np.finfo(np.float64).eps),
    }


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    losses, sigmoid, formulas = result["bounds"]["losses"], result["sigmoid"], result["formulas"]
    constants = [each for each in losses.values() if each["constant"] is not None]
    products = [each["smallest_bound"] for each in constants]
    squared, entropy, bound = formulas["squared"], formulas["entropy"], formulas["bound"]
    naive, ours = ([each["forms"][name] for each in sigmoid.values()] for name in ("e^z/(e^z+1)", "fnn.sigmoid"))
    tried = [each["tried_to"] for each in sigmoid.values()]
    return {
        # a tie is rounded; 1e-6 is what the nearest random score leaves
        "bounds": Prediction("constant times loss of a wrong decision", products, "at least", 1 - 1e-6),
        "tried": Prediction("wrong decisions that were tried", [e["examples_wrong"] for e in constants], "above", 100),
        "tight": Prediction("no smaller constant would do: the least such product", products, "at most", 1.001),
        "none": Prediction(
            "the perceptron loss of a wrong decision can be 0", losses["perceptron_loss"]["smallest_wrong"], "is", 0
        ),
        "slope": Prediction("the 0–1 loss has no slope", result["bounds"]["slope_of_step"], "is", 0),
        "overflow": Prediction(
            "e^z/(e^z+1) is right up to ln of the largest number",
            [each["largest"] for each in naive] == [each["predicted"] for each in sigmoid.values()],
        ),
        "beyond": Prediction("values of it that are not finite beyond", [e["not_finite"] for e in naive], "above", 0),
        "stable": Prediction(
            "the stable form is right at all z tried, and finite",
            [(e["largest"], e["smallest"], e["not_finite"]) for e in ours] == [(t, -t, 0) for t in tried],
        ),
        "squared": Prediction(
            "the mean squared loss is the sum over outputs, the mean over examples: deviation over rounding",
            abs(squared["ours"] / squared["one_by_one"] - 1) / bound,
            "at most",
            1.0,
        ),
        "other_means": Prediction(
            "with ½, or averaged over outputs, it is another number: relative difference",
            [abs(squared["ours"] / squared[name] - 1) for name in ("with_half", "over_outputs")],
            "at least",
            0.5,
        ),
        "entropy": Prediction(
            "the binary cross-entropy has brackets: deviation over rounding",
            abs(entropy["ours"] / entropy["bracketed"] - 1) / bound,
            "at most",
            1.0,
        ),
        "printed": Prediction(
            "as printed it is another number", abs(entropy["printed"] - entropy["ours"]), "above", 0.1
        ),
        "rewarded": Prediction(
            "as printed, the loss of a certain and wrong answer", formulas["as_printed"][-1], "below", -20.0
        ),
        "punished": Prediction(
            "with brackets, the loss of a certain and wrong answer", formulas["with_brackets"][-1], "above", 20.0
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the numbers say of claims B19, C10, D1 and D7."""
    losses, sigmoid, formulas = result["bounds"]["losses"], result["sigmoid"], result["formulas"]
    products = ", ".join(
        f"{name.replace('_', ' ')} {each['constant']:.4g} ({each['smallest_bound']:.6f})"
        for name, each in losses.items()
        if each["constant"] is not None
    )
    largest = ", ".join(
        f"{dtype} {each['forms']['e^z/(e^z+1)']['largest']:g} ({each['predicted']:g})"
        for dtype, each in sigmoid.items()
    )
    return {
        "B19": Evidence(
            "Constant times loss bounds the 0–1 loss; in brackets the smallest such product of a wrong decision "
            f"(predicted 1): {products}. The perceptron loss is {losses['perceptron_loss']['smallest_wrong']:g} at the "
            "boundary; where that is 0 no constant helps.",
            "losses.svg",
        ),
        "C10": Evidence(
            f"Largest z at which e^z/(e^z+1) is right (predicted ln of the largest number): {largest}. The stable form "
            f"is right to {min(e['forms']['fnn.sigmoid']['largest'] for e in sigmoid.values()):g}; tried to "
            f"±{sigmoid['float64']['tried_to']:g}.",
            "losses.svg",
        ),
        "D1": Evidence(
            f"Summed one by one {formulas['squared']['one_by_one']:.12f}, fnn.squared_error "
            f"{formulas['squared']['ours']:.12f}; with ½, as A16 and E6 have it, "
            f"{formulas['squared']['with_half']:.4f}.",
            "squares.svg",
        ),
        "D7": Evidence(
            f"With brackets {formulas['entropy']['bracketed']:.12f}, fnn.binary_cross_entropy "
            f"{formulas['entropy']['ours']:.12f}; as printed, without them, {formulas['entropy']['printed']:.4f}: "
            "there an example of class 0 read as class 1 with certainty 1 − 10⁻⁹ costs "
            f"{formulas['as_printed'][-1]:.1f} in place of {formulas['with_brackets'][-1]:.1f}.",
            "losses.svg",
        ),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print constants and ranges."""
    result = saved["result"]
    table = Table(title="Bounds on the 0–1 loss")
    for heading in ("loss", "constant", "smallest loss of a wrong decision", "constant × it"):
        table.add_column(heading, justify="left" if heading == "loss" else "right")
    for name, each in result["bounds"]["losses"].items():
        constant = "none" if each["constant"] is None else f"{each['constant']:.4f}"
        product = "" if each["constant"] is None else f"{each['smallest_bound']:.6f}"
        table.add_row(name, constant, f"{each['smallest_wrong']:.6f}", product)
    console.print(table)
    table = Table(title="From which z to which each form of the sigmoid is right")
    table.add_column("dtype")
    for heading in next(iter(result["sigmoid"].values()))["forms"]:
        table.add_column(heading, justify="right")
    for dtype, each in result["sigmoid"].items():
        table.add_row(dtype, *(f"{form['smallest']:g} to {form['largest']:g}" for form in each["forms"].values()))
    console.print(table)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    result = saved["result"]
    squares = _squares(result["formulas"]["residuals"])
    figure, ((bounds, ranges, brackets),) = figures.blank(15.5, 4.8, columns=3)
    margins = np.array(result["bounds"]["margins"])
    bounds.fill_between(margins, np.where(margins <= 0, 1.0, 0.0), step="mid", color="0.85", label="0–1 loss")
    styles = {
        "squared_error": (figures.GREEN, "-"), "hinge": (figures.BLUE, "-"), "huber": (figures.PINK, "-."),
        "sigmoid_cross_entropy": (figures.ORANGE, "-"), "perceptron_loss": (figures.RED, "--"),
    }  # fmt: skip
    for name, (color, style) in styles.items():
        constant = CONSTANTS[name]
        title = name.replace("_", " ").replace("sigmoid ", "")
        label = title if constant in (1.0, None) else f"{'1/ln 2' if constant < 2 else '2'} × {title}"
        label += ": no bound" if constant is None else ""
        bounds.plot(
            margins, (constant or 1) * np.array(result["bounds"]["along"][name]), style, color=color, lw=2, label=label
        )
    bounds.set(title="Bounds on the 0–1 loss", xlabel="margin: label × score", ylabel="loss", ylim=(0, 4.6))
    bounds.legend(fontsize=9)
    forms = list(result["sigmoid"]["float64"]["forms"])
    for k, dtype in enumerate(DTYPES):
        each = result["sigmoid"][dtype]
        for j, (name, color) in enumerate(zip(forms, (figures.RED, figures.ORANGE, figures.BLUE), strict=True)):
            form = each["forms"][name]
            place = k + 0.25 * (j - 1)
            ranges.barh(
                place, form["largest"] - form["smallest"], left=form["smallest"], height=0.22, color=color,
                label=name.replace("e^z", "$e^z$").replace("e^-z", "$e^{-z}$") if k == 0 else None,
            )  # fmt: skip
    ranges.set_yticks(range(len(DTYPES)), DTYPES)
    ranges.invert_yaxis()
    ranges.set(
        xscale="symlog", title="Where each form of σ is right", xlabel="z", xticks=[-700, -88, -11, 0, 11, 88, 700],
        xticklabels=["−700", "−88", "−11", "0", "11", "88", "700"],
    )  # fmt: skip
    ranges.set_ylim(len(DTYPES) + 0.35, -0.6)
    ranges.minorticks_off()
    ranges.grid(axis="y", visible=False)
    ranges.legend(fontsize=9, ncols=3, loc="lower center")
    formulas = result["formulas"]
    brackets.plot(formulas["wrong_by"], formulas["with_brackets"], color=figures.BLUE, lw=2, label="with brackets")
    brackets.plot(formulas["wrong_by"], formulas["as_printed"], "--", color=figures.RED, lw=2, label="as printed")
    brackets.axhline(0, color="0.4", lw=1)
    brackets.set(
        xscale="log", title="Class 0 read as class 1", xlabel="1 − F: how far from certain", ylabel="loss (nats)"
    )
    brackets.invert_xaxis()
    brackets.legend()
    return {"losses.svg": figure, "squares.svg": squares}


def _squares(each: dict[str, Any]) -> Any:
    from matplotlib.patches import Rectangle

    from experiments import figures

    figure, ((axes,),) = figures.blank(9, 4.4)
    left = 0.0
    for p, y in zip(each["prediction"], each["target"], strict=True):
        side = abs(p - y)
        axes.add_patch(Rectangle((left, min(p, y)), side, side, facecolor=figures.BLUE, alpha=0.3))
        axes.plot([left, left], [y, p], color=figures.BLUE, lw=2)
        axes.plot(left, y, "s", color="black", ms=6)
        axes.plot(left, p, "o", color=figures.ORANGE, ms=6)
        left += side + 0.35
    axes.plot([], [], "s", color="black", label="target y")
    axes.plot([], [], "o", color=figures.ORANGE, label="prediction F(x)")
    axes.set(
        aspect="equal", xticks=[], xlabel=f"examples; mean area {each['mean']:.3f} by fnn.squared_error",
        title="The mean squared loss: the mean area of the squares",
    )  # fmt: skip
    axes.legend()
    return figure
