"""Every activation: value against NumPy, derivative against autodiff and finite differences, kinks, extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.activations import ACTIVATIONS
from tests import reference, tolerances
from tests.cases import Z, random
from tests.witnesses import (
    assert_close,
    assert_finite,
    assert_gradients_float32,
    assert_gradients_float64,
    magnitudes,
)


def every(function):
    """{name: function(activation)} for all activations, so that one compilation serves them all."""
    return {name: function(a) for name, a in ACTIVATIONS.items()}


def pulled_back(a_bar):
    """z -> by hand and automatic z_bar, and the backward pass on absolute values, of every activation."""

    def both(z):
        def one(activation):
            a, kept = activation.forward(z)
            _, pull = jax.vjp(lambda z: activation.forward(z)[0], z)
            size = magnitudes(activation.backward, kept, a_bar)
            return a, activation.backward(kept, a_bar), pull(a_bar)[0], size

        return every(one)

    return both


def test_values_equal_numpy_and_derivatives_autodiff():
    a_bar = random("a_bar").normal(0.5, 1.0, Z.shape).astype(np.float32)
    z32 = Z.astype(np.float32)
    with jax.enable_x64(True):
        exact = jax.device_get(jax.jit(pulled_back(jnp.asarray(a_bar, jnp.float64)))(jnp.asarray(z32, jnp.float64)))
    single = jax.jit(pulled_back(jnp.asarray(a_bar)))(jnp.asarray(z32))
    for name, (a, hand, auto, size) in exact.items():
        wanted = reference.ACTIVATIONS[name](z32.astype(np.float64))
        # per entry, so that the −1e4 and 1e4 of the table hide nothing
        for got, tolerance in ((a, tolerances.FORWARD["float64"]), (single[name][0], tolerances.FORWARD["float32"])):
            assert_finite(got, name)
            assert (np.abs(got - wanted) <= tolerance * np.abs(wanted) + tolerances.smallest_normal(got.dtype)).all(), (
                name
            )
        assert_gradients_float64(hand, auto, size, name)
        assert_gradients_float32(single[name][1], single[name][2], auto, name)


def test_derivatives_equal_finite_differences_away_from_kinks(x64):
    # the kinks of relu, leaky_relu, sign and hard_threshold lie at 0, the step is about 1e-5
    z = np.array([-2.5, -1.0, -0.3, 0.2, 0.9, 3.5])
    weights = np.array([1.0, -2.0, 0.5, 3.0, 1.5, -1.0])

    @jax.jit
    def both(z):
        def one(activation):
            numeric = fnn.central_differences(lambda z: jnp.sum(weights * activation(z)))(z)
            return activation.backward(activation.forward(z)[1], weights), numeric

        return every(one)

    for name, (hand, numeric) in both(z).items():
        assert_close(hand, numeric, tolerances.DIFFERENCES, name)


KINKS = {
    "relu": (0.0, 0.0),
    "leaky_relu": (0.0, 0.01),
    "elu": (0.0, 1.0),
    "sign": (1.0, 0.0),
    "hard_threshold": (1.0, 0.0),
}


def test_value_and_derivative_at_the_kink_are_as_stated(dtype):
    @jax.jit
    def all_of(z):
        def one(activation):
            return activation(z), activation.derivative(z), jax.grad(lambda z: activation.forward(z)[0])(z)

        return {name: one(ACTIVATIONS[name]) for name in KINKS}

    for zero in (0.0, -0.0):
        for name, (got, *slopes) in all_of(np.asarray(zero, dtype)).items():
            value, slope = KINKS[name]
            assert got == value, (name, zero)
            assert all(each == np.asarray(slope, dtype) for each in slopes), (name, zero)


def test_nan_goes_through():
    values = jax.jit(lambda z: every(lambda a: a(z)))(np.array([1.0, np.nan], np.float32))
    for name, value in values.items():
        assert jnp.isnan(value[1]), name


def test_any_shape(dtype):
    for shape in ((), (0, 3), (1,), (2, 3, 4)):
        z = np.ones(shape, dtype)

        def contract(z):
            # softmax needs an axis to sum over
            return every(lambda a: a.backward(a.forward(z)[1], z) if z.ndim or a != fnn.softmax else z)

        for z_bar in jax.eval_shape(contract, z).values():
            assert z_bar.shape == shape and z_bar.dtype == dtype


def test_kept_for_backward_is_no_more_than_needed():
    z = np.ones((5, 7), np.float32)
    kept = {
        name: sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(a.forward, z)[1])) // z.size
        for name, a in ACTIVATIONS.items()
    }
    assert kept == {
        "identity": 0, "sign": 0, "hard_threshold": 0,
        "sigmoid": 1, "tanh": 1, "relu": 1, "leaky_relu": 1, "elu": 1, "softplus": 1, "gelu": 1, "softmax": 1,
        "gelu_tanh": 2, "silu": 2,
    }  # fmt: skip


def test_activations_are_values():
    from fnn.activations import Elu, LeakyRelu, Tanh

    assert fnn.tanh == Tanh() and hash(fnn.tanh) == hash(Tanh()) and fnn.tanh != fnn.sigmoid
    assert LeakyRelu(0.2) == LeakyRelu(0.2) != fnn.leaky_relu
    assert [repr(a) for a in (fnn.tanh, LeakyRelu(0.2), Elu(), fnn.gelu_tanh)] == [
        "tanh", "leaky_relu(slope=0.2)", "elu", "gelu_tanh",
    ]  # fmt: skip


def test_softmax_backward_is_the_transposed_jacobian(x64):
    z = random("softmax").normal(size=5)

    @jax.jit
    def both(z):
        kept = fnn.softmax.forward(z)[1]
        return jax.vmap(lambda e: fnn.softmax.backward(kept, e))(jnp.eye(5)), jax.jacobian(fnn.softmax.__call__)(z)

    by_rows, jacobian = both(z)
    assert_close(by_rows, jacobian, tolerances.FORWARD["float64"])


def test_parameters_of_activations_count(x64):
    from fnn.activations import Elu, LeakyRelu

    z, records = np.array([-2.0, -0.5, 0.5]), (LeakyRelu(0.3), LeakyRelu(0.0), Elu(2.5))

    @jax.jit
    def all_of(z):
        return [(a(z), a.derivative(z), jax.vmap(jax.grad(lambda z, a=a: a.forward(z)[0]))(z)) for a in records]

    results = all_of(z)
    for record, (_, slope, auto) in zip(records, results, strict=True):
        assert_close(slope, auto, tolerances.FORWARD["float64"], repr(record))
    assert_close(results[0][0], np.array([-0.6, -0.15, 0.5]), tolerances.FORWARD["float64"])


#: (z, value, slope) at the ends, where a limit exists; the others are functions of their own below.
ENDS = {
    "identity": ((-np.inf, np.inf), (1, 1)), "sigmoid": ((0, 1), (0, 0)), "tanh": ((-1, 1), (0, 0)),
    "relu": ((0, np.inf), (0, 1)), "leaky_relu": ((-np.inf, np.inf), (0.01, 1)), "elu": ((-1, np.inf), (0, 1)),
    "softplus": ((0, np.inf), (0, 1)), "gelu": ((0, np.inf), (0, 1)), "gelu_tanh": ((0, np.inf), (0, 1)),
    "silu": ((0, np.inf), (0, 1)), "sign": ((-1, 1), (0, 0)), "hard_threshold": ((0, 1), (0, 0)),
}  # fmt: skip


#: What float64 still sees of silu and its slope at −256: z e^z and less.
LEFT_OVER = 256 * np.exp(-256.0)


@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16", "float16"])
def test_limits_at_infinity_and_far_out(name):
    assert ENDS.keys() == ACTIVATIONS.keys() - {"softmax"}
    with jax.enable_x64(name == "float64"):
        top = float(jnp.finfo(name).max)
        # 256² leaves float16, (2e19)² float32
        far = [z for z in (256.0, 300.0, 6e4, 2e19, 3e38, top) if z <= top]
        z = jnp.asarray([-np.inf, np.inf, *far, *(-each for each in far)], name)
        run = jax.jit(lambda z: {n: (a(z), a.derivative(z)) for n, a in ACTIVATIONS.items() if n in ENDS})
        for each, (value, slope) in jax.device_get(run(z)).items():
            (low, high), slopes = ENDS[each]
            assert value.dtype == slope.dtype == z.dtype
            value, slope = value.astype(np.float64), slope.astype(np.float64)
            assert value[:2].tolist() == [low, high], each
            right, left = slice(2, 2 + len(far)), slice(2 + len(far), None)
            low_slope = float(jnp.asarray(slopes[0], name))
            assert slope[:2].tolist() == [low_slope, slopes[1]], each
            assert (np.abs(slope[right] - slopes[1]) <= LEFT_OVER).all(), each
            assert (np.abs(slope[left] - low_slope) <= LEFT_OVER).all(), each
            # what grows is z itself there; what does not has reached its limit
            at = np.asarray(z).astype(np.float64)
            assert (np.abs(value[right] - (at[right] if high == np.inf else high)) <= LEFT_OVER).all(), each
            if each != "leaky_relu":
                assert (np.abs(value[left] - (at[left] if low == -np.inf else low)) <= LEFT_OVER).all(), each


def test_a_slope_of_zero_makes_zero_of_minus_infinity():
    flat = fnn.activations.LeakyRelu(0.0)
    assert flat(jnp.asarray([-np.inf, -1.0, 2.0])).tolist() == [0.0, 0.0, 2.0]


def test_softmax_over_more_classes_than_float16_counts():
    a = jax.jit(fnn.softmax.__call__)(jnp.zeros(70_000, jnp.float16))
    assert a.dtype == jnp.float16
    # 1/70000 is a subnormal number of float16, half a step of which is 3e-8
    assert (np.abs(np.asarray(a, np.float64) - 1 / 70_000) <= 3e-8).all() and (np.asarray(a) > 0).all()
