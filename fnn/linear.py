"""The affine map z = x W + b beside its hand-written derivative, and the bias trick as one matrix.

Promises: x may have any number of leading axes, including none; every product is one matrix multiplication.
Letters: x (…, I), W (I, O), b (O,), z (…, O). Sources: claims A15, B8, C9, D4, D6, D8.
"""

import jax.numpy as jnp

from fnn.types import Array

__all__ = ["affine", "affine_backward", "affine_norms", "homogeneous_input", "homogeneous_matrix"]


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
    # z = x @ W + b
    W_bar = jnp.tensordot(x, z_bar, axes=(examples, examples))
    b_bar = jnp.sum(z_bar, axis=examples)
    x_bar = z_bar @ W.T
    return W_bar, b_bar, x_bar


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
