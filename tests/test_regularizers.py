"""Penalties: values, gradients against autodiff, weights only, the strength as an argument."""

import chex
import jax
import numpy as np

import fnn
from fnn.regularizers import REGULARIZERS
from tests import tolerances
from tests.cases import drawn, random
from tests.witnesses import assert_close

#: A nest with weights, biases, a name that only contains the letter, and a weight of exactly 0.
PARAMS = (
    {"W": [[1.5, -2.0], [0.0, 0.25]], "b": [3.0, -4.0]},
    {"inner": {"W": [[-1.0]], "scale": [7.0]}, "Ws": [9.0]},
)
#: Σ|W| and ΣW² of the two leaves called W, by hand
L1_SUM, L2_SUM = 1.5 + 2 + 0.25 + 1, 2.25 + 4 + 0.0625 + 1


def params(dtype):
    return jax.tree.map(lambda a: np.array(a, dtype), PARAMS, is_leaf=lambda a: isinstance(a, list))


def strength(name):
    return (0.5, 0.25) if name == "elastic_net" else 0.5


def test_value_and_gradient(dtype):
    @jax.jit
    def all_of(p):
        def one(penalty, strength):
            return penalty(p, strength), penalty.gradient(p, strength), jax.grad(penalty)(p, strength)

        return {name: one(penalty, strength(name)) for name, penalty in REGULARIZERS.items()}

    for name, (value, hand, auto) in all_of(params(dtype)).items():
        wanted = {"l1": 0.5 * L1_SUM, "l2": 0.5 * L2_SUM, "elastic_net": 0.5 * L1_SUM + 0.25 * L2_SUM}[name]
        assert_close(value, np.asarray(wanted, dtype), tolerances.FORWARD[dtype.name], name)
        assert_close(hand, auto, tolerances.FORWARD[dtype.name], name)
        for path, leaf in jax.tree_util.tree_leaves_with_path(hand):
            assert (path[-1].key == "W") == bool((leaf != 0).any()), (name, path)


def test_gradient_equals_finite_differences(x64):
    # 0.25 in place of the weight 0, where |W| has a kink
    p = jax.tree.map(lambda a: np.where(a == 0, 0.25, a), params(np.float64))

    @jax.jit
    def all_of(p):
        def one(penalty, strength):
            return penalty.gradient(p, strength), fnn.central_differences(lambda p: penalty(p, strength))(p)

        return {name: one(penalty, strength(name)) for name, penalty in REGULARIZERS.items()}

    for name, (hand, numeric) in all_of(p).items():
        assert_close(hand, numeric, tolerances.DIFFERENCES, name)


def test_the_strength_is_swept_without_a_retrace():
    net = fnn.mlp(3, 2)
    chex.clear_trace_counter()
    by_hand = jax.jit(chex.assert_max_traces(fnn.backprop(net, fnn.squared_error, "l2").__call__, n=1))
    p, x, y = drawn(net, random("strength")), np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
    first, second = (by_hand(p, x, y, strength=s) for s in (0.1, 0.2))
    swept = fnn.objective(net, fnn.squared_error, "l2")

    @jax.jit
    def others(p, x, y, strengths):
        many = jax.vmap(lambda s: swept(p, x, y, strength=s))(strengths)
        return fnn.backprop(net, fnn.squared_error)(p, x, y)[0], many

    plain, many = others(p, x, y, np.array([0.1, 0.2], np.float32))
    assert_close(second[0] - plain, 2 * (first[0] - plain), tolerances.FORWARD["float32"])
    assert_close(many, np.stack([first[0], second[0]]), tolerances.FORWARD["float32"])
