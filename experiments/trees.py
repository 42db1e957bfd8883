"""Question: can any classification tree be rewritten as a network that gives the same answer everywhere?

Prediction: yes (claim A4): the network reaches the same leaf as the tree at a million random points, at every threshold
and at its neighbouring floats; 0 disagreements, for two classes and for more, up to depth 8.
Refuted by: one point at which the leaf or the class differs; an input with NaN that gets an answer.

The trees are scikit-learn's. At each inner node a training row that reaches it is moved onto the threshold, one float
below and one above, in float32 and in float64: these are the points at which rounding would show. To see that they do
show it, two networks that are nearly right are tried as well: one whose thresholds are rounded to the nearest float32
instead of down, and one that subtracts and asks for the sign of t − x.
Step units have no gradient (claim A14), so fine-tuning starts from a copy with sigmoids: steeper ones are nearer to the
tree and learn less. How often the copy disagrees with the tree is measured before and after.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


#: The trees, by what they are fitted to.
Grown = Literal[
    "iris", "two moons", "wine", "cells", "digits", "digits, random splits", "noise, 2 classes", "noise, 7 classes",
    "signs", "huge",
]  # fmt: skip


@dataclass(frozen=True)
class Options(frame.Options):
    """Rewrite fitted decision trees as exact networks, compare them point by point, then soften one and train it."""

    trees: tuple[Grown, ...] = get_args(Grown)
    """Which trees are compared with their networks."""
    points: int = frame.at_least(1, 1_000_000)
    """Random points at which each tree and its network are compared, besides all thresholds and their neighbours."""
    steps: int = frame.at_least(1, 200)
    """Updates of the fine-tuning."""

    def __post_init__(self) -> None:
        super().__post_init__()
        frame.require(len(self.trees) >= 1, "--trees", self.trees, "at least one tree")


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "A4": ("equal", "refused", "enough"),
    },
    quick={"trees": ("two moons", "signs"), "points": 5000, "steps": 3},
    unjudged=("enough",),
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

#: The claim's number of random points.
REQUIRED = 1_000_000
#: Rows that go through a network at a time.
CHUNK = 20_000
#: Steepness of the sigmoids that replace x ≤ t on digits: ink goes from 0 to 1 in sixteenths, so the nearest
#: values lie 1/32 from a threshold, where σ(s/32) is 0.58, 0.78, 0.99.
STEEPNESS = (10.0, 40.0, 160.0)
#: Of the tree in the plane, whose features have variance 1.
PLANE_STEEPNESS = 8.0
RATE = 0.01
#: The square of the picture, and how finely the copies are drawn.
LOW, HIGH, FINENESS = -2.6, 2.6, 61


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Compare every tree with its network, then train softened copies; return the numbers."""
    made, compared = _fitted(options.seed), []
    for k, name in enumerate(options.trees, start=1):
        compared.append({"tree": name} | _compared(*made[name][:2], options))
        watch("trees", k, len(options.trees), f"{name}: {sum(compared[-1]['disagreements'].values())} differ")
    plane = _plane(*made["two moons"], options=options)
    watch("fine-tuning", 1, 2, "two moons")
    tuned = _digits(options)
    watch("fine-tuning", 2, 2, "digits")
    return {"trees": compared, "refused": _refused(), "plane": plane, "fine_tuning": tuned}


# ---- the exact networks ---------------------------------------------------------------------------------------------


