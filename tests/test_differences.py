"""Finite differences: the lecture's numbers, the order of the error, the step rule, chunks, pytrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests import tolerances
from tests.witnesses import assert_close


def lecture(x):
    """Claim A8: (2 x₁ + 3 x₂)² + 3."""
    return (2 * x[0] + 3 * x[1]) ** 2 + 3


def test_A8_the_symmetric_quotient_of_the_lecture_in_float64(x64):
    gradient = fnn.central_differences(lecture, step=2e-2)(jnp.array([1.0, 3.0]))
    assert gradient[0] == 43.99999999999906


def test_A8_the_symmetric_quotient_of_the_lecture_in_float32():
    gradient = fnn.central_differences(lecture, step=2e-2)(jnp.array([1.0, 3.0]))
    assert abs(float(gradient[0]) - 44.0010) < tolerances.PRINTED[4]


def test_A8_the_one_sided_quotient(dtype):
    gradient = fnn.one_sided_differences(lecture, step=2e-2)(jnp.array([1.0, 3.0], dtype))
    assert abs(float(gradient[0]) - 44.08) < tolerances.PRINTED[2]


def test_A9_ten_to_the_minus_five_suffices_in_float64_only():
    f = lambda step: fnn.central_differences(lecture, step=step)  # noqa: E731
    with jax.enable_x64(True):
        assert abs(float(f(1e-5)(jnp.array([1.0, 3.0]))[0]) - 44) < tolerances.PRINTED[4]
    assert abs(float(f(1e-5)(jnp.array([1.0, 3.0]))[0]) - 44) > 1


def test_A9_the_default_step_is_right_in_each_dtype(dtype):
    # relative truncation plus rounding at the best step is of the order ε^(2/3); ten of them for sin, exp and tanh
    bound = 10 * np.finfo(dtype).eps ** (2 / 3)
    f = lambda x: jnp.sum(jnp.sin(x) + jnp.exp(x) + jnp.tanh(x))  # noqa: E731
    x = jnp.array([0.0, -1.5, 0.3, 2.0], dtype)
    error = np.abs(np.asarray(fnn.central_differences(f)(x) - jax.grad(f)(x)))
    assert (error < bound * np.abs(np.asarray(f(x)))).all()
    one_sided = np.abs(np.asarray(fnn.one_sided_differences(f)(x) - jax.grad(f)(x)))
    assert (one_sided < 10 * np.finfo(dtype).eps ** (1 / 2) * np.abs(np.asarray(f(x)))).all()


def test_the_error_falls_with_the_square_of_the_step_and_one_sided_with_the_step(x64):
    x, truth = jnp.array([0.7]), np.exp(0.7)
    steps = 0.1, 0.05
    central = [abs(float(fnn.central_differences(lambda x: jnp.exp(x[0]), step=h)(x)[0]) - truth) for h in steps]
    one_sided = [abs(float(fnn.one_sided_differences(lambda x: jnp.exp(x[0]), step=h)(x)[0]) - truth) for h in steps]
    assert round(central[0] / central[1]) == 4 and round(one_sided[0] / one_sided[1]) == 2


def test_steps_scale_with_the_entry_and_are_guarded_at_zero(dtype):
    eps = np.finfo(dtype).eps
    x = jnp.array([0.0, 3.0, -300.0, 1e-3], dtype)
    h = np.asarray(fnn.scaled_step(x, 1 / 3))
    size = np.sqrt(np.mean(np.asarray(x, np.float64) ** 2))
    assert_close(h, eps ** (1 / 3) * np.array([size, size, 300.0, size]), tolerances.FORWARD["float32"])
    assert_close(fnn.scaled_step(jnp.zeros(2, dtype), 0.5), np.full(2, eps**0.5), tolerances.FORWARD["float32"])
    for extreme in (1e-30, 1e30):
        assert np.isfinite(np.asarray(fnn.scaled_step(x * extreme, 1 / 3))).all()
        assert (np.asarray(fnn.scaled_step(x * extreme, 1 / 3)) > 0).all()
    assert_close(fnn.lecture_step(x), np.cbrt(1e-7) * np.array([1, 3, 300, 1e-3]), tolerances.FORWARD["float32"])
    assert_close(
        fnn.central_differences(lecture, step=fnn.lecture_step)(jnp.array([1.0, 3.0], dtype))[0],
        np.array(44.0),
        tolerances.PRINTED[4],
    )


def test_pytrees_rest_arguments_and_empty_leaves(x64):
    def f(p, scale, extra):
        return scale * (jnp.sum(p["a"] ** 2) + p["b"][0] * extra["c"]) + jnp.sum(p["none"])

    p = {"a": jnp.array([[1.0, -2.0]]), "b": (jnp.array(0.5),), "none": jnp.zeros((0, 3))}
    got = fnn.central_differences(f)(p, 2.0, {"c": jnp.array(7.0)})
    assert_close(got, jax.grad(f)(p, 2.0, {"c": jnp.array(7.0)}), tolerances.DIFFERENCES)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_chunks_change_nothing(x64, chunk):
    x = jnp.linspace(-1.0, 2.0, 7)
    f = lambda x: jnp.sum(jnp.sin(x) * x)  # noqa: E731
    whole = fnn.central_differences(f)(x)
    assert (fnn.central_differences(f, chunk=chunk)(x) == whole).all()


def test_memory_is_that_of_a_chunk_not_of_all_parameters():
    from fnn.differences import _central_step, _differences, _Quotient

    objective = fnn.objective(fnn.mlp(300, 300, 10), fnn.softmax_cross_entropy)
    params = jax.eval_shape(lambda: objective.net.init(jax.random.key(0)))
    x, y = jax.ShapeDtypeStruct((8, 300), jnp.float32), jax.ShapeDtypeStruct((8,), jnp.int32)
    leaf_bytes = 4 * 300 * 300
    compiled = _differences.lower(_Quotient(objective, _central_step, True, 4), params, x, y).compile()
    # each of the 4 entries of a chunk moves a copy of the leaf, up and down, with some room for the compiler
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * 2 * leaf_bytes * 2


def test_equal_objectives_share_a_program():
    from fnn.differences import _differences

    x, y = fnn.xor()
    params = fnn.mlp(2, 2).init(jax.random.key(0))
    before = None
    for _ in range(3):
        fnn.central_differences(fnn.objective(fnn.mlp(2, 2), fnn.softmax_cross_entropy))(params, x, y)
        before = before or _differences._cache_size()
    assert _differences._cache_size() == before


def test_a_large_net_is_differenced_entry_by_entry():
    """100 000 parameters: a few chosen entries of the gradient equal those by hand (all of them take minutes)."""
    net = fnn.mlp(300, 320, 10)
    by_hand = fnn.backprop(net, fnn.softmax_cross_entropy)
    params, x, y = net.init(jax.random.key(0)), jnp.cos(jnp.arange(2400.0)).reshape(8, 300), jnp.arange(8)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) > 99_000
    bias = jax.jit(lambda p: by_hand(p, x, y)[1])(params)[0]["b"]

    def of_bias(b):
        return by_hand.objective(({"W": params[0]["W"], "b": b}, params[1]), x, y)

    assert_close(fnn.central_differences(of_bias)(params[0]["b"]), bias, tolerances.DIFFERENCES_FLOAT32)
