"""Question: does the perceptron stop on separable data, within its bound, and never on other data?

Prediction: its decision is sign(w·x + b) with sign(0) = +1 (claim A1). On every separable set it converges after at
most (R ‖w*‖ / ρ)² mistakes, and from any start w₀ with any step α after at most (R/ρ)² + 2‖w₀‖/(αρ) (B30); on sets that
no line separates it cycles for ever (claim B4).
Refuted by: a separable set with more mistakes than its bound, or without convergence; a set for which a linear program
finds a separating line and the perceptron none, or the other way round; a decision that differs from the rule.

All numbers are whole, so that float64 computes them exactly. For each separable set the bound is taken with the plane
that labelled it and with one of nearly the largest margin, found by Gilbert's algorithm (Frank-Wolfe towards the point
of the convex hull of y x that is nearest to 0): the bound holds for any separating plane, and the larger its margin the
sharper the bound. What happens next depends only on w and on the position among the examples: the same w at the start
of a second pass proves that the algorithm cycles for ever. That no line separates the set is shown by numbers λ ≥ 0
that add up to 1 with Σ λ y (x, 1) = 0, which a linear program finds: no w could then have all y (w·x + b) > 0, for
their mean with weights λ is 0.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Run the perceptron on thousands of separable sets, against its mistake bound, and on sets that no line
    separates."""

    sets: int = frame.at_least(3, 12_000)
    """Random separable sets, a third of them in each of 2, 4 and 8 dimensions."""
    tangled: int = frame.at_least(1, 60)
    """Random integer sets that no line separates."""


