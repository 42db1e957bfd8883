"""Penalties: values, gradients against autodiff, weights only, the strength as an argument."""

import chex
import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.regularizers import REGULARIZERS
from tests import tolerances
from tests.witnesses import assert_close

#: A nest with weights, biases, a name that only contains the letter, and a weight of exactly 0.
PARAMS = (
    {"W": [[1.5, -2.0], [0.0, 0.25]], "b": [3.0, -4.0]},
    {"inner": {"W": [[-1.0]], "scale": [7.0]}, "Ws": [9.0]},
)
#: Σ|W| and ΣW² of the two leaves called W, by hand
L1_SUM, L2_SUM = 1.5 + 2 + 0.25 + 1, 2.25 + 4 + 0.0625 + 1


def params(dtype):
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), PARAMS, is_leaf=lambda a: isinstance(a, list))


def strength(name):
    return (0.5, 0.25) if name == "elastic_net" else 0.5


@pytest.mark.parametrize("name", REGULARIZERS)
def test_value_and_gradient(dtype, name):
    penalty, p = REGULARIZERS[name], params(dtype)
    wanted = {"l1": 0.5 * L1_SUM, "l2": 0.5 * L2_SUM, "elastic_net": 0.5 * L1_SUM + 0.25 * L2_SUM}[name]
    assert_close(penalty(p, strength(name)), jnp.asarray(wanted, dtype), tolerances.FORWARD[dtype.name])
    hand, auto = penalty.gradient(p, strength(name)), jax.grad(penalty)(p, strength(name))
    assert_close(hand, auto, tolerances.FORWARD[dtype.name])
    for path, leaf in jax.tree_util.tree_leaves_with_path(hand):
        assert (path[-1].key == "W") == bool((leaf != 0).any()), path


@pytest.mark.parametrize("name", REGULARIZERS)
def test_gradient_equals_finite_differences(x64, name):
    # 0.25 in place of the weight 0, where |W| has a kink
    p = jax.tree.map(lambda a: jnp.where(a == 0, 0.25, a), params(jnp.float64))
    penalty = REGULARIZERS[name]
    numeric = fnn.central_differences(lambda p: penalty(p, strength(name)))(p)
    assert_close(penalty.gradient(p, strength(name)), numeric, tolerances.DIFFERENCES)


def test_the_strength_is_swept_without_a_retrace():
    net = fnn.mlp(3, 2)
    chex.clear_trace_counter()
    by_hand = jax.jit(chex.assert_max_traces(fnn.backprop(net, fnn.squared_error, "l2").__call__, n=1))
    p, x, y = net.init(jax.random.key(0)), jnp.ones((4, 3)), jnp.ones((4, 2))
    first, second = (by_hand(p, x, y, strength=s) for s in (0.1, 0.2))
    plain = fnn.backprop(net, fnn.squared_error)(p, x, y)[0]
    assert_close(second[0] - plain, 2 * (first[0] - plain), tolerances.FORWARD["float32"])
    swept = fnn.objective(net, fnn.squared_error, "l2")
    many = jax.vmap(lambda s: swept(p, x, y, strength=s))(jnp.array([0.1, 0.2]))
    assert_close(many, jnp.stack([first[0], second[0]]), tolerances.FORWARD["float32"])
