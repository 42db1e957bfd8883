"""The adapter that lends the rules to `jax.grad`: the same function, our backward pass."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.activations import ACTIVATIONS
from tests import tolerances
from tests.cases import Dropout, NetCase, Swap, drawn, random
from tests.witnesses import assert_close


def test_activations(dtype):
    z = np.array([-2.0, 0.0, 0.5, 30.0], dtype)
    a_bar = np.array([1.0, -2.0, 3.0, 0.5], dtype)

    @jax.jit
    def run(z, a_bar):
        lent = {name: jax.vjp(fnn.custom_vjp(a), z) for name, a in ACTIVATIONS.items()}
        plain = {name: a.forward(z) for name, a in ACTIVATIONS.items()}
        return (
            {name: (y, pull(a_bar)[0]) for name, (y, pull) in lent.items()},
            {name: (y, ACTIVATIONS[name].backward(kept, a_bar)) for name, (y, kept) in plain.items()},
        )

    lent, plain = run(z, a_bar)
    assert_close(lent, plain, tolerances.FORWARD[dtype.name])


def test_objective_inside_a_program_of_the_users(x64):
    case = NetCase("adapter", fnn.mlp(4, 5, 3), fnn.softmax_cross_entropy)
    params, x, y = case.data(jnp.float64)
    by_hand = fnn.backprop(case.net, case.loss)
    lent, of_objective = fnn.custom_vjp(by_hand), fnn.custom_vjp(by_hand.objective)

    @jax.jit
    def programs(params, x):
        def program(f):
            return jax.grad(lambda p, x: jnp.exp(f(p, 2 * x, y)) + jnp.sum(x**2), argnums=(0, 1))(params, x)

        return program(lent), program(by_hand.objective), program(of_objective)

    first, plain, second = programs(params, x)
    assert_close(first, plain, tolerances.FORWARD["float64"])
    assert_close(second, first, tolerances.FORWARD["float64"])


def test_layer_and_loss_compose(x64):
    case = NetCase("adapter parts", fnn.mlp(4, 5, 3), fnn.softmax_cross_entropy)
    params, x, y = case.data(jnp.float64)
    net, loss = fnn.custom_vjp(case.net), fnn.custom_vjp(case.loss)

    @jax.jit
    def both(p, x):
        return jax.grad(lambda p: loss(net(p, x), y))(p), jax.grad(fnn.objective(case.net, case.loss))(p, x, y)

    assert_close(*both(params, x), tolerances.FORWARD["float64"])


def test_the_rule_that_runs_is_ours():
    @dataclass(frozen=True, repr=False)
    class Wrong(fnn.Activation):
        def forward(self, z):
            return z * z, z

        def backward(self, z, a_bar):
            return 17.0 * a_bar

    assert jax.grad(fnn.custom_vjp(Wrong()))(3.0) == 17.0


def test_two_inputs_and_keys():
    layer = Swap(3)
    params = drawn(layer, random("swap"))
    x = np.array([1.0, -2.0, 0.5], np.float32), np.array([2.0, 0.5, -1.0], np.float32)

    @jax.jit
    def both(params, x):
        def gradient(f):
            return jax.grad(lambda p, x: jnp.sum(f(p, x) ** 2), argnums=(0, 1))(params, x)

        return gradient(fnn.custom_vjp(layer)), gradient(layer.apply)

    assert_close(*both(params, x), tolerances.FORWARD["float32"])
    dropout = fnn.custom_vjp(Dropout(0.5))
    key = jax.random.key(2)
    mask_gradient = jax.jit(jax.grad(lambda x: jnp.sum(dropout((), (x, key)))))(np.ones(8, np.float32))
    assert set(mask_gradient.tolist()) <= {0.0, 2.0}


def test_data_of_another_dtype_gets_its_gradient_back_in_its_own(x64):
    net = fnn.mlp(4, 3)
    params = drawn(net, random("cast"))
    f = fnn.custom_vjp(fnn.objective(net, fnn.squared_error))
    with pytest.warns(fnn.CastWarning):
        x_bar = jax.jit(jax.grad(f, argnums=1))(params, np.ones((2, 4)), np.ones((2, 3)))
    assert x_bar.dtype == jnp.float64


def test_targets_are_data():
    f = fnn.custom_vjp(fnn.squared_error)
    with pytest.raises(TypeError, match="targets, weights and strengths are data"):
        jax.grad(f, argnums=1)(np.ones(3, np.float32), np.zeros(3, np.float32))


def test_weights_and_strength_go_through(x64):
    case = NetCase("adapter weights", fnn.mlp(4, 5, 3), fnn.softmax_cross_entropy)
    params, x, y = case.data(jnp.float64)
    objective = fnn.objective(case.net, case.loss, fnn.l2)
    options = {"sample_weight": np.arange(6.0), "strength": 0.1}

    @jax.jit
    def both(p, x):
        forms = fnn.custom_vjp(objective), objective
        return [jax.value_and_grad(form)(p, x, y, **options) for form in forms]

    assert_close(*both(params, x), tolerances.FORWARD["float64"])


def test_a_forward_derivative_is_refused():
    for lent in (fnn.custom_vjp(fnn.tanh), jax.vmap(fnn.custom_vjp(fnn.tanh))):
        with pytest.raises(
            TypeError, match=r"^tanh: a rule lent .* forward-mode derivative, got a tangent .*the record itself"
        ):
            jax.jvp(lent, (jnp.ones(2),), (jnp.ones(2),))
    loss = fnn.custom_vjp(fnn.squared_error)
    with pytest.raises(TypeError, match=r"^squared_error: .*forward-mode derivative"):
        jax.jacfwd(lambda p: loss(p, jnp.zeros((2, 1))))(jnp.ones((2, 1)))
    # the record has it, and other errors of types are left as they are
    assert jax.jvp(fnn.tanh, (jnp.zeros(2),), (jnp.ones(2),))[1].tolist() == [1.0, 1.0]
    with pytest.raises(TypeError, match="labels must be whole numbers"):
        fnn.custom_vjp(fnn.softmax_cross_entropy)(jnp.ones((2, 3)), jnp.ones(2))


def test_anything_else_is_refused():
    with pytest.raises(TypeError, match="custom_vjp lends the rule of an activation"):
        fnn.custom_vjp(jnp.tanh)  # pyright: ignore[reportArgumentType]
