"""Question: in which order should the Jacobians of the chain rule be multiplied, and when is starting from the output
not the best?

Prediction: for A 1×100, B 100×100, C 100×100 from the left costs 2·10⁴ multiplications and from the right 1.01·10⁶,
about 50 times more (claim D5); XLA counts twice that, an addition with each. The gap grows with the size. Starting from
the output, as back-propagation does, is best if the net narrows to one number; starting from the input (forward mode)
is best if it widens from one; if it is wide at both ends and narrow inside, neither is best.
Refuted by: another count; a gap that does not grow; a chain for which dynamic programming and trying every order
disagree, or where the predicted order is not the best.

The Jacobian of a layer with I inputs and O outputs is O × I, the output's on the left, so that reverse mode multiplies
from the left and forward mode from the right. That the orders give equal products is checked too.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Multiply chains of matrices in every order: counted, timed, and the best found by dynamic programming."""

    chains: int = frame.at_least(1, 300)
    """Random chains for which dynamic programming is compared with trying every order."""
    largest: int = frame.at_least(100, 2000)
    """The largest size n of the lecture's chain, 1 × n times n × n times n × n."""
    repeats: int = frame.at_least(1, 7)
    """How often each program is timed; the fastest counts."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "D5": ("lecture", "doubled", "grows", "shapes", "programming", "equal", "library"),
    },
    quick={"chains": 20, "largest": 100, "repeats": 1},
    unjudged=("grows",),
    seeds=5,
    again={"largest": 200, "repeats": 1},
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import fnn
from experiments import costs
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

#: What the lecture counts for its chain 1×100 · 100×100 · 100×100, from the left and from the right.
FROM_LEFT, FROM_RIGHT = 2 * 10**4, 101 * 10**4
#: Sizes n of 1×n · n×n · n×n.
SIZES = (100, 200, 500, 1000, 2000)
#: Jacobians of nets of four layers by the widths from the output to the input, and what should be best for each.
SHAPES = {
    "a loss: 1 output": ((1, 300, 300, 300, 300), "from the output"),
    "a curve: 1 input": ((300, 300, 300, 300, 1), "from the input"),
    "an autoencoder: narrow inside": ((300, 300, 2, 300, 300), "mixed"),
    "a sensor: wide ends, narrow steps": ((200, 10, 200, 10, 200), "mixed"),
}
#: Reverse mode, forward mode, and the order that dynamic programming finds.
KINDS = ("from the output", "from the input", "mixed")
#: The random chains: most matrices, and their largest size.
LONGEST, WIDEST = 7, 60


# ---- counting -------------------------------------------------------------------------------------------------------


def cost(order: Any, sizes: tuple[int, ...]) -> int:
    """Multiplications of a chain in this order: a number k stands for matrix k, of shape sizes[k] × sizes[k + 1]."""
    return _shape_and_cost(order, sizes)[2]


def _shape_and_cost(order: Any, sizes: tuple[int, ...]) -> tuple[int, int, int]:
    if isinstance(order, int):
        return sizes[order], sizes[order + 1], 0
    (rows, inner, left), (_, columns, right) = (_shape_and_cost(part, sizes) for part in order)
    return rows, columns, left + right + rows * inner * columns


def every_order(first: int, last: int) -> list[Any]:
    """Every way to put brackets around matrices first … last: Catalan's number of them."""
    if first == last:
        return [first]
    return [
        (left, right)
        for split in range(first, last)
        for left in every_order(first, split)
        for right in every_order(split + 1, last)
    ]


def best_order(sizes: tuple[int, ...]) -> Any:
    """The cheapest order by dynamic programming: the best for a stretch is made of the bests of its two parts."""

    @cache
    def best(first: int, last: int) -> tuple[int, Any]:
        if first == last:
            return 0, first
        results = []
        for split in range(first, last):
            (left, a), (right, b) = best(first, split), best(split + 1, last)
            results.append((left + right + sizes[first] * sizes[split + 1] * sizes[last + 1], (a, b)))
        return min(results, key=lambda each: each[0])

    return best(0, len(sizes) - 2)[1]


def from_left(count: int) -> Any:
    """(((0 1) 2) …): reverse mode, from the output."""
    order: Any = 0
    for k in range(1, count):
        order = (order, k)
    return order


def from_right(count: int) -> Any:
    """(… (n − 2 n − 1)): forward mode, from the input."""
    order: Any = count - 1
    for k in reversed(range(count - 1)):
        order = (k, order)
    return order


