"""Kronecker factors of the Gauss-Newton matrix, layer by layer (KFAC), and their inverse.

Promises: for a dense layer with x̂ = (x, 1) and the cotangents z_bar_nc of the columns of the root of the loss's Hessian
    A = Σ_n w_n x̂_n x̂_nᵀ      (I + 1, I + 1)     w_n the weights of the examples, scaled to sum to 1
    G = Σ_n Σ_c z_bar_nc z_bar_ncᵀ   (O, O)      with the scale of the loss: 1 / N for a mean, 1 for a sum
and A ⊗ G stands for the layer's block of the Gauss-Newton matrix, in the order of [W; b] row by row, that is of
`jax.flatten_util.ravel_pytree`. It is exact for one example and for a linear net under a squared error. The penalty is
not in the factors: for an L2 penalty of strength λ add a damping of 2 λ, which damps the bias too, as L2 does not.
A `repeated` layer has factors of each repetition, with an axis for them in front. Refuses: layers other than dense.
Letters: I inputs, O outputs, N examples, c the columns of the root. Source: Martens & Grosse 2015.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.curvature.matrices import root_factors
from fnn.curvature.products import Product, require_product, require_second_derivative
from fnn.types import Array, Examples, Factors, Params, PyTree


class KroneckerFactors(NamedTuple):
    """A and G of one dense layer; see `kronecker_factors`.

    >>> layer = fnn.curvature.KroneckerFactors(jnp.array([[4.0, 0.0], [0.0, 1.0]]), jnp.array([[2.0]]))
    >>> layer.matrix().tolist()
    [[8.0, 0.0], [0.0, 2.0]]
    """

    A: Array
    G: Array

    def matrix(self) -> Array:
        """A ⊗ G, which approximates the layer's block of the Gauss-Newton matrix; for small layers."""
        return jnp.einsum("...ij,...op->...iojp", self.A, self.G).reshape(
            *self.A.shape[:-2], self.A.shape[-1] * self.G.shape[-1], -1
        )


def kronecker_factors(
    product: Product, params: Params, x: PyTree, y: Any, *, sample_weight: Array | None = None
) -> PyTree:
    """Return the factors of each layer: the structure of params, with `KroneckerFactors` in place of {"W", "b"}.

    Args:
        product: from `gauss_newton_vector_product` or `hessian_vector_product`; only its net and loss matter.
        params, x, y, sample_weight: as the product takes them, x (N, I).

    Raises:
        TypeError: a layer that has parameters and is not dense; a piecewise linear loss.

    >>> product = fnn.curvature.gauss_newton_vector_product(fnn.mlp(2, 1), "half_squared_error")
    >>> params = ({"W": jnp.ones((2, 1)), "b": jnp.zeros(1)},)
    >>> (layer,) = fnn.curvature.kronecker_factors(product, params, jnp.array([[3.0, 4.0]]), jnp.zeros((1, 1)))
    >>> layer.A.tolist(), layer.G.tolist()
    ([[9.0, 12.0, 3.0], [12.0, 16.0, 4.0], [3.0, 4.0, 1.0]], [[1.0]])
    """
    require_product("kronecker_factors", product)
    require_second_derivative("kronecker_factors", product.loss)
    factors = root_factors(product, params, x, y, sample_weight)

    def layer(each: Factors | Examples) -> Any:
        if isinstance(each, Examples):
            if not jax.tree.leaves(each.gradients):
                return each.gradients
            raise TypeError(
                "kronecker_factors: every layer with parameters must be dense, got one with the parameters "
                f"{jax.tree.structure(each.gradients)}. Use gauss_newton_vector_product and conjugate gradients."
            )
        x, z_bar = each
        hat = jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)
        count = x.shape[-2]
        uniform = jnp.full(count, 1 / count, x.dtype)
        weights = uniform if sample_weight is None else _to_one(jnp.asarray(sample_weight).astype(x.dtype))
        A = jnp.einsum("n,...ni,...nj->...ij", weights, hat, hat)
        return KroneckerFactors(A, jnp.einsum("c...no,c...np->...op", z_bar, z_bar))

    return jax.tree.map(layer, factors, is_leaf=lambda node: isinstance(node, Factors | Examples))


def kronecker_solve(factors: PyTree, vectors: Params, *, damping: Array | float) -> Params:
    """Return (A ⊗ G + damping I)⁻¹ times a vector, layer by layer, from the eigenvectors of A and of G.

    The damping is not split between A and G: this is the inverse of the damped product itself. If an eigenvalue of the
    sum is 0 to rounding, as for singular factors without damping, its direction is left out: this gives the
    least-squares solution.

    Args:
        factors: from `kronecker_factors`.
        vectors: the structure and shapes of params, for instance a gradient.
        damping: at least 0; add 2 λ for an L2 penalty of strength λ.

    Raises:
        ValueError: damping below 0.

    >>> layer = fnn.curvature.KroneckerFactors(jnp.diag(jnp.array([4.0, 1.0])), jnp.array([[2.0]]))
    >>> vector = {"W": jnp.array([[10.0]]), "b": jnp.array([4.0])}
    >>> solved = fnn.curvature.kronecker_solve(layer, vector, damping=2.0)
    >>> round(float(solved["W"][0, 0]), 4), round(float(solved["b"][0]), 4)  # 10 / (8 + 2), 4 / (2 + 2)
    (1.0, 1.0)
    """
    if isinstance(damping, int | float | np.number) and not damping >= 0:
        raise ValueError(f"kronecker_solve: damping must be at least 0, got {damping}. Try 1e-3.")

    def layer(each: KroneckerFactors, vector: Params) -> Params:
        a, Q = jnp.linalg.eigh(each.A)
        g, R = jnp.linalg.eigh(each.G)
        hat = jnp.concatenate([vector["W"], vector["b"][..., None, :]], axis=-2)
        # A ⊗ G has the eigenvectors q_i ⊗ r_o and the eigenvalues a_i g_o; rounding can make those of 0 negative
        a, g = (jnp.maximum(values, jnp.zeros_like(values)) for values in (a, g))
        values = a[..., :, None] * g[..., None, :] + jnp.asarray(damping, hat.dtype)
        largest = jnp.max(values, axis=(-2, -1), keepdims=True)
        zero = values <= sum(hat.shape[-2:]) * jnp.finfo(hat.dtype).eps * largest
        inside = jnp.einsum("...ij,...io,...op->...jp", Q, hat, R)
        inside = jnp.where(zero, jnp.zeros_like(inside), inside / jnp.where(zero, jnp.ones_like(values), values))
        solved = jnp.einsum("...ij,...jp,...op->...io", Q, inside, R)
        return {"W": solved[..., :-1, :], "b": solved[..., -1, :]}

    return jax.tree.map(layer, factors, vectors, is_leaf=lambda node: isinstance(node, KroneckerFactors))


def _to_one(weights: Array) -> Array:
    """The weights scaled to sum to 1; if all are 0 they stay 0."""
    total = jnp.sum(weights)
    return weights / jnp.where(total == 0, jnp.ones_like(total), total)
