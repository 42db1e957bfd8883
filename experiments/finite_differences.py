"""Question: how good are finite differences, which step is best, and what do they cost compared with back-propagation?

Prediction: the lecture's example gives 43.99999999999906 in float64, 44.0010 in float32 and 44.08 one-sided (claim A8),
and 44 exactly by the chain rule and by a pass over the nodes (A10). Where f‴ ≠ 0 the error is a V over the step, with
its minimum near (3 ε |f| / |f‴|)^(1/3) in every dtype, and near (ε |f| / |f″|)^(1/2) for one-sided differences; 10⁻⁵
suffices in float64 and not in float32 (A9). The gradient by back-propagation costs a few forward passes, that by
differences up to two per parameter, less what lies below the layer that is moved and is shared (A12, E2).
Refuted by: another digit; a minimum that is off by a factor above 10; a V for the quadratic, which has no truncation
error; a ratio of costs that grows for back-propagation, or that is not from 1 to 2 per parameter for differences.

The errors are root mean squares over 64 points in [1, 2), so that no lucky rounding makes a minimum. NumPy rounds every
single operation to the dtype; a compiler may keep more digits in between, and the curves would show the compiler. The
steps in the formulas are one side's, h/2 of the lecture's h. Operations are counted by XLA, which counts the body of a
loop once: so the differences are counted where all entries are taken at once.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Differentiate by differences: the numbers of the lecture, the best step in four dtypes, and the cost."""

    repeats: int = frame.at_least(1, 15)
    """How often each program is timed; the fastest counts."""
    largest: int = frame.at_least(100, 20_000)
    """Nets of the cost curves with more parameters than this are left out."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "A8": ("printed", "symmetric", "narrow", "one_sided"),
        "A9": (
            "best_step",
            "no_v",
            "no_optimum",
            "default_central",
            "default_one_sided",
            "wide_enough",
            "too_narrow",
        ),
        "A10": ("calculus", "nodes"),
        "A12": ("cheap", "constant", "dear"),
        "E2": ("cheap", "constant", "dear", "slow"),
    },
    quick={"repeats": 1, "largest": 200},
    unjudged=("slow",),
    seeds=5,
    once=("slow",),
    again={"repeats": 1, "largest": 2000},
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from rich.console import Console
from rich.table import Table

import fnn
from experiments import costs as measuring
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
#: 64 numbers that all four dtypes hold.
POINTS = 1 + np.arange(64) / 64
#: The claim allows a factor of 10 between the measured minimum and the predicted.
FACTOR = 10.0
#: What the lecture prints, with half a unit of the last digit.
PRINTED = {"above": (124.4404, 5e-5), "below": (123.5604, 5e-5)}
BOTH = ("float64", "float32")
#: Inputs and hidden units of the nets whose gradients are counted and timed; each has one output.
SIZES = ((4, 4), (8, 10), (16, 17), (30, 31), (50, 60), (98, 100))
#: Up to so many parameters differences are counted: one copy of the net per entry is held at once.
COUNTED = 1100
ROWS = 32


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Compute the example, the curves, and the costs; times stand under "measured"."""
    with jax.enable_x64(True):
        lecture = _lecture()
        curves = _curves(options.seed)
        defaults = _defaults()
    watch("curves", 1, 1, f"{len(curves)} functions in {len(DTYPES)} dtypes")
    costs, times = [], []
    for k, (inputs, hidden) in enumerate(SIZES, start=1):
        net = fnn.mlp(inputs, hidden, 1)
        parameters = (inputs + 2) * hidden + 1
        if parameters <= options.largest:
            counted, timed = _cost(net, parameters, options)
            costs.append({"parameters": parameters} | counted)
            times.append({"parameters": parameters} | timed)
        watch("costs", k, len(SIZES), f"{parameters} parameters")
    return {
        "lecture": lecture, "curves": curves, "defaults": defaults, "costs": costs, "measured": {"times": times}
    }  # fmt: skip


