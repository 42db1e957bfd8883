"""The compiled programs of an estimator: an epoch, a gradient over all rows, a prediction.

Promises: the gradient is `fnn.backprop`, the step `fnn.training.train_step`. A program is compiled for a net, a loss, a
solver and a few sizes: rows and features are padded with zeros to those sizes, and how many of them count is an
argument, so hundreds of small fits share a handful of programs. A padding row has weight 0; a padding feature has
weights of 0, with gradients of 0.
Letters: N rows, B rows of a batch, I features, w weights of examples.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.estimators.conventions import AdamLikeScikit, MomentumLikeScikit
from fnn.gradients import backprop
from fnn.layers import Layer
from fnn.losses import Loss
from fnn.optimizers import Optimizer
from fnn.regularizers import l2
from fnn.training.state import Batch, TrainState
from fnn.training.step import chosen, train_step
from fnn.types import Array, Params

#: Up to this many rows and features a problem is padded; a larger one is worth its own program.
SMALL_ROWS, SMALL_FEATURES = 512, 64


def filled_rows(count: int) -> int:
    """The number of rows that this many rows of data are padded to."""
    return max(count, SMALL_ROWS)


def filled_batch(batch: int, count: int) -> int:
    """The number of rows that a batch is padded to; none are added if the data is large."""
    return batch if count > SMALL_ROWS else next(size for size in (64, 256, SMALL_ROWS) if batch <= size)


def filled_features(count: int) -> int:
    """The number of features that this many are padded to."""
    return count if count > SMALL_FEATURES else -(-count // 32) * 32


def filled(array: np.ndarray, *sizes: int) -> np.ndarray:
    """The array, padded with zeros at the end of its first axes."""
    wider = [(0, size - length) for size, length in zip(sizes, array.shape, strict=False)]
    return np.pad(array, wider + [(0, 0)] * (array.ndim - len(wider)))


@dataclass(frozen=True)
class Setup:
    """What a program is compiled for; it is static."""

    net: Layer
    loss: Loss
    solver: str
    look_ahead: bool
    batch: int
    """B, or more if the rows are padded."""
    mean_of_outputs: int = 1
    """The number of outputs that the reported loss, but not the gradient, is divided by (scikit-learn's squared
    error)."""

    def optimizer(self, numbers: dict[str, Any]) -> Optimizer:
        if self.solver == "adam":
            return AdamLikeScikit(numbers["rate"], numbers["b1"], numbers["b2"], numbers["eps"])
        return MomentumLikeScikit(numbers["rate"], numbers["momentum"], self.look_ahead)

    def reported(self, value: Array, params: Params, strength: Array) -> Array:
        """The loss as scikit-learn reports it."""
        if self.mean_of_outputs == 1:
            return value
        penalty = l2(params, strength)
        return (value - penalty) / self.mean_of_outputs + penalty


class Rows(NamedTuple):
    """Examples, padded; the weight of padding rows is 0."""

    x: Any
    y: Any
    weights: Any


@partial(jax.jit, static_argnums=0)
def epoch(
    setup: Setup, numbers: dict[str, Any], state: TrainState, rows: Rows, order: Array, count: Array, batch: Array
) -> tuple[TrainState, Array, Array]:
    """(state after a pass over the first `count` rows of `order`, `batch` at a time; Σ loss of a batch · its rows; the
    rows of these batches, those in which nothing counts left out)."""
    by_hand, optimizer = backprop(setup.net, setup.loss, l2), setup.optimizer(numbers)

    def step(k: Array, carry: tuple[TrainState, Array, Array]) -> tuple[TrainState, Array, Array]:
        state, total, counted = carry
        within = jnp.arange(setup.batch, dtype=order.dtype)
        place = k.astype(order.dtype) * batch + within
        counts = (within < batch) & (place < count)
        taken = order[jnp.where(counts, place, jnp.zeros_like(place))]
        weights = jnp.where(counts, rows.weights[taken], jnp.zeros_like(rows.weights, shape=taken.shape))
        total_weight = jnp.sum(weights)
        # a batch in which nothing counts leaves everything as it was
        weight_sum = jnp.where(total_weight > 0, total_weight, jnp.ones_like(total_weight))
        # the penalty is α/2 Σ W² over the weight of the batch
        strength = numbers["alpha"] / (2 * weight_sum)
        # `train_step` divides by the number of its rows
        data = Batch(rows.x[taken], rows.y[taken], weights * (setup.batch / weight_sum))
        after, value = train_step(by_hand, optimizer, state, data, strength=strength)
        size = jnp.sum(counts).astype(total.dtype)
        new = after, total + setup.reported(value, state.params, strength) * size, counted + size
        return jax.tree.map(lambda a, b: chosen(total_weight > 0, a, b), new, carry)

    steps = (count + batch - 1) // batch
    zero = jnp.zeros((), rows.x.dtype)
    return jax.lax.fori_loop(0, steps, step, (state, zero, zero))


@partial(jax.jit, static_argnums=0)
def value_and_gradient(setup: Setup, alpha: Array, params: Params, rows: Rows) -> tuple[Array, Params]:
    """(reported loss of all rows, gradients), for lbfgs."""
    strength = alpha / (2 * jnp.sum(rows.weights))
    by_hand = backprop(setup.net, setup.loss, l2)
    value, gradients = by_hand(params, rows.x, rows.y, sample_weight=rows.weights, strength=strength)
    return setup.reported(value, params, strength), gradients


@partial(jax.jit, static_argnums=0)
def mean_loss(setup: Setup, params: Params, rows: Rows) -> Array:
    """The loss of all rows without penalty."""
    output = setup.net.evaluate(params, setup.net.start(params), rows.x)
    value = setup.loss(output, rows.y, rows.weights)
    return value / setup.mean_of_outputs


@partial(jax.jit, static_argnums=0)
def predict(net: Layer, params: Params, x: Array) -> Array:
    """The output of the net before its last function."""
    return net.apply(params, x)
