"""Products with the Hessian, the Gauss-Newton and the Fisher matrix, by a forward and then a backward sweep.

Promises: a product is a value (equal, hashable, printed) with the signature (params, x, y, vectors), where `vectors`
has the structure of params, each leaf with the same shape or with one more axis in front that counts vectors. Example
weights, regularizer and strength are those of the objective. No matrix is formed, and nothing is differentiated here:
the first- and second-order rules of activations, losses, layers and regularizers are called in the order of the chain
rule. Refuses: an objective with its own backward; for Gauss-Newton, losses with a second derivative that is 0 wherever
it exists. Letters: v_dot the change of v along a vector, v_bar its cotangent; V vectors, N examples.
Sources: Pearlmutter 1994 (the R-operator); Schraudolph 2002 (Gauss-Newton); Kunstner et al. 2019 (which Fisher).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnn.checks import require_record
from fnn.gradients import Objective, objective
from fnn.layers import Layer
from fnn.losses import Loss
from fnn.regularizers import Regularizer, Strength
from fnn.types import Array, Params, PyTree


@dataclass(frozen=True)
class Product:
    """The record of a product. Made by `hessian_vector_product`, `gauss_newton_vector_product` and
    `fisher_vector_product`; calling it gives the matrix times each vector.

    >>> product = fnn.curvature.hessian_vector_product(fnn.mlp(2, 1), "half_squared_error")
    >>> params = ({"W": jnp.ones((2, 1)), "b": jnp.zeros(1)},)
    >>> product(params, jnp.array([[3.0, 4.0]]), jnp.zeros((1, 1)), params)[0]["W"].tolist()  # x xᵀ (1, 1)
    [[21.0], [28.0]]
    """

    objective: Objective

    def __post_init__(self) -> None:
        kind = type(self.objective)
        if kind.backward is not Objective.backward or kind.forward is not Objective.forward:
            raise TypeError(
                f"{type(self).__name__}: the objective must be one of fnn.objective, got {kind.__name__} with its own "
                "forward or backward. Use jax.jvp of its gradient: jax.jvp(lambda p: by_hand(p, x, y)[1], (params,), "
                "(vector,))[1]."
            )

    @property
    def net(self) -> Layer:
        """The network."""
        return self.objective.net

    @property
    def loss(self) -> Loss:
        """The loss."""
        return self.objective.loss

    @property
    def regularizer(self) -> Regularizer | None:
        """The regularizer, or None."""
        return self.objective.regularizer

    def __call__(
        self,
        params: Params,
        x: PyTree,
        y: Any,
        vectors: Params,
        *,
        sample_weight: Array | None = None,
        strength: Strength | None = None,
    ) -> Params:
        """Return the matrix at `params` times each vector, in the structure and shapes of `vectors`.

        Args:
            params, x, y, sample_weight, strength: as the objective takes them.
            vectors: the structure of params; every leaf with the shape of its parameter, or every leaf with one more
                axis of length V in front.

        Raises:
            TypeError, ValueError: vectors of another structure, shape or dtype; what the objective raises.
        """
        self.objective.require_strength(strength)
        stacked = _stacked(params, vectors)

        def one(vector: Params) -> Params:
            product = self._through_net(params, x, y, vector, sample_weight)
            if self.regularizer is None:
                return product
            # the parameters act in two places, so the two products add up
            return jax.tree.map(jnp.add, product, self.regularizer.curvature(params, strength, vector))

        # what does not depend on a vector is computed once for all of them
        return jax.vmap(one)(vectors) if stacked else one(vectors)

    def _through_net(self, params: Params, x: PyTree, y: Any, vector: Params, sample_weight: Array | None) -> Params:
        raise TypeError(f"{type(self).__name__} must define _through_net.")


class HessianProduct(Product):
    """H v, with H the second derivative of the objective. Made by `hessian_vector_product`."""

    def _through_net(self, params: Params, x: PyTree, y: Any, vector: Params, sample_weight: Array | None) -> Params:
        # value = loss(net(params, x)); both sweeps run on pairs (value, change along the vector)
        (prediction, prediction_dot), residuals = self.net.forward_tangent((params, vector), (x, None))
        _, loss_residuals = self.loss.forward(prediction, y, sample_weight)
        bar = self.loss.backward(loss_residuals)
        bar_dot = self.loss.backward_tangent(loss_residuals, prediction_dot)
        (_, params_bar_dot), _ = self.net.backward_tangent((params, vector), residuals, (bar, bar_dot))
        return params_bar_dot


class GaussNewtonProduct(Product):
    """G v = Jᵀ H_loss J v, with J the Jacobian of the predictions. Made by `gauss_newton_vector_product`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_second_derivative("gauss_newton", self.loss)

    def _through_net(self, params: Params, x: PyTree, y: Any, vector: Params, sample_weight: Array | None) -> Params:
        # the change of the prediction goes forward, the loss turns it into a cotangent, and the net carries that back
        (prediction, prediction_dot), (residuals, _) = self.net.forward_tangent((params, vector), (x, None))
        _, loss_residuals = self.loss.forward(prediction, y, sample_weight)
        return self.net.backward(params, residuals, self._middle(loss_residuals, prediction_dot))[0]

    def _middle(self, loss_residuals: PyTree, prediction_dot: Array) -> Array:
        return self.loss.backward_tangent(loss_residuals, prediction_dot)


