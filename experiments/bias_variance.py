"""Question: what is the best possible error, how close does a trained model come, and how does its error split into
bias, variance and noise?

Prediction: on a known mixture no trained model has a smaller probability of error than the Bayes classifier, whose risk
is an integral; with squared loss none beats E[Y|X], whose risk is the noise (B1). A linear rule stays far above the
Bayes risk however many points it sees (approximation error), a net comes close to it, and is worse with fewer points
(estimation error) (B2). Over redrawn training sets, expected squared error = bias² + variance + noise for every net;
one unit has too much bias, and among nets of 24 units an intermediate penalty is best: with less there is more
variance, with more there is more bias. For the absolute loss the corresponding sum is not the error (B2).
Refuted by: a model below the Bayes risk by more than chance; a sum that differs from the error on fresh data by more
than five standard errors.

The risk of a model is measured on fresh points of the mixture, and so is that of the Bayes classifier, on the same
points, so that chance favours neither. The mixture, the curve and the noise are ours.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Compare trained models with the best possible one, and split their error into bias, variance and noise.

    Two classes from a known mixture, with the Bayes risk as an integral; a curve with noise, over redrawn training
    sets.
    """

    sets: int = frame.at_least(2, 200)
    """How many training sets are drawn; the classifiers take at most the first 50."""
    sizes: tuple[int, ...] = (40, 160, 640)
    """Points in a training set of the classifiers, from few to many."""
    steps: int = frame.at_least(1, 600)
    """How many Adam steps each net is trained for."""
    fresh: int = frame.at_least(1, 20_000)
    """How many fresh points the classifiers are measured on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rising = len(self.sizes) > 1 and list(self.sizes) == sorted(set(self.sizes)) and min(self.sizes) >= 1
        frame.require(rising, "--sizes", self.sizes, "two or more, each larger than the last")


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "B1": ("integral", "classifier", "regression"),
        "B2": ("line", "points", "near", "parts", "narrow", "trade", "less", "more", "absolute"),
    },
    quick={"sets": 10, "sizes": (40, 640), "steps": 300, "fresh": 2000},
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

#: Two classes, equally likely, each of two round normal clouds: centres, and the deviation of all.
CENTRES = {0: ((-1.5, -0.6), (1.5, -0.6)), 1: ((0.0, 0.6), (3.0, 0.6))}
DEVIATION = 0.75
#: Hidden units of the classifiers; 0 is the linear one.
CLASSIFIERS = (0, 3, 24)
#: Hidden units of the nets that follow the curve, and the strength of L2.
KINDS = ((1, 0.0), (2, 0.0), (4, 0.0), (24, 0.0), (24, 1e-3), (24, 1e-2), (24, 1e-1))
#: Which of them the figure shows.
SHOWN = {"1 hidden unit": 0, "24 hidden units": 3, "24 hidden units, λ = 0.1": 6}
#: By how much the first weights of the nets on the curve are larger than Glorot's.
STEEPNESS = 3
NOISE = 0.3
PLACES = 41
#: How far the boundary is drawn, and how finely.
LOW, HIGH, FINENESS = (-3.8, -3.2), (5.2, 3.2), 51


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Integrate, train on redrawn sets, measure on fresh points, and return the numbers."""
    result = {"classes": _classes(options)}
    watch("classes", 1, 1, f"Bayes risk {result['classes']['bayes']:.4f}")
    result["curve"] = _curve(options)
    watch("curve", 1, 1, f"{options.sets} training sets at {len(KINDS)} complexities")
    return result


# ---- two classes ----------------------------------------------------------------------------------------------------


def density(points: np.ndarray, label: int) -> np.ndarray:
    """p(x | class) of the mixture, for points (…, 2)."""
    clouds = [np.exp(-np.sum((points - np.array(c)) ** 2, axis=-1) / (2 * DEVIATION**2)) for c in CENTRES[label]]
    return np.mean(clouds, axis=0) / (2 * np.pi * DEVIATION**2)


