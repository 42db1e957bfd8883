"""Question: what do second derivatives and per-example gradients cost, in units of one gradient, here and in other
libraries?

Prediction: counted by XLA, a Hessian product takes at most 2.0 gradients and a Gauss-Newton product at most 1.8, each
at most 1.05 times the same by `jax.jvp`; the diagonal of the Gauss-Newton matrix at most one gradient per class and one
more; clipped sums at most 1.5 gradients, with at most 2.2 times the temporary memory, or 1.5 times in chunks of 32.
Where the peers are installed, their values are ours to 1e-12 of the largest entry, in float64; those of Opacus to
1e-4, as it adds 1e-6 to every norm.
Refuted by: a count, a memory or a difference above its bound.

Counts say nothing about time: the times stand beside them, as ratios to the gradient of the same round, in medians over
the rounds. In every round all functions take turns in random order. The times are those of the processor, summed over
threads, so that other processes disturb them little; pin the run to one core (taskset -c 0), since threads that wait
for each other count too. PyTorch, BackPACK, curvlinops and Opacus are timed
in the same process if they are installed (an environment of its own: pip install torch backpack-for-pytorch
curvlinops-for-pytorch opacus); their times include what they do in Python for each call.
"""

from dataclasses import dataclass
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Count and time curvature and per-example gradients, beside jax.jvp and the libraries of PyTorch.

    Do not use the machine for anything else meanwhile.
    """

    sizes: tuple[int, ...] = frame.at_least(1, (784, 512, 256, 10))
    """Of the net."""
    batch: int = frame.at_least(1, 128)
    """Rows of a product."""
    rows: int = frame.at_least(64, 512)
    """Rows of a clipped sum."""
    rounds: int = frame.at_least(0, 9)
    """Of the times; 0 leaves them out."""
    seconds: float = frame.above(0, 0.2)
    """How long each function runs in each round, about."""


EXPERIMENT = frame.Experiment(
    Options, quick={"sizes": (8, 6, 4), "batch": 16, "rows": 64, "rounds": 1, "seconds": 0.001}, apart=True
)

# ---- the experiment -------------------------------------------------------------------------------------------------

import functools
import random
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import fnn
from experiments import costs
from experiments.curvature_costs import peers as libraries
from experiments.frame import Prediction
from experiments.progress import Watch, silent

LOSS = "softmax_cross_entropy"
CHUNK = 32
#: Above: operations and temporary memory in gradients; of the same by jax.jvp; of a peer's values, and of Opacus's.
HESSIAN, NEWTON, CLIPPED, MEMORY, CHUNKED, JVP, AGREE, OPACUS = 2.0, 1.8, 1.5, 2.2, 1.5, 1.05, 1e-12, 1e-4
#: The net whose values are compared.
SMALL, SMALL_ROWS = (6, 5, 4, 3), 7


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Count, compare, time."""
    programs = _programs(options)
    counted = {
        name: {
            "operations": costs.operations(program),
            "memory": float(program.memory_analysis().temp_size_in_bytes),
        }
        for name, (program, _) in programs.items()
    }
    watch("parts", 1, 3, "counts")
    peers = libraries.versions()
    values = libraries.values(SMALL, SMALL_ROWS) if peers else {}
    watch("parts", 2, 3, "values")
    calls = {name: functools.partial(_call, *each) for name, each in programs.items()}
    if peers:
        calls |= libraries.timed(options.sizes, options.batch, options.rows)
    rounds = [_round(calls, options, number) for number in range(options.rounds)]
    watch("parts", 3, 3, "times")
    times = {name: [each[name] for each in rounds] for name in calls}
    found = {"classes": options.sizes[-1], "counted": counted, "peers": peers, "values": values}
    return found | {"measured": {"milliseconds": times}}


def _programs(options: Options) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """{name: (compiled program, its arguments)}."""
    net = fnn.mlp(*options.sizes)
    by_hand = fnn.backprop(net, LOSS)
    hessian, newton = (
        make(net, LOSS) for make in (fnn.curvature.hessian_vector_product, fnn.curvature.gauss_newton_vector_product)
    )
    draw = np.random.default_rng(options.seed)
    params = net.init(jax.random.key(options.seed))
    vector = jax.tree.map(lambda p: jnp.asarray(draw.normal(size=p.shape), p.dtype), params)

    def data(rows: int) -> tuple[Any, Any]:
        x = draw.normal(size=(rows, options.sizes[0])).astype(np.float32)
        return x, draw.integers(0, options.sizes[-1], rows).astype(np.int32)

    few, many = (params, *data(options.batch)), (params, *data(options.rows))

    def jvp(params: Any, x: Any, y: Any, v: Any) -> Any:
        return jax.jvp(lambda q: by_hand(q, x, y)[1], (params,), (v,))[1]

    def jvp_newton(params: Any, x: Any, y: Any, v: Any) -> Any:
        p, p_dot = jax.jvp(lambda q: net.apply(q, x), (params,), (v,))
        middle = jax.jvp(jax.grad(lambda p: newton.loss(p, y)), (p,), (p_dot,))[1]
        return jax.vjp(lambda q: net.apply(q, x), params)[1](middle)[0]

    def formed(params: Any, x: Any, y: Any) -> Any:
        each = jax.vmap(lambda a, b: by_hand(params, a[None], b[None])[1])(x, y)
        norms = jnp.sqrt(sum(jnp.sum(g * g, axis=tuple(range(1, g.ndim))) for g in jax.tree.leaves(each)))
        share = libraries.LIMIT / jnp.maximum(norms, libraries.LIMIT)
        return jax.tree.map(lambda g: jnp.tensordot(share, g, axes=1), each)

    clipped = functools.partial(fnn.curvature.clipped_sum, by_hand, limit=libraries.LIMIT)
    functions: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "gradient": (by_hand, few),
        "Hessian product": (hessian, (*few, vector)),
        "Hessian product, jax.jvp": (jvp, (*few, vector)),
        "Gauss-Newton product": (newton, (*few, vector)),
        "Gauss-Newton product, jax.jvp": (jvp_newton, (*few, vector)),
        "Gauss-Newton diagonal": (functools.partial(fnn.curvature.diagonal, newton), few),
        "gradient, many rows": (by_hand, many),
        "clipped sum": (clipped, many),
        f"clipped sum, chunks of {CHUNK}": (functools.partial(clipped, chunk=CHUNK), many),
        "clipped sum, vmap of the gradient": (formed, many),
    }
    return {name: (jax.jit(f).lower(*args).compile(), args) for name, (f, args) in functions.items()}


