"""Training: one compiled program per epoch, for any gradient and any optimizer.

Promises: the gradient is an argument, by hand or automatic, and nothing here knows which it got; state in, state
out; the same key, data and versions give the same bits; every row is used once per epoch, the last incomplete
batch included, which weighs what it holds. Data is looked at once, on the host, before the first step.
Refuses: data that would train in silence (see `fnn.validate`), batches larger than the data.
Letters: N examples, B batch size, S = ⌈N / B⌉ steps per epoch, E epochs. Sources: claims A19, B6, E7, E8.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fnn.backprop import Backprop, Objective
from fnn.metrics import accuracy
from fnn.optimizers import Optimizer
from fnn.regularizers import Strength
from fnn.requirements import note_cast, require_size, validate
from fnn.shuffles import permutation
from fnn.types import Array, Key, Params, PyTree

#: (params, x, y) -> (value, gradients): a `Backprop`, or `jax.value_and_grad` of an objective.
ValueAndGrad = Callable[..., tuple[Array, Params]]
#: An Optax transformation, a record of this package, or a function that makes one from a learning rate.
AnyOptimizer: TypeAlias = optax.GradientTransformation | Optimizer | Callable[[Any], Any]
#: What one epoch measured, by name: "loss", and "validation_loss", "validation_accuracy" where they exist.
Metrics = dict[str, float]


class TrainState(NamedTuple):
    """What the next epoch needs."""

    params: Params
    optimizer_state: PyTree
    key: Key
    epoch: int


class History(NamedTuple):
    """What a reader plots: one array per curve."""

    step_loss: np.ndarray
    """(E, S): the loss of every batch, before its update."""
    epochs: dict[str, np.ndarray]
    """name -> (E,): "loss" (mean over the rows of the epoch, penalty included), "validation_loss" (without penalty),
    "validation_accuracy"."""


def fit(
    value_and_grad: ValueAndGrad,
    params: Params,
    data: tuple[Any, Any],
    *,
    optimizer: AnyOptimizer,
    epochs: int,
    batch_size: int,
    key: Key,
    learning_rate: float | None = None,
    validation: tuple[Any, Any] | None = None,
    strength: Strength | None = None,
    on_epoch: Callable[[int, Metrics], None] | None = None,
) -> tuple[TrainState, History]:
    """Train with mini-batches, reshuffled every epoch.

    Args:
        value_and_grad: `fnn.backprop(net, loss)`, or `jax.value_and_grad(fnn.objective(net, loss))`, or any function
            (params, x, y) -> (value, gradients).
        params: where to start.
        data: (x, y) with N rows each; cast once to the dtype of the parameters, with a note.
        optimizer: any Optax transformation (build it once: two equal ones are two programs), a record such as
            `fnn.adam(1e-3)`, or a function of the learning rate such as `optax.adam`.
        epochs: E, how often every row is used.
        batch_size: B rows per step; 1 is one example at a time, N the full batch.
        key: for the shuffles.
        learning_rate: for an optimizer that is a function of it; other rates need no new program.
        validation: (x, y) to measure after every epoch; needs a gradient that knows its objective.
        strength: of the regularizer, if the objective has one.
        on_epoch: called with (number of the epoch from 1, its metrics).

    Returns:
        (state, history): `state.params` are the trained parameters.

    Raises:
        ValueError, TypeError: data or sizes that cannot be meant; before the first step.

    >>> import optax
    >>> x, y = fnn.xor()
    >>> net = fnn.mlp(2, 4, 2)
    >>> state, history = fnn.fit(fnn.backprop(net, fnn.softmax_cross_entropy), net.init(jax.random.key(1)), (x, y),
    ...     optimizer=optax.adam(0.05), epochs=200, batch_size=4, key=jax.random.key(0))
    >>> float(fnn.accuracy(net.apply(state.params, x), y))
    1.0
    """
    objective = _objective_of(value_and_grad)
    epochs = require_size("fit", "epochs", epochs, "Give an int of 1 or more, such as 60.")
    if not callable(value_and_grad):
        raise TypeError(f"fit: a gradient is needed; {value_and_grad!r} came. Make it with fnn.backprop(net, loss).")
    batch_size = require_size(
        "fit", "batch_size", batch_size, "Give an int: 1 is one example at a time, N the full batch."
    )
    _require_optimizer(optimizer, learning_rate)
    dtype = _floating_dtype(params)
    x, y = _prepare(objective, params, data, "data", dtype)
    if batch_size > len(x):
        raise ValueError(f"fit: batch_size {batch_size} is larger than the data, {len(x)} rows. Use {len(x)} or less.")
    held_out = None
    if validation is not None:
        if objective is None:
            raise ValueError(
                "fit: validation needs a gradient that knows its objective; a bare function came. "
                "Give fnn.backprop(net, loss) or jax.value_and_grad(fnn.objective(net, loss))."
            )
        held_out = _prepare(objective, params, validation, "validation", dtype)

    rate = None if learning_rate is None else jnp.asarray(learning_rate, dtype)
    state = TrainState(params, _built(optimizer, rate).init(params), key, 0)
    step_losses, epochs_measured = [], []
    for number in range(1, epochs + 1):
        state, losses, measured = _run_epoch(
            value_and_grad, objective, optimizer, batch_size, state, x, y, held_out, strength, rate
        )
        step_losses.append(np.asarray(losses))
        epochs_measured.append({name: float(value) for name, value in measured.items()})
        if on_epoch is not None:
            on_epoch(number, epochs_measured[-1])
    curves = {name: np.array([each[name] for each in epochs_measured]) for name in epochs_measured[0]}
    return state, History(np.stack(step_losses), curves)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run_epoch(
    value_and_grad: ValueAndGrad,
    objective: Objective | None,
    optimizer: AnyOptimizer,
    batch_size: int,
    state: TrainState,
    x: Array,
    y: Array,
    held_out: tuple[Array, Array] | None,
    strength: Strength | None,
    rate: Array | None,
) -> tuple[TrainState, Array, dict[str, Array]]:
    """One pass over the rows in a new order; (state, the S losses, what the epoch measured)."""
    options = {} if strength is None else {"strength": strength}
    key, shuffle_key = jax.random.split(state.key)
    rows = len(x)
    order = permutation(shuffle_key, rows)
    built = _built(optimizer, rate)

    def step(carry: tuple[Params, PyTree], batch: Array) -> tuple[tuple[Params, PyTree], Array]:
        params, optimizer_state = carry
        value, gradients = _pair(value_and_grad(params, x[batch], y[batch], **options), params)
        updates, optimizer_state = built.update(gradients, optimizer_state, params)
        return (optax.apply_updates(params, updates), optimizer_state), value

    whole = rows - rows % batch_size
    carry = (state.params, state.optimizer_state)
    carry, losses = jax.lax.scan(step, carry, order[:whole].reshape(-1, batch_size))
    total = jnp.sum(losses) * batch_size
    if whole < rows:
        # the incomplete batch: one more step at its own static shape
        carry, last = step(carry, order[whole:])
        losses = jnp.append(losses, last)
        total = total + last * (rows - whole)
    params, optimizer_state = carry
    measured = {"loss": total / rows}
    if held_out is not None and objective is not None:
        held_x, held_y = held_out
        scores = objective.net.apply(params, held_x)
        measured["validation_loss"] = objective.loss(scores, held_y)
        if jnp.issubdtype(held_y.dtype, jnp.integer) and held_y.ndim == scores.ndim - 1:
            measured["validation_accuracy"] = accuracy(scores, held_y)
    return TrainState(params, optimizer_state, key, state.epoch + 1), losses, measured


def _require_optimizer(optimizer: Any, rate: float | None) -> None:
    if isinstance(optimizer, optax.GradientTransformation | Optimizer):
        if rate is not None:
            raise ValueError(
                f"fit: learning_rate={rate} came with an optimizer that has its own. Give optimizer=optax.adam, or "
                "leave learning_rate out."
            )
        return
    if not callable(optimizer):
        raise TypeError(f"fit: optimizer must be an Optax transformation; {optimizer!r} came. Try optax.adam(1e-3).")
    if rate is None:
        raise ValueError(f"fit: {optimizer!r} needs a learning rate. Give learning_rate=1e-3, or optax.adam(1e-3).")
    if not 0 < rate < np.inf:
        raise ValueError(f"fit: learning_rate must be finite and above 0; {rate} came. Try 1e-3.")


def _built(optimizer: AnyOptimizer, rate: Array | None) -> Any:
    """The optimizer itself, or what it makes of the learning rate."""
    return optimizer(rate) if rate is not None and callable(optimizer) else optimizer


def _objective_of(value_and_grad: ValueAndGrad) -> Objective | None:
    """The objective behind a gradient, if it can be known: `jax.value_and_grad` and `jax.jit` keep what they wrap."""
    function: Any = value_and_grad
    while not isinstance(function, Backprop | Objective) and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if isinstance(function, Backprop):
        return function.objective
    return function if isinstance(function, Objective) else None


def _pair(came: Any, params: Params) -> tuple[Array, Params]:
    """What the gradient gave, if it is (value, gradients): seen while tracing, before the first step."""
    if isinstance(came, tuple) and len(came) == 2 and jax.tree.structure(came[1]) == jax.tree.structure(params):
        return came
    raise TypeError(
        "fit: the gradient must give (value, gradients in the structure of params); something else came. "
        "Give fnn.backprop(net, loss) or jax.value_and_grad(fnn.objective(net, loss)), not jax.grad nor the objective."
    )


def _floating_dtype(params: Params) -> Any:
    for leaf in jax.tree.leaves(params):
        if jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            return jnp.result_type(leaf)
    raise ValueError("fit: params hold no floating array, so there is nothing to train. Make them with net.init(key).")


def _prepare(
    objective: Objective | None, params: Params, data: tuple[Any, Any], name: str, dtype: Any
) -> tuple[Array, Array]:
    """The data on the device, looked at on the host before, floats in the dtype of the parameters."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"fit: {name} must be the pair (x, y); {type(data).__name__} came. Give {name}=(x, y).")
    x, y = data
    validate(x, y)
    x = _cast(f"fit: x of {name}", x, dtype)
    if objective is not None:
        objective.validate(params, x, y)
    return x, _cast(f"fit: y of {name}", y, dtype)


def _cast(what: str, array: Any, dtype: Any) -> Array:
    came = np.asarray(array).dtype if not isinstance(array, jax.Array) else array.dtype
    if not jnp.issubdtype(came, jnp.floating) or came == dtype:
        return jnp.asarray(array)
    note_cast(what, came, dtype)
    return jnp.asarray(array, dtype)
