"""Levenberg-Marquardt against SciPy on small regressions, and the natural gradient against a dense solve."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy.optimize import least_squares

import fnn
from fnn.curvature import (
    gauss_newton_vector_product,
    kronecker_factors,
    kronecker_solve,
    levenberg_marquardt,
    natural_gradient,
)
from tests import tolerances
from tests.cases import drawn, random
from tests.curvature.test_matrices import data
from tests.curvature.test_per_example import NETS
from tests.witnesses import assert_close

NET = fnn.mlp(2, 3, 1)
PRODUCT = gauss_newton_vector_product(NET, "half_squared_error")


def regression(k):
    """A teacher with noise, and a start beside it: one basin, so that the optimum is one."""
    rng = random("regression", k)
    # every hidden unit counts, and none is saturated: else the optimum may lie at infinity
    teacher = jax.tree.map(lambda p: jnp.sign(p) * (0.5 + rng.random(p.shape)), drawn(NET, rng, jnp.float64))
    x = rng.normal(size=(30, 2))
    y = np.asarray(NET.apply(teacher, x)) + 0.02 * rng.normal(size=(30, 1))
    return jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape), teacher), x, y


def test_it_reaches_the_optimum_of_scipy(x64):
    """The first 20 regressions on which SciPy converges (else the optimum lies at infinity): no value is higher."""
    unravel = ravel_pytree(regression(0)[0])[1]
    errors = jax.jit(lambda flat, x, y: (NET.apply(unravel(flat), x) - y).ravel())
    jacobian = jax.jit(jax.jacobian(lambda flat, x, y: (NET.apply(unravel(flat), x) - y).ravel()))
    count = k = 0
    while count < 20:
        params, x, y = regression(k)
        scipy = least_squares(
            lambda flat, x=x, y=y: np.asarray(errors(flat, x, y)),
            ravel_pytree(params)[0],
            jac=lambda flat, x=x, y=y: np.asarray(jacobian(flat, x, y)),
            method="lm",
            xtol=1e-12,
            ftol=1e-12,
            gtol=1e-12,
            max_nfev=100,
        )
        if scipy.status > 0:
            fit = levenberg_marquardt(PRODUCT, params, x, y)
            assert fit.converged and (np.diff(fit.values) <= 0).all(), k
            assert fit.value <= scipy.cost / len(x) * (1 + tolerances.OPTIMUM), k
            count += 1
        k += 1


def test_conjugate_gradients_and_a_penalty_come_to_the_same_minimum(x64):
    """With l2 and weights: by the matrix and by products; the gradient there is 0."""
    product = gauss_newton_vector_product(NET, "squared_error", "l2")
    params, x, y = regression(0)
    options = {"sample_weight": np.arange(30.0), "strength": 0.01}
    dense, sparse = (levenberg_marquardt(product, params, x, y, dense=d, **options) for d in (True, False))
    assert dense.converged and sparse.converged
    for fit in (dense, sparse):
        assert len(fit.work) == len(fit.values) == fit.steps + 1
        assert (np.diff(fit.work) > 0.3).all() and fit.gradients == fit.work[-1] > 2
    assert_close(dense.value, sparse.value, tolerances.OPTIMUM)
    gradient = fnn.backprop(NET, "squared_error", "l2")(dense.params, x, y, **options)[1]
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient)) == pytest.approx(
        dense.gradient_norm, abs=1e-12
    )
    # the value cannot tell less: its rounding is the square of this
    assert dense.gradient_norm < tolerances.OPTIMUM


def test_the_matrix_of_its_rows_is_that_of_the_product(x64):
    net, loss = NETS["of a user"], fnn.softmax_cross_entropy
    product = gauss_newton_vector_product(net, loss, "l2")
    params, x, y = data(net, loss)
    rows, products = jax.jit(
        lambda p: [
            fnn.curvature.matrices.root_matrix(product, p, x, y, strength=0.1),
            fnn.curvature.matrix(product, p, x, y, strength=0.1),
        ]
    )(params)
    # a repeated layer of the user stacks its parameters as params does, whatever the order of the axes
    assert_close(rows, products, tolerances.LEAF)


def test_the_natural_gradient_averages_the_factors(x64):
    net = fnn.sequential(fnn.dense(3, 3, activation="tanh"), fnn.repeated(fnn.dense(3, 3), 2), fnn.dense(3, 2))
    product = gauss_newton_vector_product(net, "half_squared_error")
    params, x, y = data(net, fnn.half_squared_error)
    gradients = drawn(net, random("natural"), jnp.float64)
    optimizer = optax.chain(natural_gradient(damping=0.1, decay=0.5), optax.scale(-1.0))

    @jax.jit
    def both(params):
        first, second = (kronecker_factors(product, params, scale * x, y) for scale in (1.0, 2.0))
        state = optimizer.init(params)
        one, state = optimizer.update(gradients, state, params, factors=first)
        two, state = optimizer.update(gradients, state, params, factors=second)
        mean = jax.tree.map(lambda a, b: (a + 2 * b) / 3, first, second)
        return (one, two), [kronecker_solve(f, gradients, damping=0.1) for f in (first, mean)]

    got, wanted = both(params)
    assert_close(got, tuple(jax.tree.map(jnp.negative, each) for each in wanted), tolerances.LEAF)


def test_what_is_wrong_is_said():
    params, x, y = jax.tree.map(lambda leaf: np.float32(leaf), regression(0))
    with pytest.raises(ValueError, match=r"damping must be above 0, got 0\. Try 1e-3"):
        levenberg_marquardt(PRODUCT, params, x, y, damping=0)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        levenberg_marquardt(PRODUCT, params, x, y, steps=0)
    with pytest.raises(TypeError, match="a GaussNewtonProduct is needed"):
        levenberg_marquardt(fnn.backprop(NET, "huber"), params, x, y)
    with pytest.raises(TypeError, match="every leaf of params must have a floating dtype, got int32"):
        levenberg_marquardt(PRODUCT, jax.tree.map(np.int32, params), x, y)
    with pytest.raises(ValueError, match="the objective must be finite at the start, got nan"):
        levenberg_marquardt(PRODUCT, params, x, y * np.nan)
    with pytest.raises(ValueError, match=r"damping must be at least 0, got -1\. Try"):
        natural_gradient(damping=-1)
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\), got 1\. Try"):
        natural_gradient(decay=1)
    optimizer = natural_gradient()
    with pytest.raises(TypeError, match="update needs the factors of the step, got none"):
        optimizer.update(params, optimizer.init(params), params)
    with pytest.raises(TypeError, match=r"must be dense, got a leaf of shape \(3,\)"):
        optimizer.init({"s": np.ones(3)})
