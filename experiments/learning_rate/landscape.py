"""The landscape of a small net 1-3-1: minima of different height, plateaus, the limit of the rate at a minimum, and one
gradient for four optimizers (claims A11, A19, B12).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.frame import Evidence, Prediction
from experiments.learning_rate import Options

NET = fnn.mlp(1, 3, 1)
#: Rates around the limit, as a share of it.
SHARES = np.linspace(0.9, 1.1, 41)
#: Steps on the plateau.
STEPS = 2000
#: A rate below 1/λ everywhere on the way of plain descent, as the ratios show, its steps, and those that are drawn.
SMALL_RATE, DESCENT = 0.02, 6000
PLACES = np.unique(np.geomspace(1, DESCENT, 50).astype(int)) - 1
#: L2 keeps the minima strict: without it units may grow for ever. Small beside the loss.
STRENGTH = 1e-3


def _data() -> tuple[jax.Array, jax.Array]:
    """Thirty points of a wave with three turns: ours."""
    x = np.linspace(-2, 2, 30)[:, None]
    return jnp.asarray(x), jnp.asarray(np.sin(3 * x) + 0.3 * x)


def restored(vector: Any) -> Any:
    """The parameters of the net from one vector of ten: weights in, biases, weights out, bias."""
    return {"W": vector[None, :3], "b": vector[3:6]}, {"W": vector[6:9, None], "b": vector[9:]}


def flattened(params: Any) -> jax.Array:
    """The other way round."""
    return jnp.concatenate([params[0]["W"][0], params[0]["b"], params[1]["W"][:, 0], params[1]["b"]])


def _flat() -> tuple[Any, Any]:
    """(objective, gradient) as functions of one vector, by `fnn`."""
    x, y = _data()
    objective = fnn.objective(NET, fnn.half_squared_error, fnn.l2)
    by_hand = fnn.backprop(NET, fnn.half_squared_error, fnn.l2)

    def cost(vector: jax.Array, strength: Any) -> jax.Array:
        return objective(restored(vector), x, y, strength=strength)

    def gradient(vector: jax.Array) -> jax.Array:
        return flattened(by_hand(restored(vector), x, y, strength=STRENGTH)[1])

    return cost, gradient


def _hessian(gradient: Any, vector: jax.Array) -> jax.Array:
    """Column by column: the derivative of the hand-written gradient along each axis."""
    return jax.vmap(lambda axis: jax.jvp(gradient, (vector,), (axis,))[1])(jnp.eye(len(vector)))


def measure(options: Options) -> tuple[dict[str, Any], np.ndarray]:
    """Where many starts end, lines and a plane between the ends, and a plateau built by hand."""
    cost, gradient = _flat()

    @jax.jit
    def descended(start: jax.Array) -> Any:
        def newton(w: jax.Array, _: None) -> Any:
            g = gradient(w)
            curvatures, axes = jnp.linalg.eigh(_hessian(gradient, w))
            # along each axis downhill by slope over |curvature|: Newton's step, but never up to a saddle
            move = -axes @ ((axes.T @ g) / jnp.maximum(jnp.abs(curvatures), 1e-3))
            after = w + move * jnp.minimum(1, 0.3 / jnp.linalg.norm(move))
            return after, (w, jnp.linalg.norm(g), curvatures)

        def one(w: jax.Array) -> Any:
            return jax.tree.map(lambda each: each[-1], jax.lax.scan(newton, w, None, length=200)[1])

        return jax.vmap(one)(start)

    start = 1.5 * np.random.default_rng(options.seed).normal(size=(options.starts, 10))
    ends, slopes, spectra = map(np.asarray, descended(start))
    both = jax.jit(jax.vmap(lambda w: (cost(w, STRENGTH), cost(w, 0.0))))
    costs, losses = map(np.asarray, both(ends))
    # a strict minimum: gradient zero to rounding, all curvatures positive
    strict = (slopes <= 1e-10) & (spectra[:, 0] > 0)
    order = np.flatnonzero(strict)[np.argsort(costs[strict])]
    # starts that end at one height to six digits are one kind of minimum, up to order and sign of the units
    kinds: list[int] = []
    for k in order:
        if not kinds or costs[k] > costs[kinds[-1]] * (1 + 1e-6):
            kinds.append(int(k))
    # where no start reached one, the lowest end and the highest are looked at, and counted as none (NaN is sorted last)
    kinds = kinds or [int(k) for k in np.argsort(costs)[[0, -1]]]
    heights = [
        {
            "cost": costs[k],
            "loss": losses[k],
            "starts": int(np.sum(np.abs(costs / costs[k] - 1) < 1e-6)),
            "slope": slopes[k],
            "flattest": spectra[k, 0],
            "steepest": spectra[k, -1],
        }
        for k in kinds
    ]
    best, worst = ends[kinds[0]], ends[kinds[-1]]
    middle = ends[kinds[len(kinds) // 2]]
    share = np.linspace(-0.5, 1.5, 121)
    # two copies of the best minimum, the units of one in another order: equal height, a hill between
    turned = _turned(best)
    side = np.linspace(-0.4, 1.4, 61)
    across, up = (each.reshape(-1, 1) for each in np.meshgrid(side, side))
    third = middle if len(kinds) > 2 else turned
    places = [
        best + share[:, None] * (worst - best),
        best + share[:, None] * (turned - best),
        best + across * (worst - best) + up * (third - best),
    ]
    results = np.asarray(both(np.concatenate(places))[0])
    line, between, plane_heights = np.split(results, np.cumsum([len(each) for each in places])[:-1])
    return {
        "starts": options.starts,
        "strict": int(strict.sum()),
        "heights": heights[:1] + heights[1:][-11:],
        "line": {"share": share, "to_worst": np.round(line, 5), "to_turned": np.round(between, 5)},
        "plane": {
            "side": np.round(side, 4),
            "cost": np.round(plane_heights.reshape(61, 61), 4),
            "turned": len(kinds) <= 2,
        },
        "plateau": _plateau(options),
        "descent": descents(options),
    }, best


def _turned(vector: np.ndarray) -> np.ndarray:
    """The same function with its hidden units in another order."""
    order = np.array([1, 2, 0])
    return np.concatenate([vector[order], vector[3 + order], vector[6 + order], vector[9:]])


def _plateau(options: Options) -> dict[str, Any]:
    """Saturated hidden units with the best output weights for them: nothing moves although much is to be gained."""
    x, y = _data()
    # three steps between data points: tanh of ±40 and more is ±1 to the last digit, its derivative 1 − a² is 0
    gap = float(x[1, 0] - x[0, 0])
    edges = np.asarray(x[[4, 14, 24], 0]) + gap / 2
    slope = 2 * 40 / gap
    W1, b1 = np.full((1, 3), slope), -slope * edges
    a = np.tanh(np.asarray(x) @ W1 + b1)
    design = np.column_stack([a, np.ones(len(a))])
    solution = np.linalg.lstsq(design, np.asarray(y)[:, 0], rcond=None)[0]
    start = (
        {"W": jnp.asarray(W1), "b": jnp.asarray(b1)},
        {"W": jnp.asarray(solution[:3, None]), "b": jnp.asarray(solution[3:])},
    )
    by_hand = fnn.backprop(NET, fnn.half_squared_error)

    @jax.jit
    def stayed(params: Any) -> Any:
        first = by_hand(params, x, y)
        params = jax.lax.fori_loop(
            0, STEPS, lambda _, p: jax.tree.map(lambda w, g: w - 0.1 * g, p, by_hand(p, x, y)[1]), params
        )
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(first[1])))
        return first[0], norm, by_hand(params, x, y)[0]

    # the same steps with all weights into the units scaled down: from a plateau to a slope
    shares = np.geomspace(1e-3, 1, 61)

    @jax.jit
    def scaled(shares: jax.Array) -> Any:
        def one(share: jax.Array) -> Any:
            params = jax.tree.map(lambda w: share * w, start[0]), start[1]
            value, g = by_hand(params, x, y)
            return value, jnp.sqrt(sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(g[0])))

        return jax.vmap(one)(shares)

    before, norm, after = map(float, stayed(start))
    values, norms = scaled(jnp.asarray(shares))
    return {
        "before": before, "gradient": norm, "after": after, "steps": STEPS,
        "slice": {
            "steepness": shares * slope, "cost": np.round(values, 5),
            # below the smallest that a logarithmic axis shows
            "gradient": np.maximum(np.asarray(norms), 1e-20),
        },
    }  # fmt: skip


def limit(options: Options, minimum: np.ndarray) -> dict[str, Any]:
    """λ_max at a minimum by power iteration and by the whole Hessian, and the rate at which descent leaves it."""
    cost, gradient = _flat()
    here = jnp.asarray(minimum)
    direction = jnp.asarray(np.random.default_rng(options.seed + 1).normal(size=10))

    @jax.jit
    def power(vector: jax.Array) -> jax.Array:
        def step(v: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            Hv = jax.jvp(gradient, (here,), (v,))[1]
            return Hv / jnp.linalg.norm(Hv), v @ Hv

        return jax.lax.scan(step, vector / jnp.linalg.norm(vector), None, length=200)[1]

    estimates = np.asarray(power(direction))
    curvature = float(estimates[-1])
    whole = float(np.linalg.eigvalsh(np.asarray(jax.jit(jax.hessian(cost))(here, STRENGTH)))[-1])
    # small enough that the cost is its quadratic to six digits, large beside the rounding of 1e-16
    begin = here + 1e-7 * direction / jnp.linalg.norm(direction)
    steps = 4000

    @jax.jit
    def grown(rates: jax.Array) -> jax.Array:
        def one(rate: Any) -> Any:
            def step(_: Any, w: jax.Array) -> jax.Array:
                return w + fnn.optimizers.sgd(rate).update(gradient(w), ())[0]

            end = jax.lax.fori_loop(0, steps, step, begin)
            return jnp.linalg.norm(end - here) / jnp.linalg.norm(begin - here)

        return jax.vmap(one)(rates)

    growth = np.nan_to_num(np.asarray(grown(jnp.asarray(SHARES * 2 / curvature))), nan=1e9, posinf=1e9)
    left = np.flatnonzero(growth > 1)
    return {
        "net": str(NET),
        "curvature": curvature,
        "by_hessian": whole,
        "power": {"iterations": len(estimates), "estimates": estimates[:30]},
        "steps": steps,
        "shares": SHARES,
        "growth": np.clip(growth, 1e-9, 1e9),
        # half way between the last rate that stayed and the first that left
        "observed": float(SHARES[left[0]] + SHARES[left[0] - 1]) / 2 if len(left) and left[0] else float("nan"),
        "apart": bool(len(left) and left[0] and np.all(growth[left[0] :] > 1)),
    }


def descents(options: Options) -> dict[str, Any]:
    """Plain descent of the net from every start at a small rate: does the cost rise, and what is left at the end?"""
    cost, gradient = _flat()
    start = jnp.asarray(np.random.default_rng(options.seed + 2).normal(size=(options.starts, 10)))

    @jax.jit
    def descended(start: jax.Array) -> Any:
        def one(w: jax.Array) -> Any:
            def step(w: jax.Array, _: None) -> Any:
                g = gradient(w)
                after = w - SMALL_RATE * g
                before, here = cost(w, STRENGTH), cost(after, STRENGTH)
                promised = SMALL_RATE / 2 * (g @ g)
                # where the promise has sunk into the rounding of the cost there is nothing to compare
                ratio = jnp.where(promised > 1e-12 * before, (before - here) / promised, jnp.inf)
                return after, (here > before * (1 + 1e-14), ratio, here)

            end, (rose, ratio, costs) = jax.lax.scan(step, w, None, length=DESCENT)
            left = jnp.linalg.norm(gradient(end)) / jnp.linalg.norm(gradient(w))
            return rose.sum(), ratio.min(), left, costs[PLACES]

        return jax.vmap(one)(start)

    rose, ratio, left, curves = map(np.asarray, descended(start))
    return {
        "rate": SMALL_RATE, "steps": DESCENT, "rises": int(rose.sum()), "least_ratio": float(ratio.min()),
        "gradient_left": float(np.median(left)), "places": PLACES + 1, "curves": np.round(curves[:12], 6),
    }  # fmt: skip


def optimizers(options: Options) -> dict[str, Any]:
    """One gradient function, four optimizers, one start: the curves, the ends, and every step beside its formula."""
    x, y = _data()
    by_hand = fnn.backprop(NET, fnn.half_squared_error)
    start = restored(jnp.asarray(np.random.default_rng(options.seed).normal(size=10)))
    four = {
        "gradient descent": fnn.optimizers.sgd(0.1),
        "momentum": fnn.optimizers.momentum(0.1),
        "Nesterov": fnn.optimizers.nesterov(0.1),
        "Adam": fnn.optimizers.adam(0.03),
    }

    @jax.jit
    def trained(params: Any) -> Any:
        def with_one(optimizer: fnn.optimizers.Optimizer) -> Any:
            def step(carry: Any, _: None) -> tuple[Any, Any]:
                params, state = carry
                value, g = by_hand(params, x, y)
                updates, state = optimizer.update(g, state, params)
                after = jax.tree.map(jnp.add, params, updates)
                return (after, state), (value, flattened(g), flattened(after))

            return jax.lax.scan(step, (params, optimizer.init(params)), None, length=1500)[1]

        return {name: with_one(optimizer) for name, optimizer in four.items()}, flattened(by_hand(params, x, y)[1])

    runs, first = jax.tree.map(np.asarray, trained(start))
    begin = np.asarray(flattened(start))
    ways = {name: np.vstack([begin, path]) for name, (_, _, path) in runs.items()}
    places = np.unique(np.geomspace(1, 1500, 60).astype(int)) - 1
    names = list(four)
    return {
        "steps": places + 1,
        "curves": {name: values[places] for name, (values, _, _) in runs.items()},
        "first_gradient_apart": {name: float(np.abs(g[0] - first).max()) for name, (_, g, _) in runs.items()},
        "off_formula": {
            name: float(np.abs(np.diff(ways[name], axis=0) - formula(name, g)).max())
            for name, (_, g, _) in runs.items()
        },
        "nearest_ends": min(
            float(np.abs(ways[a][-1] - ways[b][-1]).max()) for k, a in enumerate(names) for b in names[k + 1 :]
        ),
    }


def formula(name: str, gradients: np.ndarray) -> np.ndarray:
    """The steps that an optimizer makes of these gradients, as its paper writes them, by NumPy."""
    steps = np.empty_like(gradients)
    m, v = np.zeros(gradients.shape[1]), np.zeros(gradients.shape[1])
    for t, g in enumerate(gradients, start=1):
        if name == "gradient descent":
            steps[t - 1] = -0.1 * g
        elif name == "Adam":
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            steps[t - 1] = -0.03 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        else:
            m = 0.9 * m + g
            steps[t - 1] = -0.1 * (g + 0.9 * m if name == "Nesterov" else m)
    return steps


def predictions(land: dict[str, Any], net: dict[str, Any], four: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted of the minima, of the limit at one, and of the optimizers."""
    plateau, heights, descent = land["plateau"], land["heights"], land["descent"]
    return {
        "limit": Prediction(
            "the rate at which descent leaves the minimum of a net, over 2/λ_max",
            net["observed"],
            "within",
            (0.98, 1.02),
        ),
        "sharp": Prediction("every rate above it leaves the minimum", net["apart"]),
        "power": Prediction(
            "λ_max by power iteration is that of the whole Hessian: relative difference",
            abs(net["curvature"] / net["by_hessian"] - 1),
            "at most",
            1e-6,
        ),
        "minima": Prediction(
            "strict minima of different height that a net has", len(heights) if land["strict"] else 0, "at least", 2
        ),
        "heights": Prediction(
            "the highest minimum over the lowest", heights[-1]["cost"] / heights[0]["cost"], "at least", 1.05
        ),
        "plateau": Prediction("the gradient on a plateau", plateau["gradient"], "at most", 1e-10),
        "held": Prediction(
            "a plateau holds descent: loss after over loss before",
            plateau["after"] / plateau["before"],
            "at least",
            0.999,
        ),
        "far": Prediction(
            "far above the minimum: loss over the least", plateau["before"] / heights[0]["loss"], "at least", 2.0
        ),
        "nets_fall": Prediction(
            "at a small rate no step of a net raises its cost: steps that do", descent["rises"], "is", 0
        ),
        "lemma": Prediction(
            "every step lowers the cost by α/2 ‖∇E‖² or more: least ratio of the two",
            descent["least_ratio"],
            "at least",
            1.0,
        ),
        "nets_rest": Prediction(
            "the gradient of a net where descent has ended, over the first: median of the starts",
            descent["gradient_left"],
            "at most",
            1e-2,
        ),
        "shared": Prediction(
            "four optimizers are handed one gradient: difference", four["first_gradient_apart"], "at most", 1e-15
        ),
        "steps": Prediction(
            "every step of each is that of its formula, by NumPy: difference", four["off_formula"], "at most", 1e-11
        ),
        "ways": Prediction("their ways part: distance of the nearest two ends", four["nearest_ends"], "at least", 1e-3),
    }


