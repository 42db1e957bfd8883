"""The gradient of each example: formed, measured, clipped and summed, without forming it if that can be avoided.

Promises: the gradient of example n is that of its own loss, neither averaged, weighted nor regularized. A dense layer
gives its two factors, x_n and z_bar_n, and norms, clipped sums and variances are products of these; for a layer of your
own the gradients are formed, example by example. Refuses: more or fewer than one leading axis.
Letters: N examples, I inputs, O outputs. Sources: Goodfellow 2015 (norms from factors); Li et al. 2022 and Bu et al.
2023 (clipped sums without the gradients); McCandlish et al. 2018 (the noise scale).
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checks import require_record, require_size
from fnn.gradients import Backprop, Objective
from fnn.types import Array, Examples, Factors, Params, PyTree


class GradientNoise(NamedTuple):
    """Mean and spread of the per-example gradients; made by `gradient_noise`.

    >>> fnn.curvature.GradientNoise._fields
    ('mean', 'variance', 'noise', 'signal', 'scale', 'total_scale')
    """

    mean: Params
    """The mean of the N gradients, in the structure of params."""
    variance: Params
    """The variance of each entry over the examples, unbiased, in the structure of params."""
    noise: PyTree
    """tr Σ of each layer: the sum of its variances."""
    signal: PyTree
    """‖G‖² of each layer, unbiased: ‖mean‖² − tr Σ / N, which can be negative if there is only noise."""
    scale: PyTree
    """tr Σ / ‖G‖² of each layer, in examples; infinite if the signal is not positive."""
    total_scale: Array
    """The same for all layers together."""


def example_gradients(by_hand: Backprop, params: Params, x: PyTree, y: Any) -> Params:
    """Return the gradient of each example's own loss: every leaf of params with a first axis of N.

    Args:
        by_hand: from `backprop`; its regularizer is ignored.
        params: parameters of its net.
        x, y: N examples, x (N, I) for a dense net.

    Raises:
        TypeError: by_hand is not from `fnn.backprop`, or its objective has its own backward.
        ValueError: x has no single leading axis, or does not fit the net.

    >>> by_hand, (x, y) = fnn.backprop(fnn.mlp(2, 1), "half_squared_error"), (jnp.ones((3, 2)), jnp.zeros((3, 1)))
    >>> params = by_hand.net.init(jax.random.key(0))
    >>> fnn.curvature.example_gradients(by_hand, params, x, y)[0]["W"].shape
    (3, 2, 1)
    """
    return _each(_formed, _factors(by_hand, params, x, y))


def clipped_sum(
    by_hand: Backprop, params: Params, x: PyTree, y: Any, *, limit: Array | float, chunk: int | None = None
) -> tuple[Params, Array]:
    """Return Σ_n g_n min(1, limit / ‖g_n‖) and the norms ‖g_n‖ over all parameters, (N,); dense layers form no g_n.

    One backward pass gives the factors, these give the norms, and the factors scaled by the clip give the sum.

    Args:
        by_hand, params, x, y: as in `example_gradients`.
        limit: the largest norm that is left unchanged, above 0.
        chunk: how many rows to process at once, to bound the memory; None for all N.

    Raises:
        ValueError: limit not above 0, chunk below 1. Also what `example_gradients` raises.

    >>> by_hand = fnn.backprop(fnn.mlp(1, 1), "half_squared_error")
    >>> params = ({"W": jnp.zeros((1, 1)), "b": jnp.zeros(1)},)
    >>> x, y = jnp.zeros((2, 1)), jnp.array([[-9.0], [-1.0]])
    >>> clipped, norms = fnn.curvature.clipped_sum(by_hand, params, x, y, limit=2.0)
    >>> clipped[0]["b"].tolist(), norms.tolist()
    ([3.0], [9.0, 1.0])
    """
    if isinstance(limit, int | float | np.number) and not limit > 0:
        raise ValueError(f"clipped_sum: limit must be above 0, got {limit}. It is the largest norm that is kept.")

    def whole(x: PyTree, y: Any) -> tuple[Params, Array]:
        factors = _factors(by_hand, params, x, y)
        norms = jnp.sqrt(functools.reduce(jnp.add, _list(_squared_norms, factors)))
        # limit / max(norm, limit) is min(1, limit / norm), for a norm of 0 too
        bound = jnp.asarray(limit, norms.dtype)
        share = bound / jnp.maximum(norms, bound)
        return _each(functools.partial(_weighted_sum, share), factors), norms

    rows = len(y)
    if chunk is None or chunk >= rows:
        return whole(x, y)
    chunk = require_size("clipped_sum", "chunk", chunk, "It counts rows: try 64.")
    many = rows // chunk * chunk

    def part(start: int, stop: int, shape: tuple[int, ...]) -> tuple[PyTree, Any]:
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[start:stop].reshape(*shape, *jnp.shape(leaf)[1:]), (x, y))

    def step(total: Params, data: tuple) -> tuple[Params, Array]:
        clipped, norms = whole(*data)
        return jax.tree.map(jnp.add, total, clipped), norms

    total, norms = jax.lax.scan(step, jax.tree.map(jnp.zeros_like, params), part(0, many, (rows // chunk, chunk)))
    norms = norms.reshape(-1)
    if many < rows:
        total, last = step(total, part(many, rows, (rows - many,)))
        norms = jnp.concatenate([norms, last])
    return total, norms


def gradient_noise(by_hand: Backprop, params: Params, x: PyTree, y: Any) -> GradientNoise:
    """Return mean, variance and noise scale of the gradients of N ≥ 2 examples; dense layers form no single gradient.

    The noise scale tr Σ / ‖G‖² is the batch size at which the noise of the mean gradient is as large as the gradient.
    Given per layer; a `repeated` layer counts as one.

    Raises:
        ValueError: fewer than 2 examples. Also what `example_gradients` raises.

    >>> by_hand = fnn.backprop(fnn.mlp(1, 1), "half_squared_error")
    >>> params, x, y = ({"W": jnp.zeros((1, 1)), "b": jnp.zeros(1)},), jnp.zeros((2, 1)), jnp.array([[-9.0], [-1.0]])
    >>> noise = fnn.curvature.gradient_noise(by_hand, params, x, y)
    >>> noise.mean[0]["b"].tolist(), noise.variance[0]["b"].tolist(), float(noise.total_scale)  # 32 / (25 − 16)
    ([5.0], [32.0], 3.555...)
    """
    count = len(y)
    if count < 2:
        raise ValueError(f"gradient_noise: a variance needs at least 2 examples, got {count}. Give more rows.")
    factors = _factors(by_hand, params, x, y)
    ones = jnp.ones(count, jax.tree.leaves(factors)[0].dtype)
    mean = jax.tree.map(lambda g: g / count, _each(functools.partial(_weighted_sum, ones), factors))
    squares = _each(_summed_squares, factors)
    variance = jax.tree.map(lambda s, m: jnp.maximum(s - count * m * m, jnp.zeros_like(s)) / (count - 1), squares, mean)

    def layer(each: Any, tree: Params) -> Array:
        return functools.reduce(jnp.add, [jnp.sum(leaf) for leaf in jax.tree.leaves(tree)], jnp.zeros((), ones.dtype))

    noise = jax.tree.map(layer, factors, variance, is_leaf=_is_factors)
    power = jax.tree.map(layer, factors, jax.tree.map(jnp.square, mean), is_leaf=_is_factors)
    signal = jax.tree.map(lambda p, n: p - n / count, power, noise)

    def ratio(noise: Array, signal: Array) -> Array:
        positive = signal > 0
        return jnp.where(positive, noise / jnp.where(positive, signal, jnp.ones_like(signal)), jnp.inf)

    whole = [functools.reduce(jnp.add, jax.tree.leaves(tree)) for tree in (noise, signal)]
    return GradientNoise(mean, variance, noise, signal, jax.tree.map(ratio, noise, signal), ratio(*whole))


# ---- the factors ----------------------------------------------------------------------------------------------------


def _factors(by_hand: Backprop, params: Params, x: PyTree, y: Any) -> PyTree:
    """The per-example gradients of every layer, as `Factors` or `Examples`."""
    require_record("per example", Backprop, by_hand, "Make it with fnn.backprop(net, loss).")
    if type(by_hand.objective).backward is not Objective.backward:
        raise TypeError(
            f"per example: {type(by_hand.objective).__name__} has its own backward, which does not say what flows back "
            "inside it. Use jax.vmap(by_hand, (None, 0, 0))(params, x, y)[1]."
        )
    summed = replace(by_hand.objective, loss=by_hand.loss.sum, regularizer=None)
    prediction, residuals = summed.net.forward(params, x)
    require_rows("per example", prediction)
    _, loss_residuals = summed.loss.forward(prediction, y)
    return summed.net.factors(params, residuals, summed.loss.backward(loss_residuals))[0]


def require_rows(where: str, prediction: Array) -> None:
    """Raise `ValueError` unless the predictions are (N, O)."""
    if prediction.ndim != 2:
        raise ValueError(
            f"{where}: x and y must have one leading axis, the examples, got predictions of shape {prediction.shape}. "
            "Reshape x to (N, features), and y likewise."
        )


def _is_factors(node: Any) -> bool:
    return isinstance(node, Factors | Examples)


def _each(rule: Callable[[Any], Params], factors: PyTree) -> Params:
    return jax.tree.map(rule, factors, is_leaf=_is_factors)


def _list(rule: Callable[[Any], Array], factors: PyTree) -> list[Array]:
    return [rule(each) for each in jax.tree.leaves(factors, is_leaf=_is_factors)]


def _formed(each: Factors | Examples) -> Params:
    if isinstance(each, Examples):
        return each.gradients
    # W_bar_n = x_n z_bar_nᵀ; the axes of repetitions go behind the examples
    W = jnp.einsum("...ni,...no->...nio", each.x, each.z_bar)
    return {"W": jnp.moveaxis(W, -3, 0), "b": jnp.moveaxis(each.z_bar, -2, 0)}


def _squared_norms(each: Factors | Examples) -> Array:
    """‖g_n‖² of the layer, (N,)."""
    if isinstance(each, Examples):
        leaves = [jnp.sum(g * g, axis=tuple(range(1, g.ndim))) for g in jax.tree.leaves(each.gradients)]
        return functools.reduce(jnp.add, leaves) if leaves else jnp.zeros(())
    # ‖x_n z_bar_nᵀ‖² + ‖z_bar_n‖²
    x, z_bar = (jnp.sum(factor * factor, axis=-1) for factor in each)
    return jnp.sum((x + 1) * z_bar, axis=tuple(range(x.ndim - 1)))


def _weighted_sum(share: Array, each: Factors | Examples) -> Params:
    """Σ_n share_n g_n."""
    if isinstance(each, Examples):
        return jax.tree.map(lambda g: jnp.tensordot(share, g, axes=1), each.gradients)
    z_bar = each.z_bar * jnp.broadcast_to(share[:, None], each.z_bar.shape)
    return {"W": jnp.einsum("...ni,...no->...io", each.x, z_bar), "b": jnp.sum(z_bar, axis=-2)}


def _summed_squares(each: Factors | Examples) -> Params:
    """Σ_n g_n², entry by entry."""
    if isinstance(each, Examples):
        return jax.tree.map(lambda g: jnp.sum(g * g, axis=0), each.gradients)
    x, z_bar = (factor * factor for factor in each)
    return {"W": jnp.einsum("...ni,...no->...io", x, z_bar), "b": jnp.sum(z_bar, axis=-2)}
