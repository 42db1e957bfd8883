"""Sweeps: many runs in one compiled program, over seeds, learning rates, strengths, initializers and nets.

Promises: runs of equal nets are one program, vectorized over them; nets of other shapes are groups with a program
each; a run that leaves the finite numbers disturbs no other and is marked; as many runs go together as the memory that
was allowed holds, and the results do not depend on how many do.
Letters: M runs, E epochs, N rows, B batch size.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checks import require_size
from fnn.initializers import get as get_initializer
from fnn.layers import Dense, Layer, with_parts
from fnn.training.config import (
    measured_names,
    objective_of,
    prepared,
    require_optimizer,
    require_options,
    require_strength,
)
from fnn.training.program import (
    AnyOptimizer,
    Metric,
    Numbers,
    Plan,
    Rows,
    TrainState,
    ValueAndGrad,
    chosen,
    every_batch,
    floating_dtype,
    measured,
    measuring_dtype,
    next_epoch,
    one_step,
    sign_of,
    stopped,
)
from fnn.training.shuffle import permutation
from fnn.types import Array, Key, Params, PyTree, is_key

FIELDS = ("seed", "learning_rate", "strength", "weight_init")
#: Epochs that one call may take: room for that many values of every curve is in the program.
ROOM = 32


@dataclass(frozen=True, eq=False)
class SweepResult:
    """What a sweep gave: one row per run.

    >>> found = fnn.sweep(
    ...     fnn.backprop(fnn.mlp(2, 4, 2), fnn.softmax_cross_entropy), fnn.data.xor(),
    ...     over=fnn.grid(seed=[0, 1], learning_rate=[0.01, 1.0]), optimizer=fnn.optimizers.sgd, epochs=20,
    ...     batch_size=4,
    ... )
    >>> found.runs[found.best]["learning_rate"], found.metrics["loss"].shape, found.failed.tolist()
    (1.0, (4, 20), [False, False, False, False])
    """

    runs: list[dict[str, Any]]
    """The fields of each run."""
    metrics: dict[str, np.ndarray]
    """name -> (M, E): what was measured after every epoch; NaN where a run had stopped."""
    params: list[Params]
    """The parameters of each run."""
    value: np.ndarray
    """(M,): the monitored quantity of these parameters; NaN of a run that failed."""
    failed: np.ndarray
    """(M,): True where a run left the finite numbers."""
    best: int
    """The run with the best value; -1 if all failed."""

    def __repr__(self) -> str:
        told = f"Sweep of {len(self.runs)} runs, {int(self.failed.sum())} failed"
        return told if self.best < 0 else f"{told}, best: run {self.best} {self.runs[self.best]}"


def grid(**fields: Iterable[Any]) -> dict[str, list[Any]]:
    """Every combination of the values of the fields, as columns of equal length.

    >>> fnn.grid(seed=[0, 1], learning_rate=[0.1, 0.3])
    {'seed': [0, 0, 1, 1], 'learning_rate': [0.1, 0.3, 0.1, 0.3]}
    """
    rows = list(itertools.product(*fields.values()))
    return {name: [row[k] for row in rows] for k, name in enumerate(fields)}


def sweep(
    value_and_grad: ValueAndGrad | Sequence[ValueAndGrad],
    data: tuple[Any, ...],
    *,
    over: Mapping[str, Sequence[Any]],
    optimizer: AnyOptimizer,
    epochs: int,
    batch_size: int,
    validation: tuple[Any, ...] | None = None,
    clip_norm: float | None = None,
    metrics: Mapping[str, Metric] | None = None,
    patience: int | None = None,
    min_improvement: float = 0.0,
    monitor: str | None = None,
    shared_shuffle: bool = False,
    memory: int = 2**30,
) -> SweepResult:
    """Train many nets at once.

    Args:
        value_and_grad: one gradient that knows its objective, for all runs; or one for each run, as for other widths
            and depths.
        data: (x, y), or (x, y, weights), the same for all runs.
        over: {field: one value for each run}, of "seed" (initialization and shuffles), "learning_rate", "strength"
            (of the regularizer) and "weight_init" (an initializer, for every dense layer); `fnn.grid` makes all
            combinations.
        optimizer: with "learning_rate" among the fields, a function of it such as `optax.adam`.
        epochs: E. batch_size: B.
        validation, clip_norm, metrics, patience, min_improvement: as in `fnn.fit`.
        monitor: by which the best run is chosen: "validation_loss" if there is validation data, else "loss".
        shared_shuffle: one order of the rows for all runs: faster, but the runs are not independent.
        memory: bytes that the runs of one call may take, about; more runs are more calls.

    Raises:
        ValueError, TypeError: unknown fields, unequal lengths, and what `fnn.fit` raises.

    >>> import optax
    >>> x, y = fnn.data.xor()
    >>> found = fnn.sweep(fnn.backprop(fnn.mlp(2, 4, 2), "softmax_cross_entropy"), (x, y),
    ...     over=fnn.grid(seed=range(3), learning_rate=[0.01, 0.1]), optimizer=optax.adam, epochs=50, batch_size=4)
    >>> found.metrics["loss"].shape, found.runs[found.best]["learning_rate"]
    ((6, 50), 0.1)
    """
    columns = _columns(over)
    count = len(next(iter(columns.values())))
    epochs = require_size("sweep", "epochs", epochs, "Give an int of 1 or more, such as 60.")
    batch_size = require_size("sweep", "batch_size", batch_size, "Give an int from 1 to the number of rows.")
    memory = require_size("sweep", "memory", memory, "Give bytes, such as 2**30.")
    require_options(patience, min_improvement, clip_norm, "continue")
    require_optimizer(optimizer, columns["learning_rate"][0] if "learning_rate" in columns else None)
    for rate in columns.get("learning_rate", ()):
        require_optimizer(optimizer, rate)
    gradients = list(value_and_grad) if isinstance(value_and_grad, Sequence) else [value_and_grad] * count
    if len(gradients) != count:
        raise ValueError(
            f"sweep: there must be one gradient for each run, got {len(gradients)} for {count} runs. Give one for "
            "all, or as many as there are values."
        )
    monitor = monitor or ("loss" if validation is None else "validation_loss")
    runs = [{name: column[k] for name, column in columns.items()} for k in range(count)]
    groups: dict[Any, list[int]] = {}
    for k, gradient in enumerate(gradients):
        groups.setdefault(gradient, []).append(k)
    found: list[_Member] = [None] * count  # type: ignore[list-item]
    for gradient, members in groups.items():
        objective = objective_of(gradient)
        if objective is None:
            raise ValueError(
                "sweep: a gradient that knows its objective is needed, to make parameters, got a bare function. Give "
                "fnn.backprop(net, loss) or jax.value_and_grad(fnn.objective(net, loss))."
            )
        for k in members:
            require_strength("sweep", objective, runs[k].get("strength"))
        shape = jax.eval_shape(lambda objective=objective: objective.net.init(jax.random.key(0)))
        rows = prepared(objective, shape, data, "data", floating_dtype(shape))
        if batch_size > len(rows):
            raise ValueError(
                f"sweep: batch_size {batch_size} is larger than the data, {len(rows)} rows. Use {len(rows)} or less."
            )
        held_out = None
        if validation is not None:
            held_out = prepared(objective, shape, validation, "validation", floating_dtype(shape))
        plan = Plan(
            gradient, objective, optimizer, batch_size, 1, tuple((metrics or {}).items()),
            monitor if patience is not None else "",
        )  # fmt: skip
        for k, member in zip(
            members,
            _trained(plan, rows, held_out, [runs[k] for k in members], epochs, patience, min_improvement, clip_norm,
                     monitor, shared_shuffle, memory),
            strict=True,
        ):  # fmt: skip
            found[k] = member
    names = list(found[0].metrics)
    value = np.array([member.value for member in found])
    failed = ~np.isfinite(value)
    best = -1 if failed.all() else int(np.nanargmin(np.where(failed, np.nan, sign_of(monitor) * value)))
    curves = {name: np.stack([member.metrics[name] for member in found]) for name in names}
    return SweepResult(runs, curves, [member.params for member in found], np.where(failed, np.nan, value), failed, best)


@dataclass(frozen=True)
class _Member:
    metrics: dict[str, np.ndarray]
    params: Params
    value: float


def _trained(
    plan: Plan, rows: Rows, held_out: Rows | None, runs: list[dict[str, Any]], epochs: int, patience: int | None,
    min_improvement: float, clip_norm: float | None, monitor: str, shared: bool, memory: int,
) -> list[_Member]:  # fmt: skip
    """The runs of one net, as many at a time as the memory holds."""
    assert plan.objective is not None
    net = plan.objective.net
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0)))
    dtype = floating_dtype(shapes)

    # what is put together here stays in NumPy: each small operation of JAX would be a program to compile
    def column(name: str) -> np.ndarray | None:
        return np.asarray([run[name] for run in runs], dtype) if name in runs[0] else None

    numbers = Numbers(
        column("learning_rate"), column("strength"), None if clip_norm is None else np.asarray(clip_norm, dtype),
        None if patience is None else np.asarray(patience, np.int32),
        np.asarray(min_improvement, measuring_dtype(shapes)),
    )  # fmt: skip
    keys = [jax.random.split(jax.random.key(run.get("seed", 0))) for run in runs]
    # parameters first, each as its own run would make them
    nets = {name: net if name is None else _initialized(net, name) for name in {run.get("weight_init") for run in runs}}
    starts = jax.device_get(
        [_start(nets[run.get("weight_init")], key) for run, (key, _) in zip(runs, keys, strict=True)]
    )
    one = jax.eval_shape(lambda p, k: plan.start(p, k, _member(numbers, 0)), starts[0], keys[0][1])
    if monitor not in (names := measured_names(plan, one, rows, held_out)):
        raise ValueError(f"sweep: monitor {monitor!r} is not measured; measured are: {', '.join(names)}. Give one.")
    together = max(1, min(len(runs), memory // _bytes(one, plan.batch_size)))
    found: list[_Member] = []
    for first in range(0, len(runs), together):
        # the last call is filled up, so that it needs no program of its own
        members = [min(first + k, len(runs) - 1) for k in range(together)]
        params = jax.tree.map(lambda *leaves: np.stack(leaves), *[starts[k] for k in members])
        chosen_numbers = _member(numbers, np.array(members))
        states = _states(plan, params, [keys[k][1] for k in members], chosen_numbers)
        curves: list[dict[str, np.ndarray]] = []
        done = 0
        while done < epochs:
            number = min(ROOM, epochs - done)
            states, measured_now = _epochs(
                plan, shared, states, rows, held_out, chosen_numbers, np.int32(number), np.int32(done)
            )
            curves.append({name: np.asarray(values)[:, :number] for name, values in measured_now.items()})
            done += number
        every = {name: np.concatenate([each[name] for each in curves], axis=1) for name in curves[0]}
        host = jax.device_get(states._replace(key=None))
        for place in range(min(together, len(runs) - first)):
            mine = {name: values[place].astype(np.float64) for name, values in every.items()}
            state = jax.tree.map(lambda leaf, place=place: leaf[place], host)
            if state.best is not None:
                found.append(_Member(mine, state.best.params, sign_of(monitor) * float(state.best.value)))
            else:
                found.append(_Member(mine, state.params, float(mine[monitor][-1])))
    return found


@functools.partial(jax.jit, static_argnums=(0, 1))
def _epochs(
    plan: Plan, shared: bool, states: TrainState, rows: Rows, held_out: Rows | None, numbers: Numbers, count: Array,
    done: Array,
) -> tuple[TrainState, dict[str, Array]]:  # fmt: skip
    """`count` epochs of every run; a run that stopped early stays as it is, its curves NaN."""

    def one(state: TrainState, numbers: Numbers, order: Array | None) -> tuple[TrainState, dict[str, Array]]:
        step = one_step(plan, rows, numbers)
        next_key, shuffle_key = jax.random.split(state.key)
        order = permutation(shuffle_key, len(rows)) if order is None else order
        after, _ = every_batch(step, state, order, plan.batch_size)
        found = measured(plan, after, rows, held_out)
        after = next_epoch(plan, after, next_key, found, numbers)
        if state.best is None:
            return after, found
        over = stopped(state, numbers)
        # the key of a run that stopped no longer matters, and a key cannot be selected
        kept = jax.tree.map(lambda a, b: chosen(over, a, b), state._replace(key=after.key), after)
        return kept, {name: jnp.where(over, jnp.nan, value) for name, value in found.items()}

    members = jax.vmap(one, in_axes=(0, _axes(numbers), None))
    template = jax.eval_shape(lambda: one(jax.tree.map(lambda leaf: leaf[0], states), _member(numbers, 0), None)[1])
    size = len(states.epoch)
    curves = {name: jnp.full((size, ROOM), jnp.nan, like.dtype) for name, like in template.items()}

    def epoch(k: Array, carry: tuple[TrainState, dict[str, Array]]) -> tuple[TrainState, dict[str, Array]]:
        states, curves = carry
        order = permutation(jax.random.fold_in(states.key[0], done + k), len(rows)) if shared else None
        after, found = members(states, numbers, order)
        if shared:
            # the keys stay: each epoch folds its number in
            after = after._replace(key=states.key)
        return after, {name: curves[name].at[:, k].set(found[name]) for name in curves}

    return jax.lax.fori_loop(0, count, epoch, (states, curves))


@functools.partial(jax.jit, static_argnums=0)
def _start(net: Layer, key: Key) -> Params:
    return net.init(key)


@functools.partial(jax.jit, static_argnums=0)
def _states(plan: Plan, params: Params, keys: list[Key], numbers: Numbers) -> TrainState:
    return jax.vmap(plan.start, in_axes=(0, 0, _axes(numbers)))(params, jnp.stack(keys), numbers)


def _axes(numbers: Numbers) -> Numbers:
    """Which of the numbers differ from run to run."""
    return Numbers(None if numbers.rate is None else 0, None if numbers.strength is None else 0, None, None, None)  # type: ignore[arg-type]


def _member(numbers: Numbers, k: Any) -> Numbers:
    """The numbers of one run, or of some."""
    rate, strength = (None if each is None else each[k] for each in (numbers.rate, numbers.strength))
    return numbers._replace(rate=rate, strength=strength)


def _bytes(state: PyTree, batch_size: int) -> int:
    """About what one run takes: its state twice, gradients, and the values of one batch."""
    leaves = [leaf for leaf in jax.tree.leaves(state) if not is_key(leaf)]
    widths = sum(leaf.shape[-1] for leaf in jax.tree.leaves(state.params) if leaf.ndim)
    return 3 * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) + 16 * batch_size * widths


def _initialized(layer: Any, name: Any) -> Any:
    """The layer with this initializer for the weights of every dense layer inside."""
    if isinstance(layer, Dense):
        return dataclasses.replace(layer, weight_init=get_initializer(name))
    return with_parts(layer, lambda part: _initialized(part, name)) if isinstance(layer, Layer) else layer


def _columns(over: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The fields, if they are known and of equal length."""
    if not isinstance(over, Mapping):
        raise TypeError(f"sweep: over must be a dict of columns, got {over!r}. Give fnn.grid(seed=range(3)).")
    unknown = [name for name in over if name not in FIELDS]
    if unknown:
        raise ValueError(
            f"sweep: unknown field {unknown[0]!r}; known are {', '.join(FIELDS)}. Nets: one gradient each."
        )
    columns = {name: list(values) for name, values in over.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(
            f"sweep: every field must hold one value for each run, got {lengths or 'none'}. Make all "
            "combinations with fnn.grid(seed=…, learning_rate=…)."
        )
    return columns
