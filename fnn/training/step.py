"""One optimizer step: the gradient of a batch, clipped, averaged with others, and turned into an update.

Promises: `fit` and `sweep` compile the very step that `train_step` takes; nothing here knows which gradient or which
optimizer it was given. Letters: B rows of a batch.
"""

import functools
from textwrap import shorten
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fnn.checks import require_key
from fnn.layers import Layer
from fnn.optimizers import Optimizer
from fnn.regularizers import Strength
from fnn.tracing import traced
from fnn.training.config import Config, objective_of, parameters_of
from fnn.training.state import AnyOptimizer, Batch, Hyperparams, TrainState, ValueAndGrad, Window
from fnn.types import Array, Key, Params, PyTree, wide

#: Folded into the key of an epoch to make the noise of its steps; no epoch and no row has this number.
NOISE = 0x6E6F6973


def initial_state(params: Params, optimizer: AnyOptimizer, *, key: Key, net: Layer | None = None) -> TrainState:
    """Return the `TrainState` before the first step; see `train_step`.

    Args:
        net: needed for layers such as batch normalization: the state then holds their statistics.

    >>> params = fnn.mlp(2, 1).init(jax.random.key(0))
    >>> state = fnn.training.initial_state(params, fnn.optimizers.sgd(0.1), key=jax.random.key(1))
    >>> int(state.epoch), int(state.step)
    (0, 0)
    """
    require_key("initial_state", key)
    if isinstance(params, Layer) or (jax.tree.structure(params) == jax.tree.structure(0) and callable(params)):
        shown = shorten(repr(params), 60, placeholder=" …")
        raise TypeError(f"initial_state: params must be parameters, got {shown}. Give net.init(key).")
    if not hasattr(optimizer, "init"):
        raise TypeError(
            f"initial_state: optimizer must be an Optax transformation or a record, got {optimizer!r}. Call it with "
            "its learning rate: optax.adam(1e-3)."
        )
    state = Config(None, None, optimizer, 1, caller="initial_state").start(params, key, Hyperparams())
    return state if net is None else state._replace(statistics=net.start(params))


def train_step(
    value_and_grad: ValueAndGrad,
    optimizer: AnyOptimizer,
    state: TrainState,
    batch: Batch,
    *,
    strength: Strength | None = None,
    clip_norm: Array | float | None = None,
) -> tuple[TrainState, Array]:
    """Take one step in a loop of your own; return (the state after it, the loss of the batch before it).

    `fit` takes this same step on the batches of `fnn.training.permutation`, and compiles the whole loop.

    Args:
        value_and_grad: as in `fnn.fit`.
        optimizer: an Optax transformation or a record such as `fnn.optimizers.adam(1e-3)`.
        state: from `initial_state`, the step before, or `fnn.fit`.
        batch: the B rows of this step, `fnn.training.Batch(x, y)`.
        strength: of the regularizer, if the objective has one.
        clip_norm: gradients longer than this (norm over all parameters) are scaled down to it.

    Raises:
        TypeError, ValueError: the gradient or the optimizer returns something else than it must; raised while tracing.

    >>> net, (x, y) = fnn.mlp(2, 4, 2), fnn.data.xor()
    >>> by_hand, optimizer = fnn.backprop(net, fnn.softmax_cross_entropy), fnn.optimizers.adam(0.05)
    >>> step = jax.jit(functools.partial(fnn.training.train_step, by_hand, optimizer))
    >>> state = fnn.training.initial_state(net.init(jax.random.key(1)), optimizer, key=jax.random.key(0))
    >>> for _ in range(200):
    ...     state, loss = step(state, fnn.training.Batch(x, y))
    >>> float(fnn.accuracy(net.apply(state.params, x), y)), int(state.step)
    (1.0, 200)
    """
    if not isinstance(state, TrainState):
        raise TypeError(
            f"train_step: state must be a TrainState, got a {type(state).__name__}. Make it with "
            "fnn.training.initial_state(params, optimizer, key=key)."
        )
    if not isinstance(batch, Batch) or not all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(batch)):
        got = "lists" if isinstance(batch, Batch) else f"a {type(batch).__name__}"
        raise TypeError(f"train_step: batch must be a Batch of arrays, got {got}. Give fnn.training.Batch(x, y).")
    config = Config(value_and_grad, objective_of(value_and_grad), optimizer, 1, caller="train_step")
    key = noise_key(state, state.step) if config.has_modes else None
    state, value = take_step(config, Hyperparams(None, strength, clip_norm), state, batch, key=key)
    return state._replace(step=state.step + 1), value