def _fitted(seed: int) -> dict[str, tuple[Any, np.ndarray, np.ndarray]]:
    """{name: (a fitted tree, its rows, their labels)}: small, large, binary, multi-class, and awkward ones."""
    from sklearn import datasets
    from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

    random = np.random.default_rng(seed)
    moons, halves = map(np.asarray, datasets.make_moons(400, noise=0.25, random_state=seed))
    moons = (moons - moons.mean(0)) / moons.std(0)
    images, digits = fnn.data.digits()
    iris, species = datasets.load_iris(return_X_y=True)
    cells, tumours = datasets.load_breast_cancer(return_X_y=True)
    wine, growers = datasets.load_wine(return_X_y=True)
    noise = random.normal(size=(2000, 5))
    # −1 and 1 are parted at 0, whose neighbours are subnormal; others are very large
    signs, huge = random.choice([-1.0, 1.0], (300, 6)), random.uniform(-1e30, 1e30, (300, 3))

    def grown(depth: int, x: Any, y: Any, kind: Any = DecisionTreeClassifier) -> tuple[Any, np.ndarray, np.ndarray]:
        return kind(max_depth=depth, random_state=seed).fit(x, y), np.asarray(x, np.float64), y

    return {
        "iris": grown(2, iris, species),
        "two moons": grown(4, moons, halves),
        "wine": grown(4, wine, growers),
        "cells": grown(8, cells, tumours),
        "digits": grown(8, images, digits),
        "digits, random splits": grown(8, images, digits, ExtraTreeClassifier),
        "noise, 2 classes": grown(8, noise, random.integers(0, 2, len(noise))),
        "noise, 7 classes": grown(8, noise, random.integers(0, 7, len(noise))),
        "signs": grown(6, signs, random.integers(0, 3, len(signs))),
        "huge": grown(7, huge, random.integers(0, 3, len(huge))),
    }


def _compared(tree: Any, x: np.ndarray, options: Options) -> dict[str, Any]:
    """Where the tree and its network, or a network that is nearly right, land in different leaves or classes."""
    net, params = fnn.lectures.tree_network(tree)
    at = _at_thresholds(tree, x)
    random = np.random.default_rng(options.seed)
    answer = _answering(net)
    differ = 0
    for first in range(0, options.points, CHUNK):
        rows = _random_points(tree, x, random, min(CHUNK, options.points - first))
        differ += _disagreements(tree, answer, params, rows)
    thresholds = tree.tree_.threshold[tree.tree_.children_left >= 0]
    nearest = ({"t": jnp.asarray(thresholds, jnp.float32)}, *params[1:])
    return {
        "rows": len(x),
        "features": int(tree.tree_.n_features),
        "classes": len(tree.classes_),
        "depth": int(tree.get_depth()),
        "leaves": int(tree.get_n_leaves()),
        "points": options.points,
        "points_at_thresholds": len(at),
        "disagreements": {"random": differ, "thresholds": _disagreements(tree, answer, params, at)},
        "nearly_right": {
            "rounding to nearest": _disagreements(tree, answer, nearest, at),
            "subtracting": _disagreements(tree, *_subtracting(net, params), at),
        },
    }


