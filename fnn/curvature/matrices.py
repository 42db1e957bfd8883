"""Diagonals and matrices of a product: exact, for small nets or by the factors of their layers.

Promises: `diagonal` of a Gauss-Newton product costs C + 1 gradients, C the outputs of the net, and is exact; that of
any other product takes P products. `matrix` and `layer_matrices` take P products: for small nets. The rows of a matrix
are the entries of params as `jax.flatten_util.ravel_pytree` orders them: layer by layer, W before b, W row by row.
Letters: P parameters, N examples, C columns of the root of the loss's Hessian.
Sources: Dangel et al. 2020 (the diagonal from roots).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from fnn.curvature.per_example import require_rows
from fnn.curvature.products import GaussNewtonProduct, HessianProduct, Product, require_product
from fnn.layers import Dense, Layer
from fnn.network import Repeated, Sequential, Skip
from fnn.regularizers import L1, L2, ElasticNet, Strength
from fnn.types import Array, Examples, Factors, Params, PyTree


def diagonal(
    product: Product,
    params: Params,
    x: PyTree,
    y: Any,
    *,
    sample_weight: Array | None = None,
    strength: Strength | None = None,
    chunk: int = 64,
) -> Params:
    """Return the exact diagonal of the product's matrix, in the structure of params.

    For Gauss-Newton it comes from the root of the loss's Hessian, with one backward pass per column; a Hessian of a net
    with only piecewise linear activations (relu) has the same diagonal and is computed in the same way. Otherwise it
    takes P products.

    Args:
        product: from `hessian_vector_product` or one of the other two.
        params, x, y, sample_weight, strength: as the product takes them; x (N, I) for Gauss-Newton.
        chunk: how many of the P products to compute at once.

    Raises:
        TypeError: for Gauss-Newton, a penalty without a diagonal Hessian. Also what the product raises.

    >>> product = fnn.curvature.gauss_newton_vector_product(fnn.mlp(2, 1), "half_squared_error")
    >>> params = ({"W": jnp.ones((2, 1)), "b": jnp.zeros(1)},)
    >>> fnn.curvature.diagonal(product, params, jnp.array([[3.0, 4.0]]), jnp.zeros((1, 1)))[0]["W"].tolist()  # x²
    [[9.0], [16.0]]
    """
    require_product("diagonal", product)
    if type(product) is GaussNewtonProduct or (
        type(product) is HessianProduct and is_piecewise_linear(product.net) and not product.loss.piecewise_linear
    ):
        product.objective.require_strength(strength)
        squares = jax.tree.map(_summed_squares, root_factors(product, params, x, y, sample_weight), is_leaf=_is_factors)
        return squares if product.regularizer is None else _with_penalty(product, params, squares, strength)
    flat, unravel = ravel_pytree(params)

    def entry(k: Array) -> Array:
        unit = unravel(jnp.zeros_like(flat).at[k].set(1))
        column = product(params, x, y, unit, sample_weight=sample_weight, strength=strength)
        return ravel_pytree(column)[0][k]

    return unravel(jax.lax.map(entry, jnp.arange(flat.size), batch_size=min(chunk, flat.size)))


def matrix(
    product: Product,
    params: Params,
    x: PyTree,
    y: Any,
    *,
    sample_weight: Array | None = None,
    strength: Strength | None = None,
    chunk: int = 64,
) -> Array:
    """Return the whole matrix, (P, P), by P products, `chunk` of them at once.

    >>> product = fnn.curvature.hessian_vector_product(fnn.mlp(2, 1), "half_squared_error")
    >>> params = ({"W": jnp.ones((2, 1)), "b": jnp.zeros(1)},)
    >>> fnn.curvature.matrix(product, params, jnp.array([[3.0, 4.0]]), jnp.zeros((1, 1))).tolist()
    [[9.0, 12.0, 3.0], [12.0, 16.0, 4.0], [3.0, 4.0, 1.0]]
    """
    require_product("matrix", product)
    flat, unravel = ravel_pytree(params)

    def column(k: Array) -> Array:
        unit = unravel(jnp.zeros_like(flat).at[k].set(1))
        return ravel_pytree(product(params, x, y, unit, sample_weight=sample_weight, strength=strength))[0]

    return jax.lax.map(column, jnp.arange(flat.size), batch_size=min(chunk, flat.size))


def layer_matrices(
    product: Product,
    params: Params,
    x: PyTree,
    y: Any,
    *,
    sample_weight: Array | None = None,
    strength: Strength | None = None,
    chunk: int = 64,
) -> dict[str, Array]:
    """Return the diagonal block of each layer: {its path in params: (p, p)}, where p counts its parameters.

    >>> product = fnn.curvature.hessian_vector_product(fnn.mlp(3, 2, 1), "squared_error")
    >>> params = product.net.init(jax.random.key(0))
    >>> blocks = fnn.curvature.layer_matrices(product, params, jnp.ones((4, 3)), jnp.ones((4, 1)))
    >>> {place: block.shape for place, block in blocks.items()}
    {'[0]': (8, 8), '[1]': (3, 3)}
    """
    require_product("layer_matrices", product)
    whole = matrix(product, params, x, y, sample_weight=sample_weight, strength=strength, chunk=chunk)
    spans: dict[str, tuple[int, int]] = {}
    start = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        place = jax.tree_util.keystr(path[:-1])
        spans[place] = (spans.get(place, (start, start))[0], start + leaf.size)
        start += leaf.size
    return {place: whole[first:last, first:last] for place, (first, last) in spans.items()}


def root_factors(product: Product, params: Params, x: PyTree, y: Any, sample_weight: Array | None) -> PyTree:
    """The gradients of every layer for each column of the root of the loss's Hessian.

    As `Factors` with x (…, N, I) and z_bar (C, …, N, O), or `Examples` with an axis of C in front.
    """
    prediction, residuals = product.net.forward(params, x)
    require_rows("Gauss-Newton", prediction)
    _, loss_residuals = product.loss.forward(prediction, y, sample_weight)
    root = product.loss.backward_root(loss_residuals)

    def back(column: Array) -> PyTree:
        return product.net.factors(params, residuals, column)[0]

    # x is the same for every column, so it gets no axis of C
    axes = jax.tree.map(
        lambda each: Factors(None, 0) if isinstance(each, Factors) else 0,  # pyright: ignore[reportArgumentType]
        jax.eval_shape(back, root[0]),
        is_leaf=_is_factors,
    )
    return jax.vmap(back, out_axes=axes)(root)


def root_matrix(
    product: Product,
    params: Params,
    x: PyTree,
    y: Any,
    *,
    sample_weight: Array | None = None,
    strength: Strength | None = None,
) -> Array:
    """The Gauss-Newton matrix from the root of the loss's Hessian: Rᵀ R with the C N rows R = Sᵀ J, and the penalty's.

    It takes one backward pass per column of the root, where `matrix` takes P products; the rows are in memory.
    """
    factors = root_factors(product, params, x, y, sample_weight)
    formed = jax.tree.map(_rows, factors, is_leaf=_is_factors)
    leaves = jax.tree.leaves(formed)
    R = jnp.concatenate([leaf.reshape(leaf.shape[0] * leaf.shape[1], -1) for leaf in leaves], axis=1)
    whole = R.T @ R
    if product.regularizer is None:
        return whole
    zeros = jax.tree.map(jnp.zeros_like, params)
    return whole + jnp.diag(ravel_pytree(_with_penalty(product, params, zeros, strength))[0])


def is_piecewise_linear(net: Layer) -> bool:
    """Whether the net is known to have no curvature of its own: dense layers and compositions, relu and similar
    activations."""
    if type(net) is Dense:
        return net.activation.piecewise_linear
    if type(net) is Sequential:
        return all(map(is_piecewise_linear, net.layers))
    # a sum of two paths, or equal layers one after another
    return type(net) in (Skip, Repeated) and is_piecewise_linear(net.layer)


def _is_factors(node: Any) -> bool:
    return isinstance(node, Factors | Examples)


def _summed_squares(each: Factors | Examples) -> Params:
    if isinstance(each, Examples):
        return jax.tree.map(lambda g: jnp.sum(g * g, axis=(0, 1)), each.gradients)
    # Σ_c Σ_n (x_n z_bar_cn)², and x does not depend on c
    x, z_bar = each.x * each.x, jnp.sum(each.z_bar * each.z_bar, axis=0)
    return {"W": jnp.einsum("...ni,...no->...io", x, z_bar), "b": jnp.sum(z_bar, axis=-2)}


def _rows(each: Factors | Examples) -> Params:
    """The gradients of each column and example, with axes of C and N in front."""
    if isinstance(each, Examples):
        return each.gradients
    W = jnp.einsum("...ni,c...no->c...nio", each.x, each.z_bar)
    return {"W": jnp.moveaxis(W, -3, 1), "b": jnp.moveaxis(each.z_bar, -2, 1)}


def _with_penalty(product: Product, params: Params, squares: Params, strength: Strength | None) -> Params:
    regularizer = product.regularizer
    if regularizer is None or type(regularizer) not in (L1, L2, ElasticNet):
        raise TypeError(
            "Gauss-Newton: the penalty must be l1, l2 or elastic_net, which have diagonal Hessians, got "
            f"{regularizer}. Leave it out and add its own Hessian."
        )
    # a diagonal matrix times ones is its diagonal
    penalty = regularizer.curvature(params, strength, jax.tree.map(jnp.ones_like, params))
    return jax.tree.map(jnp.add, squares, penalty)