def noise_key(state: TrainState, step: Array) -> Key:
    """The key for dropout in this step of the epoch, made from the key of the run and two numbers: an interrupted run
    draws the same noise after it resumes."""
    key = jax.random.fold_in(jax.random.fold_in(state.key, NOISE), state.epoch)
    return jax.random.fold_in(key, step)


def take_step(
    config: Config, hyperparams: Hyperparams, state: TrainState, batch: Batch, closes: Array | bool = True,
    key: Key | None = None,
) -> tuple[TrainState, Array]:  # fmt: skip
    """(the state after one batch, its loss before the update); the caller keeps the position in the epoch.

    With `accumulate`, an update is made once enough batches have been seen, and by the batch that closes the epoch. If
    the config holds an optimizer that is already built, the hyperparameters hold no rate. `key` is the `noise_key` of
    the step, for a net that needs one.
    """
    others = batch, hyperparams.strength, state.statistics, key
    value, gradients, statistics = config.gradient(state.params, *others)
    value = value.astype(state.loss_sum.dtype)
    # a mean weighted within its batch counts by the sum of the weights; any other mean counts by its rows
    own = batch.sample_weight if config.weights == "own" else None
    weight = jnp.asarray(len(batch) if own is None else jnp.sum(own), value.dtype)
    finite = all_finite((value, gradients, statistics)) if config.skip else None
    if config.accumulate == 1:
        value_of = lambda params: config.value(params, *others)  # noqa: E731
        params, optimizer_state = updated(
            config, hyperparams, state.params, state.optimizer_state, gradients, {"value": value, "value_fn": value_of}
        )
    else:
        params, optimizer_state = gathered(config, hyperparams, state, (value, gradients), len(batch), closes, finite)
    after = state._replace(
        params=params, optimizer_state=optimizer_state, statistics=statistics,
        loss_sum=state.loss_sum + value * weight, weight_sum=state.weight_sum + weight,
    )  # fmt: skip
    if finite is not None:
        left_out = state._replace(skipped=state.skipped + 1)
        if config.accumulate > 1:
            # the window continues without this batch
            left_out = left_out._replace(params=after.params, optimizer_state=after.optimizer_state)
        after = jax.tree.map(lambda a, b: chosen(finite, a, b), after, left_out)
    return after, value


def updated(
    config: Config, hyperparams: Hyperparams, params: Params, optimizer_state: PyTree, gradients: Params,
    more: dict[str, Any],
) -> tuple[Params, PyTree]:  # fmt: skip
    """(parameters, optimizer state) after one update with these gradients; `more` is for optimizers that need it."""
    if hyperparams.clip_norm is not None:
        gradients = clipped(gradients, hyperparams.clip_norm)
    optimizer = config.build(hyperparams.rate)
    taken: dict[str, Any] = {}
    if isinstance(optimizer, optax.GradientTransformationExtraArgs):
        more, names = {**more, "grad": gradients}, parameters_of(optimizer.update)
        taken = more if "**" in names else {name: more[name] for name in names if name in more}
    try:
        with traced(config.caller, "optimizer"):
            result = optimizer.update(gradients, optimizer_state, params, **taken)
    except (TypeError, ValueError, AttributeError) as error:
        # if the gradient is at fault, it has a message of its own
        if isinstance(optimizer, Optimizer) or str(error).startswith(f"{config.caller}: "):
            raise
        got = f"got {type(error).__name__}: {str(error).rstrip('.')}"
        if not isinstance(error, AttributeError) and "missing" not in str(error):
            raise TypeError(
                f"{config.caller}: the optimizer must turn gradients into updates, {got}. Check the numbers it was "
                "made with: each must be one number (1e-3, not '1e-3' or a list) or a schedule that returns one."
            ) from error
        remedy = "A line search needs accumulate=1" if config.accumulate > 1 else "Use one that needs nothing more"
        raise TypeError(
            f"{config.caller}: the optimizer must run on these parameters with {', '.join(sorted(more))}, {got}. "
            f"{remedy}; optax.lookahead, which keeps two sets of parameters, needs a loop of your own."
        ) from error
    updates, optimizer_state = _require_updates(config.caller, result, params)
    return optax.apply_updates(params, updates), optimizer_state