def _defaults() -> dict[str, Any]:
    """The relative error of the package's differences with their own steps, at 0 and from 1e-6 to 1e6, in two dtypes.

    The function bends as its argument is large, X sin(x/X + 1): at 0 as if X were 1.
    """
    places = np.concatenate([[0.0], 10.0 ** np.arange(-6, 7)])
    found: dict[str, Any] = {"places": places}
    for dtype in ("float64", "float32"):
        found[dtype] = {"eps": float(np.finfo(dtype).eps)}
        for kind, differences in (("central", fnn.central_differences), ("one_sided", fnn.one_sided_differences)):

            def bent(x: jax.Array, scale: jax.Array) -> jax.Array:
                return scale * jnp.sin(x / scale + 1)

            slope = jax.jit(differences(bent))
            errors = []
            for place in places:
                x, scale = (jnp.asarray(each, dtype) for each in (place, place or 1.0))
                wanted = np.cos(float(x) / float(scale) + 1)
                errors.append(float(abs(np.asarray(slope(x, scale), np.float64) - wanted) / abs(wanted)))
            found[dtype][kind] = errors
    return found


# ---- the lecture's example ------------------------------------------------------------------------------------------


def quadratic(x: Any) -> Any:
    """f(x₁, x₂) = (2x₁ + 3x₂)² + 3, of NumPy or JAX numbers."""
    return (2 * x[0] + 3 * x[1]) ** 2 + 3


def _lecture() -> dict[str, Any]:
    """The example at (1, 3) with h = 2e-2, by differences, by the chain rule, and by a pass over its nodes."""
    quotients = {}
    for name in ("float64", "float32"):
        kind = DTYPES[name]
        h, one, three = kind(2e-2), kind(1), kind(3)
        above, below = quadratic((one + h / 2, three)), quadratic((one - h / 2, three))
        x = jnp.array([1.0, 3.0], name)
        ways = {"symmetric": fnn.central_differences, "one_sided": fnn.one_sided_differences}
        quotients[name] = {"above": float(above), "below": float(below)}
        quotients[name] |= {way: float(of(quadratic, step=2e-2)(x)[0]) for way, of in ways.items()}

    def lecture(x1, x2):
        c = 2 * x1 + 3 * x2
        e = c**2
        return e + 3

    # forward: c = 2 x1 + 3 x2, e = c², f = e + 3; backward: ∂f/∂e, ∂f/∂c, ∂f/∂x1
    box = fnn.graph(lecture, 1.0, 3.0)
    at = {name: jnp.array([1.0, 3.0], name) for name in ("float64", "float32")}
    return quotients | {
        "analytic": 2 * (2 * 1 + 3 * 3) * 2,
        "nodes": {
            "forward": [float(box["c"].value), float(box["e"].value), float(box.value)],
            "backward": [float(box["e"].cotangent), float(box["c"].cotangent), float(box.gradients[0])],
        },
        "autodiff": float(jax.jit(jax.grad(quadratic))(at["float64"])[0]),
        "error_of_1e-5": {
            name: float(abs(fnn.central_differences(quadratic, step=1e-5)(x)[0] - 44)) for name, x in at.items()
        },
    }


# ---- the error against the step -------------------------------------------------------------------------------------


def _curves(seed: int) -> dict[str, Any]:
    """{function: {dtype: {kind: steps, errors, measured and predicted best}}}."""
    net = fnn.mlp(1, 8, 1)
    params = net.init(jax.random.key(seed), jnp.float64)
    # steeper than at its start, so that it bends
    params = ({"W": 4 * params[0]["W"], "b": params[0]["b"] - 1}, params[1])
    first, second = (jax.tree.map(np.asarray, layer) for layer in params)

    def by_hand(x: np.ndarray) -> np.ndarray:
        """The net in the dtype of x: every operation rounds."""
        total = np.zeros_like(x)
        for w, b, v in zip(first["W"][0], first["b"], second["W"][:, 0], strict=True):
            total = total + x.dtype.type(v) * np.tanh(x.dtype.type(w) * x + x.dtype.type(b))
        return total

    def smooth(x: jax.Array) -> jax.Array:
        return net.apply(params, x[None])[0]

    functions = {
        "exp": (np.exp, jnp.exp),
        "sin": (np.sin, jnp.sin),
        "net": (by_hand, smooth),
        "quadratic": (lambda x: quadratic((x, x.dtype.type(3))), lambda x: quadratic((x, 3.0))),
    }
    return {name: _curve(rounded, exact) for name, (rounded, exact) in functions.items()}


