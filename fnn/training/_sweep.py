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
from fnn.training.config import Job, Request, objective_of, sign_of
from fnn.training.program import CAPACITY, advance, axes, stopped
from fnn.training.state import AnyOptimizer, Hyperparams, Metric, TrainState, ValueAndGrad
from fnn.types import Key, Params, PyTree, is_key

FIELDS = ("seed", "learning_rate", "strength", "weight_init")


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
        counts = f"Sweep of {len(self.runs)} runs, {int(self.failed.sum())} failed"
        return counts if self.best < 0 else f"{counts}, best: run {self.best} {self.runs[self.best]}"


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
    memory = require_size("sweep", "memory", memory, "Give bytes, such as 2**30.")
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
    members: dict[int, _Member] = {}
    for gradient, numbers in groups.items():
        objective = objective_of(gradient)
        if objective is None:
            raise ValueError(
                "sweep: a gradient that knows its objective is needed, to make parameters, got a bare function. Give "
                "fnn.backprop(net, loss) or jax.value_and_grad(fnn.objective(net, loss))."
            )
        mine = [runs[k] for k in numbers]
        request = Request(
            "sweep", gradient, jax.eval_shape(objective.net.init, jax.random.key(0)), data, optimizer, batch_size,
            tuple(run.get("learning_rate") for run in mine), tuple(run.get("strength") for run in mine),
            validation, clip_norm, 1, metrics, patience, min_improvement, monitor, "continue",
            "shared" if shared_shuffle else "each",
        )  # fmt: skip
        members |= zip(numbers, _trained(request, objective.net, mine, epochs, memory), strict=True)
    return _result(runs, [members[k] for k in range(count)], monitor)


@dataclass(frozen=True)
class _Member:
    """What one run gave."""

    metrics: dict[str, np.ndarray]
    params: Params
    value: float


def _result(runs: list[dict[str, Any]], members: list[_Member], monitor: str) -> SweepResult:
    value = np.array([member.value for member in members])
    failed = ~np.isfinite(value)
    best = -1 if failed.all() else int(np.nanargmin(np.where(failed, np.nan, sign_of(monitor) * value)))
    curves = {name: np.stack([member.metrics[name] for member in members]) for name in members[0].metrics}
    params = [member.params for member in members]
    return SweepResult(runs, curves, params, np.where(failed, np.nan, value), failed, best)


def _trained(request: Request, net: Layer, runs: list[dict[str, Any]], epochs: int, memory: int) -> list[_Member]:
    """The runs of one net, as many at a time as the memory holds."""
    job = request.job()
    keys = [jax.random.split(jax.random.key(run.get("seed", 0))) for run in runs]
    # parameters first, each as its own run would make them
    nets = {name: net if name is None else _initialized(net, name) for name in {run.get("weight_init") for run in runs}}
    starts = jax.device_get(
        [_start(nets[run.get("weight_init")], key) for run, (key, _) in zip(runs, keys, strict=True)]
    )
    one = jax.eval_shape(lambda p, k: job.config.start(p, k, _member(job.hyperparams, 0)), starts[0], keys[0][1])
    request.require_monitor(job, one)
    together = max(1, min(len(runs), memory // _bytes(one, job.config.batch_size)))
    members: list[_Member] = []
    for first in range(0, len(runs), together):
        # the last call is filled up, so that it needs no program of its own
        places = [min(first + k, len(runs) - 1) for k in range(together)]
        some = dataclasses.replace(job, hyperparams=_member(job.hyperparams, np.array(places)))
        params = jax.tree.map(lambda *leaves: np.stack(leaves), *[starts[k] for k in places])
        states = _states(some, params, [keys[k][1] for k in places])
        members += _members(some, states, epochs, request.monitor)[: len(runs) - first]
    return members


def _members(job: Job, states: TrainState, epochs: int, monitor: str) -> list[_Member]:
    """These runs, side by side to their end."""
    curves: list[dict[str, np.ndarray]] = []
    done, over = 0, False
    while done < epochs and not over:
        states, chunk = advance(job, states, np.int32(CAPACITY), np.int32(epochs))
        chunk = jax.device_get(chunk)
        finished = int(chunk.finished)
        curves.append({name: values[:, :finished] for name, values in chunk.metrics.items()})
        done, over = done + finished, bool(stopped(states, job.hyperparams))
    # runs that all stopped early have no values beyond
    curves.append({name: np.full((len(values), epochs - done), np.nan) for name, values in curves[0].items()})
    every = {name: np.concatenate([each[name] for each in curves], axis=1) for name in curves[0]}
    host = jax.device_get(states._replace(key=None))
    members = []
    for place in range(len(host.epoch)):
        mine = {name: values[place].astype(np.float64) for name, values in every.items()}
        state = jax.tree.map(lambda leaf, place=place: leaf[place], host)
        if state.best is not None:
            members.append(_Member(mine, state.best.params, sign_of(monitor) * float(state.best.value)))
        else:
            members.append(_Member(mine, state.params, float(mine[monitor][-1])))
    return members


@functools.partial(jax.jit, static_argnums=0)
def _start(net: Layer, key: Key) -> Params:
    return net.init(key)


@jax.jit
def _states(job: Job, params: Params, keys: list[Key]) -> TrainState:
    start = jax.vmap(job.config.start, in_axes=(0, 0, axes(job.hyperparams)))
    return start(params, jnp.stack(keys), job.hyperparams)


def _member(hyperparams: Hyperparams, k: Any) -> Hyperparams:
    """The numbers of one run, or of some."""
    rate, strength = (None if each is None else each[k] for each in (hyperparams.rate, hyperparams.strength))
    return hyperparams._replace(rate=rate, strength=strength)


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