def evidence(land: dict[str, Any], four: dict[str, Any]) -> dict[str, Evidence]:
    """What the net says of claims A19 and B12."""
    lowest, highest, flat = land["heights"][0], land["heights"][-1], land["plateau"]
    return {
        "A19": Evidence(
            "One gradient function drives gradient descent, momentum, Nesterov and Adam: first gradients apart by "
            f"{max(four['first_gradient_apart'].values()):.0e} (predicted 0), each of 1500 steps off its formula by at "
            f"most {max(four['off_formula'].values()):.0e}, ends apart by at least {four['nearest_ends']:.2g} in some "
            "parameter.",
            "optimizers.svg",
        ),
        "B12": Evidence(
            f"{land['strict']} of {land['starts']} starts end in strict minima (gradient 0, all curvatures positive), "
            f"{'of' if land['strict'] else 'the others at'} cost {lowest['cost']:.4f} to {highest['cost']:.4f}. "
            "On a plateau of saturated units the gradient is "
            f"{flat['gradient']:.0e}, and the loss stays at {flat['after']:.4f} for {flat['steps']} steps, although "
            f"{lowest['loss']:.4f} can be reached.",
            "landscape.svg",
        ),
    }


def panel(axis: Any, net: dict[str, Any], colors: tuple[str, str]) -> None:
    """How far descent leaves the minimum, for rates around the limit."""
    axis.plot(net["shares"], net["growth"], "o-", color=colors[0], ms=4)
    axis.axvline(1, color=colors[1], lw=2, ls="--", label="$2/\\lambda_{max}$ by power iteration")
    axis.axhline(1, color="0.4", lw=1)
    axis.set(
        yscale="log", xlabel="rate / $(2/\\lambda_{max})$",
        ylabel=f"distance after {net['steps']} steps / at the start", title="A net beside its minimum",
    )  # fmt: skip
    axis.legend(loc="upper left")


