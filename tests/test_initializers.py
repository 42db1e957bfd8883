"""Initializers: the variance each promises, on a million samples; shapes, dtypes, keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.initializers import INITIALIZERS
from tests import tolerances
from tests.witnesses import assert_close

I, O = 800, 1250  # a million entries, fans that differ
VARIANCE = {
    "glorot_uniform": 2 / (I + O), "glorot_normal": 2 / (I + O), "he_uniform": 2 / I, "he_normal": 2 / I,
    "lecun_uniform": 1 / I, "lecun_normal": 1 / I, "orthogonal": 1 / O,
}  # fmt: skip
#: the bound of the uniform ones: √(3 · variance)
BOUND = {name: np.sqrt(3 * v) for name, v in VARIANCE.items() if name.endswith("uniform")}


@pytest.mark.parametrize("name", VARIANCE)
def test_variance_is_the_promised_one(name):
    W = np.asarray(jax.jit(lambda key: INITIALIZERS[name](key, (I, O)))(jax.random.key(3)), np.float64)
    assert np.isfinite(W).all()
    assert abs(W.var() / VARIANCE[name] - 1) < tolerances.MOMENTS
    assert abs(W.mean()) < tolerances.MOMENTS * np.sqrt(VARIANCE[name])
    if name in BOUND:
        assert np.abs(W).max() <= BOUND[name] * (1 + tolerances.FORWARD["float32"])
        assert np.abs(W).max() > 0.999 * BOUND[name]


def test_uniform_normal_constant_and_zeros():
    key = jax.random.key(1)
    U, N = (np.asarray(each(key, (1000, 1000)), np.float64) for each in (fnn.uniform(0.3), fnn.normal(0.2)))
    assert abs(U.var() / 0.03 - 1) < tolerances.MOMENTS and abs(N.var() / 0.04 - 1) < tolerances.MOMENTS
    assert (np.asarray(fnn.constant(1.5)(key, (2, 3))) == 1.5).all() and not np.asarray(fnn.zeros(key, (3,))).any()


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (1, 1)])
def test_orthogonal_has_orthonormal_rows_or_columns(dtype, shape):
    Q = fnn.orthogonal(jax.random.key(0), shape, dtype)
    product = Q.T @ Q if shape[0] >= shape[1] else Q @ Q.T
    assert_close(product, jnp.eye(min(shape), dtype=dtype), tolerances.FORWARD[dtype.name])


def test_orthogonal_of_one_by_one_takes_both_signs():
    # the sign of R's diagonal is put back into Q; without it every draw would have the same sign
    draws = jax.jit(jax.vmap(lambda key: fnn.orthogonal(key, (1, 1))))(jax.random.split(jax.random.key(0), 64))
    assert set(np.asarray(draws).ravel()) == {-1.0, 1.0}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_dtype_shape_and_key(name):
    make = INITIALIZERS[name]
    for dtype in ("float32", "bfloat16"):
        W = make(jax.random.key(0), (4, 3), dtype)
        assert W.shape == (4, 3) and W.dtype == jnp.dtype(dtype)
    first, again, other = (np.asarray(make(jax.random.key(k), (4, 3))) for k in (0, 0, 1))
    assert (first == again).all() and (name == "zeros" or (first != other).any())
