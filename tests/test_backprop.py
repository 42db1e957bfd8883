"""Back-propagation by hand against autodiff and finite differences, over the whole case table."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests import reference, tolerances
from tests.cases import NETS, NetCase
from tests.witnesses import (
    assert_close,
    assert_finite,
    assert_gradients_float32,
    assert_gradients_float64,
    magnitudes,
)

by_name = {case.name: case for case in NETS}


def pair(case: NetCase):
    """(by hand, automatic), each giving (value, (params_bar, x_bar))."""
    by_hand = fnn.backprop(case.net, case.loss, case.regularizer)
    automatic = jax.value_and_grad(by_hand.objective, argnums=(0, 1))
    return by_hand, automatic


@pytest.mark.parametrize("case", NETS, ids=lambda case: case.name)
def test_by_hand_equals_automatic_in_both_precisions(case: NetCase):
    by_hand, automatic = pair(case)

    def all_three(params, x, y):
        value, kept = by_hand.objective.forward(params, x, y, **case.options)
        size = magnitudes(by_hand.objective.backward, params, kept)
        return by_hand.with_inputs(params, x, y, **case.options), automatic(params, x, y, **case.options), size, value

    with jax.enable_x64(True):
        hand, auto, size, value = jax.device_get(jax.jit(all_three)(*case.data(jnp.float64)))
        assert hand[0] == value
        assert_close(hand[0], auto[0], tolerances.FORWARD["float64"])
        assert_gradients_float64(hand[1], auto[1], size)
    single = case.data(jnp.float32)
    hand32, auto32 = jax.jit(
        lambda *data: (by_hand.with_inputs(*data, **case.options), automatic(*data, **case.options))
    )(*single)
    assert_close(hand32[0], np.float32(value), tolerances.FORWARD["float32"])
    assert_gradients_float32(hand32[1], auto32[1], auto[1])


@pytest.mark.parametrize(
    "name", ["hidden tanh", "hidden gelu", "skip over two", "repeated", "elastic net", "two leading axes"]
)
def test_by_hand_equals_finite_differences(x64, name):
    case = by_name[name]
    by_hand, _ = pair(case)
    params, x, y = case.data(jnp.float64)

    def value(both, y):
        return by_hand.objective(both[0], both[1], y, **case.options)

    _, gradients = jax.jit(by_hand.with_inputs, static_argnames="strength")(params, x, y, **case.options)
    assert_close(gradients, fnn.central_differences(value)((params, x), y), tolerances.DIFFERENCES)


def test_bfloat16_gradients_are_near_those_of_float64():
    case = by_name["four layers"]
    by_hand, _ = pair(case)
    half = case.data(jnp.bfloat16)
    value, gradients = jax.jit(by_hand)(*half)
    assert value.dtype == jnp.bfloat16 and all(g.dtype == jnp.bfloat16 for g in jax.tree.leaves(gradients))
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda a: jnp.asarray(np.asarray(a, np.float64)) if a.dtype == jnp.bfloat16 else a, half)
        truth = jax.jit(by_hand)(*exact)
    assert_close(gradients, jax.tree.map(lambda g: np.asarray(g, np.float32), truth[1]), tolerances.FORWARD["bfloat16"])


def test_per_example_gradients_average_to_the_batch_gradient(dtype):
    case = by_name["hidden tanh"]
    by_hand, _ = pair(case)
    params, x, y = case.data(dtype)
    values, each = jax.jit(jax.vmap(by_hand, (None, 0, 0)))(params, x, y)
    value, batch = jax.jit(by_hand)(params, x, y)
    assert values.shape == (6,)
    tolerance = tolerances.FORWARD[dtype.name]
    assert_close(jax.tree.map(lambda g: jnp.mean(g, axis=0), each), batch, tolerance)
    assert_close(jnp.mean(values), value, tolerance)


@pytest.mark.parametrize("name", ["hidden tanh", "loss squared_error", "skip over two", "l2"])
def test_example_norms_are_those_of_the_per_example_gradients(x64, name):
    case = by_name[name]
    plain = fnn.backprop(case.net, case.loss)
    params, x, y = case.data(jnp.float64)
    _, each = jax.jit(jax.vmap(plain, (None, 0, 0)))(params, x, y)
    wanted = jax.tree.map(lambda g: jnp.sqrt(jnp.sum(g.reshape(6, -1) ** 2, axis=1)), each)
    assert_close(jax.jit(plain.example_norms)(params, x, y), wanted, tolerances.FORWARD["float64"])


def test_example_norms_never_form_a_per_example_gradient():
    net = fnn.mlp(40, 50, 3)
    by_hand = fnn.backprop(net, fnn.softmax_cross_entropy)
    params, x, y = net.init(jax.random.key(0)), jnp.ones((7, 40)), jnp.zeros(7, jnp.int32)
    jaxpr = jax.make_jaxpr(by_hand.example_norms)(params, x, y)
    largest = max(v.aval.size for equation in jaxpr.eqns for v in equation.outvars)
    assert largest < 7 * 40 * 50


@pytest.mark.parametrize("name", ["hidden tanh", "hidden silu", "skip", "repeated", "l2"])
def test_jvp_of_by_hand_is_the_hessian_vector_product(x64, name):
    case = by_name[name]
    by_hand, _ = pair(case)
    params, x, y = case.data(jnp.float64)
    direction = jax.tree.map(lambda p: jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)

    def product(gradient):
        return jax.jit(lambda p, d: jax.jvp(lambda q: gradient(q, x, y, **case.options), (p,), (d,))[1])

    hand = product(lambda *a, **k: by_hand(*a, **k)[1])(params, direction)
    auto = product(jax.grad(by_hand.objective))(params, direction)
    assert_close(hand, auto, tolerances.FORWARD["float64"] * 10)


def test_intermediates_are_values_and_gradients_before_and_after_each_activation(x64):
    net = fnn.mlp(4, 5, 3)
    by_hand = fnn.backprop(net, fnn.softmax_cross_entropy)
    params, x, y = NetCase("inside", net, fnn.softmax_cross_entropy).data(jnp.float64)
    inside = jax.jit(by_hand.intermediates)(params, x, y)
    assert list(by_hand.intermediates(params, x, y)) == ["1.z", "1.a", "2.z", "2.a"]

    def from_shifts(shifts):
        z1 = x @ params[0]["W"] + params[0]["b"][None] + shifts["1.z"]
        a1 = jnp.tanh(z1) + shifts["1.a"]
        z2 = a1 @ params[1]["W"] + params[1]["b"][None] + shifts["2.z"]
        values = {"1.z": z1, "1.a": a1, "2.z": z2, "2.a": z2 + shifts["2.a"]}
        return fnn.softmax_cross_entropy(values["2.a"], y), values

    nothing = {name: jnp.zeros_like(value) for name, (value, _) in inside.items()}
    wanted, values = jax.jit(jax.grad(from_shifts, has_aux=True))(nothing)
    assert_close({n: v for n, (v, _) in inside.items()}, values, tolerances.FORWARD["float64"])
    assert_close({n: g for n, (_, g) in inside.items()}, wanted, tolerances.FORWARD["float64"])


def test_intermediates_name_the_inside_of_composites():
    net = fnn.sequential(fnn.skip(fnn.dense(3, 3)), fnn.repeated(fnn.dense(3, 3, activation="relu"), 4))
    by_hand = fnn.backprop(net, fnn.squared_error)
    inside = by_hand.intermediates(net.init(jax.random.key(0)), jnp.ones((2, 3)), jnp.ones((2, 3)))
    shapes = {name: (v.shape, g.shape) for name, (v, g) in inside.items()}
    one, stacked = ((2, 3), (2, 3)), ((4, 2, 3), (4, 2, 3))
    assert shapes == {"1.z": one, "1.a": one, "1.y": one, "2.z": stacked, "2.a": stacked}


def test_example_weights_and_masks(dtype):
    net, loss = fnn.mlp(4, 5, 3), fnn.softmax_cross_entropy
    params, x, y = NetCase("weights", net, loss).data(dtype)
    mask = jnp.array([True, True, False, True, False, False])
    by_hand = jax.jit(fnn.backprop(net, loss))
    automatic = jax.jit(jax.value_and_grad(fnn.objective(net, loss)))
    tolerance = tolerances.FORWARD[dtype.name]
    weights = jnp.array([0.5, 2.0, 0.0, 1.0, 0.0, 3.0], dtype)
    assert_close(by_hand(params, x, y, weights=weights), automatic(params, x, y, weights=weights), tolerance)
    rows = np.flatnonzero(mask)
    assert_close(by_hand(params, x, y, weights=mask), by_hand(params, x[rows], y[rows]), tolerance)
    nothing = by_hand(params, x, y, weights=jnp.zeros(6, dtype))
    assert nothing[0] == 0 and all((g == 0).all() for g in jax.tree.leaves(nothing[1]))


def test_a_masked_example_cannot_spread_its_nan():
    logits = jnp.array([[1.0, 2.0], [jnp.nan, jnp.inf], [0.5, -1.0]])
    labels, mask = jnp.array([0, -7, 1]), jnp.array([1.0, 0.0, 1.0])
    for reduced in (fnn.softmax_cross_entropy, fnn.softmax_cross_entropy.sum):
        value, kept = reduced.forward(logits, labels, mask)
        gradient = reduced.backward(kept)
        assert_finite((value, gradient))
        assert (gradient[1] == 0).all() and (gradient[0] != 0).all()


def test_equal_records_never_retrace():
    chex.clear_trace_counter()
    counted = chex.assert_max_traces(lambda f, *data: f(*data), n=1)
    step = jax.jit(counted, static_argnums=0)
    params = fnn.mlp(4, 5, 3).init(jax.random.key(0))
    for _ in range(3):
        by_hand = fnn.backprop(fnn.mlp([4, 5, 3], activation="tanh"), "softmax_cross_entropy")
        step(by_hand, params, jnp.ones((6, 4)), jnp.zeros(6, jnp.int32))


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_forward_pass_equals_numpy(dtype, activation):
    case = NetCase("forward", fnn.mlp(4, 6, 5, 3, activation=activation), fnn.softmax_cross_entropy)
    params, x, y = case.data(dtype)
    got = jax.jit(lambda p, x, y: (case.net.apply(p, x), case.loss(case.net.apply(p, x), y)))(params, x, y)
    scores = reference.mlp(jax.device_get(params), np.asarray(x, np.float64), activation)
    value = reference.LOSSES["softmax_cross_entropy"](scores, np.asarray(y), 0).mean()
    assert_close(got, (scores, value), tolerances.FORWARD[dtype.name])


def test_by_hand_does_no_more_work_than_autodiff():
    """Operations as XLA counts them, and bytes of temporary memory, on a net of a realistic shape."""
    net = fnn.mlp(64, 32, 10)
    data = net.init(jax.random.key(0)), jnp.ones((32, 64)), jnp.zeros(32, jnp.int32)
    by_hand = jax.jit(fnn.backprop(net, fnn.softmax_cross_entropy)).lower(*data).compile()
    automatic = jax.jit(jax.value_and_grad(fnn.objective(net, fnn.softmax_cross_entropy))).lower(*data).compile()
    # Both multiply the same matrices. By hand each of the N · K logits is scaled by 1 / N, autodiff scales N row sums.
    scaling = 2 * 32 * 10
    assert by_hand.cost_analysis()["flops"] <= automatic.cost_analysis()["flops"] + scaling
    hand_bytes = by_hand.memory_analysis().temp_size_in_bytes
    assert hand_bytes <= automatic.memory_analysis().temp_size_in_bytes
