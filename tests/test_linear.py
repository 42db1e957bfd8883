"""The affine map: every cotangent against autodiff, any leading axes, norms from the factors, the bias trick."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests import tolerances
from tests.cases import random
from tests.witnesses import assert_close, assert_gradients_float64, magnitudes


def data(lead):
    rng = random("affine", *lead)
    return tuple(rng.normal(-0.3, 1.0, shape) for shape in ((4, 3), (3,), (*lead, 4), (*lead, 3)))


@pytest.mark.parametrize("lead", [(), (6,), (2, 3), (0,)])
def test_cotangents_equal_autodiff(x64, lead):
    W, b, x, z_bar = data(lead)

    @jax.jit
    def run(W, b, x, z_bar):
        z, pull = jax.vjp(fnn.linear.affine, W, b, x)
        size = magnitudes(fnn.linear.affine_backward, W, x, z_bar)
        return z, fnn.linear.affine_backward(W, x, z_bar), pull(z_bar), size

    z, hand, auto, size = run(W, b, x, z_bar)
    assert_close(z, x @ W + b, tolerances.FORWARD["float64"])
    assert_gradients_float64(hand, auto, size)


def test_cotangents_equal_finite_differences(x64):
    W, b, x, z_bar = data((6,))

    @jax.jit
    def both(W, b, x, z_bar):
        numeric = fnn.central_differences(lambda p: jnp.sum(z_bar * fnn.linear.affine(*p)))((W, b, x))
        return fnn.linear.affine_backward(W, x, z_bar), numeric

    assert_close(*both(W, b, x, z_bar), tolerances.DIFFERENCES)


def test_norms_of_one_example_come_from_its_factors(x64):
    W, _, x, z_bar = data((6,))

    @jax.jit
    def both(W, x, z_bar):
        return fnn.linear.affine_norms(x, z_bar), jax.vmap(fnn.linear.affine_backward, (None, 0, 0))(W, x, z_bar)

    norms, (W_bar, b_bar, _) = both(W, x, z_bar)
    wanted = np.linalg.norm(np.asarray(W_bar).reshape(6, -1), axis=1), np.linalg.norm(np.asarray(b_bar), axis=1)
    assert_close(norms, wanted, tolerances.FORWARD["float64"])


def test_the_bias_trick_is_one_matrix(x64):
    W, b, x, _ = data((2, 3))

    @jax.jit
    def both(W, b, x):
        return fnn.linear.homogeneous_input(x) @ fnn.linear.homogeneous_matrix(W, b), fnn.linear.homogeneous_input(
            fnn.linear.affine(W, b, x)
        )

    assert_close(*both(W, b, x), tolerances.FORWARD["float64"])