EXPERIMENT = frame.Experiment(
    Options,
    claims={
        "A1": ("sign", "zero", "on_the_plane"),
        "B30": ("any_start", "any_tried", "scale"),
        "B4": ("settles", "bound", "enough", "never", "tangled", "told_apart", "repeats", "slide"),
    },
    x64=True,
    quick={"sets": 90, "tangled": 10},
    unjudged=("enough", "any_tried"),
    seeds=5,
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import fnn
from experiments.frame import Evidence, Prediction
from experiments.progress import Watch, silent

#: The claim's number of separable sets.
REQUIRED = 10_000
#: Dimensions of the separable sets, and examples in each.
DIMENSIONS, EXAMPLES = (2, 4, 8), 24
#: Coordinates are whole numbers up to this size.
SIZE = 40
#: More passes than any set is allowed to need; the loop ends with the slowest set.
PASSES = 100_000
#: Steps towards the largest margin.
GILBERT = 300
#: How many sets of each dimension the figure shows.
SHOWN = 400
#: Tangled sets: examples in the plane, sizes of their coordinates, and passes among which the repetition is sought.
FEW, SMALL, TANGLED_PASSES = 10, 4, 1000
#: The longest way that the figure shows, in passes.
LONGEST_SHOWN = 25
#: A sum of the linear program counts as 0 below this: its solver works to 1e-9 or so, and coordinates go up to 4.
ZERO = 1e-7


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Run the perceptron on all sets and return the numbers."""
    random = np.random.default_rng(options.seed)
    decision = _decisions(random)
    separable = []
    for k, dimension in enumerate(DIMENSIONS, start=1):
        separable.append(_separable(random, dimension, options.sets // len(DIMENSIONS)))
        worst = max(separable[-1]["tightness"])
        watch("separable sets", k, len(DIMENSIONS), f"dimension {dimension}: at most {worst:.2f} of the bound")
    tangled = _tangled(random, options.tangled)
    watch("tangled sets", 1, 1, f"{tangled['repeated']} of {options.tangled} repeat themselves")
    slide, any_start = _slide(random), _any_start(random, max(options.sets // 3, 1))
    watch("any start and step", 1, 1, f"{any_start['sets']} sets")
    return {"any_start": any_start, "decision": decision, "separable": separable, "tangled": tangled, "slide": slide}


def _decisions(random: np.random.Generator) -> dict[str, Any]:
    """The decision beside the rule, on whole numbers many of which lie on the plane itself."""
    x, w = random.integers(-3, 4, (5000, 3)).astype(float), np.array([1.0, -2.0, 1.0])
    sums = x @ w - 1
    decided = np.asarray(fnn.lectures.perceptron_decision(jnp.asarray(w), jnp.asarray(-1.0), jnp.asarray(x)))
    wanted = np.where(sums >= 0, 1, -1)
    return {
        "points": len(x),
        "on_the_plane": int(np.sum(sums == 0)),
        "wrong": int(np.sum(decided != wanted)),
        "wrong_on_the_plane": int(np.sum(decided[sums == 0] != 1)),
        # of each value of w·x + b, which are whole numbers here, every decision that it got
        "by_sum": {str(int(each)): sorted(set(decided[sums == each].tolist())) for each in np.unique(sums)},
    }


def _separable(random: np.random.Generator, dimension: int, count: int) -> dict[str, Any]:
    """Random sets of whole numbers, labelled by random planes that touch none of them."""
    w, b = random.integers(-SIZE, SIZE + 1, (count, dimension)), random.integers(-(SIZE**2), SIZE**2 + 1, count) // 4
    # a margin, drawn anew for each set; points within it are drawn again
    gap = SIZE * dimension * random.uniform(0, 3, (count, 1)) ** 2
    x = random.integers(-SIZE, SIZE + 1, (count, EXAMPLES, dimension))

    def sums() -> np.ndarray:
        return np.einsum("sni,si->sn", x, w) + b[:, None]

    for _ in range(200):
        inside = np.abs(sums()) <= gap
        x[inside] = random.integers(-SIZE, SIZE + 1, (int(inside.sum()), dimension))
    # the few sets whose margin leaves no room are given up
    accepted = (np.abs(sums()) > gap).all(axis=1)
    x, w, b, y = (each[accepted].astype(float) for each in (x, w, b, np.sign(sums())))
    results = jax.jit(jax.vmap(lambda x, y: fnn.lectures.perceptron(x, y, epochs=PASSES)))(x, y)
    best_w, best_b = jax.jit(jax.vmap(_largest_margin))(x, y)
    bound, decide = (
        jax.jit(jax.vmap(fnn.lectures.perceptron_bound)),
        jax.jit(jax.vmap(fnn.lectures.perceptron_decision)),
    )
    own, best = np.asarray(bound(x, y, w, b)), np.asarray(bound(x, y, best_w, best_b))
    mistakes = np.asarray(results.mistakes)
    sharpest = np.minimum(own, best)
    return {
        "dimension": dimension,
        "sets": len(x),
        "unsettled": int(np.sum(~np.asarray(results.converged))),
        "wrong": int(np.sum(np.asarray(decide(results.w, results.b, x)) != y)),
        "above_own_bound": int(np.sum(mistakes > own)),
        "above_sharpest_bound": int(np.sum(mistakes > sharpest)),
        "most_mistakes": int(mistakes.max()),
        "mistakes": mistakes[:SHOWN],
        "bound": np.round(sharpest[:SHOWN], 2),
        "tightness": np.round(np.quantile(mistakes / sharpest, (0, 0.05, 0.5, 0.95, 1)), 5),
        "own_tightness": np.round(np.quantile(mistakes / own, (0, 0.05, 0.5, 0.95, 1)), 5),
    }


def _largest_margin(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gilbert's algorithm: (w, b), the point of the convex hull of y (x, 1) nearest to 0, approached from inside."""
    rows = y[:, None] * jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)

    def step(v: jax.Array, _: None) -> tuple[jax.Array, None]:
        corner = rows[jnp.argmin(rows @ v)]
        way = corner - v
        size = jnp.sum(way * way)
        # the nearest point to 0 on the segment from v to the corner
        share = jnp.where(size > 0, jnp.clip(-(v @ way) / jnp.where(size > 0, size, 1.0), 0.0, 1.0), 0.0)
        return v + share * way, None

    v = jax.lax.scan(step, rows.mean(axis=0), None, length=GILBERT)[0]
    return v[:-1], v[-1]


