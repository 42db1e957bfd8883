"""The bank of wrong rules: every hand-written derivative of the package, changed by every operator, and small nets.

Promises: `every` lists the same mutants in the same order in every process; `drawn` draws from them by a seed, evenly
over rules and operators; `host` puts a mutant into a small net, a value that is equal when it is made again; `data`
gives numbers for that net at one of five kinds of points.
Letters: N examples, I inputs, H hidden units, O outputs.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fnn
from experiments.detection.operators import changed_functions, changed_result, mutants, result_changes, through
from experiments.detection.operators import with_method as changed_class
from fnn import losses, regularizers
from fnn.activations import ACTIVATIONS
from fnn.losses import LOSSES
from fnn.regularizers import REGULARIZERS

SEED = 20180930
POINTS = ("fresh", "trained", "weights x 10", "weights x 0.01", "inputs x 100")
#: Coordinates have as many numbers as any gradient has axes; below 2¹⁶ they fall evenly on every small axis.
AXES, HIGHEST = 4, 2**16
#: The derivative of these is 0 everywhere, and so is its multiple.
ZERO = ("sign", "hard_threshold")
OVER_CLASSES = ("softmax_cross_entropy", "negative_log_likelihood")


@dataclass(frozen=True, eq=False)
class Mutant:
    """One wrong rule: what it is, how it was made, and how its host must be to call the place that was changed."""

    family: str
    rule: str
    operator: str
    change: str
    record: Any
    """The changed record; for layers and the objective the changed class."""
    original: Any
    """The record or the class before the change."""
    coordinate: tuple[int, ...] | None = None
    leaf: str = ""
    """Of the result operators on several arrays: "W", "b" or "x"."""
    target: str = "labels"
    """"labels" or "rows" of probabilities, for losses over classes."""
    reduction: str = "mean"
    """"mean", "sum", or "weighted" for a mean with example weights."""


class Host(NamedTuple):
    """A net around a mutant: its gradient, the name under which a checker must blame it, and the net done right."""

    by_hand: fnn.gradients.Backprop
    culprit: str
    right: fnn.gradients.Backprop
    examples: int
    target: str
    reduction: str


@functools.cache
def _all() -> tuple[Mutant, ...]:
    return tuple(_placed(mutant) for mutant in _made())


def every() -> list[Mutant]:
    """All mutants, in a fixed order."""
    return list(_all())


def _made() -> Iterator[Mutant]:
    for family, table, method in (
        ("activation", ACTIVATIONS, "backward"), ("loss", LOSSES, "slope"), ("regularizer", REGULARIZERS, "gradient"),
    ):  # fmt: skip
        for name, right in table.items():
            leaf = "only W" if family == "regularizer" else ""
            leaves = () if name in ZERO else (leaf,)
            for operator, told, cls, at, k in _of_class(type(right), [method], method, leaves):
                yield Mutant(family, name, operator, told, cls(), right, k, at.replace("only ", ""))
    # what several rules share
    for name, helper in (
        ("softmax_cross_entropy", "_add_at_label"), ("negative_log_likelihood", "_add_at_label"),
        ("negative_log_likelihood", "_log_slope"), ("binary_cross_entropy", "_log_slope"),
    ):  # fmt: skip
        for operator, told, changed in changed_functions(getattr(losses, helper)):
            cls = through(type(LOSSES[name]), "slope", **{helper: changed})
            yield Mutant("loss", name, operator, f"{helper}: {told}", cls(), LOSSES[name])
    for operator, told, changed in changed_functions(regularizers._on_weights):
        cls = through(type(fnn.l2), "gradient", _on_weights=changed)
        yield Mutant("regularizer", "l2", operator, f"_on_weights: {told}", cls(), fnn.l2)
    base = fnn.softmax_cross_entropy
    for operator, told, cls, at, k in _of_class(type(base), ["backward"], "backward", ("",)):
        yield Mutant("loss", "scale of the loss", operator, told, cls(), base, k, at)
    for operator, told, changed in changed_functions(fnn.linear.affine_backward):
        cls = through(fnn.layers.Dense, "backward", affine_backward=changed)
        yield Mutant("layer", "affine", operator, told, cls, fnn.layers.Dense)
    for right, methods, wrapped, leaves in (
        (fnn.layers.Dense, ["backward"], "backward", ("W", "b", "x")),
        (fnn.network.Skip, ["backward"], "backward", ("W", "x")),
        (fnn.network.Sequential, ["backward"], "backward", ("W", "x")),
        (fnn.network.Repeated, ["backward", "_reverse"], "_reverse", ("W", "x")),
        (fnn.gradients.Objective, ["backward"], "backward", ("W", "x")),
    ):
        family = "objective" if right is fnn.gradients.Objective else "layer"
        for operator, told, cls, at, k in _of_class(right, methods, wrapped, leaves):
            yield Mutant(family, right.__qualname__.lower(), operator, told, cls, right, k, at)


def _of_class(
    cls: type, methods: list[str], wrapped: str, leaves: tuple[str, ...]
) -> Iterator[tuple[str, str, type, str, tuple[int, ...] | None]]:
    """(operator, change, class, leaf, coordinate) of every mutant of the source and of the result."""
    for method in methods:
        for operator, told, changed in mutants(cls, method):
            yield operator, told, changed, "", None
    rng = np.random.default_rng([SEED, *map(ord, cls.__name__ + wrapped)])
    for leaf in leaves:
        # a bad entry hides best, so there are two draws of it
        for again in (False, True):
            coordinate = tuple(int(r) for r in rng.integers(0, HIGHEST, AXES))
            for operator, told, change in result_changes(coordinate):
                if again and operator not in ("one entry", "one row"):
                    continue
                # only weights can be square whatever the number of examples
                if operator == "result transposed" and "W" not in leaf:
                    continue
                made = changed_class(cls, wrapped, changed_result(getattr(cls, wrapped), change, leaf))
                yield operator, told, made, leaf, coordinate if operator == "one entry" else None


def _placed(mutant: Mutant) -> Mutant:
    """The mutant with the target and the reduction under which its gradient differs, if there are any."""
    if mutant.family != "loss" or mutant.rule not in (*OVER_CLASSES, "scale of the loss"):
        return mutant
    targets, reductions = (("labels", "rows"), ("mean",))
    if mutant.rule == "scale of the loss":
        targets, reductions = (("labels",), ("mean", "sum", "weighted"))
    options = [replace(mutant, target=t, reduction=r) for t in targets for r in reductions]
    differing = next((option for option in options if differs(option)), None)
    # if none differs, a change where it cannot run is one that does not run, and no equal one
    return differing or next((option for option in options if not runs(option)), mutant)


def differs(mutant: Mutant) -> bool:
    """True if the gradient at the fresh point differs from the right one by more than rounding of float32."""
    try:
        wrong, right = gradient(mutant), _right_gradient(host(mutant, 0, "first"))
    except Exception:
        return False
    pairs = zip(jax.tree.leaves(wrong), right, strict=True)
    return any(a.shape != b.shape or not np.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in pairs)


def gradient(mutant: Mutant, size: int = 0, nets: str = "first") -> Any:
    """(params_bar, x_bar) of the mutant's host at the fresh point, in float32; raises what the mutant raises."""
    made = host(mutant, size, nets)
    params, x, y, options = data(made, "fresh", size)
    bars = made.by_hand.with_inputs(params, x, y, **options)[1]
    by_name = jax.tree.map(lambda p, g: jnp.broadcast_to(g, p.shape), params, bars[0])
    return jax.tree.map(np.asarray, (by_name, bars[1]))


