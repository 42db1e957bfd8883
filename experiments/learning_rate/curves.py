"""Curves of one and two dimensions: where descent overshoots, and where it gets stuck (claim E1).

The lecture's (x − 4)² and (x − 4)² x⁴; the tilt of the second, and the plane on which four optimizers walk, are ours.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.frame import Evidence, Prediction

#: The tilt of the lecture's second curve, which makes one of its two equal minima the lower one.
TILT = 8.0


def bowl(x: Any) -> Any:
    """The lecture's (x − 4)²."""
    return (x - 4) ** 2


def two_valleys(x: Any, tilt: Any = 0.0) -> Any:
    """The lecture's (x − 4)² x⁴, with a tilt of ours."""
    return (x - 4) ** 2 * x**4 - tilt * x


def two_valleys_slope(x: Any, tilt: Any = 0.0) -> Any:
    """Its derivative x³ (x − 4)(6x − 16) − tilt: minima at 0 and 4 and a maximum at 8/3 without tilt."""
    return x**3 * (x - 4) * (6 * x - 16) - tilt


def plane(x: Any, y: Any) -> Any:
    """Two dimensions: the tilted curve along x, the bowl along y."""
    return two_valleys(x, TILT) + 20 * bowl(y)


def _descended(slope: Any, start: jax.Array, rate: jax.Array, steps: int) -> jax.Array:
    """The path of gradient descent, (steps + 1, …)."""

    def step(x: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        # a path that has left the picture stays out of it, and finite
        after = jnp.clip(x - rate * slope(x), -1e6, 1e6)
        return after, after

    return jnp.concatenate([start[None], jax.lax.scan(step, start, None, length=steps)[1]])


def _off(distances: np.ndarray, factors: np.ndarray) -> float:
    """By how much |distances| (steps, paths) leave |first| · |factor|ⁿ, as a share of the first."""
    steps = np.arange(len(distances))[:, None]
    wanted = np.abs(distances[:1]) * np.abs(factors).T ** steps
    return float(np.max(np.abs(np.abs(distances) - wanted) / np.abs(distances[:1])))


def measure() -> dict[str, Any]:
    """Paths on the curves, and of four optimizers on the plane."""
    rates = np.array([0.02, 0.3, 0.95, 1.02])
    on_bowl = jax.jit(lambda rate: _descended(lambda x: 2 * (x - 4), jnp.full(4, 0.5), rate, 12))(rates)
    # the curvature at the deeper minimum is 6·4³ (4 − 8/3) = 512, so that the limit there is 2/512 = 0.0039
    starts, rate = np.array([-0.8, 2.4, 2.8, 4.4]), jnp.array(0.0005)
    paths = {
        name: jax.jit(lambda tilt: _descended(lambda x: two_valleys_slope(x, tilt), jnp.asarray(starts), rate, 20_000))(
            tilt
        )
        for name, tilt in (("as in the lecture", 0.0), ("tilted", TILT))
    }
    ends = {name: np.asarray(path[-1]) for name, path in paths.items()}
    tilts = {"as in the lecture": 0.0, "tilted": TILT}

    def slope(p: jax.Array) -> jax.Array:
        return jnp.stack([two_valleys_slope(p[0], TILT), 40 * (p[1] - 4)])

    def descend(optimizer: fnn.optimizers.Optimizer) -> jax.Array:
        def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
            p, state = carry
            updates, state = optimizer.update(slope(p), state, p)
            return (p + updates, state), p + updates

        start = jnp.array([-0.9, 1.0])
        path = jax.lax.scan(step, (start, optimizer.init(start)), None, length=300)[1]
        return jnp.concatenate([start[None], path])

    # the same gradient four times; rates are ours, below the limit of each
    four = {
        "gradient descent": fnn.optimizers.sgd(0.002),
        "momentum": fnn.optimizers.momentum(0.002),
        "Nesterov": fnn.optimizers.nesterov(0.002),
        "Adam": fnn.optimizers.adam(0.1),
    }
    contours = jax.jit(lambda: {name: descend(optimizer) for name, optimizer in four.items()})()
    return {
        "bowl": {
            "rates": rates,
            "paths": np.round(np.asarray(on_bowl), 4),
            "limit": 1.0,
            "off": _off(np.asarray(on_bowl) - 4, np.abs(1 - 2 * rates)[:, None]),
        },
        "plane_off": _off(np.asarray(contours["gradient descent"])[:, 1:] - 4, np.array([[1 - 40 * 0.002]])),
        "valleys": {
            name: {
                "tilt": tilts[name],
                "starts": starts,
                "paths": np.round(np.asarray(path)[[0, 1, 2, 3, 5, 8, 12, 20, 40, 100, 400, 2000]], 4),
                "ends": np.round(ends[name], 6),
                "heights": np.round(two_valleys(ends[name], tilts[name]), 6),
                "slopes": np.abs(two_valleys_slope(ends[name], tilts[name])),
            }
            for name, path in paths.items()
        },
        "plane": {
            name: {"path": np.round(np.asarray(path), 3), "height": float(plane(*np.asarray(path[-1])))}
            for name, path in contours.items()
        },
    }


def predictions(curves: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted of the paths on the bowl, on the second curve and on the plane."""
    lecture, tilted = curves["valleys"]["as in the lecture"], curves["valleys"]["tilted"]
    return {
        "bowl": Prediction(
            "on the bowl the distance after n steps is |1 − 2α|ⁿ of the first: relative deviation",
            curves["bowl"]["off"],
            "at most",
            1e-9,
        ),
        "two": Prediction(
            "the lecture's curve has two minima, at 0 and 4",
            sorted({float(np.round(e)) for e in lecture["ends"]}),
            "is",
            [0, 4],
        ),
        "equal_height": Prediction("of equal height 0", lecture["heights"], "at most", 1e-2),
        "stuck": Prediction(
            "tilted, descent gets stuck in the higher one: above the lower by",
            max(tilted["heights"]) - min(tilted["heights"]),
            "at least",
            10.0,
        ),
        "flat": Prediction("where it is stuck the slope is 0", tilted["slopes"], "at most", 1e-6),
        "plane": Prediction(
            "on the plane the distance across the valley is |1 − 40α|ⁿ of the first: relative deviation",
            curves["plane_off"],
            "at most",
            1e-9,
        ),
        "plane_stuck": Prediction(
            "on the plane gradient descent gets stuck too: above the lower valley by",
            curves["plane"]["gradient descent"]["height"] - min(tilted["heights"]),
            "at least",
            10.0,
        ),
    }


def evidence(curves: dict[str, Any]) -> dict[str, Evidence]:
    """What the paths say of claim E1."""
    lecture, tilted = curves["valleys"]["as in the lecture"], curves["valleys"]["tilted"]
    low, high = min(tilted["heights"]), max(tilted["heights"])
    stuck = sum(height > low + 10 for height in tilted["heights"])
    return {
        "E1": Evidence(
            f"(x−4)²: descent follows |1 − 2α|ⁿ to {curves['bowl']['off']:.0e} at rates "
            f"{', '.join(f'{rate:g}' for rate in curves['bowl']['rates'])}. (x−4)² x⁴: starts end near "
            f"{', '.join(f'{e:.2f}' for e in lecture['ends'])}, at cost {max(lecture['heights']):.1g} or less (its "
            f"minima, 0 and 4, are equally deep). Tilted by −8x (ours) they end at {high:.1f} and "
            f"{low:.1f}: {stuck} of "
            f"{len(tilted['heights'])} starts stay in a higher one. On the plane gradient descent ends at "
            f"{curves['plane']['gradient descent']['height']:.1f}.",
            "paths.svg",
        )
    }


def figure(curves: dict[str, Any]) -> Any:
    """The paths on both curves and on the plane."""
    from experiments import figures

    colors = (figures.BLUE, figures.GREEN, figures.ORANGE, figures.RED)
    drawn, axes = figures.blank(12, 8.6, 2, 2)
    bowl_axis, lecture_axis, tilted_axis, plane_axis = axes.flat
    curve = np.linspace(-1.6, 9.6, 200)
    bowl_axis.plot(curve, bowl(curve), color="0.6", lw=1.5)
    bowls = curves["bowl"]
    for k, (rate, color, marker) in enumerate(zip(bowls["rates"], colors, "osD^", strict=True)):
        path = np.array(bowls["paths"])[:, k]
        bowl_axis.plot(path, bowl(path), marker + "-", color=color, ms=5, lw=1, label=f"rate {rate:g}")
    bowl_axis.set(
        title="$(x-4)^2$: the limit is $2/\\lambda$ = 1", xlabel="x", ylabel="cost", xlim=(-1.6, 9.6), ylim=(-1, 42)
    )
    bowl_axis.legend(loc="upper center", ncols=2)
    for axis, each, title in zip(
        (lecture_axis, tilted_axis), curves["valleys"].values(),
        ("$(x-4)^2\\,x^4$, the lecture's: two minima, equally deep", "$(x-4)^2\\,x^4 - 8x$: one of them is only local"),
        strict=True,
    ):  # fmt: skip
        curve = np.linspace(-1.15, 4.65, 300)
        axis.plot(curve, two_valleys(curve, each["tilt"]), color="0.6", lw=1.5)
        for k, (color, marker) in enumerate(zip(colors, "osD^", strict=True)):
            path = np.append(np.array(each["paths"])[:, k], each["ends"][k])
            axis.plot(path, two_valleys(path, each["tilt"]), marker, color=color, ms=5)
            axis.annotate(
                "start", (path[0], two_valleys(path[0], each["tilt"])), xytext=(0, 9), textcoords="offset points",
                ha="center", fontsize=9, color=color,
            )  # fmt: skip
        axis.set(title=title, xlabel="x", ylabel="cost", xlim=(-1.15, 4.65), ylim=(-45, 100))
    across, up = np.meshgrid(np.linspace(-1.1, 4.9, 160), np.linspace(0.2, 6.2, 120))
    heights = plane(across, up)
    plane_axis.contour(across, up, np.log10(heights - heights.min() + 3), levels=18, colors="0.75", linewidths=0.8)
    for (name, each), color, style in zip(curves["plane"].items(), colors, ("-", "--", "-.", ":"), strict=True):
        path = np.array(each["path"])
        plane_axis.plot(path[:, 0], path[:, 1], style, color=color, lw=2, label=name)
        plane_axis.plot(*path[-1], "o", color=color, ms=8, mec="black")
    plane_axis.set(
        title="One gradient, four optimizers", xlabel="x: $(x-4)^2x^4 - 8x$", ylabel="y: $20\\,(y-4)^2$",
        xlim=(-1.1, 4.9), ylim=(0.2, 6.2),
    )  # fmt: skip
    plane_axis.legend(loc="lower right")
    return drawn