def _tangled(random: np.random.Generator, count: int) -> dict[str, Any]:
    """Integer sets that no line separates, XOR the first: does w at the start of a pass come back?"""
    corners, opposite = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]), np.array([-1, 1, 1, -1])
    sets, separable, settled = [(np.resize(corners, (FEW, 2)), np.resize(opposite, FEW))], 0, 0
    while len(sets) < count:
        x, y = random.integers(-SMALL, SMALL + 1, (FEW, 2)), random.choice([-1, 1], FEW)
        if _line_exists(x, y):
            separable += 1
            settled += bool(fnn.lectures.perceptron(jnp.asarray(x, float), y, epochs=PASSES).converged)
        else:
            sets.append((x, y))
    programs = [_certificate(*each) for each in sets]
    x, y = (np.array([each[k] for each in sets], float) for k in (0, 1))

    def passes(x: jax.Array, y: jax.Array) -> Any:
        def one(carry: Any, _: None) -> Any:
            before_w, before_b = carry
            w, b, mistakes = fnn.lectures.perceptron_pass(before_w, before_b, x, y)
            return (w, b), (before_w, before_b, mistakes)

        return jax.lax.scan(one, (jnp.zeros(2), jnp.zeros(())), None, length=TANGLED_PASSES)[1]

    w, b, mistakes = (np.asarray(each) for each in jax.jit(jax.vmap(passes))(x, y))
    rounds = [_round(np.column_stack([w[k], b[k]])) for k in range(count)]
    # the longest round that a figure can show
    shown = max(range(count), key=lambda k: rounds[k][1] if sum(rounds[k]) <= LONGEST_SHOWN else -1)
    length = min(sum(rounds[shown]) + rounds[shown][1] + 1, TANGLED_PASSES)
    return {
        "sets": count,
        "repeated": sum(period > 0 for _, period in rounds),
        "clean_passes": int(np.sum(mistakes == 0)),
        "largest_residual": max(programs),
        "periods": [period for _, period in rounds],
        "separable": {"sets": separable, "settled": settled},
        "shown": {
            "x": x[shown],
            "y": y[shown],
            "first": rounds[shown][0],
            "period": rounds[shown][1],
            "w": np.column_stack([w[shown], b[shown]])[:length],
            "mistakes": mistakes[shown, :length],
        },
    }


def _round(states: np.ndarray) -> tuple[int, int]:
    """(the pass from which on the states repeat, after how many passes), the period 0 if none came back."""
    seen: dict[bytes, int] = {}
    for k, state in enumerate(states):
        # −0 and 0 are the same weight
        before = seen.setdefault((state + 0.0).tobytes(), k)
        if before < k:
            return before, k - before
    return len(states), 0