@functools.lru_cache(maxsize=256)
def _right_gradient(made: Host) -> list[np.ndarray]:
    params, x, y, options = data(made, "fresh", 0)
    return list(map(np.asarray, jax.tree.leaves(made.right.with_inputs(params, x, y, **options)[1])))


@functools.cache
def runs(mutant: Mutant) -> bool:
    """True if the gradient of the mutant can be evaluated at all and has the shapes of the parameters."""
    try:
        for size, nets in ((0, "first"), (1, "first"), (0, "held out"), (1, "held out")):
            _require_shapes(host(mutant, size, nets), size)
        gradient(mutant)
    except Exception:
        return False
    return True


def _require_shapes(made: Host, size: int) -> None:
    params, x, y, options = data(made, "fresh", size)
    bars = jax.eval_shape(lambda p, x: _tree(made.by_hand.with_inputs(p, x, y, **options)[1][0]), params, x)
    if jax.tree.map(jnp.shape, bars) != jax.tree.map(jnp.shape, params):
        raise ValueError("the gradient must have the shapes of the parameters")


def _tree(value: Any, deep: int = 20) -> Any:
    """The value, if it is a tree. JAX dies of a list that holds itself, and everything after it in the process."""
    if deep == 0:
        raise ValueError("the gradient holds itself")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ():
        _tree(inner, deep - 1)
    return value


