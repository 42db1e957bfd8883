"""The affine map z = x W + b beside its hand-written derivative, and the bias trick as one matrix.

Promises: x may have any number of leading axes, including none; every product is one matrix multiplication.
Letters: x (…, I), W (I, O), b (O,), z (…, O). Sources: claims A15, B8, C9, D4, D6, D8.
"""

import jax.numpy as jnp
import numpy as np

from fnn.checks import require_shape
from fnn.types import Array

__all__ = [
    "affine",
    "affine_backward",
    "affine_backward_tangent",
    "affine_norms",
    "affine_tangent",
    "homogeneous_input",
    "homogeneous_matrix",
]


def affine(W: Array, b: Array, x: Array) -> Array:
    """z = x W + b.

    Args:
        W: weights (I, O). Column o holds the weights of output unit o; the lectures use the transpose.
        b: biases (O,).
        x: inputs (…, I).

    Returns:
        z: (…, O).

    >>> fnn.linear.affine(jnp.array([[1.0], [2.0]]), jnp.array([0.5]), jnp.array([3.0, 4.0]))
    Array([11.5], dtype=float32)
    """
    z = x @ W
    return z + jnp.broadcast_to(b, z.shape)


def affine_backward(W: Array, x: Array, z_bar: Array) -> tuple[Array, Array, Array]:
    """The three cotangents of z = x W + b: W_bar = xᵀ z_bar, b_bar = Σ z_bar, x_bar = z_bar Wᵀ.

    The sums run over all examples, that is over every leading axis (claim D6: for a batch the formula is the same, with
    matrices). In index notation W_bar[i, o] = Σ_n x[n, i] z_bar[n, o].

    Args:
        W: weights (I, O).
        x: the inputs of the forward pass (…, I).
        z_bar: cotangent of the output (…, O).

    Returns:
        W_bar (I, O), b_bar (O,), x_bar (…, I).

    >>> x, z_bar = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 0.0, -1.0]])
    >>> W_bar, b_bar, x_bar = fnn.linear.affine_backward(jnp.ones((2, 3)), x, z_bar)
    >>> W_bar.tolist(), b_bar.tolist(), x_bar.tolist()
    ([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0]], [1.0, 0.0, -1.0], [[0.0, 0.0]])
    """
    examples = tuple(range(x.ndim - 1))
    # a cotangent that broadcasts would give gradients of another shape, or of another number
    remedy = "The rule above it, an activation's backward or a loss's slope, must return one number for each entry."
    require_shape("affine_backward", "z_bar", np.shape(z_bar), (*x.shape[:-1], W.shape[1]), remedy)
    # z = x @ W + b
    W_bar = jnp.tensordot(x, z_bar, axes=(examples, examples))
    b_bar = jnp.sum(z_bar, axis=examples)
    x_bar = z_bar @ W.T
    return W_bar, b_bar, x_bar


def affine_tangent(W: Array, x: Array, W_dot: Array, b_dot: Array, x_dot: Array | None) -> Array:
    """The change of z = x W + b along (W_dot, b_dot, x_dot): z_dot = x W_dot + b_dot + x_dot W.

    x_dot None stands for 0, as at the first layer, and saves its product.

    >>> x, W, W_dot, b_dot = jnp.ones((1, 2)), jnp.ones((2, 1)), jnp.ones((2, 1)), jnp.ones(1)
    >>> fnn.linear.affine_tangent(W, x, W_dot, b_dot, None).tolist()
    [[3.0]]
    """
    z_dot = affine(W_dot, b_dot, x)
    return z_dot if x_dot is None else z_dot + x_dot @ W


def affine_backward_tangent(
    W: Array, x: Array, z_bar: Array, W_dot: Array, x_dot: Array | None, z_bar_dot: Array
) -> tuple[Array, Array, Array]:
    """The changes of the three cotangents of `affine_backward` along (W_dot, x_dot, z_bar_dot).

    W_bar_dot = xᵀ z_bar_dot + x_dotᵀ z_bar, b_bar_dot = Σ z_bar_dot, x_bar_dot = z_bar_dot Wᵀ + z_bar W_dotᵀ.
    x_dot None stands for 0.

    >>> x, W, bar, dot = jnp.ones((1, 2)), jnp.ones((2, 1)), jnp.full((1, 1), 3.0), jnp.full((1, 1), 5.0)
    >>> W_bar_dot, b_bar_dot, x_bar_dot = fnn.linear.affine_backward_tangent(W, x, bar, 2 * W, x, dot)
    >>> W_bar_dot.tolist(), b_bar_dot.tolist(), x_bar_dot.tolist()
    ([[8.0], [8.0]], [5.0], [[11.0, 11.0]])
    """
    W_bar_dot, b_bar_dot, x_bar_dot = affine_backward(W, x, z_bar_dot)
    if x_dot is not None:
        W_bar_dot = W_bar_dot + affine_backward(W, x_dot, z_bar)[0]
    return W_bar_dot, b_bar_dot, x_bar_dot + z_bar @ W_dot.T


def affine_norms(x: Array, z_bar: Array) -> tuple[Array, Array]:
    """Per-example gradient norms from the two factors, without forming any gradient.

    The gradient of one example is the outer product of x and z_bar, whose Frobenius norm is ‖x‖ ‖z_bar‖.

    Args:
        x: inputs (N, I).
        z_bar: cotangents (N, O); row n belongs to the loss of example n alone.

    Returns:
        norms of the gradients with respect to W and b, (N,) each.

    >>> W_norms, b_norms = fnn.linear.affine_norms(jnp.array([[3.0, 4.0]]), jnp.array([[2.0, 0.0]]))
    >>> W_norms.tolist(), b_norms.tolist()
    ([10.0], [2.0])
    """
    z_norm = jnp.sqrt(jnp.sum(z_bar * z_bar, axis=-1))
    return jnp.sqrt(jnp.sum(x * x, axis=-1)) * z_norm, z_norm


def homogeneous_input(x: Array) -> Array:
    """The bias trick on the input: x̂ = (1, x), shape (…, 1 + I) (claim D8).

    >>> fnn.linear.homogeneous_input(jnp.array([3.0, 5.0])).tolist()
    [1.0, 3.0, 5.0]
    """
    return jnp.concatenate([jnp.ones((*x.shape[:-1], 1), x.dtype), x], axis=-1)


def homogeneous_matrix(W: Array, b: Array) -> Array:
    """The bias trick on the parameters: one matrix Ŵ (1 + I, 1 + O) with x̂ Ŵ = (1, x W + b) (claim D8).

    Its first column (1, 0, …, 0) carries the constant. That column has a gradient too, so it must be frozen during
    training, and the activation must leave component 0 unchanged, which sigmoid and tanh do not.

    >>> W, b, x = jnp.array([[1.0], [2.0]]), jnp.array([0.5]), jnp.array([3.0, 4.0])
    >>> fnn.linear.homogeneous_input(x) @ fnn.linear.homogeneous_matrix(W, b)
    Array([ 1. , 11.5], dtype=float32)
    """
    bottom = jnp.concatenate([b.reshape(1, -1), W], axis=0)
    constant = jnp.zeros((bottom.shape[0], 1), W.dtype).at[0, 0].set(1)
    return jnp.concatenate([constant, bottom], axis=1)
