"""The compiled program that trains: steps, shuffles, whole epochs, evaluation and early stopping in one dispatch.

Promises: one trace per plan and shapes, however many epochs and steps are asked for; where one call stops, the next
goes on as if there had been one call, in the middle of an epoch too; every row is used once per epoch.
Letters: N rows, B batch size, S = ⌊N / B⌋ whole batches; the incomplete batch is one more step at its own shape.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fnn.gradients import Objective
from fnn.metrics import accuracy
from fnn.optimizers import Optimizer
from fnn.regularizers import Strength
from fnn.training.shuffle import permutation
from fnn.types import Array, Key, Params, PyTree

#: (params, x, y) -> (value, gradients): a `Backprop`, or `jax.value_and_grad` of an objective.
ValueAndGrad = Callable[..., tuple[Array, Params]]
#: An Optax transformation, a record of this package, or a function that makes one from a learning rate.
AnyOptimizer: TypeAlias = optax.GradientTransformation | Optimizer | Callable[[Any], Any]
#: (params, x, y) -> a number, to be measured after every epoch.
Metric = Callable[[Params, Any, Any], Array]
#: Steps that one call may take: room for that many losses is in the program.
CAPACITY = 4096


class Best(NamedTuple):
    """The best parameters so far, by the measured quantity that early stopping watches."""

    params: Params
    value: Array
    waited: Array
    """Epochs since then."""


class TrainState(NamedTuple):
    """What the next step needs.

    >>> net, (x, y) = fnn.mlp(2, 4, 2), fnn.data.xor()
    >>> by_hand, params = fnn.backprop(net, fnn.softmax_cross_entropy), net.init(jax.random.key(0))
    >>> options = {"optimizer": fnn.optimizers.sgd(0.1), "epochs": 3, "batch_size": 4}
    >>> state, _ = fnn.fit(by_hand, params, (x, y), key=jax.random.key(1), **options)
    >>> state, _ = fnn.fit(by_hand, state, (x, y), **options)  # three epochs more
    >>> int(state.epoch)
    6
    """

    params: Params
    optimizer_state: PyTree
    key: Key
    """From which the order of the rows of this epoch is made."""
    epoch: Any
    """Epochs that are finished."""
    step: Any = 0
    """Whole batches done in the epoch that runs."""
    loss_sum: Any = 0.0
    """Σ (loss of a batch) · (its weight) over the batches of this epoch."""
    weight_sum: Any = 0.0
    skipped: Any = 0
    """Steps that were not taken because something was not finite."""
    best: Best | None = None


class Rows(NamedTuple):
    """Examples: inputs, targets, and a weight for each example or None."""

    x: PyTree
    y: Any
    weights: Array | None = None

    def __len__(self) -> int:
        return len(jax.tree.leaves(self.x)[0])


class Numbers(NamedTuple):
    """What may change from call to call without a new program; None where it is not used."""

    rate: Array | np.ndarray | None = None
    strength: Strength | None = None
    clip_norm: Array | np.ndarray | None = None
    patience: Array | np.ndarray | None = None
    min_improvement: Array | np.ndarray | float = 0.0


class Accumulated(NamedTuple):
    """An optimizer that takes one step with the mean of `every` gradients; `optax.MultiSteps` means in float32."""

    inner: Any
    every: int

    def init(self, params: Params) -> PyTree:
        return self.inner.init(params), jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.int32)

    def update(self, gradients: Params, state: PyTree, params: Params) -> tuple[Params, PyTree]:
        inner, total, count = state
        total = jax.tree.map(jnp.add, total, gradients)

        def taken(inner: PyTree, total: Params) -> tuple[Params, PyTree, Params, Array]:
            mean = jax.tree.map(lambda leaf: leaf / self.every, total)
            updates, inner = self.inner.update(mean, inner, params)
            return updates, inner, jax.tree.map(jnp.zeros_like, total), jnp.zeros_like(count)

        def waited(inner: PyTree, total: Params) -> tuple[Params, PyTree, Params, Array]:
            return jax.tree.map(jnp.zeros_like, params), inner, total, count + 1

        updates, *state = jax.lax.cond(count + 1 == self.every, taken, waited, inner, total)
        return updates, tuple(state)


@dataclass(frozen=True)
class Plan:
    """What the program is made for."""

    value_and_grad: ValueAndGrad
    objective: Objective | None
    optimizer: AnyOptimizer
    batch_size: int
    accumulate: int = 1
    metrics: tuple[tuple[str, Metric], ...] = ()
    monitor: str = ""
    """The measured quantity that early stopping watches; larger is better if its name ends in "accuracy"."""
    skip: bool = False
    """Leave out steps in which the loss or a gradient is not finite."""

    def start(self, params: Params, key: Key, numbers: Numbers) -> TrainState:
        """The state before the first step."""
        zero = jnp.zeros((), measuring_dtype(params))
        count = jnp.zeros((), jnp.int32)
        optimizer_state = self.built(numbers.rate).init(params)
        return self.watching(TrainState(params, optimizer_state, key, count, count, zero, zero, count), numbers)

    def watching(self, state: TrainState, numbers: Numbers) -> TrainState:
        """The state with room for the best parameters if these numbers ask for early stopping, and without if not."""
        if numbers.patience is None:
            return state._replace(best=None)
        waited = jnp.zeros((), jnp.int32)
        if state.best is not None:
            return state._replace(best=state.best._replace(waited=waited))
        return state._replace(best=Best(state.params, jnp.full((), jnp.inf, measuring_dtype(state.params)), waited))

    def gradient(self, params: Params, batch: "Rows", strength: Strength | None) -> tuple[Array, Params]:
        """(value, gradients) on these rows."""
        options: dict[str, Any] = {} if strength is None else {"strength": strength}
        options |= {} if batch.weights is None else {"sample_weight": batch.weights}
        return pair_of(self.value_and_grad(params, batch.x, batch.y, **options), params)

    def built(self, rate: Array | np.ndarray | None) -> Any:
        """The optimizer, with its learning rate if that is an argument, and with accumulation if that is asked for."""
        built: Any = self.optimizer
        if rate is not None and callable(built):
            built = built(rate)
        return built if self.accumulate == 1 else Accumulated(built, self.accumulate)


class Chunk(NamedTuple):
    """What one call measured."""

    losses: Array
    """(CAPACITY,): the loss of every batch before its update, the first `steps` of them."""
    steps: Array
    epochs: dict[str, Array]
    """name -> one value for each epoch that was finished, the first `finished` of them."""
    finished: Array


@functools.partial(jax.jit, static_argnums=0)
def advance(
    plan: Plan, state: TrainState, rows: Rows, held_out: Rows | None, numbers: Numbers, budget: Array, until: Array
) -> tuple[TrainState, Chunk]:
    """Train for `budget` steps, or until epoch number `until` is finished or early stopping stops.

    Args:
        budget: 1 to CAPACITY steps; an incomplete batch is a step.
        until: how many epochs are to be finished, those of `state` included.
    """
    whole, tail = divmod(len(rows), plan.batch_size)
    step = one_step(plan, rows, numbers)
    dtype = measuring_dtype(state.params)
    template = jax.eval_shape(lambda: measured(plan, state, rows, held_out))
    room = CAPACITY // whole + 1
    nothing = Chunk(
        jnp.zeros(CAPACITY, dtype), jnp.zeros((), jnp.int32),
        {name: jnp.zeros(room, dtype) for name in template}, jnp.zeros((), jnp.int32),
    )  # fmt: skip

    def goes_on(carry: tuple[TrainState, Chunk]) -> Array:
        state, chunk = carry
        more = (chunk.steps < budget) & (state.epoch < until)
        return more & ~stopped(state, numbers)

    def part_of_epoch(carry: tuple[TrainState, Chunk]) -> tuple[TrainState, Chunk]:
        state, chunk = carry
        next_key, shuffle_key = jax.random.split(state.key)
        order = permutation(shuffle_key, len(rows))
        first, used = state.step, chunk.steps
        last = jnp.minimum(whole, first + budget - used)

        def one(i: Array, inner: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
            state, losses = inner
            batch = jax.lax.dynamic_slice(order, (i * plan.batch_size,), (plan.batch_size,))
            state, value = step(state, batch)
            return state, losses.at[used + i - first].set(value)

        state, losses = jax.lax.fori_loop(first, last, one, (state, chunk.losses))
        chunk = chunk._replace(losses=losses, steps=used + last - first)
        state = state._replace(step=last)

        def end(state: TrainState, chunk: Chunk) -> tuple[TrainState, Chunk]:
            if tail:
                state, value = step(state, order[whole * plan.batch_size :])
                chunk = chunk._replace(losses=chunk.losses.at[chunk.steps].set(value), steps=chunk.steps + 1)
            found = measured(plan, state, rows, held_out)
            epochs = {name: chunk.epochs[name].at[chunk.finished].set(found[name]) for name in found}
            chunk = chunk._replace(epochs=epochs, finished=chunk.finished + 1)
            return next_epoch(plan, state, next_key, found, numbers), chunk

        done = (last == whole) & (chunk.steps < budget) if tail else last == whole
        return jax.lax.cond(done, end, lambda *same: same, state, chunk)

    return jax.lax.while_loop(goes_on, part_of_epoch, (state, nothing))


def next_epoch(plan: Plan, state: TrainState, key: Key, found: dict[str, Array], numbers: Numbers) -> TrainState:
    """The state at the start of the next epoch, the best parameters brought up to date."""
    zero = jnp.zeros_like(state.loss_sum)
    state = state._replace(key=key, epoch=state.epoch + 1, step=jnp.zeros_like(state.step))
    state = state._replace(loss_sum=zero, weight_sum=zero)
    if state.best is None:
        return state
    value = sign_of(plan.monitor) * found[plan.monitor]
    better = value < state.best.value - numbers.min_improvement
    params = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.params, state.best.params)
    waited = jnp.where(better, 0, state.best.waited + 1)
    return state._replace(best=Best(params, jnp.where(better, value, state.best.value), waited))


def sign_of(monitor: str) -> float:
    """−1 for what is better the larger it is, 1 for all else."""
    return -1.0 if monitor.endswith("accuracy") else 1.0


def stopped(state: TrainState, numbers: Numbers) -> Array:
    """True where early stopping has had enough."""
    if state.best is None or numbers.patience is None:
        return jnp.zeros((), bool)
    return state.best.waited >= numbers.patience


def one_step(plan: Plan, rows: Rows, numbers: Numbers) -> Callable[[TrainState, Array], tuple[TrainState, Array]]:
    """The function (state, row numbers) -> (state, loss before the update): one batch."""
    built = plan.built(numbers.rate)

    def step(state: TrainState, batch: Array) -> tuple[TrainState, Array]:
        examples = jax.tree.map(lambda leaf: leaf[batch], rows)
        value, gradients = plan.gradient(state.params, examples, numbers.strength)
        value = value.astype(state.loss_sum.dtype)
        weights = examples.weights
        weight = jnp.asarray(len(batch) if weights is None else jnp.sum(weights), value.dtype)
        finite = all_finite((value, gradients)) if plan.skip else None
        if numbers.clip_norm is not None:
            squares = [jnp.sum(g * g) for g in jax.tree.leaves(gradients)]
            norm = jnp.sqrt(sum(squares, jnp.zeros_like(numbers.clip_norm)))
            share = numbers.clip_norm / jnp.maximum(norm, numbers.clip_norm)
            gradients = jax.tree.map(lambda g: (share * g).astype(g.dtype), gradients)
        updates, optimizer_state = built.update(gradients, state.optimizer_state, state.params)
        new = state._replace(
            params=optax.apply_updates(state.params, updates), optimizer_state=optimizer_state,
            loss_sum=state.loss_sum + value * weight, weight_sum=state.weight_sum + weight,
        )  # fmt: skip
        if finite is not None:
            left_out = state._replace(skipped=state.skipped + 1)
            new = jax.tree.map(lambda a, b: chosen(finite, a, b), new, left_out)
        return new, value

    return step


def every_batch(
    step: Callable[[TrainState, Array], tuple[TrainState, Array]], state: TrainState, order: Array, batch_size: int
) -> tuple[TrainState, Array]:
    """(state, losses) after every batch of the rows in this order, an incomplete last one included."""
    whole, tail = divmod(len(order), batch_size)
    batches = order[: whole * batch_size].reshape(whole, batch_size)
    state, losses = jax.lax.scan(step, state, batches)
    if tail:
        state, last = step(state, order[whole * batch_size :])
        losses = jnp.append(losses, last)
    return state, losses


def chosen(condition: Array, one: Any, other: Any) -> Any:
    """one where the condition holds; what is the same object in both, such as a key, is left alone."""
    return one if one is other else jax.lax.select(jnp.broadcast_to(condition, jnp.shape(one)), one, other)


def all_finite(tree: PyTree) -> Array:
    """True if every floating entry is."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return functools.reduce(jnp.logical_and, [jnp.isfinite(leaf).all() for leaf in leaves], jnp.asarray(True))