def bayes_risk(side: int = 1200) -> float:
    """½ ∫ min(p(x|0), p(x|1)) dx by the midpoint rule, on a square that holds all but 10⁻⁹ of the mass.

    >>> abs(bayes_risk(600) - bayes_risk(1200)) < 1e-6
    True
    """
    # six deviations beyond every centre
    edges = [np.linspace(low, high, side + 1) for low, high in ((-6.1, 7.6), (-5.2, 5.2))]
    middles = [(e[1:] + e[:-1]) / 2 for e in edges]
    grid = np.stack(np.meshgrid(*middles), axis=-1)
    cell = (edges[0][1] - edges[0][0]) * (edges[1][1] - edges[1][0])
    return float(0.5 * np.minimum(density(grid, 0), density(grid, 1)).sum() * cell)


def drawn(random: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (…, 2) of the mixture and their classes (…)."""
    labels = random.integers(0, 2, shape)
    cloud = random.integers(0, 2, shape)
    centres = np.array([CENTRES[0], CENTRES[1]])[labels, cloud]
    return centres + DEVIATION * random.normal(size=(*shape, 2)), labels


def _narrowed(params: Any, width: jax.Array) -> Any:
    """Units beyond the width cut off: their output weights are 0, and so are their gradients."""
    first, second = params
    active = (jnp.arange(second["W"].shape[0]) < width).astype(second["W"].dtype)
    return first, {"W": second["W"] * active[:, None], "b": second["b"]}


def _fitted(by_hand: Any, start: Any, width: jax.Array, x: jax.Array, y: jax.Array, rate: float, steps: int) -> Any:
    """Parameters after so many steps of Adam, full batch, of a net narrowed to this width."""
    optimizer = fnn.optimizers.adam(rate)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        params, state = carry
        updates, state = optimizer.update(_narrowed(by_hand(params, x, y)[1], width), state, params)
        return (jax.tree.map(jnp.add, params, updates), state), None

    start = _narrowed(start, width)
    return jax.lax.scan(step, (start, optimizer.init(start)), None, length=steps)[0][0]


def _classes(options: Options) -> dict[str, Any]:
    """Risks of linear and other classifiers on small and large training sets, beside the Bayes risk."""
    random = np.random.default_rng(options.seed)
    count = min(options.sets, 50)
    test_x, test_y = drawn(random, options.fresh)
    bayes_reads = density(test_x, 1) >= density(test_x, 0)
    bayes_wrong = bayes_reads != test_y
    side = [np.linspace(LOW[k], HIGH[k], FINENESS) for k in range(2)]
    plane = np.stack(np.meshgrid(*side), axis=-1).reshape(-1, 2)
    loss = fnn.sigmoid_cross_entropy
    nets = {"linear": fnn.mlp(2, 1), "net": fnn.mlp(2, max(CLASSIFIERS), 1)}

    def trained(name: str, keys: Any, widths: Any, x: Any, y: Any, test: Any, plane: Any) -> Any:
        net = nets[name]
        by_hand = fnn.backprop(net, loss)

        def one(key: Any, width: Any, x: Any, y: Any) -> Any:
            if name == "linear":
                optimizer = fnn.optimizers.adam(0.05)

                def step(carry: Any, _: None) -> tuple[Any, None]:
                    params, state = carry
                    updates, state = optimizer.update(by_hand(params, x, y)[1], state, params)
                    return (jax.tree.map(jnp.add, params, updates), state), None

                start = net.init(key)
                params = jax.lax.scan(step, (start, optimizer.init(start)), None, length=options.steps)[0][0]
            else:
                params = _fitted(by_hand, net.init(key), width, x, y, 0.03, options.steps)
            return net.apply(params, test)[:, 0] >= 0, net.apply(params, plane)[:, 0]

        # one set after another on the large test: together they would fill the memory
        return jax.lax.map(lambda each: one(*each), (keys, widths, x, y), batch_size=25)

    program = jax.jit(trained, static_argnums=0)
    results, boundaries = [], {}
    small, large, wide = options.sizes[0], options.sizes[-1], CLASSIFIERS[-1]
    drawn_boundaries = {(0, small), (wide, small), (wide, large)}

    def sheet(scores: np.ndarray) -> np.ndarray:
        # only where the score changes its sign is drawn
        return np.clip(scores, -9, 9).reshape(FINENESS, FINENESS).round(2)

    test, grid = jnp.asarray(test_x, jnp.float32), jnp.asarray(plane, jnp.float32)
    for size in options.sizes:
        x, y = drawn(random, count, size)
        for name, widths in (("linear", (0,)), ("net", CLASSIFIERS[1:])):
            many = np.repeat(widths, count)
            keys = jax.vmap(jax.random.key)(jnp.arange(len(many), dtype=jnp.uint32) + options.seed)
            rows = np.tile(np.arange(count), len(widths))
            reads, scores = program(
                name, keys, jnp.asarray(many), jnp.asarray(x[rows], jnp.float32),
                jnp.asarray(y[rows][..., None], jnp.float32), test, grid,
            )  # fmt: skip
            wrong = np.asarray(reads) != test_y
            for k, width in enumerate(widths):
                mine = wrong[k * count : (k + 1) * count]
                # beside Bayes on the same points: only points that they read differently tell them apart
                excess = (mine.astype(float) - bayes_wrong).mean(axis=1)
                spread = np.sqrt((mine != bayes_wrong).mean(axis=1) / options.fresh)
                results.append({
                    "width": width, "size": size, "risk": float(mine.mean()),
                    "smallest": float(mine.mean(axis=1).min()),
                    "excess": float(excess.mean()), "excess_error": float(excess.std() / np.sqrt(count)),
                    # of the model that comes nearest to beating Bayes, in standard errors
                    "lowest_in_errors": float((excess / np.maximum(spread, 1e-12)).min()),
                })  # fmt: skip
                if (width, size) in drawn_boundaries:
                    boundaries[f"{width}, {size}"] = sheet(np.asarray(scores)[k * count])
    shown_x, shown_y = drawn(np.random.default_rng(options.seed + 1), 150)
    ratio = np.log(density(plane, 1) / density(plane, 0))
    return {
        "bayes": bayes_risk(),
        "bayes_measured": float(bayes_wrong.mean()),
        "fresh": options.fresh,
        "sets": count,
        "sizes": list(options.sizes),
        "models": results,
        "boundaries": boundaries,
        "bayes_boundary": sheet(ratio),
        "points": shown_x.round(2),
        "labels": shown_y,
    }


# ---- a curve --------------------------------------------------------------------------------------------------------


def curve(x: Any) -> Any:
    """The truth E[Y|X = x]: ours."""
    return np.sin(3 * x) + 0.5 * x


def _curve(options: Options) -> dict[str, Any]:
    """Bias, variance, noise and error of nets of five widths, over redrawn training sets: one program."""
    random = np.random.default_rng(options.seed + 2)
    sets, points = options.sets, 25
    x = random.uniform(-1.5, 1.5, (sets, points, 1))
    y = curve(x) + NOISE * random.normal(size=x.shape)
    places = np.linspace(-1.4, 1.4, PLACES)[:, None]
    net = fnn.mlp(1, max(width for width, _ in KINDS), 1, bias_init=fnn.initializers.uniform(3.0))
    penalized = fnn.backprop(net, fnn.half_squared_error, fnn.l2)

    @jax.jit
    def predicted(
        keys: jax.Array, x: jax.Array, y: jax.Array, widths: jax.Array, strengths: jax.Array, places: jax.Array
    ) -> jax.Array:
        def one(key: jax.Array, x: jax.Array, y: jax.Array, width: jax.Array, strength: jax.Array) -> jax.Array:
            def by_hand(params: Any, x: jax.Array, y: jax.Array) -> Any:
                return penalized(params, x, y, strength=strength)

            first, second = net.init(key)
            # steep units that bend anywhere within the data: the wider the net, the more turns it can take
            start = {"W": STEEPNESS * first["W"], "b": first["b"]}, second
            return net.apply(_fitted(by_hand, start, width, x, y, 0.03, options.steps), places)[:, 0]

        over_sets = jax.vmap(one, in_axes=(0, 0, 0, None, None))
        return jax.vmap(over_sets, in_axes=(None, None, None, 0, 0))(keys, x, y, widths, strengths)

    keys = jax.vmap(jax.random.key)(jnp.arange(sets, dtype=jnp.uint32) + options.seed)
    results = np.asarray(
        predicted(
            keys, jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), jnp.asarray([width for width, _ in KINDS]),
            jnp.asarray([strength for _, strength in KINDS], jnp.float32), jnp.asarray(places, jnp.float32),
        ),
        np.float64,
    )  # fmt: skip
    truth = curve(places)[:, 0]
    # fresh answers at the same places, that no sum below has seen
    fresh = truth + NOISE * random.normal(size=(len(KINDS), sets, PLACES))
    mean = results.mean(axis=1)
    # unbiased: a mean over S sets is itself off by a share of the variance
    variance = results.var(axis=1, ddof=1)
    bias = (mean - truth) ** 2 - variance / sets
    # by the package's loss, example by example, in float64 like all that follows
    with jax.enable_x64(True):
        squared = jax.jit(jax.vmap(fnn.squared_error))(results.reshape(-1, 1), fresh.reshape(-1, 1))
    error = np.asarray(squared).reshape(fresh.shape)
    absolute = np.abs(fresh - results).mean(axis=(1, 2))
    parts = np.abs(mean - truth).mean(axis=1) + np.abs(results - mean[:, None]).mean(axis=(1, 2))
    return {
        "sets": sets,
        "points": points,
        "noise": NOISE**2,
        "models": [
            {
                "width": width,
                "strength": strength,
                "bias": float(bias[k].mean()),
                "variance": float(variance[k].mean()),
                "error": float(error[k].mean()),
                # training sets are independent, places within one are not
                "standard_error": float(error[k].mean(axis=1).std(ddof=1) / np.sqrt(sets)),
                "absolute_error": float(absolute[k]),
                # E|noise| of a normal is √(2/π) deviations
                "absolute_sum": float(parts[k] + NOISE * np.sqrt(2 / np.pi)),
            }
            for k, (width, strength) in enumerate(KINDS)
        ],
        "places": places[:, 0].round(4),
        "truth": truth.round(4),
        "samples": {words: results[k, :12].round(3) for words, k in SHOWN.items()},
        "means": {words: mean[k].round(4) for words, k in SHOWN.items()},
    }


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    classes, follow = result["classes"], result["curve"]
    small, large = classes["sizes"][0], classes["sizes"][-1]
    excess = {(m["width"], m["size"]): m["excess"] for m in classes["models"]}
    wide, widths, noise = CLASSIFIERS[-1], follow["models"], follow["noise"]
    # among the nets of 24 units, from no penalty to the strongest
    best = min(range(3, len(widths)), key=lambda k: widths[k]["error"])
    deviation = (classes["bayes"] * (1 - classes["bayes"]) / classes["fresh"]) ** 0.5
    return {
        "integral": Prediction(
            "the integral is what the Bayes classifier does on fresh points: deviation in standard errors",
            abs(classes["bayes_measured"] - classes["bayes"]) / deviation,
            "at most",
            5.0,
        ),
        # below once in three million models by chance
        "classifier": Prediction(
            "no classifier beats it: the least excess in standard errors",
            [m["lowest_in_errors"] for m in classes["models"]],
            "at least",
            -5.0,
        ),
        "regression": Prediction(
            "no net beats E[Y|X]: excess in standard errors",
            [(m["error"] - noise) / m["standard_error"] for m in widths],
            "at least",
            -5.0,
        ),
        "line": Prediction(
            "more points do not help a line: its excess with most over that with fewest",
            excess[0, large] / excess[0, small],
            "above",
            0.5,
        ),
        "points": Prediction(
            "more points help a net: its excess with most over that with fewest",
            excess[wide, large] / excess[wide, small],
            "below",
            0.5,
        ),
        "near": Prediction(
            "a net comes near the Bayes risk, a line does not: excess of the net over that of the line",
            excess[wide, large] / excess[0, large],
            "at most",
            0.25,
        ),
        "parts": Prediction(
            "bias² + variance + noise is the error on fresh data: deviation in standard errors",
            [abs(m["bias"] + m["variance"] + noise - m["error"]) / m["standard_error"] for m in widths],
            "at most",
            5.0,
        ),
        "narrow": Prediction(
            "the narrowest net has most bias: its bias² less four times that of the wider",
            [widths[0]["bias"] - 4 * m["bias"] for m in widths[1:4]],
            "above",
            0.0,
        ),
        "trade": Prediction("a penalty in between is best", best not in (3, len(widths) - 1)),
        "less": Prediction(
            "with less penalty more variance",
            [m["variance"] - widths[best]["variance"] for m in widths[3:best]] or None,
            "above",
            0.0,
        ),
        "more": Prediction(
            "with more penalty more bias",
            [m["bias"] - widths[best]["bias"] for m in widths[best + 1 :]] or None,
            "above",
            0.0,
        ),
        "absolute": Prediction(
            "for the absolute loss such a sum is not the error: sum over error",
            [m["absolute_sum"] / m["absolute_error"] for m in widths],
            "above",
            1.05,
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the numbers say of claims B1 and B2."""
    classes, follow = result["classes"], result["curve"]
    excess = {(m["width"], m["size"]): m["excess"] for m in classes["models"]}
    small, large, wide = classes["sizes"][0], classes["sizes"][-1], CLASSIFIERS[-1]
    apart = max(
        abs(m["bias"] + m["variance"] + follow["noise"] - m["error"]) / m["standard_error"] for m in follow["models"]
    )
    first, free, last = (follow["models"][k] for k in SHOWN.values())
    lowest = min(follow["models"], key=lambda m: m["error"])
    best = min(follow["models"][3:], key=lambda m: m["error"])
    return {
        "B1": Evidence(
            f"Bayes risk {classes['bayes']:.4f} by integration, {classes['bayes_measured']:.4f} on {classes['fresh']} "
            f"fresh points; the best of {len(classes['models']) * classes['sets']} trained classifiers is at "
            f"{min(m['smallest'] for m in classes['models']):.4f}, the nearest to beating it at "
            f"{min(m['lowest_in_errors'] for m in classes['models']):.1f} standard errors (predicted above −5). "
            f"Squared loss: best net {lowest['error']:.4f}, E[Y|X] {follow['noise']:.4f}.",
            "classes.svg",
        ),
        "B2": Evidence(
            f"Above the Bayes risk: a line by {excess[0, small]:.3f} with {small} points and {excess[0, large]:.3f} "
            f"with {large}, a net of {wide} units by {excess[wide, small]:.3f} and {excess[wide, large]:.3f}. Over "
            f"{follow['sets']} training sets bias² + variance + noise is the error to {apart:.1f} standard errors "
            f"(predicted below 5): bias² {first['bias']:.4f} and variance {first['variance']:.4f} with one unit; with "
            f"24 and no penalty {free['bias']:.4f} and {free['variance']:.4f}, with L2 of {best['strength']:g} "
            f"{best['bias']:.4f} and {best['variance']:.4f}, of {last['strength']:g} {last['bias']:.4f} and "
            f"{last['variance']:.4f}. More units alone do not add variance here ({follow['models'][1]['variance']:.4f} "
            "with two). For the absolute loss the like sum is too large, by "
            f"{min(m['absolute_sum'] / m['absolute_error'] - 1 for m in follow['models']):.0%} or more.",
            "curve.svg",
        ),
    }


def show(saved: dict[str, Any], console: Console) -> None:
    """Print risks and parts of the error."""
    result = saved["result"]
    table = Table(title=f"Classifiers, Bayes {result['classes']['bayes']:.4f}")
    for heading in ("hidden units", "points", "risk", "above Bayes"):
        table.add_column(heading, justify="right")
    for m in result["classes"]["models"]:
        table.add_row(str(m["width"]), str(m["size"]), f"{m['risk']:.4f}", f"{m['excess']:.4f}")
    console.print(table)
    table = Table(title=f"Nets on a curve, noise {result['curve']['noise']:.4f}")
    for heading in ("width", "λ", "bias²", "variance", "sum with noise", "error, measured", "± standard error"):
        table.add_column(heading, justify="right")
    for m in result["curve"]["models"]:
        total = m["bias"] + m["variance"] + result["curve"]["noise"]
        values = (m["bias"], m["variance"], total, m["error"], m["standard_error"])
        table.add_row(str(m["width"]), f"{m['strength']:g}", *(f"{value:.4f}" for value in values))
    console.print(table)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    return {
        "classes.svg": _classes_figure(saved["result"]["classes"]),
        "curve.svg": _curve_figure(saved["result"]["curve"]),
    }


def _classes_figure(classes: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((boundary, risks),) = figures.blank(12.5, 4.8, columns=2)
    side = [np.linspace(LOW[k], HIGH[k], FINENESS) for k in range(2)]
    points, labels = np.array(classes["points"]), np.array(classes["labels"])
    for value, marker, color in ((0, "o", figures.BLUE), (1, "s", figures.ORANGE)):
        chosen = points[labels == value]
        boundary.scatter(
            chosen[:, 0], chosen[:, 1], s=16, marker=marker, color=color, alpha=0.6, label=f"class {value}"
        )
    lines = [("Bayes", classes["bayes_boundary"], "black", "-")]
    small, large, wide = classes["sizes"][0], classes["sizes"][-1], CLASSIFIERS[-1]
    for words, name, color, style in (
        (f"line, {small} points", f"0, {small}", figures.RED, "-"),
        (f"net of {wide}, {small} points", f"{wide}, {small}", figures.PINK, ":"),
        (f"net of {wide}, {large} points", f"{wide}, {large}", figures.GREEN, "--"),
    ):
        lines.append((words, classes["boundaries"][name], color, style))
    for words, scores, color, style in lines:
        boundary.contour(*side, np.array(scores), levels=[0], colors=color, linestyles=style, linewidths=2)
        boundary.plot([], [], color=color, ls=style, lw=2, label=words)
    boundary.set(
        title="Linear and other boundaries",
        xlabel="$x_1$",
        ylabel="$x_2$",
        xlim=(LOW[0], HIGH[0]),
        ylim=(LOW[1], HIGH[1]),
    )
    boundary.grid(False)
    boundary.legend(fontsize=8, loc="lower center", ncols=3)
    for width, color, marker in zip(CLASSIFIERS, (figures.RED, figures.BLUE, figures.GREEN), "osD", strict=True):
        mine = [m for m in classes["models"] if m["width"] == width]
        risks.errorbar(
            [m["size"] for m in mine], [100 * (classes["bayes"] + m["excess"]) for m in mine],
            yerr=[200 * m["excess_error"] for m in mine], color=color, marker=marker, lw=2, capsize=3,
            label="line" if width == 0 else f"net of {width} units",
        )  # fmt: skip
    risks.axhline(100 * classes["bayes"], color="black", lw=2, ls="--", label="Bayes risk, by integration")
    risks.set(
        xscale="log",
        xlabel="training points",
        ylabel="probability of error (%)",
        title="Nobody beats Bayes",
        ylim=(0, None),
    )
    risks.set_xticks(sizes := sorted({m["size"] for m in classes["models"]}), [str(n) for n in sizes])
    risks.minorticks_off()
    risks.legend()
    return figure


def _curve_figure(follow: dict[str, Any]) -> Any:
    from experiments import figures

    figure, (axes,) = figures.blank(16, 4.2, columns=4)
    for axis, (words, samples) in zip(axes, follow["samples"].items(), strict=False):
        for k, sample in enumerate(samples):
            axis.plot(
                follow["places"],
                sample,
                color=figures.BLUE,
                lw=0.7,
                alpha=0.6,
                label="one training set" if k == 0 else None,
            )
        axis.plot(follow["places"], follow["means"][words], color=figures.ORANGE, lw=2.5, label="mean of all")
        axis.plot(follow["places"], follow["truth"], "--", color="black", lw=2, label="truth")
        axis.set(title=words, xlabel="x", ylabel="y", ylim=(-2.6, 2.6))
    axes[0].legend(fontsize=9, loc="upper left")
    names = [f"{m['width']}\n{m['strength']:g}" for m in follow["models"]]
    bottom = np.zeros(len(names))
    for what, color, hatch in (("noise", "0.75", ""), ("bias", figures.ORANGE, "//"), ("variance", figures.BLUE, "")):
        values = np.array([follow["noise"] if what == "noise" else m[what] for m in follow["models"]])
        label = {"noise": "noise", "bias": "bias²", "variance": "variance"}[what]
        axes[3].bar(names, values, bottom=bottom, color=color, hatch=hatch, edgecolor="white", label=label)
        bottom = bottom + values
    axes[3].errorbar(
        names, [m["error"] for m in follow["models"]], yerr=[2 * m["standard_error"] for m in follow["models"]],
        fmt="o", color="black", capsize=4, label="error on fresh data",
    )  # fmt: skip
    axes[3].set(
        title="Parts of the squared error", xlabel="hidden units, and below them λ", ylabel="mean squared error"
    )
    axes[3].set_ylim(top=1.45 * max(bottom))
    axes[3].legend(fontsize=9, ncols=2, loc="upper center")
    return figure
