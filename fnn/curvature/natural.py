"""The natural gradient by Kronecker factors, as an Optax transformation.

Promises: `update(gradients, state, params, factors=…)` averages the factors over the steps and returns their damped
inverse times the gradients; sign and rate are left to the transformations after it (`optax.scale(-0.1)`).
Sources: Amari 1998; Martens & Grosse 2015.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fnn.curvature.kronecker import KroneckerFactors, kronecker_solve
from fnn.types import Array, PyTree


class NaturalGradientState(NamedTuple):
    """The sums of the factors, each step weighted by decay^(steps since), and the sum of the weights.

    >>> params = ({"W": jnp.ones((2, 1)), "b": jnp.ones(1)},)
    >>> state = fnn.curvature.natural_gradient().init(params)
    >>> state.factors[0].A.shape, state.factors[0].G.shape
    ((3, 3), (1, 1))
    """

    factors: PyTree
    weight: Array


def natural_gradient(*, damping: float = 1e-3, decay: float = 0.95) -> optax.GradientTransformationExtraArgs:
    """Return an Optax transformation that multiplies gradients by (A ⊗ G + damping I)⁻¹, layer by layer.

    Args:
        damping: at least 0; see `kronecker_solve`.
        decay: that of the running mean of the factors, in [0, 1); 0 uses only those of the current step.

    `update` needs the factors of the step, from `kronecker_factors`, as the keyword `factors`.

    Raises:
        ValueError: damping below 0, decay outside [0, 1).
        TypeError: a layer that is not dense (from `init`); no factors (from `update`).

    >>> import optax
    >>> net, loss, (x, y) = fnn.mlp(2, 4, 2), "softmax_cross_entropy", fnn.data.xor()
    >>> by_hand, product = fnn.backprop(net, loss), fnn.curvature.gauss_newton_vector_product(net, loss)
    >>> optimizer = optax.chain(fnn.curvature.natural_gradient(damping=0.1), optax.scale(-0.5))
    >>> @jax.jit
    ... def step(params, state):
    ...     factors = fnn.curvature.kronecker_factors(product, params, x, y)
    ...     value, gradients = by_hand(params, x, y)
    ...     updates, state = optimizer.update(gradients, state, params, factors=factors)
    ...     return optax.apply_updates(params, updates), state, value
    >>> params = net.init(jax.random.key(1))
    >>> state = optimizer.init(params)
    >>> for _ in range(60):
    ...     params, state, value = step(params, state)
    >>> float(value) < 0.1
    True
    """
    if not damping >= 0:
        raise ValueError(f"natural_gradient: damping must be at least 0, got {damping}. Try 1e-3.")
    if not 0 <= decay < 1:
        raise ValueError(f"natural_gradient: decay must lie in [0, 1), got {decay}. Try 0.95.")

    def init(params: PyTree) -> NaturalGradientState:
        return NaturalGradientState(jax.tree.map(_zeros, params, is_leaf=_is_dense), jnp.zeros(()))

    def update(
        updates: PyTree, state: Any, params: Any = None, *, factors: PyTree = None, **_: Any
    ) -> tuple[PyTree, Any]:
        if factors is None:
            raise TypeError(
                "natural_gradient: update needs the factors of the step, got none. "
                "Give factors=kronecker_factors(product, params, x, y)."
            )
        weight = decay * state.weight + (1 - decay)
        summed = jax.tree.map(lambda mean, new: decay * mean + (1 - decay) * new, state.factors, factors)
        means = jax.tree.map(lambda total: total / weight.astype(total.dtype), summed)
        return kronecker_solve(means, updates, damping=damping), NaturalGradientState(summed, weight)

    return optax.GradientTransformationExtraArgs(init, update)


def _is_dense(node: Any) -> bool:
    return isinstance(node, dict) and set(node) == {"W", "b"}


def _zeros(layer: Any) -> Any:
    """Zero factors of a dense layer, with the shapes of `kronecker_factors`."""
    if not _is_dense(layer):
        raise TypeError(
            f"natural_gradient: every layer with parameters must be dense, got a leaf of shape {jnp.shape(layer)} "
            "outside {'W', 'b'}. Use levenberg_marquardt, or an Optax optimizer."
        )
    *repetitions, rows, columns = layer["W"].shape
    A, G = ((*repetitions, size, size) for size in (rows + 1, columns))
    return KroneckerFactors(jnp.zeros(A, layer["W"].dtype), jnp.zeros(G, layer["W"].dtype))