def _line_exists(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether a linear program finds (w, b) with all y (w·x + b) ≥ 1."""
    from scipy.optimize import linprog

    rows = y[:, None] * np.column_stack([x, np.ones(len(x))])
    return linprog(np.zeros(rows.shape[1]), A_ub=-rows, b_ub=-np.ones(len(x)), bounds=(None, None)).status == 0


def _certificate(x: np.ndarray, y: np.ndarray) -> float:
    """The largest |Σ λ y (x, 1)| over λ ≥ 0 with Σ λ = 1 as a linear program makes it; 1e9 if it finds none."""
    from scipy.optimize import linprog

    rows = y[:, None] * np.column_stack([x, np.ones(len(x))])
    results = linprog(
        np.zeros(len(x)), A_eq=np.vstack([rows.T, np.ones(len(x))]), b_eq=[*np.zeros(rows.shape[1]), 1.0],
        bounds=(0, None),
    )  # fmt: skip
    return float(np.abs(results.x @ rows).max()) if results.status == 0 else 1e9


def _any_start(random: np.random.Generator, count: int) -> dict[str, Any]:
    """Separable sets, each with a start w₀ and a step α of its own: mistakes beside the bound that holds for those.

    Let u be a plane of length 1 with y (u·x̂) ≥ ρ on all, R the largest ‖x̂‖, and k mistakes made. Each adds α y x̂, so
    u·w_k ≥ u·w₀ + α k ρ, and ‖w_k‖² ≤ ‖w₀‖² + α² k R², for the middle term 2α y (w·x̂) of a mistake is not above 0. With
    ‖w_k‖ ≥ u·w_k this gives α k ρ − ‖w₀‖ ≤ √(‖w₀‖² + α² k R²), a quadratic inequality in k: k ≤ (R/ρ)² + 2‖w₀‖/(α ρ).
    """
    x, y = random.integers(-SIZE, SIZE + 1, (count, EXAMPLES, 2)).astype(float), None
    w, b = random.normal(size=(count, 2)), 10 * random.normal(size=count)
    sums = np.einsum("sni,si->sn", x, w) + b[:, None]
    length = np.sqrt((w**2).sum(1) + b**2)
    margin = np.abs(sums).min(1) / length
    inside = margin > 0.3
    x, y, margin = x[inside], np.sign(sums[inside]), margin[inside]
    start = 10.0 ** random.uniform(-1, 3, len(x))
    w0, b0 = start[:, None] * random.normal(size=(len(x), 2)), start * random.normal(size=len(x))
    alpha = 10.0 ** random.uniform(-2, 2, len(x))

    @jax.jit
    @jax.vmap
    def mistakes(x: jax.Array, y: jax.Array, w0: jax.Array, b0: jax.Array, alpha: jax.Array) -> Any:
        # w/α from w₀/α with step 1 makes the same mistakes as w from w₀ with step α
        def again(carry: Any) -> Any:
            w, b, total, _, passes = carry
            w, b, new = fnn.lectures.perceptron_pass(w, b, x, y)
            return w, b, total + new, new, passes + 1

        def going(carry: Any) -> Any:
            return (carry[3] > 0) & (carry[4] < PASSES)

        one = jnp.asarray(1)
        end = jax.lax.while_loop(going, again, (w0 / alpha, b0 / alpha, 0 * one, one, 0 * one))
        return end[2], end[3]

    made, left = (np.asarray(each) for each in mistakes(x, y, w0, b0, alpha))
    reach = np.sqrt((x**2).sum(2).max(1) + 1)
    size = np.sqrt((w0**2).sum(1) + b0**2)
    bound = (reach / margin) ** 2 + 2 * size / (alpha * margin)
    return {
        "sets": len(x), "above": int(np.sum(made > bound)), "unsettled": int(np.sum(left > 0)),
        "highest": float((made / bound).max()), "mistakes": made[:SHOWN], "bound": bound[:SHOWN].round(1),
        "start": (size / alpha)[:SHOWN].round(3), "spread": [float(alpha.min()), float(alpha.max())],
    }  # fmt: skip


def _slide(random: np.random.Generator) -> dict[str, int]:
    """How many corrections the slide's test, ⟨w, x⟩ + b < 0, makes in a pass from w = 0, and how many are due."""
    x, y = random.integers(-SIZE, SIZE + 1, (EXAMPLES, 2)), random.choice([-1, 1], EXAMPLES)
    sums = x @ np.zeros(2) + 0.0
    return {"corrections": int(np.sum(sums < 0)), "due": int(np.sum(y * sums <= 0))}


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def show(saved: dict[str, Any], console: Console) -> None:
    """Print mistakes and bounds by dimension, and what became of the tangled sets."""
    result = saved["result"]
    for each in result["separable"]:
        low, _, median, _, high = each["tightness"]
        console.print(
            f"dimension {each['dimension']}: {each['sets']} separable sets, {each['unsettled']} unsettled, "
            f"{each['above_sharpest_bound']} above the bound; mistakes over bound: least {low:.3f}, "
            f"median {median:.3f}, most {high:.3f}; at most {each['most_mistakes']} mistakes",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    tangled = result["tangled"]
    console.print(
        f"{tangled['sets']} sets that no line separates: {tangled['repeated']} repeat themselves, after at most "
        f"{max(tangled['periods'])} passes; passes without a mistake: {tangled['clean_passes']}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    decision, tangled, slide, groups = (result[name] for name in ("decision", "tangled", "slide", "separable"))
    sets, above, failed = _separable_sets(groups)
    return {
        "sign": Prediction("decisions that are not the sign of w·x + b", decision["wrong"], "is", 0),
        "zero": Prediction(
            "points on the plane itself that are not read as +1", decision["wrong_on_the_plane"], "is", 0
        ),
        "on_the_plane": Prediction("points on the plane itself that were tried", decision["on_the_plane"], "above", 0),
        "settles": Prediction("separable sets on which it does not settle with every point right", failed, "is", 0),
        "bound": Prediction("separable sets with more mistakes than the bound allows", above, "is", 0),
        "enough": Prediction(
            "separable sets that were tried",
            sets,
            "at least",
            REQUIRED,
            None,
            f"At least {REQUIRED:,} separable sets would decide.",
        ),
        "never": Prediction("passes without a mistake on tangled sets", tangled["clean_passes"], "is", 0),
        "tangled": Prediction(
            "a certificate shows that no line separates a tangled set: residual",
            tangled["largest_residual"],
            "at most",
            ZERO,
        ),
        "told_apart": Prediction(
            "sets with a line among the tangled that it does not settle",
            tangled["separable"]["sets"] - tangled["separable"]["settled"],
            "is",
            0,
        ),
        "repeats": Prediction(
            "tangled sets on which it does not return to the same w",
            tangled["sets"] - tangled["repeated"],
            "is",
            0,
            None,
            "More passes would decide for the others.",
        ),
        "any_start": Prediction(
            "sets with more mistakes than the bound for any start and step allows",
            result["any_start"]["above"],
            "is",
            0,
        ),
        "any_tried": Prediction(
            "separable sets, each with its own start and step, that were tried",
            result["any_start"]["sets"],
            "at least",
            1000,
            None,
            "At least 1000 sets would decide.",
        ),
        "scale": Prediction("sets that do not settle from their start", result["any_start"]["unsettled"], "is", 0),
        "slide": Prediction("corrections that the slide's test makes from w = 0", slide["corrections"], "is", 0),
    }


def _separable_sets(groups: list[dict[str, Any]]) -> tuple[int, int, int]:
    """How many there are, how often a bound was passed, how many are unsettled or wrong."""
    return (
        sum(each["sets"] for each in groups),
        sum(each["above_sharpest_bound"] + each["above_own_bound"] for each in groups),
        sum(each["unsettled"] + each["wrong"] for each in groups),
    )


def evidence(result: dict[str, Any]) -> dict[str, Evidence]:
    """What the sets say of claims A1 and B4."""
    decision, tangled, slide, groups = (result[name] for name in ("decision", "tangled", "slide", "separable"))
    sets, above, failed = _separable_sets(groups)
    highest = max(each["tightness"][-1] for each in groups)
    median = float(np.median([each["tightness"][2] for each in groups]))
    return {
        "A1": Evidence(
            f"{decision['points']} points, {decision['on_the_plane']} of them on the plane: {decision['wrong']} "
            f"decided otherwise than by sign(w·x + b), {decision['wrong_on_the_plane']} on the plane not +1 "
            "(predicted 0 and 0).",
            "decision.svg",
        ),
        "B30": Evidence(
            f"{result['any_start']['sets']:,} separable sets with starts and steps α from "
            f"{result['any_start']['spread'][0]:.2f} to {result['any_start']['spread'][1]:.0f}: "
            f"{result['any_start']['above']} above (R/ρ)² + 2‖w₀‖/(αρ), {result['any_start']['unsettled']} unsettled "
            f"(predicted 0 and 0); mistakes reach {result['any_start']['highest']:.2f} of the bound at most.",
            "any_start.svg",
        ),
        "B4": Evidence(
            f"{sets:,} separable sets: {failed} unsettled or wrong, {above} above the bound (predicted 0 and 0); the "
            f"mistakes are {median:.3f} of the sharpest bound found in the median, {highest:.2f} at most. "
            f"{tangled['sets']} sets with certificates that no line separates them: {tangled['repeated']} return to "
            f"the same w at the start of a pass (predicted all), after at most {max(tangled['periods'])} passes. "
            "A mistake is y (w·x + b) ≤ 0: "
            f"the slide's test lacks y and is strict, and from w = 0 makes {slide['corrections']} of {slide['due']} "
            "corrections that are due.",
            "bound.svg",
        ),
    }


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    result = saved["result"]
    return {
        "decision.svg": _decided(result["decision"]["by_sum"]),
        "bound.svg": _bound(result["separable"]),
        "any_start.svg": _started(result["any_start"]),
        "for_ever.svg": _for_ever(result["tangled"]["shown"]),
    }


def _started(each: dict[str, Any]) -> Any:
    from experiments import figures

    figure, ((axes,),) = figures.blank(8, 4.6)
    made, bound, start = (np.maximum(np.array(each[key], float), 0.5) for key in ("mistakes", "bound", "start"))
    shade = axes.scatter(bound, made, c=np.log10(start), cmap="cividis", s=14)
    ends = [0.5, bound.max()]
    axes.plot(ends, ends, color=figures.RED, lw=1.5, label="the bound")
    figure.colorbar(shade, ax=axes, label="log10 ‖w₀‖/α")
    axes.set(
        xscale="log", yscale="log", xlabel="bound (R/ρ)² + 2‖w₀‖/(αρ)", ylabel="mistakes",
        title="The perceptron from any start, with any step",
    )  # fmt: skip
    axes.legend()
    return figure


def _decided(by_sum: dict[str, list[float]]) -> Any:
    from experiments import figures

    figure, ((axes,),) = figures.blank(7, 3.8)
    axes.plot([-20, 0], [-1, -1], color="0.6", lw=2)
    axes.plot([0, 20], [1, 1], color="0.6", lw=2, label="the rule: sign, with sign(0) = +1")
    for each, decisions in by_sum.items():
        for decision in decisions:
            colour = figures.RED if int(each) == 0 else figures.BLUE
            axes.plot(int(each), decision, "o", color=colour, ms=8 if int(each) == 0 else 5)
    axes.plot([0], [-1], "o", mfc="white", mec="0.4", ms=8)
    axes.set(
        xlabel="w·x + b of the points (red: on the plane)", ylabel="decision by fnn", xlim=(-11, 11), yticks=[-1, 1],
        title="The perceptron's decision",
    )  # fmt: skip
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.85))
    return figure


def _bound(groups: list[dict[str, Any]]) -> Any:
    from experiments import figures

    figure, ((axes,),) = figures.blank(7.4, 5.2)
    styles = zip(groups, (figures.BLUE, figures.RED, figures.GREEN), ("o", "s", "^"), strict=True)
    for each, colour, marker in styles:
        label = f"{each['dimension']} dimensions"
        axes.plot(
            each["bound"], each["mistakes"], marker, color=colour, ms=3.5, alpha=0.6, label=label, rasterized=True
        )
    largest = max(max(each["bound"]) for each in groups)
    axes.plot([1, largest], [1, largest], color="black", lw=1.5)
    axes.text(largest, largest, "mistakes = bound ", ha="right", va="bottom")
    axes.set(
        xscale="log", yscale="log", title="Mistakes of the perceptron on separable sets",
        xlabel=r"bound $(R\,\Vert w^*\Vert / \rho)^2$, a count of mistakes", ylabel="mistakes until it settled",
    )  # fmt: skip
    axes.legend(markerscale=2, loc="upper left")
    return figure


def _for_ever(shown: dict[str, Any]) -> Any:
    from experiments import figures

    figure, (spots,) = figures.blank(12, 4.6, columns=2)
    x, y, w = np.array(shown["x"]), np.array(shown["y"]), np.array(shown["w"])
    first, period = shown["first"], shown["period"]
    plane, passes = spots
    side = np.array([-SMALL - 1, SMALL + 1])
    for k in range(first, first + period):
        w1, w2, b = w[k]
        # the line w1 x1 + w2 x2 + b = 0 through the nearest point to 0, along its direction
        if w1 or w2:
            foot, along = -b * np.array([w1, w2]) / (w1**2 + w2**2), np.array([-w2, w1]) / np.hypot(w1, w2)
            ends = foot + np.outer([-20, 20], along)
            plane.plot(*ends.T, color="0.55", lw=1, label="line at the start of a pass" if k == first else None)
    for value, marker, colour in ((-1, "o", figures.BLUE), (1, "s", figures.ORANGE)):
        points = x[y == value]
        plane.scatter(
            *points.T, s=90, marker=marker, color=colour, edgecolor="black", zorder=3, label=f"class {value:+d}"
        )
    plane.set(
        xlim=side, ylim=side, aspect="equal", xlabel="$x_1$", ylabel="$x_2$", title="No line separates these points"
    )
    figure.legend(*plane.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    norms = np.linalg.norm(w, axis=1)
    passes.plot(norms, "o-", color=figures.BLUE, ms=4)
    for k in range(first, len(norms), max(period, 1)):
        passes.axvline(k, color=figures.RED, lw=1.2, ls="--")
    passes.set(
        title=f"The same w and b return every {period} passes",
        xlabel="pass (dashed: the same w and b)", ylabel="norm of (w, b) at its start",
    )  # fmt: skip
    passes.set_ylim(bottom=0)
    return figure