def drawn(seed: int, count: int, *, without: tuple[Mutant, ...] = ()) -> tuple[list[Mutant], int]:
    """(mutants that run, how many were dropped because they do not), evenly over (rule, operator), no mutant twice.

    One mutant of each kind in turn, the kinds and the mutants of a kind in an order that the seed draws.
    """
    rng = np.random.default_rng([SEED, seed])
    kinds: dict[tuple[str, str], list[Mutant]] = {}
    for mutant in every():
        if mutant not in without:
            kinds.setdefault((mutant.rule, mutant.operator), []).append(mutant)
    queues = [[kind[k] for k in rng.permutation(len(kind))] for kind in kinds.values()]
    chosen: list[Mutant] = []
    dropped = 0
    while any(queues) and len(chosen) < count:
        for k in rng.permutation(len(queues)):
            while queues[k] and len(chosen) < count:
                mutant = queues[k].pop()
                if runs(mutant):
                    chosen.append(mutant)
                    break
                dropped += 1
    return chosen, dropped


# ---- hosts ----------------------------------------------------------------------------------------------------------

#: nets -> for each size (inputs, hidden units, outputs, examples); no two alike, so that a transposition shows.
SIZES = {
    "first": ((4, (5, 5), 3, 6), (9, (12, 8), 5, 16)),
    "held out": ((8, (5, 7), 4, 6), (10, (14, 11), 6, 13)),
}


def host(mutant: Mutant, size: int, nets: str) -> Host:
    """A small net that uses the mutated rule; "held out" has other depth, widths and neighbours than "first"."""
    inside, culprit = _hosted(mutant, mutant.record, size, nets)
    right, _ = _hosted(mutant, mutant.original, size, nets)
    return Host(inside, culprit, right, SIZES[nets][size][3], mutant.target, mutant.reduction)


def _hosted(mutant: Mutant, rule: Any, size: int, nets: str) -> tuple[fnn.gradients.Backprop, str]:
    I, (H, J), O, _ = SIZES[nets][size]
    first = nets == "first"
    loss = fnn.softmax_cross_entropy if first else fnn.sigmoid_cross_entropy
    activation, output, regularizer, culprit = fnn.tanh, fnn.identity, None, mutant.rule
    below: fnn.Layer = fnn.dense(I, H, activation=fnn.tanh if first else fnn.silu)
    if mutant.family == "activation":
        culprit = repr(rule)
        if mutant.rule == "softmax":
            output, loss = rule, fnn.negative_log_likelihood if first else fnn.half_squared_error
        else:
            activation = rule
    if mutant.family == "loss":
        loss, culprit = rule.sum if mutant.reduction == "sum" else rule, rule.name
        output = {"negative_log_likelihood": fnn.softmax, "binary_cross_entropy": fnn.sigmoid}.get(loss.name, output)
    if mutant.family == "regularizer":
        loss, regularizer = (loss if first else fnn.squared_error), rule
    if mutant.family == "objective" or (mutant.family == "loss" and not first):
        regularizer = fnn.l2
    square = mutant.operator in ("transposition", "result transposed")
    if mutant.family == "layer":
        # what repeats shares its output with the next: only an activation that keeps its output tells whether it does
        other = fnn.sigmoid if mutant.rule == "repeated" else fnn.gelu
        middle, culprit = _middle(mutant.rule, rule, H, H if square else J, fnn.tanh if first else other)
    elif first:
        middle = fnn.dense(H, J, activation=activation)
    else:
        middle = fnn.sequential(fnn.skip(fnn.mlp(H, J, H, activation=activation)), fnn.dense(H, J, activation="silu"))
    if square and mutant.family in ("objective", "regularizer"):
        below = fnn.dense(I, I, activation="tanh")
        middle = fnn.sequential(fnn.dense(I, H, activation="silu"), middle)
    if not first and mutant.family == "layer":
        # a skip connection stands beside it
        below = fnn.sequential(below, fnn.skip(fnn.dense(H, H, activation="softplus")))
    net = fnn.sequential(below, middle, fnn.dense(middle.outputs or J, O, activation=output))
    made = rule(net, loss, regularizer) if mutant.family == "objective" else fnn.objective(net, loss, regularizer)
    return fnn.gradients.Backprop(made), culprit