class FisherProduct(GaussNewtonProduct):
    """F v = Jᵀ E[s sᵀ] J v, s the slope for labels drawn from the model. Made by `fisher_vector_product`."""

    def __post_init__(self) -> None:
        Product.__post_init__(self)
        if type(self.loss).fisher is Loss.fisher:
            raise TypeError(
                f"fisher: {self.loss.name} is not the negative log-likelihood of a model, so it has no Fisher matrix. "
                "Use gauss_newton_vector_product, or a loss that is one, such as softmax_cross_entropy."
            )

    def _middle(self, loss_residuals: PyTree, prediction_dot: Array) -> Array:
        return self.loss.fisher_tangent(loss_residuals, prediction_dot)


def hessian_vector_product(
    net: Layer, loss: Loss | str, regularizer: Regularizer | str | None = None
) -> HessianProduct:
    """Return the product with the Hessian of the objective: (params, x, y, vectors) -> H vectors.

    Args: those of `backprop`.

    A loss or activation that is piecewise linear (absolute error, hinge, perceptron loss; relu) has no second
    derivative at its kinks; 0 is used there, as everywhere else.

    >>> net = fnn.mlp(3, 4, 2)
    >>> product = fnn.curvature.hessian_vector_product(net, "softmax_cross_entropy")
    >>> params, x, y = net.init(jax.random.key(0)), jnp.ones((5, 3)), jnp.array([0, 1, 1, 0, 1])
    >>> _, automatic = jax.jvp(jax.grad(lambda p: product.objective(p, x, y)), (params,), (params,))
    >>> bool(jnp.allclose(product(params, x, y, params)[0]["W"], automatic[0]["W"], atol=1e-6))
    True
    """
    return HessianProduct(objective(net, loss, regularizer))


def gauss_newton_vector_product(
    net: Layer, loss: Loss | str, regularizer: Regularizer | str | None = None
) -> GaussNewtonProduct:
    """Return the product with the Gauss-Newton matrix: (params, x, y, vectors) -> (Jᵀ H_loss J + λ ∇²Ω) vectors.

    It is the Hessian without the curvature of the net, and positive semidefinite for convex losses.

    Args: those of `backprop`.

    Raises:
        TypeError: a piecewise linear loss; its Gauss-Newton matrix is 0.

    >>> product = fnn.curvature.gauss_newton_vector_product(fnn.mlp(2, 1), "squared_error")
    >>> params = ({"W": jnp.ones((2, 1)), "b": jnp.zeros(1)},)
    >>> product(params, jnp.array([[3.0, 4.0]]), jnp.zeros((1, 1)), params)[0]["b"].tolist()  # 2 (3 + 4)
    [14.0]
    """
    return GaussNewtonProduct(objective(net, loss, regularizer))


def fisher_vector_product(net: Layer, loss: Loss | str, regularizer: Regularizer | str | None = None) -> FisherProduct:
    """Return the product with the Fisher matrix, with exact expectation over labels: (params, x, y, vectors) -> F
    vectors.

    The model is the density proportional to e^(−loss): normal for squared errors, Laplace for the absolute
    error, categorical for cross-entropies. The curvature λ ∇²Ω of a penalty is added. From logits, and for squared
    errors, F is the Gauss-Newton matrix; on probabilities and for `huber` it is not.

    Args: those of `backprop`.

    Raises:
        TypeError: a loss that is not the negative log-likelihood of a model (hinge, perceptron loss).

    >>> fisher = fnn.curvature.fisher_vector_product(fnn.mlp(2, 1), "half_squared_error")
    >>> params = ({"W": jnp.ones((2, 1)), "b": jnp.zeros(1)},)
    >>> fisher(params, jnp.array([[3.0, 4.0]]), jnp.zeros((1, 1)), params)[0]["b"].tolist()
    [7.0]
    """
    return FisherProduct(objective(net, loss, regularizer))


def require_product(where: str, product: Any) -> None:
    """Raise `TypeError` unless `product` is the record of a product."""
    require_record(where, Product, product, "Make it with hessian_vector_product(net, loss).")


def require_second_derivative(where: str, loss: Loss) -> None:
    """Raise `TypeError` for a loss with a second derivative that is 0 wherever it exists."""
    if loss.piecewise_linear:
        raise TypeError(
            f"{where}: the loss must have a second derivative, got {loss.name}, which is piecewise linear: its "
            "Gauss-Newton matrix is 0. Use huber for absolute_error, sigmoid_cross_entropy for hinge."
        )


def _stacked(params: Params, vectors: Params) -> bool:
    """Whether the vectors have one more axis in front; raise unless they fit the parameters."""
    if jax.tree.structure(params) != jax.tree.structure(vectors):
        raise ValueError(
            f"vectors must have the structure of params, {jax.tree.structure(params)}, got "
            f"{jax.tree.structure(vectors)}. Make one with jax.tree.map(jnp.zeros_like, params)."
        )
    like, leaves = jax.tree.leaves(params), jax.tree_util.tree_leaves_with_path(vectors)
    stacked = {jnp.ndim(vector) - jnp.ndim(leaf) for leaf, (_, vector) in zip(like, leaves, strict=True)} == {1}
    counts = {jnp.shape(vector)[0] for _, vector in leaves} if stacked else set()
    for leaf, (path, vector) in zip(like, leaves, strict=True):
        where = f"vectors{jax.tree_util.keystr(path)}"
        if jnp.shape(vector)[stacked:] != jnp.shape(leaf) or len(counts) > 1:
            raise ValueError(
                f"{where} must have the shape {jnp.shape(leaf)} of its parameter, or one more axis in front, the same "
                f"for all leaves, got {jnp.shape(vector)}. Stack vectors with jnp.stack on every leaf."
            )
        if jnp.asarray(vector).dtype != jnp.asarray(leaf).dtype:
            raise TypeError(
                f"{where} must have the dtype of its parameter, {jnp.asarray(leaf).dtype.name}, got "
                f"{jnp.asarray(vector).dtype.name}. Cast it with .astype."
            )
    return stacked