def _curve(rounded: Any, exact: Any) -> dict[str, Any]:
    derivatives = [exact]
    for _ in range(3):
        derivatives.append(jax.grad(derivatives[-1]))
    values = jax.jit(jax.vmap(lambda x: [each(x) for each in derivatives]))(jnp.asarray(POINTS))
    f, slope, second, third = (np.asarray(each) for each in values)
    size, bend, twist = (float(np.sqrt(np.mean(each**2))) for each in (f, second, third))
    results = {}
    for dtype, kind in DTYPES.items():
        eps = float(ml_dtypes.finfo(kind).eps)
        # from 1 down to a quarter of the last digit of the points, in powers of two, which all dtypes hold
        steps = 2.0 ** np.arange(0, np.log2(eps) - 3, -1)
        x = POINTS.astype(kind)
        central, one_sided = [], []
        for step in steps:
            s = kind(step)
            above, here, below = (rounded(each).astype(np.float64) for each in (x + s, x, x - s))
            # the quotient of rounded values; the division itself rounds once more, by nothing that counts
            central.append(np.sqrt(np.mean(((above - below) / (2 * step) - slope) ** 2)))
            one_sided.append(np.sqrt(np.mean(((above - here) / step - slope) ** 2)))
        results[dtype] = {
            "eps": eps,
            "steps": steps,
            "central": np.array([float(f"{error:.4g}") for error in central]),
            "one_sided": np.array([float(f"{error:.4g}") for error in one_sided]),
            "best_central": float(steps[np.argmin(central)]),
            "best_one_sided": float(steps[np.argmin(one_sided)]),
            # where h² f‴ / 6 + ε f / h is least; none where f‴ = 0
            "predicted_central": float((3 * eps * size / twist) ** (1 / 3)) if twist else None,
            # where h f″ / 2 + ε f / h is least, but for a factor √2
            "predicted_one_sided": float((eps * size / bend) ** (1 / 2)),
        }
    return results


# ---- what a gradient costs ------------------------------------------------------------------------------------------


