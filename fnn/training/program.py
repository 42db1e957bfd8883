"""The compiled program that trains: steps, shuffles, whole epochs, evaluation and early stopping in one dispatch.

Promises: one trace per config and shapes, however many epochs and steps are asked for; the next call continues where
the last one stopped, in the middle of an epoch too, as if there had been one call; every row is used once per epoch.
There is one way to run an epoch: rows in memory, rows of a stream and many runs side by side all go through
`part_of_epoch`.
Letters: N rows, B batch size, S = ⌊N / B⌋ whole batches; the incomplete batch is one more step at its own shape;
M runs side by side.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.training import programs
from fnn.training.config import Job
from fnn.training.shuffle import permutation
from fnn.training.state import ChunkMetrics, Hyperparams, TrainState, measuring_dtype
from fnn.training.step import all_finite, noise_key, take_step
from fnn.types import Array, Key

#: How many steps one call may take: the program has room for that many losses.
CAPACITY = 4096
#: How many epochs one call of many runs may take: their curves have room for that many.
ROOM = 32


def advance(job: Job, state: TrainState, budget: int, until: int) -> tuple[TrainState, ChunkMetrics]:
    """`epochs`, compiled."""
    return programs.call(epochs, job, state, np.int32(budget), np.int32(until))


def advance_piece(
    job: Job, state: TrainState, budget: int, start: int, *, ends: bool
) -> tuple[TrainState, ChunkMetrics]:
    """`piece`, compiled."""
    return programs.call(piece, job, state, np.int32(budget), np.int32(start), np.bool_(ends))


def epochs(job: Job, state: TrainState, budget: Array, until: Array) -> tuple[TrainState, ChunkMetrics]:
    """Train for `budget` steps, or until epoch number `until` is finished, or until early stopping ends the run.

    Args:
        budget: 1 to CAPACITY steps; an incomplete batch is a step.
        until: how many epochs to finish, those of `state` included.
    """
    axis = axes(job.hyperparams)
    own: Any = Hyperparams(*(getattr(axis, name) == 0 for name in Hyperparams._fields))
    out: dict[str, Any] = {name: name in ("metrics", "stopped") for name in ChunkMetrics._fields}
    of_job: dict[str, Any] = {"data": False, "validation": False, "hyperparams": own}
    spread = job.config.placement.spread(
        on_device, (replace(job, **of_job), True, False, False), (True, ChunkMetrics(**out))
    )
    return spread(job, state, budget, until)


def on_device(job: Job, state: TrainState, budget: Array, until: Array) -> tuple[TrainState, ChunkMetrics]:
    """`epochs` of one run, or of the runs of one device."""
    lanes = Lanes(with_optimizer(job))
    chunk = lanes.nothing(state)

    def goes_on(carry: tuple[TrainState, ChunkMetrics]) -> Array:
        state, chunk = carry
        more = (chunk.steps < budget) & (lanes.first(state.epoch) < until) & (chunk.finished < lanes.room)
        if job.config.placement.members:
            # the runs of one device may stop before those of another; devices do not ask each other
            return more
        return more & ~stopped(state, job.hyperparams)

    def epoch(carry: tuple[TrainState, ChunkMetrics]) -> tuple[TrainState, ChunkMetrics]:
        state, chunk = carry
        next_key, order = lanes.order(state)
        order = job.config.placement.whole(order)
        return part_of_epoch(lanes, state, chunk, order, budget, next_key=next_key)

    return looked_at(lanes, *jax.lax.while_loop(goes_on, epoch, (state, chunk)))


def piece(job: Job, state: TrainState, budget: Array, start: Array, ends: Array) -> tuple[TrainState, ChunkMetrics]:
    """Train for `budget` steps, or to the end of the piece of a stream that the job holds as data.

    Args:
        budget: 1 to CAPACITY steps.
        start: the number, in its epoch, of the first step of the piece.
        ends: whether the epoch ends with this piece.
    """
    lanes = Lanes(with_optimizer(job))
    order = jnp.arange(len(job.data), dtype=jnp.int32)
    next_key = jax.random.split(state.key)[0]
    chunk = lanes.nothing(state)
    state, chunk = part_of_epoch(lanes, state, chunk, order, budget, next_key=next_key, start=start, ends=ends)
    return looked_at(lanes, state, chunk)


def looked_at(lanes: "Lanes", state: TrainState, chunk: ChunkMetrics) -> tuple[TrainState, ChunkMetrics]:
    """What a call returns, and whether its parameters are finite: checked once per call, so it costs nothing."""
    return state, chunk if lanes.many else chunk._replace(finite=all_finite((state.params, state.statistics)))


def with_optimizer(job: Job) -> Job:
    """The job with its optimizer built once for the program, if all runs have one rate."""
    rate = job.hyperparams.rate
    if rate is None or job.config.runs != "one":
        return job
    config = replace(job.config, optimizer=job.config.build(rate))
    return replace(job, config=config, hyperparams=job.hyperparams._replace(rate=None))


@dataclass(frozen=True)
class Lanes:
    """What differs between one run and M runs side by side."""

    job: Job

    @property
    def many(self) -> bool:
        return self.job.config.runs != "one"

    @property
    def room(self) -> int:
        """How many epochs one call may finish."""
        return ROOM if self.many else CAPACITY // (len(self.job.data) // self.job.config.batch_size or 1) + 1

    def first(self, value: Array) -> Array:
        """What all runs share, such as the number of the epoch."""
        return value[0] if self.many else value

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """function(hyperparams, state, shared) applied to every run."""
        hyperparams = self.job.hyperparams
        if not self.many:
            return functools.partial(function, hyperparams)
        return functools.partial(jax.vmap(function, in_axes=(axes(hyperparams), 0, None)), hyperparams)

    def order(self, state: TrainState) -> tuple[Key, Array]:
        """(the key of the next epoch, the order of the rows in this one)."""
        rows = len(self.job.data)
        if self.job.config.runs == "shared":
            # the keys stay: each epoch folds in its number
            return state.key, permutation(jax.random.fold_in(state.key[0], self.first(state.epoch)), rows)

        def one(key: Key) -> tuple[Key, Array]:
            next_key, shuffle_key = jax.random.split(key)
            return next_key, permutation(shuffle_key, rows)

        return jax.vmap(one)(state.key) if self.many else one(state.key)

    def nothing(self, state: TrainState) -> ChunkMetrics:
        """What a call has measured before its first step: nothing."""
        dtype = measuring_dtype(state.params)
        one = jax.tree.map(lambda leaf: leaf[0], state) if self.many else state
        names, shape = self.job.measured_names(one), ((len(state.epoch), self.room) if self.many else (self.room,))
        return ChunkMetrics(
            None if self.many else jnp.zeros(CAPACITY, dtype), jnp.zeros((), jnp.int32),
            {name: jnp.zeros(shape, dtype) for name in names}, jnp.zeros((), jnp.int32), jnp.ones((), bool),
            jnp.zeros(shape, bool) if self.many else None,
        )  # fmt: skip


def part_of_epoch(
    lanes: Lanes, state: TrainState, chunk: ChunkMetrics, order: Array, budget: Array, *, next_key: Key,
    start: Array | int = 0, ends: Array | bool = True,
) -> tuple[TrainState, ChunkMetrics]:  # fmt: skip
    """Take the steps of this epoch that the budget allows, from where the state stands, and end the epoch if it is
    reached.

    `order` holds the rows of the epoch from step `start` on, (n,), or (M, n) if each run has its own order.
    """
    config = lanes.job.config
    whole, tail = divmod(order.shape[-1], config.batch_size)
    first = lanes.first(state.step) - start
    last = jnp.minimum(whole, first + budget - chunk.steps)
    if whole:
        # the last piece of a stream may hold only an incomplete batch
        state, chunk = batches(lanes, state, chunk, order, (first, last), closes=ends if tail == 0 else False)
    state = state._replace(step=jnp.broadcast_to(start + last, jnp.shape(state.step)))

    def end(state: TrainState, chunk: ChunkMetrics) -> tuple[TrainState, ChunkMetrics]:
        if tail:
            state, chunk = one_batch(lanes, state, chunk, order[..., whole * config.batch_size :], chunk.steps, True)
            chunk = chunk._replace(steps=chunk.steps + 1)
        return end_of_epoch(lanes, state, chunk, next_key)

    done = ends & ((last == whole) & (chunk.steps < budget) if tail else last == whole)
    return jax.lax.cond(done, end, lambda *same: same, state, chunk)


def batches(
    lanes: Lanes, state: TrainState, chunk: ChunkMetrics, order: Array, span: tuple[Array, Array],
    closes: Array | bool,
) -> tuple[TrainState, ChunkMetrics]:  # fmt: skip
    """Take the whole batches first … last − 1 of this order; the last one of all may close the epoch."""
    size, (first, last), used = lanes.job.config.batch_size, span, chunk.steps
    whole = order.shape[-1] // size

    def one(i: Array, carry: tuple[TrainState, ChunkMetrics]) -> tuple[TrainState, ChunkMetrics]:
        batch = jax.lax.dynamic_slice_in_dim(order, i * size, size, axis=-1)
        return one_batch(lanes, *carry, batch, used + i - first, closes & (i == whole - 1))

    state, chunk = jax.lax.fori_loop(first, last, one, (state, chunk))
    return state, chunk._replace(steps=used + last - first)


def one_batch(
    lanes: Lanes, state: TrainState, chunk: ChunkMetrics, batch: Array, at: Array, closes: Array | bool
) -> tuple[TrainState, ChunkMetrics]:
    """One step on the rows with these numbers; its loss is written at this place."""
    config = lanes.job.config
    # the number in the epoch: the state and the chunk say where the steps of this call began
    number = lanes.first(state.step) + at - chunk.steps if config.has_modes else None

    def step(hyperparams: Hyperparams, state: TrainState, batch: Array) -> tuple[TrainState, Array]:
        # the row numbers are whole on every device: otherwise the order would be split, and gathered in every step
        examples = config.placement.rows(lanes.job.data.take(config.placement.whole(batch)))
        key = None if number is None else noise_key(state, number)
        state, value = take_step(config, hyperparams, config.placement.settled(state), examples, closes, key)
        return config.placement.settled(state), value

    if batch.ndim == 1:
        state, value = lanes.each(step)(state, batch)
    else:
        hyperparams = lanes.job.hyperparams
        state, value = jax.vmap(step, in_axes=(axes(hyperparams), 0, 0))(hyperparams, state, batch)
    if chunk.losses is not None:
        chunk = chunk._replace(losses=chunk.losses.at[at].set(value))
    return state, chunk


def end_of_epoch(
    lanes: Lanes, state: TrainState, chunk: ChunkMetrics, next_key: Key
) -> tuple[TrainState, ChunkMetrics]:
    """Measure what an epoch measures, and go to the start of the next."""
    job = lanes.job

    def end(hyperparams: Hyperparams, state: TrainState, shared: None) -> tuple[TrainState, Any]:
        values = job.config.measure(state, job.data, job.validation)
        over = stopped(state, hyperparams)
        return next_epoch(job, state, values, hyperparams), (values, over)

    state, (values, over) = lanes.each(end)(state, None)
    curves = {name: chunk.metrics[name].at[..., chunk.finished].set(values[name]) for name in values}
    if chunk.stopped is not None:
        # a run that stopped continues beside the others; its results are ignored
        chunk = chunk._replace(stopped=chunk.stopped.at[:, chunk.finished].set(over))
    return state._replace(key=next_key), chunk._replace(metrics=curves, finished=chunk.finished + 1)


def next_epoch(job: Job, state: TrainState, values: dict[str, Array], hyperparams: Hyperparams) -> TrainState:
    """The state at the start of the next epoch, the best parameters brought up to date."""
    zero = jnp.zeros_like(state.loss_sum)
    over = stopped(state, hyperparams)
    state = state._replace(epoch=state.epoch + 1, step=jnp.zeros_like(state.step), loss_sum=zero, weight_sum=zero)
    if state.best is None:
        return state
    value = job.config.sign * values[job.config.monitor]
    assert hyperparams.min_improvement is not None
    # the epoch with the best value is returned; only improvements that count reset the waiting time
    better = (value < state.best.value) & ~over
    enough = (value < state.best.value - hyperparams.min_improvement) & ~over
    kept, now = (state.best.params, state.best.statistics), (state.params, state.statistics)
    params, statistics = jax.tree.map(lambda new, old: jnp.where(better, new, old), now, kept)
    waited = jnp.where(enough, 0, state.best.waited + 1)
    value = jnp.where(better, value, state.best.value)
    best = state.best._replace(params=params, value=value, waited=waited, statistics=statistics)
    return state._replace(best=best)


def stopped(state: TrainState, hyperparams: Hyperparams) -> Array:
    """For every run, whether early stopping has ended it."""
    if state.best is None or hyperparams.patience is None:
        return jnp.zeros((), bool)
    return jnp.all(state.best.waited >= hyperparams.patience)


def axes(hyperparams: Hyperparams) -> Any:
    """Which of the hyperparameters differ from run to run."""
    own = {"rate": hyperparams.rate, "strength": hyperparams.strength}
    return Hyperparams()._replace(**{name: 0 for name, value in own.items() if value is not None})