def _answering(net: Any) -> Any:
    """(params, x) -> (the leaf that fires, −1 unless it is exactly one; the class), compiled."""

    def answer(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        scores, inside = net.values(params, x)
        leaves = inside["2.a"]
        return jnp.where(leaves.sum(-1) == 1, leaves.argmax(-1), -1), scores.argmax(-1)

    return jax.jit(answer)


def _subtracting(net: Any, params: Any) -> tuple[Any, Any]:
    """The network whose first layer asks for the sign of t − x, as a dense layer does."""
    first, *above = net.layers
    weights = np.zeros((first.inputs, first.outputs), np.float32)
    weights[first.features, np.arange(first.outputs)] = -1
    below = fnn.dense(first.inputs, first.outputs, activation=fnn.hard_threshold)
    return _answering(fnn.sequential(below, *above)), ({"W": jnp.asarray(weights), "b": params[0]["t"]}, *params[1:])


def _disagreements(tree: Any, answer: Any, params: Any, x: np.ndarray) -> int:
    """Rows whose leaf or class differs from the tree's."""
    # filled up to whole chunks: one program for all of them
    rows = np.concatenate([fnn.lectures.tree_inputs(x), np.zeros((-len(x) % CHUNK, x.shape[1]), np.float32)])
    parts = [answer(params, rows[first : first + CHUNK]) for first in range(0, len(rows), CHUNK)]
    leaf, label = (np.concatenate([np.asarray(part[k]) for part in parts])[: len(x)] for k in (0, 1))
    # the tree numbers its nodes, the network the leaves among them
    place = np.cumsum(tree.tree_.children_left < 0) - 1
    return int(np.sum((leaf != place[tree.apply(x)]) | (tree.classes_[label] != tree.predict(x))))


def _at_thresholds(tree: Any, x: np.ndarray) -> np.ndarray:
    """For each inner node a row that reaches it, moved onto its threshold and the neighbours in both precisions."""
    reached = tree.decision_path(x).toarray().astype(bool)
    rows = []
    for node in np.flatnonzero(tree.tree_.children_left >= 0):
        start, t = x[np.argmax(reached[:, node])], tree.tree_.threshold[node]
        for dtype in (np.float64, np.float32):
            value = dtype(t)
            for moved in (np.nextafter(value, dtype(-np.inf)), value, np.nextafter(value, dtype(np.inf))):
                rows.append(start.copy())
                rows[-1][tree.tree_.feature[node]] = moved
    return np.array(rows)


def _random_points(tree: Any, x: np.ndarray, random: np.random.Generator, count: int) -> np.ndarray:
    """Points in the box of the data and a little beyond; about half their coordinates lie on or beside a threshold."""
    low, high = x.min(0), x.max(0)
    # a twentieth of the width is added on either side, halved first: huge values must not overflow
    middle, reach = low / 2 + high / 2, 1.1 * (high / 2 - low / 2)
    points = (middle + reach * random.uniform(-1, 1, (count, x.shape[1]))).astype(np.float32)
    for feature in range(x.shape[1]):
        chosen = tree.tree_.threshold[tree.tree_.feature == feature].astype(np.float32)
        if len(chosen):
            beside = np.concatenate([chosen, np.nextafter(chosen, np.float32(-np.inf)),
                                     np.nextafter(chosen, np.float32(np.inf))])  # fmt: skip
            rows = np.flatnonzero(random.random(count, np.float32) < 0.5)
            points[rows, feature] = random.choice(beside, len(rows))
    return points


def _refused() -> dict[str, bool]:
    """Whether inputs that a comparison cannot place are refused, and what the bare network makes of NaN."""

    def raises(value: float) -> bool:
        try:
            fnn.lectures.tree_inputs([[0.0, value]])
        except ValueError:
            return True
        return False

    return {"nan": raises(np.nan), "infinity": raises(np.inf), "beyond float32": raises(1e39)}


# ---- softened copies, trained ---------------------------------------------------------------------------------------


def _trained(net: Any, starts: Any, train: Any, held_out: Any, steps: int) -> tuple[Any, Any]:
    """All copies at once, full batches: their parameters at the end, and their classes of `held_out` at each step."""
    gradient, adam = fnn.backprop(net, fnn.softmax_cross_entropy), fnn.optimizers.adam(RATE)

    def one(params: Any) -> tuple[Any, Any]:
        def step(carry: Any, _: None) -> tuple[Any, Any]:
            params, state = carry
            before = net.apply(params, held_out).argmax(-1)
            updates, state = adam.update(gradient(params, *train)[1], state)
            return (jax.tree.map(jnp.add, params, updates), state), before

        (params, _), classes = jax.lax.scan(step, (params, adam.init(params)), None, length=steps)
        return params, jnp.concatenate([classes, net.apply(params, held_out).argmax(-1)[None]])

    end, classes = jax.jit(jax.vmap(one))(starts)
    return end, np.asarray(classes)


def _plane(tree: Any, x: np.ndarray, labels: np.ndarray, options: Options) -> dict[str, Any]:
    """The tree in the plane: its boxes, its softened copy, and that copy after training."""
    net, params = fnn.lectures.soft_tree_network(tree, steepness=PLANE_STEEPNESS)
    points = fnn.lectures.tree_inputs(x)
    end, _ = _trained(net, jax.tree.map(lambda leaf: leaf[None], params), (points, labels), points, options.steps)
    side = np.linspace(LOW, HIGH, FINENESS, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    by_tree = tree.classes_.searchsorted(tree.predict(grid))
    apply = jax.jit(lambda params: (net.apply(params, grid), net.apply(params, points)))

    def described(params: Any) -> dict[str, Any]:
        scores, results = (np.asarray(each, np.float64) for each in apply(params))
        agree = scores.argmax(-1) == by_tree
        return {
            "accuracy": float(np.mean(results.argmax(-1) == labels)),
            "disagreement": float(np.mean(~agree)),
            "scores": np.round((scores[:, 1] - scores[:, 0]).reshape(FINENESS, FINENESS), 3),
        }

    return {
        "steepness": PLANE_STEEPNESS,
        "points": np.round(x, 3),
        "labels": labels,
        "boxes": _boxes(tree),
        "tree_accuracy": float(tree.score(x, labels)),
        "before": described(params),
        "after": described(jax.tree.map(lambda leaf: leaf[0], end)),
    }


def _boxes(tree: Any) -> list[dict[str, Any]]:
    """The rectangle and the class of each leaf of a tree in the plane, cut at the edge of the picture."""
    fitted = tree.tree_
    results = []

    def visit(node: int, low: list[float], high: list[float]) -> None:
        if fitted.children_left[node] < 0:
            results.append({"low": low, "high": high, "class": int(fitted.value[node, 0].argmax())})
            return
        feature, t = int(fitted.feature[node]), float(np.clip(fitted.threshold[node], LOW, HIGH))
        visit(fitted.children_left[node], low, [t if k == feature else high[k] for k in (0, 1)])
        visit(fitted.children_right[node], [t if k == feature else low[k] for k in (0, 1)], high)

    visit(0, [LOW, LOW], [HIGH, HIGH])
    return results


def _digits(options: Options) -> dict[str, Any]:
    """A tree of depth 8 on three quarters of the digits, and copies of it, trained; all read the other images."""
    from sklearn.tree import DecisionTreeClassifier

    images, digits = fnn.data.digits()
    train, test = fnn.data.stratified_split(digits, (1347, 450), seed=options.seed)
    tree = DecisionTreeClassifier(max_depth=8, random_state=options.seed).fit(images[train], digits[train])
    copies = [fnn.lectures.soft_tree_network(tree, steepness=steepness) for steepness in STEEPNESS]
    starts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[params for _, params in copies])
    classes = _trained(copies[0][0], starts, (images[train], digits[train]), images[test], options.steps)[1]
    by_tree = tree.predict(images[test])
    return {
        "net": str(copies[0][0]),
        "rate": RATE,
        "train": len(train),
        "test": len(test),
        "tree_accuracy": float(np.mean(by_tree == digits[test])),
        "copies": [
            {
                "steepness": steepness,
                "accuracy": np.round(np.mean(each == digits[test], axis=1), 4),
                "disagreement": np.round(np.mean(each != by_tree, axis=1), 4),
            }
            for steepness, each in zip(STEEPNESS, classes, strict=True)
        ],
    }


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the comparison tree by tree, and what became of the softened copies."""
    result = saved["result"]
    table = Table("tree", "classes", "depth", "leaves", "random points", "at thresholds", "to nearest", "subtracting",
                  title="points at which network and tree differ, of how many")  # fmt: skip
    for each in result["trees"]:
        differ, nearly = each["disagreements"], each["nearly_right"]
        table.add_row(
            each["tree"], str(each["classes"]), str(each["depth"]), str(each["leaves"]),
            f"{differ['random']} of {each['points']:,}", f"{differ['thresholds']} of {each['points_at_thresholds']}",
            str(nearly["rounding to nearest"]), str(nearly["subtracting"]),
        )  # fmt: skip
    console.print(table)
    tuned = result["fine_tuning"]
    title = f"softened copies on {tuned['test']} digits; the tree itself {tuned['tree_accuracy']:.1%}"
    table = Table("steepness", "accuracy before", "after", "differs from the tree before", "after", title=title)
    for copy in tuned["copies"]:
        accuracy, differ = copy["accuracy"], copy["disagreement"]
        cells = (accuracy[0], accuracy[-1], differ[0], differ[-1])
        table.add_row(f"{copy['steepness']:g}", *(f"{cell:.1%}" for cell in cells))
    console.print(table)


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    trees = result["trees"]
    return {
        "equal": Prediction(
            "points at which a network's answer is not its tree's",
            [each["disagreements"] for each in trees],
            "at most",
            0,
        ),
        "refused": Prediction("what is no tree of numbers is refused", all(result["refused"].values())),
        "enough": Prediction(
            "random points tried per tree",
            [each["points"] for each in trees],
            "at least",
            REQUIRED,
            None,
            f"{REQUIRED:,} points per tree would decide.",
        ),
    }


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the comparisons say of claim A4."""
    trees = result["trees"]
    differ = sum(sum(each["disagreements"].values()) for each in trees)
    points, at = (sum(each[name] for each in trees) for name in ("points", "points_at_thresholds"))
    deepest, classes = (max(each[name] for each in trees) for name in ("depth", "classes"))
    spoiled = {name: sum(each["nearly_right"][name] for each in trees) for name in trees[0]["nearly_right"]}
    tuned = result["fine_tuning"]
    best = max(tuned["copies"], key=lambda copy: copy["accuracy"][-1])
    return {
        "A4": Evidence(
            f"{len(trees)} trees of up to {deepest} levels and {classes} classes differ from their networks at "
            f"{differ} of {points:,} random points and {at:,} points at thresholds (predicted 0; thresholds rounded to "
            f"the nearest float32 differ at {spoiled['rounding to nearest']} of these, units that subtract at "
            f"{spoiled['subtracting']}). A copy of steepness {best['steepness']:g} differs from its tree on "
            f"{best['disagreement'][0]:.1%} of {tuned['test']} unseen digits before training and on "
            f"{best['disagreement'][-1]:.1%} after; it reads {best['accuracy'][-1]:.1%} of them, the tree "
            f"{tuned['tree_accuracy']:.1%}.",
            "partition.svg",
        )
    }


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    result = saved["result"]
    return {"partition.svg": _partition(result["plane"]), "fine_tuning.svg": _tuning(result["fine_tuning"])}


def _partition(plane: dict[str, Any]) -> Any:
    from matplotlib.patches import Rectangle

    from experiments import figures

    figure, (spots,) = figures.blank(13, 5.7, columns=3)
    colours = (figures.BLUE, figures.ORANGE)
    for box in plane["boxes"]:
        (left, bottom), (right, top) = box["low"], box["high"]
        spots[0].add_patch(
            Rectangle((left, bottom), right - left, top - bottom, facecolor=colours[box["class"]], alpha=0.35)
        )
        spots[0].add_patch(Rectangle((left, bottom), right - left, top - bottom, fill=False, edgecolor="black", lw=1.2))
    spots[0].set_title(f"The tree, and its exact network:\n{plane['tree_accuracy']:.1%} right")
    side = np.linspace(LOW, HIGH, FINENESS)
    for axes, name, title in ((spots[1], "before", "Softened copy"), (spots[2], "after", "The copy, trained")):
        each = plane[name]
        scores = np.array(each["scores"])
        axes.contourf(side, side, scores, levels=[-np.inf, 0, np.inf], colors=colours, alpha=0.35)
        axes.contour(side, side, scores, levels=[0], colors="black", linewidths=1.5)
        axes.set_title(f"{title}: {each['accuracy']:.1%} right,\ndiffers on {each['disagreement']:.1%} of the square")
    points, labels = np.array(plane["points"]), np.array(plane["labels"])
    for axes in spots:
        axes.grid(False)
        for value, marker in ((0, "o"), (1, "s")):
            x, y = points[labels == value].T
            axes.scatter(
                x, y, s=14, marker=marker, color=colours[value], edgecolor="black", lw=0.4, label=f"class {value}"
            )
        axes.set(xlim=(LOW, HIGH), ylim=(LOW, HIGH), aspect="equal", xlabel="$x_1$ (standard deviations)")
    spots[0].set_ylabel("$x_2$ (standard deviations)")
    figure.legend(*spots[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _tuning(tuned: dict[str, Any]) -> Any:
    from experiments import figures

    figure, (spots,) = figures.blank(11, 4.4, columns=2)
    lines = ("-", "--", "-.")
    for axes, name in zip(spots, ("accuracy", "disagreement"), strict=True):
        for copy, colour, line in zip(tuned["copies"], (figures.BLUE, figures.RED, figures.GREEN), lines, strict=True):
            axes.plot(
                100 * np.array(copy[name]), line, color=colour, lw=2, label=f"copy, steepness {copy['steepness']:g}"
            )
    spots[0].axhline(100 * tuned["tree_accuracy"], color="black", lw=1.2, ls=":", label="the tree")
    spots[0].set(title=f"{tuned['test']} digits not trained on", xlabel="step", ylabel="read correctly (%)")
    spots[1].set(title="How far the copy has left its tree", xlabel="step", ylabel="digits read unlike the tree (%)")
    spots[1].set_ylim(bottom=0)
    spots[0].legend(loc="center right")
    return figure
