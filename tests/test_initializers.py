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


@pytest.fixture(scope="session")
def a_million():
    """{name: a million entries}, by one program."""
    both = {"uniform": fnn.initializers.uniform(0.3), "normal": fnn.initializers.normal(0.2)}
    makers = {name: INITIALIZERS[name] for name in VARIANCE} | both
    return jax.jit(lambda key: {name: make(key, (I, O)) for name, make in makers.items()})(jax.random.key(3))


@pytest.mark.parametrize("name", VARIANCE)
def test_variance_is_the_promised_one(name, a_million):
    W = np.asarray(a_million[name], np.float64)
    assert np.isfinite(W).all()
    assert abs(W.var() / VARIANCE[name] - 1) < tolerances.MOMENTS
    assert abs(W.mean()) < tolerances.MOMENTS * np.sqrt(VARIANCE[name])
    if name in BOUND:
        assert np.abs(W).max() <= BOUND[name] * (1 + tolerances.FORWARD["float32"])
        assert np.abs(W).max() > 0.999 * BOUND[name]


def test_uniform_normal_constant_and_zeros(a_million):
    U, N = (np.asarray(a_million[name], np.float64) for name in ("uniform", "normal"))
    assert abs(U.var() / 0.03 - 1) < tolerances.MOMENTS and abs(N.var() / 0.04 - 1) < tolerances.MOMENTS
    key = jax.random.key(1)
    assert (np.asarray(fnn.initializers.constant(1.5)(key, (2, 3))) == 1.5).all() and not np.asarray(
        fnn.initializers.zeros(key, (3,))
    ).any()


def test_orthogonal_has_orthonormal_rows_or_columns(dtype):
    shapes = [(5, 3), (3, 5), (4, 4), (1, 1)]
    matrices = jax.jit(lambda key: [fnn.initializers.orthogonal(key, shape, dtype) for shape in shapes])(
        jax.random.key(0)
    )
    for shape, Q in zip(shapes, map(np.asarray, matrices), strict=True):
        assert Q.shape == shape and Q.dtype == dtype
        product = Q.T @ Q if shape[0] >= shape[1] else Q @ Q.T
        assert_close(product, np.eye(min(shape), dtype=dtype), tolerances.FORWARD[dtype.name], shape)


def test_orthogonal_of_one_by_one_takes_both_signs():
    # the sign of R's diagonal is put back into Q; without it every draw would have the same sign
    draws = jax.jit(jax.vmap(lambda key: fnn.initializers.orthogonal(key, (1, 1))))(
        jax.random.split(jax.random.key(0), 64)
    )
    assert set(np.asarray(draws).ravel()) == {-1.0, 1.0}


def test_dtype_shape_and_key():
    for name, make in INITIALIZERS.items():
        for dtype in ("float32", "bfloat16"):
            W = jax.eval_shape(lambda key, make=make, dtype=dtype: make(key, (4, 3), dtype), jax.random.key(0))
            assert W.shape == (4, 3) and W.dtype == jnp.dtype(dtype), name
    run = jax.jit(lambda key: {name: make(key, (4, 3)) for name, make in INITIALIZERS.items()})
    first, again, other = (jax.device_get(run(jax.random.key(k))) for k in (0, 0, 1))
    for name in INITIALIZERS:
        assert (first[name] == again[name]).all() and (name == "zeros" or (first[name] != other[name]).any()), name


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_precision_is_float32_rounded(name):
    numbered = {"uniform": fnn.initializers.uniform(0.3), "normal": fnn.initializers.normal(0.2)}
    makers = {each: INITIALIZERS[each] for each in VARIANCE} | numbered
    run = jax.jit(lambda key: {each: (make(key, (40, 50), name), make(key, (40, 50))) for each, make in makers.items()})
    for each, (half, single) in run(jax.random.key(5)).items():
        assert half.dtype == jnp.dtype(name) and (half == single.astype(name)).all(), each


def test_half_precision_has_no_bias():
    # a million draws: five standard errors of their mean, and of it what rounding leaves is far less
    W = jax.jit(lambda key: fnn.initializers.normal(0.2)(key, (I, O), "bfloat16"))(jax.random.key(3))
    assert abs(np.asarray(W, np.float64).mean()) < 5 * 0.2 / 1000


def test_a_number_of_numpy_changes_neither_dtype_nor_name(x64):
    made = (
        fnn.initializers.normal(np.float64(0.1)), fnn.initializers.uniform(np.float32(0.5)),
        fnn.initializers.constant(np.float64(0.1)), fnn.initializers.Orthogonal(np.sqrt(4)),
    )  # fmt: skip
    assert repr(made) == "(normal(deviation=0.1), uniform(bound=0.5), constant(value=0.1), orthogonal(gain=2.0))"
    assert made[0] == fnn.initializers.normal(0.1) and hash(made[0]) == hash(fnn.initializers.normal(0.1))
    for make in made:
        for dtype in ("float64", "float32", "bfloat16", "float16"):
            shape = jax.eval_shape(lambda key, make=make, dtype=dtype: make(key, (4, 3), dtype), jax.random.key(0))
            assert shape.dtype == jnp.dtype(dtype), (make, dtype)


@pytest.mark.parametrize("make", [fnn.initializers.normal, fnn.initializers.uniform, fnn.initializers.constant])
def test_what_is_no_number_is_refused(make):
    for value in ("0.1", None):
        with pytest.raises(TypeError, match=r"must be a number, got .*\. Give a float such as 0\.1\."):
            make(value)