# ---- the experiment -------------------------------------------------------------------------------------------------


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Count by hand, by dynamic programming and by XLA, and time; times stand under "measured"."""
    random = np.random.default_rng(options.seed)
    growth, growth_times = [], []
    for k, n in enumerate(SIZES, start=1):
        if n <= options.largest:
            sizes = (1, n, n, n)
            measured, seconds = _measured(sizes, {"left": from_left(3), "right": from_right(3)}, random, options)
            growth.append({"n": n} | measured)
            growth_times.append({"n": n} | seconds)
        watch("sizes", k, len(SIZES), f"n = {n}")
    shapes, shape_times = [], []
    for k, (name, (sizes, best)) in enumerate(SHAPES.items(), start=1):
        count = len(sizes) - 1
        orders = {
            "from the output": from_left(count),
            "from the input": from_right(count),
            "mixed": best_order(sizes),
        }
        measured, seconds = _measured(sizes, orders, random, options)
        shapes.append({"name": name, "sizes": sizes, "predicted": best, "order": _written(orders["mixed"])} | measured)
        shape_times.append({"name": name} | seconds)
        watch("shapes", k, len(SHAPES), name)
    return {
        "growth": growth,
        "shapes": shapes,
        "programming": _programming(random, options.chains),
        "library": _library(),
        "measured": {"growth": growth_times, "shapes": shape_times},
    }


def _library() -> int:
    """Operations by XLA of fnn's backward pass through the lecture's chain, as three linear layers of a net."""
    net = fnn.mlp(100, 100, 100, 1, activation="identity")
    params = jax.eval_shape(net.init, jax.random.key(0))
    kept = jax.eval_shape(net.forward, params, jnp.ones(100))[1]
    way = jax.jit(lambda params, kept, y_bar: net.backward(params, kept, y_bar)[1])
    return int(costs.operations(way.lower(params, kept, jnp.ones(1)).compile()))


def _measured(
    sizes: tuple[int, ...], orders: dict[str, Any], random: np.random.Generator, options: Options
) -> tuple[dict[str, Any], dict[str, float]]:
    """({multiplications, operations by XLA, how far the products differ}, seconds) for each order."""
    shapes = list(pairwise(sizes))
    # entries of variance 1 over the inner size keep the product's near 1
    matrices = [jnp.asarray(random.normal(size=shape) / np.sqrt(shape[1]), jnp.float32) for shape in shapes]
    counted, operations, seconds, products = {}, {}, {}, []
    for name, order in orders.items():

        def product(matrices: list[jax.Array], order: Any = order) -> jax.Array:
            if isinstance(order, int):
                return matrices[order]
            return product(matrices, order[0]) @ product(matrices, order[1])

        program = jax.jit(product).lower(matrices).compile()
        operations[name] = int(costs.operations(program))
        counted[name] = cost(order, sizes)
        seconds[name] = costs.seconds(program, (matrices,), options.repeats)
        products.append(np.asarray(program(matrices), np.float64))
    apart = max(float(np.abs(each - products[0]).max()) for each in products) / float(np.abs(products[0]).max())
    return {"multiplications": counted, "operations": operations, "products_apart": float(f"{apart:.2g}")}, seconds


def _written(order: Any) -> str:
    """Brackets around letters: ((A B) C)."""
    return chr(ord("A") + order) if isinstance(order, int) else f"({_written(order[0])} {_written(order[1])})"


def _programming(random: np.random.Generator, chains: int) -> dict[str, Any]:
    """Dynamic programming against every order on random chains, and which kind of order was best how often."""
    wrong, best_kinds, losses = 0, {"from the output": 0, "from the input": 0, "mixed": 0}, []
    for _ in range(chains):
        count = int(random.integers(2, LONGEST + 1))
        sizes = tuple(int(size) for size in random.integers(1, WIDEST + 1, count + 1))
        least = min(cost(order, sizes) for order in every_order(0, count - 1))
        wrong += cost(best_order(sizes), sizes) != least
        left, right = (cost(order(count), sizes) for order in (from_left, from_right))
        kind = "from the output" if left == least else "from the input" if right == least else "mixed"
        best_kinds[kind] += 1
        losses.append(left / least)
    return {"chains": chains, "wrong": wrong, "best": best_kinds, "worst_of_reverse": float(max(losses))}


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the lecture's chain as it grows, and the shapes with the best order for each."""
    result = saved["result"]
    table = Table("n", "left", "right", "ratio", "ms left", "ms right", "ratio", title="1 x n · n x n · n x n")
    for row, seconds in zip(result["growth"], saved["measured"]["growth"], strict=True):
        left, right = row["multiplications"]["left"], row["multiplications"]["right"]
        times = (1e3 * seconds["left"], 1e3 * seconds["right"])
        table.add_row(str(row["n"]), f"{left:,}", f"{right:,}", f"{right / left:.1f}", *(f"{t:.3g}" for t in times),
                      f"{times[1] / times[0]:.1f}")  # fmt: skip
    console.print(table)
    table = Table("net", "widths", *KINDS, "best order", title="multiplications")
    for row in result["shapes"]:
        cells = (f"{row['multiplications'][kind]:,}" for kind in KINDS)
        table.add_row(row["name"], " ".join(map(str, row["sizes"])), *cells, row["order"])
    console.print(table)


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    rows = [*result["growth"], *result["shapes"]]
    best, ratios = _best(result), _ratios(result)
    doubled = [
        abs(row["operations"][name] / (2 * row["multiplications"][name]) - 1)
        for row in rows
        for name in row["operations"]
    ]
    return {
        "lecture": Prediction(
            "the lecture's chain takes 20,000 multiplications from the left, 1,010,000 from the right",
            [result["growth"][0]["multiplications"][name] for name in ("left", "right")],
            "is",
            [FROM_LEFT, FROM_RIGHT],
        ),
        # XLA keeps its count as a float32
        "doubled": Prediction(
            "XLA counts two operations for each multiplication: deviation",
            doubled,
            "at most",
            float(np.finfo(np.float32).eps),
        ),
        "grows": Prediction(
            "the gap grows with the size: each ratio over the one before",
            [high / low for low, high in pairwise(ratios)] or None,
            "above",
            1.0,
            decide="A larger size would show whether the gap grows.",
        ),
        "shapes": Prediction(
            "each shape is cheapest in the order predicted for it",
            best == [row["predicted"] for row in result["shapes"]],
        ),
        "programming": Prediction(
            "chains for which dynamic programming misses the best of every order",
            result["programming"]["wrong"],
            "is",
            0,
        ),
        # float32 sums of up to 2000 terms, twice: √2000 roundings of 1.2e-7, with room for the largest of many entries
        "equal": Prediction(
            "every order gives the same product", [row["products_apart"] for row in rows], "at most", 1e-4
        ),
        # from the left: two operations for each of 2·10⁴ multiplications; additions of zeros may come to them
        "library": Prediction(
            "back-propagation by fnn multiplies from the output: operations over twice those from the left",
            result["library"] / (2 * FROM_LEFT),
            "within",
            (1.0, 1.125),
        ),
    }