def measured(plan: Plan, state: TrainState, rows: Rows | None, held_out: Rows | None) -> dict[str, Array]:
    """What an epoch measures: the mean loss over its rows; the metrics of all rows, where they are at hand; and the
    same of the held-out rows."""
    dtype = measuring_dtype(state.params)
    found = {"loss": state.loss_sum / state.weight_sum}
    if rows is not None:
        found |= {name: metric(state.params, rows.x, rows.y) for name, metric in plan.metrics}
    if held_out is not None:
        if plan.objective is not None:
            scores = plan.objective.net.apply(state.params, held_out.x)
            found["validation_loss"] = plan.objective.loss(scores, held_out.y, held_out.weights)
            if jnp.issubdtype(held_out.y.dtype, jnp.integer) and held_out.y.ndim == scores.ndim - 1:
                found["validation_accuracy"] = accuracy(scores, held_out.y)
        for name, metric in plan.metrics:
            found[f"validation_{name}"] = metric(state.params, held_out.x, held_out.y)
    return {name: jnp.asarray(value, dtype) for name, value in found.items()}


def pair_of(got: Any, params: Params) -> tuple[Array, Params]:
    """What the gradient gave, if it is (value, gradients): seen while tracing, before the first step."""
    if isinstance(got, tuple) and len(got) == 2 and jax.tree.structure(got[1]) == jax.tree.structure(params):
        return got
    raise TypeError(
        "fit: the gradient must give (value, gradients in the structure of params), got something else. "
        "Give fnn.backprop(net, loss) or jax.value_and_grad(fnn.objective(net, loss)), not jax.grad nor the objective."
    )


def floating_dtype(params: Params) -> Any:
    """The dtype of the first floating leaf."""
    for leaf in jax.tree.leaves(params):
        if jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            return jnp.result_type(leaf)
    raise ValueError("fit: params hold no floating array, so there is nothing to train. Make them with net.init(key).")


def measuring_dtype(params: Params) -> Any:
    """The dtype of losses and their sums: that of the parameters, but no narrower than float32."""
    dtype = jnp.dtype(floating_dtype(params))
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype("float32")
