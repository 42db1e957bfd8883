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
    z = jnp.asarray([-2.5, -1.0, -0.3, 0.2, 0.9, 3.5])
    weights = jnp.asarray([1.0, -2.0, 0.5, 3.0, 1.5, -1.0])

    def one(activation):
        kept = activation.forward(z)[1]
        return activation.backward(kept, weights)

    hand = jax.jit(lambda: every(one))()
    summed = {name: lambda z, a=a: jnp.sum(weights * a(z)) for name, a in ACTIVATIONS.items()}
    for name, f in summed.items():
        assert_close(hand[name], fnn.central_differences(f)(z), tolerances.DIFFERENCES, name)


KINKS = {
    "relu": (0.0, 0.0),
    "leaky_relu": (0.0, 0.01),
    "elu": (0.0, 1.0),
    "sign": (1.0, 0.0),
    "hard_threshold": (1.0, 0.0),
}


@pytest.mark.parametrize("name", KINKS)
def test_value_and_derivative_at_the_kink_are_as_stated(name, dtype):
    activation = ACTIVATIONS[name]
    for zero in (0.0, -0.0):
        z = jnp.asarray(zero, dtype)
        value, slope = KINKS[name]
        assert activation(z) == value
        assert activation.derivative(z) == jnp.asarray(slope, dtype)
        assert jax.grad(lambda z: activation.forward(z)[0])(z) == jnp.asarray(slope, dtype)


def test_nan_goes_through():
    values = jax.jit(lambda z: every(lambda a: a(z)))(jnp.array([1.0, jnp.nan]))
    for name, value in values.items():
        assert jnp.isnan(value[1]), name


def test_any_shape(dtype):
    for shape in ((), (0, 3), (1,), (2, 3, 4)):
        z = jnp.ones(shape, dtype)

        def contract(z):
            # softmax needs an axis to sum over
            return every(lambda a: a.backward(a.forward(z)[1], z) if z.ndim or a != fnn.softmax else z)

        for z_bar in jax.eval_shape(contract, z).values():
            assert z_bar.shape == shape and z_bar.dtype == dtype


def test_kept_for_backward_is_no_more_than_needed():
    z = jnp.ones((5, 7))
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
    z = jnp.asarray(random("softmax").normal(size=5))
    jacobian = jax.jacobian(fnn.softmax.__call__)(z)
    kept = fnn.softmax.forward(z)[1]
    by_rows = jax.vmap(lambda e: fnn.softmax.backward(kept, e))(jnp.eye(5))
    assert_close(by_rows, jacobian, tolerances.FORWARD["float64"])


def test_parameters_of_activations_count(x64):
    from fnn.activations import Elu, LeakyRelu

    z = jnp.asarray([-2.0, -0.5, 0.5])
    for activation in (LeakyRelu(0.3), LeakyRelu(0.0), Elu(2.5)):
        auto = jax.vmap(jax.grad(lambda z, a=activation: a.forward(z)[0]))(z)
        assert_close(activation.derivative(z), auto, tolerances.FORWARD["float64"], repr(activation))
    assert_close(LeakyRelu(0.3)(z), jnp.asarray([-0.6, -0.15, 0.5]), tolerances.FORWARD["float64"])