def optimizers_figure(four: dict[str, Any], descent: dict[str, Any]) -> Any:
    """The loss under four optimizers, and the cost of plain descent from many starts."""
    from experiments import figures

    drawn, ((left, right),) = figures.blank(12, 4.6, columns=2)
    colors = (figures.BLUE, figures.GREEN, figures.ORANGE, figures.RED)
    for (name, curve), color, style in zip(four["curves"].items(), colors, ("-", "--", "-.", ":"), strict=True):
        left.plot(four["steps"], curve, style, color=color, lw=2.2, label=name)
    left.set(xscale="log", yscale="log", xlabel="step", ylabel="loss", title="One gradient, one start, four optimizers")
    left.legend()
    for k, curve in enumerate(descent["curves"]):
        label = None if k else f"{len(descent['curves'])} of the starts"
        right.plot(descent["places"], curve, color=figures.BLUE, lw=1.2, alpha=0.7, label=label)
    right.set(
        xscale="log", yscale="log", xlabel="step", ylabel="cost",
        title=f"Plain descent at rate {descent['rate']:g}: the cost never rises",
    )  # fmt: skip
    right.legend()
    return drawn


def figure(land: dict[str, Any]) -> Any:
    """Minima by their heights, a plane and lines between them, and the plateau."""
    from experiments import figures

    drawn, ((starts, plane), (line, plateau)) = figures.blank(12, 8.4, 2, 2)
    counts = {each["cost"]: each["starts"] for each in land["heights"]} if land["strict"] else {}
    if counts:
        starts.stem(list(counts), list(counts.values()), basefmt=" ")
    starts.set(
        xlabel="cost of a strict minimum", ylabel="starts that end in it", xlim=(0, None), ylim=(0, None),
        title=f"A net 1-3-1: where {land['starts']} starts end",
    )  # fmt: skip
    _plane(drawn, plane, land["plane"])
    _line(line, land["line"])
    _plateau_panel(plateau, land)
    return drawn