def _require_updates(caller: str, result: Any, params: Params) -> tuple[Params, PyTree]:
    """What an optimizer returned, if it is (updates like the parameters, its state)."""
    pair = isinstance(result, tuple | list) and len(result) == 2
    if not pair or jax.tree.structure(result[0]) != jax.tree.structure(params):
        got = "updates of another structure" if pair else f"a {type(result).__name__}"
        raise TypeError(
            f"{caller}: the optimizer must return (updates in the structure of params, its state), got {got}. Use an "
            "Optax transformation, or define update(gradients, state, params)."
        )
    for (path, update), parameter in zip(jax.tree.leaves_with_path(result[0]), jax.tree.leaves(params), strict=True):
        shape, dtype = jnp.shape(update), jnp.result_type(update)
        odd = jnp.issubdtype(dtype, jnp.complexfloating) and not jnp.iscomplexobj(parameter)
        if shape != jnp.shape(parameter) or odd:
            raise ValueError(
                f"{caller}: the optimizer must return updates like the parameters, got shape {shape} and {dtype.name} "
                f"for shape {jnp.shape(parameter)} at params{jax.tree_util.keystr(path)}. Give each of its options as "
                "one real number, not an array."
            )
    return result[0], result[1]


def gathered(
    config: Config, hyperparams: Hyperparams, state: TrainState, result: tuple[Array, Params], rows: int,
    closes: Array | bool, finite: Array | None,
) -> tuple[Params, PyTree]:  # fmt: skip
    """As `updated`, with the mean gradient over a window of batches, Σ |B| g_B / Σ |B|, once the window is full or
    closes.

    A window ends with its epoch, so that epochs can be cut into calls anywhere; in `optax.MultiSteps` it continues.
    """
    window: Window = state.optimizer_state
    value, gradients = result
    counts = jnp.asarray(rows, jnp.int32) if finite is None else jnp.where(finite, rows, 0)

    def weighed(total: Array, new: Array) -> Array:
        if finite is not None:
            new = jnp.where(finite, new, jnp.zeros_like(new))
        return total + rows * new.astype(total.dtype)

    window = window._replace(
        total=jax.tree.map(weighed, window.total, gradients), rows=window.rows + counts, batches=window.batches + 1,
        value=weighed(window.value, value),
    )  # fmt: skip

    def full(window: Window) -> tuple[Params, Window]:
        share = lambda total: total / window.rows.astype(total.dtype)  # noqa: E731
        mean = jax.tree.map(lambda total, g: share(total).astype(g.dtype), window.total, gradients)
        more = {"value": share(window.value)}
        params, inner = updated(config, hyperparams, state.params, window.inner, mean, more)
        return params, empty(window._replace(inner=inner))

    def empty(window: Window) -> Window:
        return Window(window.inner, *jax.tree.map(jnp.zeros_like, tuple(window[1:])))

    ends = (window.batches == config.accumulate) | closes
    # a window in which every batch was left out ends without an update
    done = ends & (window.rows > 0)
    place = jnp.where(done, 2, jnp.where(ends, 1, 0))
    keeps = lambda window: (state.params, window)  # noqa: E731
    return jax.lax.switch(place, [keeps, lambda window: (state.params, empty(window)), full], window)


def clipped(gradients: Params, clip_norm: Array | np.ndarray | float) -> Params:
    """The gradients, scaled down to this norm over all parameters if they are longer.

    The norm is computed in float32 or wider, from entries divided by a power of two near the largest: no square
    overflows, and if none would have, the result is the same to the bit.
    """
    leaves = jax.tree.leaves(gradients)
    dtype = functools.reduce(jnp.promote_types, [wide(leaf.dtype) for leaf in leaves])
    limit = jnp.asarray(clip_norm, dtype)
    largest = functools.reduce(jnp.maximum, [jnp.max(jnp.abs(leaf)).astype(dtype) for leaf in leaves if leaf.size])
    # only for exponents beyond a quarter of the range: squares of smaller numbers have a finite sum, however many there
    # are
    _, exponent = jnp.frexp(jnp.where(jnp.isfinite(largest), largest, jnp.ones_like(largest)))
    power = jnp.where(jnp.abs(exponent) > jnp.finfo(dtype).maxexp // 4, exponent, 0)
    scaled = [jnp.ldexp(leaf.astype(dtype), -power) for leaf in leaves]
    norm = jnp.ldexp(jnp.sqrt(sum([jnp.sum(g * g) for g in scaled], jnp.zeros_like(limit))), power)
    share = limit / jnp.maximum(norm, limit)
    return jax.tree.map(lambda g: (share * g.astype(dtype)).astype(g.dtype), gradients)


def chosen(condition: Array, one: Any, other: Any) -> Any:
    """`one` if the condition holds, else the other; what is the same object in both, such as a key, is left alone."""
    return one if one is other else jax.lax.select(jnp.broadcast_to(condition, jnp.shape(one)), one, other)


def all_finite(tree: PyTree) -> Array:
    """True if every floating entry is finite."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return functools.reduce(jnp.logical_and, [jnp.isfinite(leaf).all() for leaf in leaves], jnp.asarray(True))
