"""Levenberg-Marquardt: damped Gauss-Newton steps, for small nets and small data sets that are trained to convergence.

Promises: a step d solves (G + μ D) d = −g with the gradient and the Gauss-Newton matrix of the objective, penalty
included; a step that does not lower the objective is not taken, so the objective never rises; μ follows the ratio of
the actual decrease to that of the model. Small nets solve with the matrix, others by conjugate gradients on the
product; one program for the whole run. Refuses: damping that is not positive; losses without a second derivative.
Letters: g gradient, G Gauss-Newton matrix, d step, μ damping, D its diagonal matrix, P parameters.
Sources: Levenberg 1944; Marquardt 1963; Moré 1978 (D never falls); Nielsen 1999 (the rule for μ).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from fnn.checks import as_floating, require_record, require_size
from fnn.curvature.matrices import root_matrix
from fnn.curvature.products import GaussNewtonProduct
from fnn.gradients import Backprop
from fnn.regularizers import Strength
from fnn.types import Array, Params, PyTree

# Conjugate gradients end when the residual is this much smaller than the gradient (a step needs a direction, not
# digits, and the next step corrects it), or after this many products.
_FORCING, _PRODUCTS = 1e-3, 100


@dataclass(frozen=True)
class LeastSquaresFit:
    """What `levenberg_marquardt` returns.

    >>> list(fnn.curvature.LeastSquaresFit.__dataclass_fields__)
    ['params', 'value', 'values', 'gradient_norm', 'converged', 'steps', 'work']
    """

    params: Params
    value: float
    """The objective at `params`."""
    values: np.ndarray
    """The objective before the first and after every step that was tried, including rejected ones; it never rises."""
    gradient_norm: float
    """The largest entry of the gradient at `params`, in absolute value."""
    converged: bool
    """Whether the gradient became as small as asked, or the decrease of the model as small as one rounding of the
    value."""
    steps: int
    """How many steps were tried."""
    work: np.ndarray
    """The cost up to each of `values`, in gradients: a value counts 1/3, a product 1.8, a matrix one per output."""

    @property
    def gradients(self) -> float:
        """The total cost, in gradients."""
        return float(self.work[-1])


class _State(NamedTuple):
    params: Array
    value: Array
    gradient: Array
    matrix: Array
    damping: Array
    scale: Array
    growth: Array
    step: Array
    done: Array
    values: Array
    work: Array


def levenberg_marquardt(
    product: GaussNewtonProduct,
    params: Params,
    x: PyTree,
    y: Any,
    *,
    steps: int = 200,
    damping: float = 1e-3,
    tolerance: float | None = None,
    dense: bool | None = None,
    sample_weight: Array | None = None,
    strength: Strength | None = None,
) -> LeastSquaresFit:
    """Minimize the objective of a Gauss-Newton product, starting from `params`, with all of (x, y) in every step.

    Args:
        product: from `gauss_newton_vector_product`; it holds net, loss and regularizer.
        params, x, y, sample_weight, strength: as the product takes them.
        steps: the largest number of steps to try.
        damping: μ of the first step; above 0. D is the diagonal of G, each entry the largest so far; with conjugate
            gradients it is ‖G g‖ / ‖g‖ at the start for all.
        tolerance: stop when the largest entry of the gradient is at most this; by default ε^(2/3), with ε that of the
            dtype.
        dense: whether to solve with the matrix (then x must be (N, I)); by default for at most 500 parameters.

    Raises:
        ValueError: steps below 1, damping not above 0, an objective that is not finite at `params`. TypeError: a
            product of another kind, or integer parameters.

    >>> x = jnp.linspace(-1, 1, 20)[:, None]
    >>> product = fnn.curvature.gauss_newton_vector_product(fnn.mlp(1, 4, 1), "half_squared_error")
    >>> params = product.net.init(jax.random.key(0))
    >>> fit = fnn.curvature.levenberg_marquardt(product, params, x, jnp.sin(3 * x), steps=50)
    >>> bool(fit.value < 1e-3 < fit.values[0])
    True
    """
    require_record("levenberg_marquardt", GaussNewtonProduct, product, "Make it with gauss_newton_vector_product.")
    steps = require_size("levenberg_marquardt", "steps", steps, "Try 200.")
    if not damping > 0:
        raise ValueError(f"levenberg_marquardt: damping must be above 0, got {damping}. Try 1e-3.")
    flat, unravel = ravel_pytree(params)
    as_floating("levenberg_marquardt", "every leaf of params", flat)
    dense = flat.size <= 500 if dense is None else dense
    tolerance = float(jnp.finfo(flat.dtype).eps ** (2 / 3)) if tolerance is None else tolerance
    data, options = (params, x, y), {"sample_weight": sample_weight, "strength": strength}
    end = jax.device_get(_run(product, steps, dense, data, options, damping, tolerance))
    if not np.isfinite(end.values[0]):
        raise ValueError(
            f"levenberg_marquardt: the objective must be finite at the start, got {end.values[0]}. Check params and "
            "data with fnn.data.validate first."
        )
    return LeastSquaresFit(
        unravel(jnp.asarray(end.params)),
        float(end.value),
        np.asarray(end.values[: int(end.step) + 1]),
        float(np.abs(end.gradient).max()),
        bool(end.done),
        int(end.step),
        np.asarray(end.work[: int(end.step) + 1]),
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
    product: GaussNewtonProduct,
    steps: int,
    dense: bool,
    data: tuple,
    options: dict[str, Any],
    damping: Array,
    tolerance: Array,
) -> _State:
    flat, unravel = ravel_pytree(data[0])
    problem = _Problem(product, dense, unravel, data, options, tolerance)
    first = problem.first(flat, steps, damping)
    return jax.lax.while_loop(lambda s: ~s.done & (s.step < steps) & jnp.isfinite(s.damping), problem.step, first)


@dataclass(frozen=True)
class _Problem:
    """What a step needs to know besides its state, on flat parameters."""

    product: GaussNewtonProduct
    dense: bool
    unravel: Callable[[Array], Params]
    data: tuple
    options: dict[str, Any]
    tolerance: Array

    def value(self, flat: Array) -> Array:
        return self.product.objective(self.unravel(flat), *self.data[1:], **self.options)

    def at(self, flat: Array) -> tuple[Array, Array, Array]:
        """(value, gradient, the matrix or its substitute)."""
        params, (_, x, y) = self.unravel(flat), self.data
        value, gradient = Backprop(self.product.objective)(params, x, y, **self.options)
        empty = jnp.zeros((0, 0), flat.dtype)
        whole = root_matrix(self.product, params, x, y, **self.options) if self.dense else empty
        return value, ravel_pytree(gradient)[0], whole

    def cost(self) -> int:
        """The cost of `at`, in gradients: a matrix takes one for each output."""
        params, x, _ = self.data
        return 1 + (jax.eval_shape(self.product.net.apply, params, x).shape[-1] if self.dense else 0)

    def times(self, flat: Array, v: Array) -> Array:
        """G v by the product."""
        params, (_, x, y) = self.unravel(flat), self.data
        return ravel_pytree(self.product(params, x, y, self.unravel(v), **self.options))[0]

    def first(self, flat: Array, steps: int, damping: Array) -> _State:
        """The state before the first step."""
        value, gradient, matrix = self.at(flat)
        dtype = flat.dtype
        if self.dense:
            # a parameter without effect gets a little of the others' damping, so that it stays where it is
            scale = jnp.diag(matrix)
            scale = jnp.maximum(scale, jnp.sqrt(jnp.finfo(dtype).eps) * jnp.max(scale))
        else:
            scale = jnp.full_like(flat, jnp.linalg.norm(self.times(flat, gradient)) / jnp.linalg.norm(gradient))
        return _State(
            params=flat,
            value=value,
            gradient=gradient,
            matrix=matrix,
            damping=jnp.asarray(damping, dtype),
            scale=jnp.where(scale > 0, scale, jnp.ones_like(scale)),
            growth=jnp.full((), 2, dtype),
            step=jnp.zeros((), jnp.int32),
            done=jnp.max(jnp.abs(gradient)) <= self.tolerance,
            values=jnp.full(steps + 1, jnp.nan, dtype).at[0].set(value),
            work=jnp.zeros(steps + 1, jnp.float32).at[0].set(self.cost() + (0 if self.dense else 1.8)),
        )

    def direction(self, state: _State) -> tuple[Array, Array]:
        """(d, the work for it)."""
        if self.dense:
            damped = state.matrix + jnp.diag(state.damping * state.scale)
            return jax.scipy.linalg.solve(damped, -state.gradient, assume_a="pos"), jnp.zeros((), jnp.float32)
        solved, products = _conjugate_gradients(
            lambda v: self.times(state.params, v) + state.damping * state.scale * v, -state.gradient
        )
        return solved, 1.8 * products

    def step(self, state: _State) -> _State:
        d, work = self.direction(state)
        moved = state.params + d
        value = self.value(moved)
        # the model's decrease −gᵀd − ½ dᵀGd, with G d = −g − μ D d
        predicted = 0.5 * jnp.sum(d * (state.damping * state.scale * d - state.gradient))
        ratio = (state.value - value) / jnp.where(predicted > 0, predicted, jnp.ones_like(predicted))
        taken = (value < state.value) & (predicted > 0)
        # Nielsen: a good step lowers μ, at most to a third; the growth doubles with each bad step in a row
        lower = jnp.maximum(1 / 3, 1 - (2 * ratio - 1) ** 3).astype(moved.dtype)
        params = jnp.where(taken, moved, state.params)
        kept = lambda _: (state.value, state.gradient, state.matrix)  # noqa: E731
        value, gradient, matrix = jax.lax.cond(taken, self.at, kept, params)
        # a decrease below the rounding of the value can no longer be seen
        small = predicted <= jnp.finfo(moved.dtype).eps * jnp.abs(state.value)
        k, spent = state.step, work + 1 / 3 + jnp.where(taken, self.cost(), 0).astype(jnp.float32)
        return _State(
            params=params,
            value=value,
            gradient=gradient,
            matrix=matrix,
            damping=state.damping * jnp.where(taken, lower, state.growth),
            scale=jnp.maximum(state.scale, jnp.diag(matrix)) if self.dense else state.scale,
            growth=jnp.where(taken, jnp.full_like(state.growth, 2), 2 * state.growth),
            step=k + 1,
            done=small | (jnp.max(jnp.abs(gradient)) <= self.tolerance),
            values=state.values.at[k + 1].set(value),
            work=state.work.at[k + 1].set(state.work[k] + spent),
        )


def _conjugate_gradients(apply: Callable[[Array], Array], right: Array) -> tuple[Array, Array]:
    """(The solution of apply(d) = right, the number of products)."""

    def step(state: tuple) -> tuple:
        d, r, p, rr, k = state
        image = apply(p)
        alpha = rr / jnp.sum(p * image)
        d, r = d + alpha * p, r - alpha * image
        following = jnp.sum(r * r)
        return d, r, r + following / rr * p, following, k + 1

    start = jnp.sum(right * right)
    first = (jnp.zeros_like(right), right, right, start, jnp.zeros((), jnp.float32))
    end = jax.lax.while_loop(lambda s: (s[3] > _FORCING**2 * start) & (s[4] < _PRODUCTS), step, first)
    return end[0], end[4]