def _cost(net: fnn.Layer, parameters: int, options: Options) -> tuple[dict[str, Any], dict[str, float]]:
    """(operations, seconds) of one forward pass, of the gradient by hand, and of that by central differences."""
    loss = fnn.squared_error
    objective = fnn.objective(net, loss)
    random = np.random.default_rng(options.seed)
    inputs = net.inputs or 1
    x, y = (jnp.asarray(random.normal(size=(ROWS, width)), jnp.float32) for width in (inputs, 1))
    params = jax.jit(net.init)(jax.random.key(options.seed))
    differences = fnn.central_differences(objective, chunk=min(parameters, COUNTED))
    ways = {"forward": objective, "backprop": fnn.backprop(net, loss), "differences": differences}
    counted: dict[str, Any] = {}
    timed: dict[str, float] = {}
    for name, way in ways.items():
        program = jax.jit(way).lower(params, x, y).compile()
        whole = name != "differences" or parameters <= COUNTED
        counted[name] = int(measuring.operations(program)) if whole else None
        timed[name] = measuring.seconds(program, (params, x, y), options.repeats)
    return counted, timed


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the best steps and the costs."""
    result = saved["result"]
    table = Table("function", *(f"{dtype}" for dtype in DTYPES), title="best step, measured / predicted, central")
    for name, dtypes in result["curves"].items():
        cells = [_beside(each["best_central"], each["predicted_central"]) for each in dtypes.values()]
        table.add_row(name, *cells)
    console.print(table)
    table = Table("parameters", "forward", "backprop", "differences", "ms forward", "ms backprop", "ms differences",
                  title="operations and milliseconds of one gradient")  # fmt: skip
    for cost, seconds in zip(result["costs"], saved["measured"]["times"], strict=True):
        counts = ["-" if cost[name] is None else f"{cost[name]:,}" for name in WAYS]
        table.add_row(str(cost["parameters"]), *counts, *(f"{1e3 * seconds[name]:.3g}" for name in WAYS))
    console.print(table)


WAYS = ("forward", "backprop", "differences")


def _beside(measured: float, predicted: float | None) -> str:
    return f"{measured:.0e} / " + ("none" if predicted is None else f"{predicted:.0e}")


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    lecture = result["lecture"]
    wide, narrow, steps = lecture["float64"], lecture["float32"], lecture["error_of_1e-5"]
    flat = result["curves"]["quadratic"].values()
    by_hand, per_parameter = _passes(result)
    times = result.get("measured", {}).get("times")
    return {
        "slow": Prediction(
            "the clock says so too: time of differences over that of back-propagation, largest net",
            times and times[-1]["differences"] / times[-1]["backprop"],
            "at least",
            5.0,
            decide="The times of a run would decide.",
        ),
        "printed": Prediction(
            "the lecture's values, in half units of their last printed digit",
            [abs(wide[name] - value) / half for name, (value, half) in PRINTED.items()],
            "at most",
            1.0,
        ),
        "symmetric": Prediction("the symmetric quotient in float64", wide["symmetric"], "is", 43.99999999999906),
        "narrow": Prediction("the symmetric quotient in float32", narrow["symmetric"], "within", (44.00095, 44.00105)),
        "one_sided": Prediction("the one-sided quotient", wide["one_sided"], "within", (44.07995, 44.08005)),
        "best_step": Prediction(
            "factor between the best step and the predicted one", _factors(result), "at most", FACTOR
        ),
        "no_v": Prediction(
            "the error of a quadratic has no V: that of the largest step exceeds twice the least by",
            [each["central"][0] - 2 * min(each["central"]) for each in flat],
            "at most",
            0.0,
        ),
        "no_optimum": Prediction(
            "nor has it a predicted best step", all(each["predicted_central"] is None for each in flat)
        ),
        "default_central": Prediction(
            "the package's own central step is right at 0 and from 1e-6 to 1e6: relative error over ε^(2/3)",
            [e / result["defaults"][d]["eps"] ** (2 / 3) for d in BOTH for e in result["defaults"][d]["central"]],
            "at most",
            10.0,
        ),
        "default_one_sided": Prediction(
            "so is its one-sided step: relative error over ε^(1/2)",
            [e / result["defaults"][d]["eps"] ** 0.5 for d in BOTH for e in result["defaults"][d]["one_sided"]],
            "at most",
            10.0,
        ),
        "wide_enough": Prediction("a step of 1e-5 in float64 is off 44 by", steps["float64"], "at most", 44e-6),
        "too_narrow": Prediction("a step of 1e-5 in float32 is off 44 by", steps["float32"], "within", (1.5, 2.5)),
        "calculus": Prediction(
            "rules of calculus and autodiff give 44", [lecture["analytic"], lecture["autodiff"]], "is", [44, 44]
        ),
        "nodes": Prediction(
            "the passes over the graph give 11, 121, 124 and 1, 22, 44",
            lecture["nodes"],
            "is",
            {"forward": [11, 121, 124], "backward": [1, 22, 44]},
        ),
        "cheap": Prediction("forward passes that back-propagation costs", by_hand, "at most", 5.0),
        "constant": Prediction(
            "whatever the size: cost of the largest net over that of the smallest",
            by_hand[-1] / by_hand[0],
            "at most",
            1.5,
        ),
        # two passes per parameter; moving an entry and the quotient add a little, what is not moved is computed once
        "dear": Prediction("forward passes per parameter of central differences", per_parameter, "within", (1.0, 2.1)),
    }


def _factors(result: dict[str, Any]) -> list[float]:
    """By which factor the best step is off the predicted one, for every bent function, dtype and kind of difference."""
    bent = [each for name, dtypes in result["curves"].items() if name != "quadratic" for each in dtypes.values()]
    ratios = [each[f"best_{kind}"] / each[f"predicted_{kind}"] for each in bent for kind in ("central", "one_sided")]
    return [max(ratio, 1 / ratio) for ratio in ratios]


def _counted(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in result["costs"] if each["differences"] is not None]


def _passes(result: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Forward passes: of back-propagation for every net, of differences per parameter where they were counted."""
    by_hand = [each["backprop"] / each["forward"] for each in result["costs"]]
    return by_hand, [each["differences"] / each["forward"] / each["parameters"] for each in _counted(result)]


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the numbers say of claims A8, A9, A10, A12 and E2."""
    lecture, factor = result["lecture"], max(_factors(result))
    wide, narrow, steps, nodes = (lecture[key] for key in ("float64", "float32", "error_of_1e-5", "nodes"))
    counted, (by_hand, per_parameter) = _counted(result), _passes(result)
    largest = counted[-1]
    return {
        "A8": Evidence(
            f"{wide['above']:.4f} and {wide['below']:.4f} give {wide['symmetric']!r} in float64 and "
            f"{narrow['symmetric']:.4f} in float32 (predicted 43.99999999999906 and 44.0010), one-sided "
            f"{wide['one_sided']:.2f} (predicted 44.08).",
            "secants.svg",
        ),
        "A9": Evidence(
            f"The best steps lie within a factor {factor:.1f} of (3 ε |f| / |f‴|)^(1/3), one-sided of "
            f"(ε |f| / |f″|)^(1/2) (predicted: below {FACTOR:g}), for exp, sin and a net in four dtypes. "
            f"With h = 10⁻⁵ its slope of 44 is off by {steps['float64']:.0e} in "
            f"float64 and by {steps['float32']:.1f} in float32 (predicted 2).",
            "v_curves.svg",
        ),
        "A10": Evidence(
            f"By the chain rule {lecture['analytic']}, by autodiff {lecture['autodiff']:g} (predicted 44); over the "
            f"nodes c, e, f = {nodes['forward']} and gradients {nodes['backward']} (predicted 11, 121, 124 and "
            "1, 22, 44).",
        ),
        "A12": Evidence(
            f"Counted by XLA, back-propagation takes {min(by_hand):.1f} to {max(by_hand):.1f} forward passes for nets "
            f"of {result['costs'][0]['parameters']} to {result['costs'][-1]['parameters']:,} parameters (predicted: a "
            f"small multiple, at most 5), central differences {min(per_parameter):.2f} to {max(per_parameter):.2f} per "
            "parameter (predicted from 1 to 2: two passes, less what lies below the layer that is moved).",
            "cost.svg",
        ),
        "E2": Evidence(
            f"With {largest['parameters']:,} parameters differences take "
            f"{largest['differences'] / largest['backprop']:,.0f} times the operations of back-propagation (predicted "
            f"up to {2 * largest['parameters'] / by_hand[len(counted) - 1]:,.0f}: 2 forward passes per parameter), and "
            "the more parameters the more; the figure shows the times beside the counts.",
            "cost.svg",
        ),
    }


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved record alone."""
    return {
        "v_curves.svg": _drawn_curves(saved["result"]["curves"]),
        "secants.svg": _secants(saved["result"]["lecture"]["float64"]),
        "cost.svg": _drawn_costs(saved["result"]["costs"], saved["measured"]["times"]),
    }


