"""Question: where does linear regression end, how far can it be trusted, and what changes with a hidden layer?

Prediction: the cost of a linear model of wine is convex; one linear system gives its only minimum, and gradient descent
gets there from everywhere, at the rate that the eigenvalues predict (C1). At 0 % and at 100 % alcohol, a line of
quality against alcohol is outside everything that was observed, and at one of them outside what is possible (C2). With
a hidden layer the cost is not
convex: between two nets of equal cost, one being the other with its units in a different order, the cost is higher
(C5).
Refuted by: a start from which descent ends elsewhere, or a chord below the linear cost (C1); a line that stays
within what was observed at an end (C2); a segment between the two nets that nowhere rises above its ends (C5).

The tables are those of UCI (quality, 0 to 10, of red or white wine from 11 measurements) if a folder with them is
named; else the 178 wines of scikit-learn, which nobody rated: there the content of proline, in mg/l, takes the part of
quality. All but the training of the nets is in float64. The closed form is a least-squares solution by NumPy, which
knows nothing of our gradients.
Convexity is tried as it is defined: the cost half way between two random points is at most the mean of their costs. For
the picture of extrapolation nets are trained on alcohol alone: they agree where there are wines; elsewhere each levels
off in its own way, since nothing was learned there.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Linear regression on wine: solved, reached by descent, extrapolated; and nets, for which the cost is not convex.

    Without a folder of the UCI wine-quality tables it takes the 178 wines that come with scikit-learn.
    """

    data: Path | None = None
    """Folder that holds winequality-red.csv and winequality-white.csv; without it the variable FNN_DATA names one."""
    download: bool = False
    """Fetch the two tables from the UCI repository into --data first; what comes is compared with its SHA-256."""
    colour: Literal["red", "white"] = "red"
    """Which of the two tables."""
    starts: int = frame.at_least(1, 16)
    """From how many random points gradient descent starts."""
    steps: int = frame.at_least(1, 6000)
    """Of gradient descent on the linear model."""
    # the order of one unit cannot be changed
    hidden: int = frame.at_least(2, 8)
    """Hidden units of each net."""
    epochs: int = frame.at_least(1, 150)
    """How often each net sees every wine."""
    nets: int = frame.at_least(2, 8)
    """How many nets are trained, each from an initialisation of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        frame.require(
            self.data is not None or not self.download, "--download", self.download, "given with --data FOLDER"
        )


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "C1": ("convex", "chords", "solved", "arrives", "least", "rate"),
        "C2": ("unseen", "impossible"),
        "C5": ("equal_ends", "hill"),
    },
    x64=True,
    quick={"starts": 4, "steps": 2000, "epochs": 20, "nets": 3},
    seeds=5,
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

import fnn
from experiments import archives
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

#: The share of wines that are kept for test.
TEST = 0.2
BATCH = 32
#: A penalty on the weights of the nets that is felt with a hundred wines, and hardly with a thousand.
STRENGTH = 1e-3
LEARNING_RATE = 1e-2
#: Pairs of random points between which the linear cost is looked at.
CHORDS = 1000
#: Points on a segment, and percents on the axis of alcohol.
FINENESS = 51
#: How many values of a descent, and how many wines, are kept for the figures.
KEPT = 200
#: Costs below this share of each other are equal: some thousand sums in float64, each with a rounding of 2.2e-16.
ROUNDING = 1e-12


class Table(NamedTuple):
    """Measurements of wines, and the target."""

    source: str
    x: np.ndarray
    y: np.ndarray
    features: list[str]
    target: str
    least: float
    most: float | None
    """The possible range of the target; None if it has no bounds."""


# ---- the wines ------------------------------------------------------------------------------------------------------


def table(options: Options) -> Table:
    """The wines of the named folder, or those of scikit-learn. Raises `archives.DataError`."""
    folder = options.data or (Path(os.environ["FNN_DATA"]) if os.environ.get("FNN_DATA") else None)
    if folder is None:
        return _bundled()
    if options.download:
        archives.fetch(archives.WINE, folder)
    return read(folder / f"winequality-{options.colour}.csv")


def read(file: Path) -> Table:
    """One wine-quality table as UCI writes it: a line of names, then numbers with semicolons between them."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise archives.DataError(
            f"{file}: {error.strerror}. Name the folder that holds it with --data or FNN_DATA, or add --download to "
            "fetch it there."
        ) from None
    first, *rows = content.decode("utf-8", errors="replace").splitlines() or [""]
    names = [name.strip('"') for name in first.split(";")]
    if names[-1:] != ["quality"] or "alcohol" not in names:
        raise archives.DataError(f"{file.name} must begin with names that end in quality, got {first[:60]!r}.")
    try:
        numbers = np.array([[float(number) for number in row.split(";")] for row in rows])
        if numbers.ndim != 2 or numbers.shape[1] != len(names) or not np.isfinite(numbers).all():
            raise ValueError
    except ValueError:
        raise archives.DataError(f"{file.name} must hold {len(names)} numbers in each line. Fetch it again.") from None
    known = archives.digest(content) == archives.WINE[file.name].sha256
    source = f"{file.name} of UCI{'' if known else ', changed: its SHA-256 is another'}"
    return Table(source, numbers[:, :-1], numbers[:, -1], names[:-1], "quality", 0.0, 10.0)


