"""Many right rules: how often does the checker raise an alarm although nothing is wrong?

Promises: random architectures, activations, losses, regularizers, seeds, scales and dtypes; and points on kinks, or
within a step of one, for relu, the absolute value, the hinge and the maximum.
"""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.progress import Watch
from fnn.activations import ACTIVATIONS
from fnn.losses import LOSSES

DTYPES = ("float32", "float64", "bfloat16")
#: Scales of the weights and of the inputs.
WEIGHTS, INPUTS = (0.01, 0.1, 1.0, 10.0), (0.01, 1.0, 100.0)
#: Checks of one architecture, whose programs are compiled once.
EACH = 100
#: How far a point lies from its kink: exactly on it, or within any step that differences might take.
NEAR = (0.0, 1e-12, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)


def measured(checks: int, watch: Watch, seed: int) -> dict[str, Any]:
    """How many checks of right nets were made, and each that was not ok."""
    random = np.random.default_rng([seed, 1])
    done, alarms, undecided = 0, [], 0
    while done < checks:
        by_hand, lead = _architecture(random)
        programs = fnn.checker.Programs()
        # thousands of compiled programs exhaust the memory maps that a process may have
        jax.clear_caches()
        for _ in range(min(EACH, checks - done)):
            dtype = DTYPES[int(random.choice(3, p=(0.6, 0.2, 0.2)))]
            scales = float(random.choice(WEIGHTS)), float(random.choice(INPUTS))
            with jax.enable_x64(dtype == "float64"):
                params, x, y, options = _numbers(by_hand, lead, random, jnp.dtype(dtype), *scales)
                report = fnn.check(by_hand, params, x, y, programs=programs, **options)
            done += 1
            if not report.ok:
                bad = next(
                    f for f in report.findings if f.verdict not in (fnn.checker.Verdict.OK, fnn.checker.Verdict.KINK)
                )
                undecided += bad.verdict == fnn.checker.Verdict.UNDECIDED
                told = f"{bad.rule}, {bad.argument}: {bad.verdict.value}, {bad.message}"
                alarms.append({"net": repr(by_hand.net), "loss": repr(by_hand.loss), "dtype": dtype, "says": told} | {
                    "weights": scales[0], "inputs": scales[1]
                })  # fmt: skip
        watch("right rules", done, checks, f"{len(alarms)} alarms")
    return {"checks": done, "alarms": alarms, "undecided": undecided}


def at_kinks(points: int, watch: Watch, seed: int) -> dict[str, Any]:
    """How many points on or beside a kink were checked, and each check that was not ok."""
    random = np.random.default_rng([seed, 2])
    alarms, done, kinks = [], 0, 0
    shape = (5, 7)
    cases = _kinks(shape[1])
    programs = fnn.checker.Programs()
    while done < points:
        for name, (by_hand, params, targets, kink) in cases.items():
            y = random.choice([-1.0, 1.0], shape) if targets == "signs" else random.normal(0, 1, shape)
            x = kink * y + random.choice(NEAR, shape) * random.choice([-1.0, 1.0], shape)
            x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
            report = fnn.check(by_hand, params, x, y, programs=programs)
            done += x.size
            kinks += sum(f.verdict == fnn.checker.Verdict.KINK for f in report.findings)
            if not report.ok:
                alarms.append({"case": name, "says": str(report.text())})
        done += _at_maxima(random, alarms)
        watch("points at kinks", min(done, points), points, f"{len(alarms)} alarms")
    return {"points": done, "alarms": alarms, "kinks_told": kinks}


def _kinks(width: int) -> dict[str, tuple[fnn.gradients.Backprop, Any, str, float]]:
    """name -> (a gradient with a kink, its parameters, the kind of target y, c such that the kink lies at x = c y)."""
    one = ({"W": jnp.eye(width), "b": jnp.zeros(width)},)
    made: dict[str, tuple[fnn.gradients.Backprop, Any, str, float]] = {}
    for name in ("relu", "leaky_relu", "elu"):
        net = fnn.sequential(fnn.dense(width, width, activation=name))
        made[name] = fnn.backprop(net, "squared_error"), one, "numbers", 0.0
    plain = fnn.sequential(fnn.dense(width, width))
    for name, targets, kink in (
        ("absolute_error", "numbers", 1.0), ("hinge", "signs", 1.0), ("perceptron_loss", "signs", 0.0),
    ):  # fmt: skip
        made[name] = fnn.backprop(plain, name), one, targets, kink
    return made