def _secants(quotients: dict[str, float]) -> Any:
    """The lecture's function along x₁ with both quotients and the tangent; far wider than h = 0.02, or all were one."""
    from experiments import figures

    figure, (spots,) = figures.blank(11, 4.4, columns=2)
    x = np.linspace(-0.2, 2.2, 200)
    for axes, h, title in ((spots[0], 1.0, "With h = 1, to be seen"), (spots[1], 2e-2, "The lecture's h = 0.02")):
        inside = x if h == 1.0 else np.linspace(0.985, 1.025, 50)
        axes.plot(inside, quadratic((inside, 3.0)), color="0.55", lw=2.5, label="$(2x_1 + 9)^2 + 3$")
        for ends, colour, style, name in (
            ((1 - h / 2, 1 + h / 2), figures.BLUE, "-", "symmetric"), ((1.0, 1 + h), figures.RED, "--", "one-sided")
        ):  # fmt: skip
            heights = [quadratic((end, 3.0)) for end in ends]
            slope = (heights[1] - heights[0]) / h
            axes.plot(ends, heights, "o", color=colour)
            axes.plot(
                inside, heights[0] + slope * (inside - ends[0]), style, color=colour, lw=1.5,
                label=f"{name}: {slope if h == 1.0 else quotients[name.replace('-', '_')]:.2f}",
            )  # fmt: skip
        axes.set(title=title, xlabel="$x_1$", ylabel="f")
        axes.legend()
    return figure


