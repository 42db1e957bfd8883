"""One optimizer step: the gradient of a batch, clipped, averaged with others, and turned into an update.

Promises: the step that `fit` and `sweep` compile is the one that `train_step` takes; nothing here knows which gradient
or which optimizer it got. Letters: B rows of a batch.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fnn.regularizers import Strength
from fnn.training.config import Config
from fnn.training.state import AnyOptimizer, Batch, Hyperparams, TrainState, ValueAndGrad, Window
from fnn.types import Array, Key, Params, PyTree


def initial_state(params: Params, optimizer: AnyOptimizer, *, key: Key) -> TrainState:
    """The `TrainState` before the first step; see `train_step`.

    >>> params = fnn.mlp(2, 1).init(jax.random.key(0))
    >>> state = fnn.training.initial_state(params, fnn.optimizers.sgd(0.1), key=jax.random.key(1))
    >>> int(state.epoch), int(state.step)
    (0, 0)
    """
    return Config(None, None, optimizer, 1).start(params, key, Hyperparams())


def train_step(
    value_and_grad: ValueAndGrad,
    optimizer: AnyOptimizer,
    state: TrainState,
    batch: Batch,
    *,
    strength: Strength | None = None,
    clip_norm: Array | float | None = None,
) -> tuple[TrainState, Array]:
    """One step of one's own loop: (the state after it, the loss of the batch before it).

    `fit` is this step on the batches of `fnn.training.permutation`, compiled as a whole.

    Args:
        value_and_grad: as in `fnn.fit`.
        optimizer: an Optax transformation or a record such as `fnn.optimizers.adam(1e-3)`.
        state: of `initial_state`, of the step before, or of `fnn.fit`.
        batch: the rows of this step, `fnn.training.Batch(x, y)`.
        strength: of the regularizer, if the objective has one.
        clip_norm: a longer gradient (norm over all parameters) is scaled down to it.

    >>> net, (x, y) = fnn.mlp(2, 4, 2), fnn.data.xor()
    >>> by_hand, optimizer = fnn.backprop(net, fnn.softmax_cross_entropy), fnn.optimizers.adam(0.05)
    >>> step = jax.jit(functools.partial(fnn.training.train_step, by_hand, optimizer))
    >>> state = fnn.training.initial_state(net.init(jax.random.key(1)), optimizer, key=jax.random.key(0))
    >>> for _ in range(200):
    ...     state, loss = step(state, fnn.training.Batch(x, y))
    >>> float(fnn.accuracy(net.apply(state.params, x), y)), int(state.step)
    (1.0, 200)
    """
    config = Config(value_and_grad, None, optimizer, 1)
    state, value = take_step(config, Hyperparams(None, strength, clip_norm), state, batch)
    return state._replace(step=state.step + 1), value


def take_step(
    config: Config, hyperparams: Hyperparams, state: TrainState, batch: Batch, closes: Array | bool = True
) -> tuple[TrainState, Array]:
    """(the state after one batch, its loss before the update); the position in the epoch is kept by the caller.

    With `accumulate`, an update is made when enough batches were seen, and by the batch that closes the epoch. The
    config may hold the optimizer built already, and the hyperparameters then no rate.
    """
    value, gradients = config.gradient(state.params, batch, hyperparams.strength)
    value = value.astype(state.loss_sum.dtype)
    weight = jnp.asarray(len(batch) if batch.sample_weight is None else jnp.sum(batch.sample_weight), value.dtype)
    finite = all_finite((value, gradients)) if config.skip else None
    if config.accumulate == 1:
        params, optimizer_state = updated(config, hyperparams, state.params, state.optimizer_state, gradients)
    else:
        params, optimizer_state = gathered(config, hyperparams, state, gradients, len(batch), closes)
    after = state._replace(
        params=params, optimizer_state=optimizer_state,
        loss_sum=state.loss_sum + value * weight, weight_sum=state.weight_sum + weight,
    )  # fmt: skip
    if finite is not None:
        left_out = state._replace(skipped=state.skipped + 1)
        after = jax.tree.map(lambda a, b: chosen(finite, a, b), after, left_out)
    return after, value


def updated(
    config: Config, hyperparams: Hyperparams, params: Params, optimizer_state: PyTree, gradients: Params
) -> tuple[Params, PyTree]:
    """(parameters, optimizer state) after one update with these gradients."""
    if hyperparams.clip_norm is not None:
        gradients = clipped(gradients, hyperparams.clip_norm)
    updates, optimizer_state = config.build(hyperparams.rate).update(gradients, optimizer_state, params)
    return optax.apply_updates(params, updates), optimizer_state


def gathered(
    config: Config, hyperparams: Hyperparams, state: TrainState, gradients: Params, rows: int, closes: Array | bool
) -> tuple[Params, PyTree]:
    """As `updated`, of the mean over a window of batches, Σ |B| g_B / Σ |B|, once the window is full or closes."""
    window: Window = state.optimizer_state
    total = jax.tree.map(lambda sum_, g: sum_ + rows * g.astype(sum_.dtype), window.total, gradients)
    window = window._replace(total=total, rows=window.rows + rows, batches=window.batches + 1)

    def full(window: Window) -> tuple[Params, Window]:
        mean = jax.tree.map(lambda sum_, g: (sum_ / window.rows.astype(sum_.dtype)).astype(g.dtype), total, gradients)
        params, inner = updated(config, hyperparams, state.params, window.inner, mean)
        return params, Window(inner, *jax.tree.map(jnp.zeros_like, tuple(window[1:])))

    def waits(window: Window) -> tuple[Params, Window]:
        return state.params, window

    return jax.lax.cond((window.batches == config.accumulate) | closes, full, waits, window)


def clipped(gradients: Params, clip_norm: Array | np.ndarray | float) -> Params:
    """The gradients, scaled down to this norm over all parameters if they are longer."""
    limit = jnp.asarray(clip_norm)
    squares = [jnp.sum(g * g) for g in jax.tree.leaves(gradients)]
    norm = jnp.sqrt(sum(squares, jnp.zeros_like(limit)))
    share = limit / jnp.maximum(norm, limit)
    return jax.tree.map(lambda g: (share * g).astype(g.dtype), gradients)


def chosen(condition: Array, one: Any, other: Any) -> Any:
    """one where the condition holds; what is the same object in both, such as a key, is left alone."""
    return one if one is other else jax.lax.select(jnp.broadcast_to(condition, jnp.shape(one)), one, other)


def all_finite(tree: PyTree) -> Array:
    """True if every floating entry is."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return functools.reduce(jnp.logical_and, [jnp.isfinite(leaf).all() for leaf in leaves], jnp.asarray(True))