def _best(result: dict[str, Any]) -> list[str]:
    # of equal costs the one that needs no search
    return [min(KINDS, key=row["multiplications"].get) for row in result["shapes"]]


def _ratios(result: dict[str, Any]) -> list[float]:
    return [row["multiplications"]["right"] / row["multiplications"]["left"] for row in result["growth"]]


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the counts say of claim D5."""
    growth, programming, ratios, best = result["growth"], result["programming"], _ratios(result), _best(result)
    lecture, operations = growth[0]["multiplications"], growth[0]["operations"]
    as_predicted = sum(results == row["predicted"] for results, row in zip(best, result["shapes"], strict=True))
    return {
        "D5": Evidence(
            f"From the left {lecture['left']:,} multiplications, from the right {lecture['right']:,} (predicted 20,000 "
            f"and 1,010,000), {ratios[0]:.1f} times more; XLA counts {operations['left']:,} and "
            f"{operations['right']:,} operations (predicted twice that). For n = {growth[-1]['n']:,} it is "
            f"{ratios[-1]:,.1f} times. {as_predicted} of {len(best)} shapes are cheapest in the order predicted: with "
            f"one input forward mode, narrow inside neither. Dynamic programming misses the best of every order on "
            f"{programming['wrong']} of {programming['chains']} chains (predicted 0). The backward pass of fnn takes "
            f"{result['library']:,} operations.",
            "growth.svg",
        )
    }


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved record alone."""
    from experiments import figures

    result, measured = saved["result"], saved["measured"]
    growth, (spots,) = figures.blank(11.5, 4.4, columns=2)
    sizes = [row["n"] for row in result["growth"]]
    for name, colour, marker in (("left", figures.BLUE, "o"), ("right", figures.RED, "s")):
        counts = [row["multiplications"][name] for row in result["growth"]]
        times = [1e3 * row[name] for row in measured["growth"]]
        label = {"left": "(AB)C: from the output", "right": "A(BC): from the input"}[name]
        spots[0].plot(sizes, counts, color=colour, marker=marker, lw=2, label=label)
        spots[1].plot(sizes, times, color=colour, marker=marker, lw=2, label=label)
    spots[0].set(title="1 × n · n × n · n × n", ylabel="multiplications")
    spots[1].set(title="Time, measured", ylabel="milliseconds")
    for axes in spots:
        axes.set(xscale="log", yscale="log", xlabel="size n")
    spots[0].legend()
    shapes, (spots,) = figures.blank(12.5, 4.6, columns=2)
    places = np.arange(len(result["shapes"]))
    for k, (kind, colour) in enumerate(zip(KINDS, (figures.BLUE, figures.RED, figures.GREEN), strict=True)):
        counts = [row["multiplications"][kind] for row in result["shapes"]]
        times = [1e3 * row[kind] for row in measured["shapes"]]
        for axes, values in zip(spots, (counts, times), strict=True):
            axes.barh(places + (k - 1) * 0.26, values, height=0.24, color=colour, label=LABELS[kind])
    for axes, label in zip(spots, ("multiplications", "milliseconds, measured"), strict=True):
        axes.set(xscale="log", xlabel=label)
        axes.set_yticks(places, [f"{row['name']}\n{' '.join(map(str, row['sizes']))}" for row in result["shapes"]])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
    spots[1].set_yticklabels([])
    shapes.legend(*spots[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return {"growth.svg": growth, "shapes.svg": shapes}


LABELS = {"from the output": "from the output (reverse)", "from the input": "from the input (forward)",
        "mixed": "the best order"}  # fmt: skip