def _drawn_curves(curves: dict[str, Any]) -> Any:
    from experiments import figures

    figure, spots = figures.blank(11.5, 8, rows=2, columns=2)
    titles = {"exp": "$e^x$", "sin": r"$\sin x$", "net": "a net of 8 tanh units",
              "quadratic": "the lecture's quadratic: no V"}  # fmt: skip
    colours = (figures.BLUE, figures.GREEN, figures.ORANGE, figures.RED)
    for axes, (name, dtypes) in zip(spots.flat, curves.items(), strict=True):
        for (dtype, each), colour, marker in zip(dtypes.items(), colours, "os^D", strict=True):
            steps, errors = np.array(each["steps"]), np.array(each["central"])
            shown = errors > 0
            axes.plot(steps[shown], errors[shown], color=colour, marker=marker, ms=3, lw=1.4, label=dtype)
            if each["predicted_central"] is not None:
                axes.axvline(each["predicted_central"], color=colour, lw=1.2, ls="--")
        axes.set(xscale="log", yscale="log", title=titles[name])
    for axes in spots[1]:
        axes.set_xlabel("step to either side, h/2")
    for axes in spots[:, 0]:
        axes.set_ylabel("error of the derivative, rms")
    figure.legend(*spots[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  title="dashed: predicted best step")  # fmt: skip
    return figure


def _drawn_costs(costs: list[dict[str, Any]], times: list[dict[str, float]]) -> Any:
    from experiments import figures

    figure, (spots,) = figures.blank(11.5, 4.6, columns=2)
    styles = {"forward": (figures.GREEN, "^"), "backprop": (figures.BLUE, "o"), "differences": (figures.RED, "s")}
    for axes, rows, unit in ((spots[0], costs, 1), (spots[1], times, 1e3)):
        for name, (colour, marker) in styles.items():
            shown = [(row["parameters"], unit * row[name]) for row in rows if row[name] is not None]
            axes.plot(*zip(*shown, strict=True), color=colour, marker=marker, lw=2, label=LABELS[name])
        axes.set(xscale="log", yscale="log", xlabel="parameters of the net")
    spots[0].set(title="Operations, counted by XLA", ylabel="floating-point operations")
    spots[1].set(title="Time, measured", ylabel="milliseconds")
    spots[0].legend()
    return figure


LABELS = {"forward": "one forward pass", "backprop": "gradient by back-propagation",
        "differences": "gradient by central differences"}  # fmt: skip