def _middle(name: str, cls: Any, H: int, J: int, activation: fnn.Activation) -> tuple[fnn.Layer, str]:
    """A layer of the changed class, and the name that a checker gives to it."""
    if name in ("dense", "affine"):
        # glorot_uniform and zeros are the defaults
        layer = cls(H, J, activation)
        return layer, repr(layer)
    if name == "sequential":
        return cls((fnn.dense(H, H, activation=activation), fnn.dense(H, J, activation="sigmoid"))), name
    inner = fnn.dense(H, H, activation=activation)
    return (cls(inner) if name == "skip" else cls(inner, 3)), name


# ---- numbers --------------------------------------------------------------------------------------------------------


def data(made: Host, point: str, size: int, dtype: Any = jnp.float32, seed: int = 0) -> tuple[Any, Any, Any, dict]:
    """(params, x, y, options) for the host, generic numbers drawn by NumPy; float64 needs jax.enable_x64(True)."""
    if point not in POINTS:
        raise ValueError(f"point must be one of {POINTS}, got {point!r}.")
    rng = np.random.default_rng([SEED, seed, size])
    shapes = jax.eval_shape(lambda: made.right.net.init(jax.random.key(0)))

    def fresh(path: tuple, like: Any) -> np.ndarray:
        # the bound of Glorot for weights; biases are small but not zero
        bound = np.sqrt(6 / sum(like.shape[-2:])) if path[-1].key == "W" else 0.0
        return rng.uniform(-bound, bound, like.shape) + rng.normal(0, 0.1, like.shape)

    params = jax.tree_util.tree_map_with_path(fresh, shapes)
    x = rng.normal(-0.2, 1.0, (made.examples, made.right.net.inputs))
    y = _targets(made, rng)
    options: dict[str, Any] = {}
    if made.right.regularizer is not None:
        options["strength"] = (0.01, 0.02) if made.right.regularizer == fnn.elastic_net else 0.03
    if made.reduction == "weighted":
        options["sample_weight"] = jnp.asarray(rng.uniform(0.5, 2.0, made.examples), dtype)
    if point == "trained":
        params = _trained(made.right, (made.examples, made.target), size, seed, _Numbers((params, x, y, options)))
    factor = {"weights x 10": 10.0, "weights x 0.01": 0.01}.get(point, 1.0)
    params = jax.tree_util.tree_map_with_path(lambda path, p: factor * p if path[-1].key == "W" else p, params)
    x = 100.0 * x if point == "inputs x 100" else x
    params, x = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (params, x))
    return params, x, jnp.asarray(y) if y.dtype.kind == "i" else jnp.asarray(y, dtype), options


def _targets(made: Host, rng: np.random.Generator) -> np.ndarray:
    """Targets that the loss can mean."""
    shape = (made.examples, made.right.net.outputs)
    name = made.right.loss.name
    if name in OVER_CLASSES:
        if made.target == "labels":
            return rng.integers(0, shape[1], shape[0]).astype(np.int32)
        rows = rng.random(shape) + 0.05
        return rows / rows.sum(-1, keepdims=True)
    if name in ("binary_cross_entropy", "sigmoid_cross_entropy"):
        return rng.random(shape)
    return rng.choice([-1.0, 1.0], shape) if name in ("hinge", "perceptron_loss") else rng.normal(0.3, 1.0, shape)


class _Numbers(tuple):
    """Numbers that a cache does not look at: the other arguments determine them."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Numbers)

    def __hash__(self) -> int:
        return 0


@functools.cache
def _trained(right: fnn.gradients.Backprop, kind: tuple, size: int, seed: int, numbers: _Numbers) -> Any:
    """The parameters after 3000 steps with the right gradient."""
    params, x, y, options = numbers
    # 100 copies of the data: one epoch is 100 steps in one program, on batches of as many examples as there are
    x, y = (np.concatenate([each] * 100) for each in (np.asarray(x, np.float32), y))
    y = y if y.dtype.kind == "i" else y.astype(np.float32)
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
    state, _ = fnn.fit(
        right, params, (x, y), optimizer=_OPTIMIZER, epochs=30, batch_size=kind[0], key=jax.random.key(seed),
        strength=options.get("strength"),
    )  # fmt: skip
    return jax.tree.map(np.asarray, state.params)


_OPTIMIZER = optax.adam(3e-3)