def _at_maxima(random: np.random.Generator, alarms: list[dict[str, Any]]) -> int:
    """A user's own function, with plain autodiff: the maximum of each row, two entries of which tie or nearly tie."""
    x = random.normal(0, 1, (5, 7))
    # the largest of each row, twice
    x[:, 0] = x.max(axis=1) + random.choice(NEAR, 5) * random.choice([-1.0, 1.0], 5)
    report = fnn.check(lambda x: jnp.sum(jnp.max(x, axis=1) ** 2) + jnp.sum(jnp.abs(x)), jnp.asarray(x, jnp.float32))
    if not report.ok:
        alarms.append({"case": "max", "says": str(report.text())})
    return x.size


def _architecture(random: np.random.Generator) -> tuple[fnn.gradients.Backprop, int]:
    """A random net of one to four layers, a loss, perhaps a regularizer, and a number of examples."""
    widths = [int(w) for w in random.integers(1, 10, int(random.integers(2, 6)))]
    names = list(ACTIVATIONS)
    loss = LOSSES[str(random.choice(list(LOSSES)))]
    layers: list[fnn.Layer] = []
    for below, above in pairwise(widths):
        activation = names[int(random.integers(len(names)))]
        layers.append(fnn.dense(below, above, activation=activation))
        extra = random.random()
        if extra < 0.15:
            layers.append(fnn.skip(fnn.dense(above, above, activation="tanh")))
        elif extra < 0.25:
            layers.append(fnn.repeated(fnn.dense(above, above, activation="silu"), 2))
    output = {"negative_log_likelihood": "softmax", "binary_cross_entropy": "sigmoid"}.get(loss.name, "identity")
    layers.append(fnn.dense(widths[-1], int(random.integers(1, 6)), activation=output))
    loss = loss.sum if random.random() < 0.3 else loss
    regularizer = None if random.random() < 0.6 else str(random.choice(["l1", "l2", "elastic_net"]))
    return fnn.backprop(fnn.sequential(*layers), loss, regularizer), int(random.integers(1, 9))


def _numbers(
    by_hand: fnn.gradients.Backprop,
    examples: int,
    random: np.random.Generator,
    dtype: Any,
    weights: float,
    inputs: float,
) -> tuple[Any, Any, Any, dict[str, Any]]:
    shapes = jax.eval_shape(lambda: by_hand.net.init(jax.random.key(0)))

    def leaf(path: Any, like: Any) -> jax.Array:
        bound = np.sqrt(6 / sum(like.shape[-2:])) if path[-1].key == "W" else 0.1
        return jnp.asarray(weights * random.uniform(-bound, bound, like.shape), dtype)

    params = jax.tree_util.tree_map_with_path(leaf, shapes)
    x = jnp.asarray(inputs * random.normal(0, 1, (examples, by_hand.net.inputs or 1)), dtype)
    shape = examples, by_hand.net.outputs or 1
    name = by_hand.loss.name
    if name in ("softmax_cross_entropy", "negative_log_likelihood"):
        y: Any = jnp.asarray(random.integers(0, shape[1], examples), jnp.int32)
    elif name in ("binary_cross_entropy", "sigmoid_cross_entropy"):
        y = jnp.asarray(random.integers(0, 2, shape), dtype)
    elif name in ("hinge", "perceptron_loss"):
        y = jnp.asarray(random.choice([-1.0, 1.0], shape), dtype)
    else:
        y = jnp.asarray(random.normal(0, 1, shape), dtype)
    if by_hand.regularizer is None:
        return params, x, y, {}
    return params, x, y, {"strength": (0.01, 0.02) if by_hand.regularizer == fnn.elastic_net else 0.03}