def _bundled() -> Table:
    from sklearn.datasets import load_wine

    # pyright takes the pair of arrays that another way to call it returns
    wines: Any = load_wine()
    names = [name.replace("_", " ") for name in wines.feature_names]
    column = names.index("proline")
    x, y = np.delete(wines.data, column, axis=1), wines.data[:, column]
    del names[column]
    return Table("the 178 wines of scikit-learn", x, y, names, "proline (mg/l)", 0.0, None)


# ---- the experiment -------------------------------------------------------------------------------------------------


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Solve, descend, extrapolate, train the nets and look between two of them."""
    wines = table(options)
    order = np.random.default_rng(options.seed).permutation(len(wines.y))
    test, train = np.split(order, [round(TEST * len(order))])
    middle, spread = wines.x[train].mean(0), wines.x[train].std(0)
    x, y = (wines.x - middle) / spread, wines.y[:, None]
    # nets learn a target of size 1; what is reported is in units of the target
    unit = float(wines.y[train].std())
    linear, theta = _linear(options, x[train], y[train])
    watch("linear", 1, 1, f"{options.starts} starts, farthest {linear['farthest']:.1e}")
    alcohol = wines.features.index("alcohol")
    line = _line(options, wines, train, alcohol, unit)
    watch("alcohol alone", 1, 1, f"{_plain(line['at_0'])} at 0 %, {_plain(line['at_100'])} at 100 %")
    net, params = _trained(options, x[train], y[train] / unit)
    watch("nets", 1, 1, f"{options.nets} trained")
    scores = np.asarray(jax.jit(jax.vmap(net.apply, (0, None)))(params, x))[..., 0] * unit
    segments = _segments(net, params, x[train], y[train] / unit)
    watch("segments", 1, 1, f"{segments['rise']:.2f} times as high between")
    by_line = np.column_stack([x, np.ones(len(x))]) @ theta
    return {
        "data": {
            "source": wines.source, "wines": len(wines.y), "test": len(test), "features": wines.features,
            "target": wines.target, "least": wines.least, "most": wines.most,
        },
        "linear": linear | {"coefficients": dict(zip([*wines.features, "1"], theta, strict=True))},
        "line": line,
        "errors": {
            "mean of the training wines": _root(wines.y[test] - wines.y[train].mean()),
            "linear": _root(wines.y[test] - by_line[test]),
            "nets": [_root(wines.y[test] - score[test]) for score in scores],
        },
        "segments": segments | {"net": str(net)},
    }  # fmt: skip


def _root(errors: np.ndarray) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(errors**2)))


def _linear(options: Options, x: np.ndarray, y: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """The least-squares solution, and descents to it from many points at once."""
    ones = np.column_stack([x, np.ones(len(x))])
    theta = np.linalg.lstsq(ones, y[:, 0])[0]
    # the mean of squares has the Hessian 2 XᵀX / N; the rate is one over its largest eigenvalue
    curvatures = np.linalg.eigvalsh(2 * ones.T @ ones / len(x))
    rate = 1 / curvatures[-1]
    gradient = fnn.backprop(net := fnn.dense(x.shape[1], 1), fnn.squared_error)
    random = np.random.default_rng(options.seed)

    def params(theta: Any) -> dict[str, Any]:
        return {"W": theta[:-1, None], "b": theta[-1:]}

    @jax.jit
    @jax.vmap
    def descents(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(at: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            cost, slope = gradient(params(at), x, y)
            moved = at - rate * jnp.concatenate([slope["W"][:, 0], slope["b"]])
            return moved, (cost, jnp.linalg.norm(at - theta))

        return jax.lax.scan(step, start, None, length=options.steps)[1]

    size = np.linalg.norm(theta)
    starts = theta + size * random.normal(size=(options.starts, len(theta)))
    costs, distances = map(np.asarray, descents(starts))
    # with a wrong gradient they leave the finite numbers, which is judged
    with np.errstate(all="ignore"):
        rises = float((costs[:, 1:] / costs[:, :-1] - 1).max()) if options.steps > 1 else 0.0
    objective = fnn.objective(net, fnn.squared_error)
    cost = jax.jit(jax.vmap(lambda theta: objective(params(theta), x, y)))
    pairs = theta + size * random.normal(size=(2, CHORDS, len(theta)))
    ends, half_way = np.asarray(cost(pairs.reshape(-1, len(theta)))).reshape(2, -1), np.asarray(cost(pairs.mean(0)))
    least = float(cost(theta[None])[0])
    # every one of the first steps, which turn off the fast directions, then some
    chosen = np.union1d(np.arange(min(50, options.steps)), np.linspace(0, options.steps - 1, KEPT).astype(int))
    return {
        "curvatures": [curvatures[0], curvatures[-1]],
        "normal_equations": float(np.abs(ones.T @ (ones @ theta - y[:, 0])).max() / np.abs(ones.T @ y[:, 0]).max()),
        "least_cost": least,
        "farthest": float(distances[:, -1].max() / size),
        "cost_excess": float((costs[:, -1] / least - 1).max()),
        "cost_rises": rises,
        "shrinks": _shrinks(distances / size),
        "predicted_shrinks": 1 - curvatures[0] / curvatures[-1],
        "chord_excess": float((half_way / ends.mean(0) - 1).max()),
        "kept": chosen,
        "distances": _digits(distances[:, chosen] / size),
    }, theta


def _shrinks(distances: np.ndarray) -> float | None:
    """The factor of a late step, by the slope of the logarithm; None where no descent lasts long enough to show it."""
    # between a thousandth and a billionth of the solution: the fast directions are gone, rounding is not yet near
    slopes = []
    for each in np.log(np.maximum(distances, 1e-300)):
        (late,) = np.nonzero((each < np.log(1e-3)) & (each > np.log(1e-9)))
        if len(late) >= 50:
            late = late[len(late) // 2 :]
            slopes.append((each[late[-1]] - each[late[0]]) / (late[-1] - late[0]))
    return float(np.exp(np.median(slopes))) if slopes else None


def _line(options: Options, wines: Table, train: np.ndarray, alcohol: int, unit: float) -> dict[str, Any]:
    """The line of the target against alcohol, and nets on alcohol alone, from 0 to 100 %."""
    percent, y = wines.x[train][:, alcohol], wines.y[train]
    slope, intercept = np.linalg.lstsq(np.column_stack([percent, np.ones(len(percent))]), y)[0]
    line = {"W": jnp.full((1, 1), slope), "b": jnp.full(1, intercept)}
    at_0, at_100 = np.asarray(fnn.dense(1, 1).apply(line, jnp.asarray([[0.0], [100.0]])))[:, 0]
    middle, spread = percent.mean(), percent.std()
    net, params = _trained(options, ((percent - middle) / spread)[:, None], y[:, None] / unit)
    # fine where the wines are, coarse elsewhere
    axis = np.union1d(np.linspace(0, 100, FINENESS), np.linspace(percent.min(), percent.max(), FINENESS))
    curves = jax.jit(jax.vmap(net.apply, (0, None)))(params, ((axis - middle) / spread)[:, None])
    curves = np.asarray(curves)[..., 0] * unit
    within = (axis >= percent.min()) & (axis <= percent.max())
    shown = np.random.default_rng(options.seed).permutation(len(y))[:KEPT]
    return {
        "slope": slope, "at_0": at_0, "at_100": at_100,
        "observed": [y.min(), y.max()], "alcohol": [percent.min(), percent.max()],
        "wines": {"alcohol": percent[shown], "target": y[shown]},
        "axis": np.round(axis, 3),
        "nets": _digits(curves),
        # how far the nets lie apart, in units of the spread of the target
        "apart_within": float(curves[:, within].std(0).mean() / unit),
        "apart_outside": float(curves[:, ~within].std(0).mean() / unit),
    }  # fmt: skip


def _trained(options: Options, x: np.ndarray, y: np.ndarray) -> tuple[fnn.Layer, Any]:
    """A net with one hidden layer, trained in float32 from several initialisations at once; parameters stacked."""
    net = fnn.mlp(x.shape[1], options.hidden, 1, activation="tanh")
    seeds = range(options.seed, options.seed + options.nets)
    with jax.enable_x64(False):
        results = fnn.sweep(
            fnn.backprop(net, fnn.squared_error, fnn.l2), (x.astype(np.float32), y.astype(np.float32)),
            over={"seed": seeds, "strength": [STRENGTH] * len(seeds)}, optimizer=optax.adam(LEARNING_RATE),
            epochs=options.epochs, batch_size=min(BATCH, len(x)),
        )  # fmt: skip
    return net, jax.tree.map(lambda *leaves: np.stack(leaves).astype(np.float64), *results.params)


def _segments(net: fnn.Layer, params: Any, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """The cost E(θ) = Σ ‖N(x, θ) − y‖² on straight lines through the space of parameters."""
    share = jnp.linspace(0, 1, FINENESS)
    first, other = (jax.tree.map(lambda leaf, k=k: leaf[k], params) for k in (0, 1))
    # the same function with its hidden units one place on
    hidden, output = first
    turned = (jax.tree.map(lambda leaf: jnp.roll(leaf, 1, -1), hidden), output | {"W": jnp.roll(output["W"], 1, 0)})
    cost = fnn.objective(net, fnn.squared_error.sum)

    @jax.jit
    def along(start: Any, end: Any) -> jax.Array:
        between = jax.vmap(lambda t: jax.tree.map(lambda a, b: (1 - t) * a + t * b, start, end))(share)
        return jax.vmap(lambda params: cost(params, x, y))(between)

    turned, to_other = np.asarray(along(first, turned)), np.asarray(along(first, other))
    return {
        "share": share,
        "reordered": turned,
        "another": to_other,
        "ends_differ": float(abs(turned[0] - turned[-1]) / turned[0]),
        "rise": float(turned.max() / max(turned[0], turned[-1])),
    }


def _digits(values: np.ndarray) -> list[Any]:
    """Numbers that are only drawn, to four digits."""
    return np.vectorize(lambda value: float(f"{value:.4g}"))(values).tolist()


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def show(saved: dict[str, Any], console: Console) -> None:
    """Print where the linear model arrives, what it says far off, and how well each model predicts."""
    result = saved["result"]
    data, linear, line, errors = (result[key] for key in ("data", "linear", "line", "errors"))
    nets = np.array(errors["nets"])
    weights = {name: weight for name, weight in linear["coefficients"].items() if name != "1"}
    strongest = max(weights, key=lambda name: abs(weights[name]))
    text = [
        f"\n{data['source']}: {data['wines']} wines, {len(data['features'])} measurements; target: {data['target']}",
        f"linear: {linear['least_cost']:.4g} mean squared error in training; the strongest measurement is {strongest}, "
        f"{weights[strongest]:+.3g} per standard deviation",
        f"error on {data['test']} test wines (root mean square): always the mean "
        f"{errors['mean of the training wines']:.4g}, linear {errors['linear']:.4g}, nets {nets.mean():.4g} "
        f"(standard deviation {nets.std(ddof=1):.2g} over {len(nets)})",
        f"{data['target']} = {line['at_0']:.4g} {line['slope']:+.4g} × alcohol (%): {_plain(line['at_0'])} at 0 %, "
        f"{_plain(line['at_100'])} at 100 %; observed {line['observed'][0]:g} to {line['observed'][1]:g}",
        f"nets on alcohol lie {line['apart_within']:.2f} standard deviations of the target apart where there are "
        f"wines, {line['apart_outside']:.2f} elsewhere",
    ]
    console.print("\n".join(text), highlight=False, markup=False, soft_wrap=True)


def _plain(value: float) -> str:
    """Three digits at least, without a power of ten."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    linear, line, data, segments = (result[key] for key in ("linear", "line", "data", "segments"))
    low, high = line["observed"]
    ends = line["at_0"], line["at_100"]
    possible = [end >= data["least"] and (data["most"] is None or end <= data["most"]) for end in ends]
    arrived = linear["farthest"] <= _rounding(linear) and abs(linear["cost_excess"]) <= ROUNDING
    # nearer than at the start: on the way
    under_way = not arrived and linear["farthest"] < linear["distances"][0][0]
    shrinks, wanted = linear["shrinks"], linear["predicted_shrinks"]
    more = f"About {np.log(_rounding(linear)) / np.log(wanted):.0f} --steps would decide."
    return {
        "convex": Prediction("the least curvature of the linear cost", linear["curvatures"][0], "above", 0.0),
        "chords": Prediction(
            "the cost half way along a chord exceeds the chord by", linear["chord_excess"], "at most", ROUNDING
        ),
        "solved": Prediction(
            "its minimum is where the linear system says", linear["normal_equations"], "at most", ROUNDING
        ),
        "arrives": Prediction(
            "descent arrives there from every start: distance over rounding",
            None if under_way else linear["farthest"] / _rounding(linear),
            "at most",
            1.0,
            decide=more,
        ),
        "least": Prediction(
            "and its cost is the least: excess",
            None if under_way else abs(linear["cost_excess"]),
            "at most",
            ROUNDING,
            decide=more,
        ),
        # the slope is read from a finite piece of the descent, on which the second slowest direction still shows
        "rate": Prediction(
            "late steps shrink the distance as the curvatures predict: deviation, as a share of the shrinking",
            None if under_way else 0.0 if shrinks is None else abs(shrinks - wanted) / (1 - wanted),
            "at most",
            0.02,
            decide=more,
        ),
        "unseen": Prediction(
            "at 0 and 100 % the line lies outside everything observed", all(not low <= end <= high for end in ends)
        ),
        "impossible": Prediction("at one of them it says what cannot be", not all(possible)),
        "equal_ends": Prediction(
            "a net and its reordered copy cost the same: difference", segments["ends_differ"], "at most", ROUNDING
        ),
        "hill": Prediction(
            "between them the cost rises, to so many times that of the ends", segments["rise"], "above", 1 + ROUNDING
        ),
    }


