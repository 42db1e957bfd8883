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
    return tuple(jnp.asarray(rng.normal(-0.3, 1.0, shape)) for shape in ((4, 3), (3,), (*lead, 4), (*lead, 3)))


@pytest.mark.parametrize("lead", [(), (6,), (2, 3), (0,)])
def test_cotangents_equal_autodiff(x64, lead):
    W, b, x, z_bar = data(lead)

    @jax.jit
    def run(W, b, x, z_bar):
        z, pull = jax.vjp(fnn.affine, W, b, x)
        size = magnitudes(fnn.affine_backward, W, x, z_bar)
        return z, fnn.affine_backward(W, x, z_bar), pull(z_bar), size

    z, hand, auto, size = run(W, b, x, z_bar)
    assert_close(z, np.asarray(x) @ np.asarray(W) + np.asarray(b), tolerances.FORWARD["float64"])
    assert_gradients_float64(hand, auto, size)


def test_cotangents_equal_finite_differences(x64):
    W, b, x, z_bar = data((6,))
    f = lambda p: jnp.sum(z_bar * fnn.affine(*p))  # noqa: E731
    assert_close(fnn.affine_backward(W, x, z_bar), fnn.central_differences(f)((W, b, x)), tolerances.DIFFERENCES)


def test_norms_of_one_example_come_from_its_factors(x64):
    W, _, x, z_bar = data((6,))
    W_bar, b_bar, _ = jax.vmap(fnn.affine_backward, (None, 0, 0))(W, x, z_bar)
    wanted = np.linalg.norm(np.asarray(W_bar).reshape(6, -1), axis=1), np.linalg.norm(np.asarray(b_bar), axis=1)
    assert_close(fnn.affine_norms(x, z_bar), tuple(map(jnp.asarray, wanted)), tolerances.FORWARD["float64"])


def test_the_bias_trick_is_one_matrix(x64):
    W, b, x, _ = data((2, 3))
    z = fnn.homogeneous_input(x) @ fnn.homogeneous_matrix(W, b)
    wanted = fnn.homogeneous_input(fnn.affine(W, b, x))
    assert_close(z, wanted, tolerances.FORWARD["float64"])