def _call(program: Any, arguments: tuple[Any, ...]) -> None:
    jax.block_until_ready(program(*arguments))


def _round(calls: dict[str, Callable[[], Any]], options: Options, number: int) -> dict[str, float]:
    """Milliseconds of each function, in random order."""
    order = random.Random(options.seed + number).sample(list(calls), len(calls))
    found = {}
    for name in order:
        calls[name]()
        turns = []
        # seconds of the processor, all threads together: what other processes take is left out
        began = time.process_time()
        while time.process_time() - began < options.seconds or not turns:
            start = time.process_time()
            calls[name]()
            turns.append(1e3 * (time.process_time() - start))
        found[name] = float(np.median(turns))
    return found


# ---- what a reader sees ---------------------------------------------------------------------------------------------


def ratio(result: dict[str, Any], name: str, what: str = "operations") -> float:
    """Of operations or memory to those of the gradient on the same rows."""
    of = result["counted"]
    return of[name][what] / of["gradient, many rows" if name.startswith("clipped") else "gradient"][what]


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    made = {}
    for key, bound in (("Hessian", HESSIAN), ("Gauss-Newton", NEWTON)):
        name = f"{key} product"
        made[name] = Prediction(f"a {name} takes at most {bound:g} gradients", ratio(result, name) <= bound)
        made[f"{name} jvp"] = Prediction(
            f"a {name} takes at most {JVP:g} times the operations of jax.jvp",
            ratio(result, name) <= JVP * ratio(result, f"{name}, jax.jvp"),
        )
    classes = result["classes"]
    made["diagonal"] = Prediction(
        "the Gauss-Newton diagonal takes at most a gradient per class and one",
        ratio(result, "Gauss-Newton diagonal") <= classes + 1,
    )
    made["clipped"] = Prediction(
        f"a clipped sum takes at most {CLIPPED:g} gradients", ratio(result, "clipped sum") <= CLIPPED
    )
    chunks = f"clipped sum, chunks of {CHUNK}"
    made["memory"] = Prediction(
        f"and {MEMORY:g} times the temporary memory, {CHUNKED:g} times in chunks",
        ratio(result, "clipped sum", "memory") <= MEMORY and ratio(result, chunks, "memory") <= CHUNKED,
    )
    values = result["values"]
    made["peers"] = Prediction(
        f"the peers' values are ours to {AGREE:g}, Opacus's to {OPACUS:g}",
        all(off <= (OPACUS if "Opacus" in name else AGREE) for name, off in values.items()) if values else None,
        decide="An environment with BackPACK, curvlinops and Opacus would decide on the peers.",
    )
    return made


def table(saved: dict[str, Any]) -> str:
    """The table of docs/curvature.md: counts and times in gradients, Markdown."""
    result, times = saved["result"], saved["measured"]["milliseconds"]
    lines = ["| | operations | memory | time | milliseconds |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, each in times.items():
        peer = "clipped" in name or "example gradients" in name or "many" in name
        base = np.array(times["gradient, many rows" if peer else "gradient"])
        counted = ["", ""]
        if name in result["counted"]:
            own = result["counted"][name]
            gradient = result["counted"]["gradient, many rows" if peer else "gradient"]
            counted = [f"{own[what] / gradient[what]:.2f}" for what in ("operations", "memory")]
        ratios = np.array(each) / base
        spread = f"{np.median(ratios):.2f} ({np.min(ratios):.2f} to {np.max(ratios):.2f})"
        lines.append(f"| {name} | {' | '.join(counted)} | {spread} | {np.median(each):.3g} |")
    return "\n".join(lines)


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the table and the peers."""
    result = saved["result"]
    lines = [""]
    if saved["options"]["rounds"]:
        lines.append(table(saved))
    lines += [f"{name}: {off:.1e}" for name, off in result["values"].items()]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved result alone."""
    from experiments import figures

    times = saved["measured"]["milliseconds"]
    if not saved["options"]["rounds"]:
        return {}
    figure, ((axes,),) = figures.blank(9, 0.32 * len(times) + 1)
    for place, (name, each) in enumerate(reversed(times.items())):
        many = "clipped" in name or "example gradients" in name or "many" in name
        ratios = np.array(each) / np.array(times["gradient, many rows" if many else "gradient"])
        ours = name in saved["result"]["counted"] and "jax.jvp" not in name and "vmap" not in name
        axes.plot(ratios, np.full(len(ratios), place), ".", color=figures.BLUE if ours else figures.ORANGE)
        axes.plot(np.median(ratios), place, "|", color="black", ms=14)
    axes.set_yticks(range(len(times)), list(reversed(times)))
    axes.set(xscale="log", xlabel="time over that of the gradient on the same rows", title="What curvature costs")
    return {"curvature_costs.svg": figure}