def _rounding(linear: dict[str, Any]) -> float:
    """What rounding leaves of the distance: multiplied by the ratio of the curvatures."""
    least, most = linear["curvatures"]
    return abs(most / least) * ROUNDING


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the numbers say of claims C1, C2 and C5."""
    return {
        "C1": Evidence(_descended_text(result["linear"]), "descent.svg"),
        "C2": Evidence(_line_text(result["line"], result["data"]), "extrapolation.svg"),
        "C5": Evidence(
            "A trained net and the same net with its hidden units in another order cost the same (they differ by "
            f"{result['segments']['ends_differ']:.1e} of it); between them the cost rises to "
            f"{result['segments']['rise']:.3g} times that of the ends (a convex cost would stay at or below 1).",
            "segments.svg",
        ),
    }


def _descended_text(linear: dict[str, Any]) -> str:
    least, most = linear["curvatures"]
    text = (
        f"Of {CHORDS} random chords none lies below the cost half way (excess {linear['chord_excess']:.1e}, predicted "
        f"at most 0); the curvatures, {least:.3g} to {most:.3g}, are above 0; the linear system is solved to "
        f"{linear['normal_equations']:.1e}; from {len(linear['distances'])} random starts descent ends within "
        f"{linear['farthest']:.1e} of its solution (predicted 0, up to rounding of {_rounding(linear):.0e})"
    )
    if linear["shrinks"] is not None:
        text += (
            f"; late steps shrink the distance by {linear['shrinks']:.5f} (predicted {linear['predicted_shrinks']:.5f})"
        )
    return f"{text}."


def _line_text(line: dict[str, Any], data: dict[str, Any]) -> str:
    low, high = line["observed"]
    limits = f"{data['least']:g} to {data['most']:g}" if data["most"] is not None else f"not below {data['least']:g}"
    return (
        f"The line of {data['target']} against alcohol says {_plain(line['at_0'])} at 0 % and "
        f"{_plain(line['at_100'])} at 100 %; "
        f"observed are {low:g} to {high:g}, at {line['alcohol'][0]:g} to {line['alcohol'][1]:g} % (possible: "
        f"{limits}; predicted: outside the observed at both ends, impossible at one). Nets on alcohol alone lie "
        f"{line['apart_outside']:.2f} standard deviations of the target apart where there are no wines, "
        f"{line['apart_within']:.2f} where there are."
    )


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    result = saved["result"]
    return {
        "descent.svg": _descent(result["linear"]),
        "extrapolation.svg": _extrapolation(result["data"], result["line"]),
        "segments.svg": _between(result["segments"]),
    }


def _descent(linear: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((axes,),) = figures.blank(8, 4.6)
    steps = np.array(linear["kept"])
    for k, each in enumerate(linear["distances"]):
        axes.plot(steps, each, color=figures.BLUE, lw=1, alpha=0.7, label=None if k else "gradient descent")
    # the predicted slope, above the highest start
    predicted = 2 * max(each[0] for each in linear["distances"]) * linear["predicted_shrinks"] ** steps
    axes.plot(
        steps, predicted, color=figures.ORANGE, lw=2.5, ls="--",
        label=f"predicted slope, × {linear['predicted_shrinks']:.4f} a step",
    )  # fmt: skip
    axes.set(
        yscale="log", xlabel="step", ylabel=r"distance / size of the solution", ylim=(1e-17, 4 * predicted[0]),
        title=f"From {len(linear['distances'])} starts to the least-squares solution",
    )  # fmt: skip
    # beyond the rounding of float64 there is nothing to see
    axes.set_xlim(0, min(steps[-1], np.log(1e-17 / predicted[0]) / np.log(linear["predicted_shrinks"])))
    axes.legend()
    return figure


def _extrapolation(data: dict[str, Any], line: dict[str, Any]) -> Any:
    from experiments import figures

    figure, (spots,) = figures.blank(12, 4.8, columns=2)
    axis, (low, high) = np.array(line["axis"]), line["alcohol"]
    legend = f"line: {_plain(line['at_0'])} at 0 %, {_plain(line['at_100'])} at 100 %"
    for axes, ends, title in (
        (spots[0], (low - 0.3, high + 0.3), "Where the wines are"),
        (spots[1], (0, 100), "From 0 % to 100 % alcohol"),
    ):
        shown = (axis >= ends[0]) & (axis <= ends[1])
        axes.scatter(
            line["wines"]["alcohol"], line["wines"]["target"], s=12, color="0.45", label="wines", rasterized=True
        )
        for k, each in enumerate(line["nets"]):
            net = np.array(each)[shown]
            axes.plot(axis[shown], net, color=figures.ORANGE, lw=1.2, label=None if k else f"{len(line['nets'])} nets")
        straight = line["at_0"] + line["slope"] * axis[shown]
        axes.plot(axis[shown], straight, color=figures.BLUE, lw=2.5, label=legend)
        axes.set(title=title, xlabel="alcohol (% by volume)", xlim=ends)
    far = spots[1]
    for value, words in ((data["least"], "least"), (data["most"], "most")):
        if value is not None:
            far.axhline(value, color="black", lw=1, ls=":", label=None if words == "most" else "limits of the possible")
    spots[0].set_ylabel(data["target"])
    far.margins(y=0.12)
    handles, names = far.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure


def _between(segments: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((axes,),) = figures.blank(8, 4.6)
    for key, color, style, label in (
        ("reordered", figures.BLUE, "-", "to itself with its hidden units in another order"),
        ("another", figures.ORANGE, "--", "to a net from another initialisation"),
    ):
        costs = np.array(segments[key]) / segments["reordered"][0]
        axes.plot(segments["share"], costs, color=color, ls=style, lw=2.5, label=label)
        axes.plot([0, 1], [costs[0], costs[-1]], "o", color=color)
    axes.axhline(1, color="0.4", lw=1)
    axes.set(
        title="The cost on a straight line from a trained net", xlabel="share of the way",
        ylabel="cost / cost of that net", ylim=(0, None),
    )  # fmt: skip
    axes.legend()
    return figure