def _line(axes: Any, line: dict[str, Any]) -> None:
    from experiments import figures

    axes.plot(line["share"], line["to_worst"], color=figures.BLUE, lw=2, label="to the highest minimum")
    axes.plot(
        line["share"], line["to_turned"], "--", color=figures.ORANGE, lw=2, label="to itself, units reordered"
    )  # fmt: skip
    for share in (0, 1):
        axes.axvline(share, color="0.4", lw=1, ls=":")
    axes.set(
        yscale="log", ylim=(0.03, 12), xlabel="0: lowest minimum, 1: the other", ylabel="cost",
        xticks=[-0.5, 0, 0.5, 1, 1.5],
        title="Lines between minima",
    )  # fmt: skip
    axes.legend(fontsize=9, loc="upper center")


def _plane(drawn: Any, axes: Any, plane: dict[str, Any]) -> None:
    side, heights = np.array(plane["side"]), np.log10(np.array(plane["cost"]))
    shade = axes.contourf(side, side, heights, levels=24, cmap="cividis_r")
    drawn.colorbar(shade, ax=axes, label="log10 cost")
    names = ("lowest", "highest", "reordered" if plane["turned"] else "one between")
    for place, name in zip(((0, 0), (1, 0), (0, 1)), names, strict=True):
        axes.plot(*place, "o", color="white", mec="black", ms=9)
        axes.annotate(
            name, place, xytext=(8, 6), textcoords="offset points", fontsize=10,
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8},
        )  # fmt: skip
    axes.grid(False)
    axes.set(title="The plane through three minima", xlabel="towards the highest", ylabel="towards the third")


def _plateau_panel(axes: Any, land: dict[str, Any]) -> None:
    from experiments import figures

    cut = land["plateau"]["slice"]
    axes.plot(cut["steepness"], cut["cost"], color=figures.BLUE, lw=2, label="loss")
    axes.plot(
        cut["steepness"], cut["gradient"], "--", color=figures.ORANGE, lw=2, label="gradient of the hidden layer"
    )  # fmt: skip
    axes.axhline(land["heights"][0]["loss"], color=figures.GREEN, lw=1.5, ls=":", label="lowest minimum")
    axes.set(
        xscale="log", yscale="log", ylim=(1e-13, 1e2), xlabel="steepness of the hidden units",
        ylabel="loss, gradient norm", title="A plateau: saturated hidden units",
    )  # fmt: skip
    axes.legend(fontsize=9, loc="lower left")
