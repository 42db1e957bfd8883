"""Back-propagation by hand against autodiff and finite differences, over the whole case table."""

import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.gradients import LOOKED_AT, _first_rows
from tests import reference, tolerances
from tests.cases import NETS, NetCase
from tests.conftest import strict
from tests.witnesses import (
    assert_close,
    assert_finite,
    assert_gradients_float32,
    assert_gradients_float64,
    magnitudes,
    once,
)

by_name = {case.name: case for case in NETS}


def pair(case: NetCase):
    """(by hand, automatic), each giving (value, (params_bar, x_bar))."""
    by_hand = fnn.backprop(case.net, case.loss, case.regularizer)
    automatic = jax.value_and_grad(by_hand.objective, argnums=(0, 1))
    return by_hand, automatic


@pytest.fixture(scope="session")
def whole_table():
    """{dtype: {case: (by hand, automatic, magnitudes, value)}}; one program for all of NETS halves the compiling."""
    return {dtype: _table(dtype) for dtype in ("float64", "float32")}


def _table(dtype: str):
    def by_hand(table):
        found = {}
        for case in NETS:
            (hand, _), data = pair(case), table[case.name]
            value, _ = hand.objective.forward(*data, **case.options)
            found[case.name] = hand.with_inputs(*data, **case.options), value
        return found

    def automatic(table):
        return {case.name: pair(case)[1](*table[case.name], **case.options) for case in NETS}

    def sizes(table):
        found = {}
        for case in NETS:
            objective, (params, *data) = pair(case)[0].objective, table[case.name]
            _, kept = objective.forward(params, *data, **case.options)
            found[case.name] = magnitudes(objective.backward, params, kept)
        return found

    with strict(), jax.enable_x64(dtype == "float64"):
        table = {case.name: case.data(dtype) for case in NETS}
        if dtype == "float32":
            # both as users compile them: what is compared is their rounding, and the witness is float64
            (hand, auto), size = jax.jit(lambda table: (by_hand(table), automatic(table)))(table), {}
        else:
            hand = jax.jit(by_hand)(table)
            auto, size = once(lambda table: (automatic(table), sizes(table)))(table)
        hand, auto, size = jax.device_get((hand, auto, size))
    return {name: (each, auto[name], size.get(name), value) for name, (each, value) in hand.items()}


@pytest.mark.parametrize("case", NETS, ids=lambda case: case.name)
def test_by_hand_equals_automatic_in_both_precisions(case: NetCase, whole_table):
    hand, auto, size, value = whole_table["float64"][case.name]
    assert hand[0] == value
    assert_close(hand[0], auto[0], tolerances.FORWARD["float64"])
    with jax.enable_x64(True):
        data = jax.device_get(case.data("float64"))
    assert_close(value, np.float64(reference.objective(case, *data)), tolerances.FORWARD["float64"], "NumPy ")
    assert_gradients_float64(hand[1], auto[1], size)
    hand32, auto32, _, _ = whole_table["float32"][case.name]
    assert_close(hand32[0], np.float32(value), tolerances.FORWARD["float32"])
    assert_gradients_float32(hand32[1], auto32[1], auto[1])


def for_each(names, function):
    """{name: function(case, its data)} in float64, by one program; as users compile it, the table above has it."""
    data = {name: by_name[name].data(jnp.float64) for name in names}
    return once(lambda data: {name: function(by_name[name], *data[name]) for name in names})(data)


def test_by_hand_equals_finite_differences(x64):
    def both(case, params, x, y):
        by_hand, _ = pair(case)

        def value(both, y):
            return by_hand.objective(both[0], both[1], y, **case.options)

        _, gradients = by_hand.with_inputs(params, x, y, **case.options)
        return gradients, fnn.central_differences(value)((params, x), y)

    names = ["hidden tanh", "hidden gelu", "skip over two", "repeated", "elastic net", "two leading axes"]
    for name, (gradients, numeric) in for_each(names, both).items():
        assert_close(gradients, numeric, tolerances.DIFFERENCES, name)


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
    data = case.data(dtype)
    (values, each), (value, batch) = jax.jit(lambda *d: (jax.vmap(by_hand, (None, 0, 0))(*d), by_hand(*d)))(*data)
    assert values.shape == (6,)
    tolerance = tolerances.FORWARD[dtype.name]
    assert_close(jax.tree.map(lambda g: np.mean(g, axis=0), each), batch, tolerance)
    assert_close(np.mean(values), value, tolerance)


def test_example_norms_are_those_of_the_per_example_gradients(x64):
    def both(case, *data):
        plain = fnn.backprop(case.net, case.loss)
        return plain.example_norms(*data), jax.vmap(plain, (None, 0, 0))(*data)[1]

    names = ["hidden tanh", "loss squared_error", "skip over two", "l2"]
    for name, (norms, each) in for_each(names, both).items():
        wanted = jax.tree.map(lambda g: np.sqrt(np.sum(np.reshape(g, (6, -1)) ** 2, axis=1)), each)
        assert_close(norms, wanted, tolerances.FORWARD["float64"], name)


def test_example_norms_never_form_a_per_example_gradient():
    net = fnn.mlp(40, 50, 3)
    by_hand = fnn.backprop(net, fnn.softmax_cross_entropy)
    params = jax.eval_shape(lambda: net.init(jax.random.key(0)))
    x, y = np.ones((7, 40), np.float32), np.zeros(7, np.int32)
    jaxpr = jax.make_jaxpr(by_hand.example_norms)(params, x, y)
    largest = max(v.aval.size for equation in jaxpr.eqns for v in equation.outvars)
    assert largest < 7 * 40 * 50


def test_jvp_of_by_hand_is_the_hessian_vector_product(x64):
    def both(case, params, x, y):
        by_hand, _ = pair(case)
        direction = jax.tree.map(lambda p: np.cos(np.arange(p.size)).reshape(p.shape), params)

        def product(gradient):
            return jax.jvp(lambda q: gradient(q, x, y, **case.options), (params,), (direction,))[1]

        return product(lambda *a, **k: by_hand(*a, **k)[1]), product(jax.grad(by_hand.objective))

    for name, (hand, auto) in for_each(["hidden tanh", "hidden silu", "skip", "repeated", "l2"], both).items():
        assert_close(hand, auto, tolerances.FORWARD["float64"] * 10, name)


def test_intermediates_are_values_and_gradients_before_and_after_each_activation(x64):
    net = fnn.mlp(4, 5, 3)
    by_hand = fnn.backprop(net, fnn.softmax_cross_entropy)
    params, x, y = NetCase("inside", net, fnn.softmax_cross_entropy).data(jnp.float64)
    order = []

    def from_shifts(shifts):
        z1 = x @ params[0]["W"] + params[0]["b"][None] + shifts["1.z"]
        a1 = jnp.tanh(z1) + shifts["1.a"]
        z2 = a1 @ params[1]["W"] + params[1]["b"][None] + shifts["2.z"]
        values = {"1.z": z1, "1.a": a1, "2.z": z2, "2.a": z2 + shifts["2.a"]}
        return fnn.softmax_cross_entropy(values["2.a"], y), values

    @jax.jit
    def both(params, x, y):
        inside = by_hand.intermediates(params, x, y)
        order.extend(inside)  # as it came: a jitted function returns its dicts sorted
        nothing = {name: jnp.zeros_like(value) for name, (value, _) in inside.items()}
        return inside, jax.grad(from_shifts, has_aux=True)(nothing)

    inside, (wanted, values) = both(params, x, y)
    assert order == ["1.z", "1.a", "2.z", "2.a"]
    assert_close({n: v for n, (v, _) in inside.items()}, values, tolerances.FORWARD["float64"])
    assert_close({n: g for n, (_, g) in inside.items()}, wanted, tolerances.FORWARD["float64"])


def test_intermediates_name_the_inside_of_composites():
    net = fnn.sequential(fnn.skip(fnn.dense(3, 3)), fnn.repeated(fnn.dense(3, 3, activation="relu"), 4))
    by_hand = fnn.backprop(net, fnn.squared_error)
    ones = np.ones((2, 3), np.float32)
    inside = jax.eval_shape(lambda: by_hand.intermediates(net.init(jax.random.key(0)), ones, ones))
    shapes = {name: (v.shape, g.shape) for name, (v, g) in inside.items()}
    one, stacked = ((2, 3), (2, 3)), ((4, 2, 3), (4, 2, 3))
    assert shapes == {"1.z": one, "1.a": one, "1.y": one, "2.z": stacked, "2.a": stacked}


def test_example_weights_and_masks(dtype):
    net, loss = fnn.mlp(4, 5, 3), fnn.softmax_cross_entropy
    params, x, y = NetCase("weights", net, loss).data(dtype)
    mask = np.array([True, True, False, True, False, False])
    rows, weights = np.flatnonzero(mask), np.array([0.5, 2.0, 0.0, 1.0, 0.0, 3.0], dtype)
    by_hand, automatic = fnn.backprop(net, loss), jax.value_and_grad(fnn.objective(net, loss))

    @jax.jit
    def all_of(params, x, y):
        weighted = by_hand(params, x, y, sample_weight=weights), automatic(params, x, y, sample_weight=weights)
        masked = by_hand(params, x, y, sample_weight=mask), by_hand(params, x[rows], y[rows])
        return weighted, masked, by_hand(params, x, y, sample_weight=np.zeros(6, dtype))

    weighted, masked, nothing = all_of(params, x, y)
    assert_close(*weighted, tolerances.FORWARD[dtype.name])
    assert_close(*masked, tolerances.FORWARD[dtype.name])
    assert nothing[0] == 0 and all((g == 0).all() for g in jax.tree.leaves(nothing[1]))


def test_a_masked_example_cannot_spread_its_nan():
    logits = np.array([[1.0, 2.0], [np.nan, np.inf], [0.5, -1.0]], np.float32)
    labels, mask = np.array([0, -7, 1], np.int32), np.array([1.0, 0.0, 1.0], np.float32)
    reductions = fnn.softmax_cross_entropy, fnn.softmax_cross_entropy.sum

    @jax.jit
    def both(logits, labels, mask):
        forwards = [reduced.forward(logits, labels, mask) for reduced in reductions]
        return [(value, r.backward(kept)) for r, (value, kept) in zip(reductions, forwards, strict=True)]

    for value, gradient in both(logits, labels, mask):
        assert_finite((value, gradient))
        assert (gradient[1] == 0).all() and (gradient[0] != 0).all()


def test_equal_records_never_retrace():
    chex.clear_trace_counter()
    counted = chex.assert_max_traces(lambda f, *data: f(*data), n=1)
    step = jax.jit(counted, static_argnums=0)
    params, x, y = NetCase("retrace", fnn.mlp(4, 5, 3), fnn.softmax_cross_entropy).data(jnp.float32)
    for _ in range(3):
        by_hand = fnn.backprop(fnn.mlp([4, 5, 3], activation="tanh"), "softmax_cross_entropy")
        step(by_hand, params, x, y)


def test_forward_pass_equals_numpy(dtype):
    names = "tanh", "relu", "sigmoid"
    nets = {name: fnn.mlp(4, 6, 5, 3, activation=name) for name in names}
    params, x, y = NetCase("forward", nets["tanh"], fnn.softmax_cross_entropy).data(dtype)

    @jax.jit
    def all_of(params, x, y):
        scores = {name: net.apply(params, x) for name, net in nets.items()}
        return {name: (score, fnn.softmax_cross_entropy(score, y)) for name, score in scores.items()}

    for name, got in all_of(params, x, y).items():
        scores = reference.mlp(jax.device_get(params), np.asarray(x, np.float64), name)
        value = reference.LOSSES["softmax_cross_entropy"](scores, np.asarray(y), 0).mean()
        assert_close(got, (scores, value), tolerances.FORWARD[dtype.name], name)


def test_by_hand_does_no_more_work_than_autodiff():
    """Operations as XLA counts them, and bytes of temporary memory, on a net of a realistic shape."""
    net = fnn.mlp(64, 32, 10)
    params = jax.eval_shape(lambda: net.init(jax.random.key(0)))
    data = params, np.ones((32, 64), np.float32), np.zeros(32, np.int32)
    by_hand = jax.jit(fnn.backprop(net, fnn.softmax_cross_entropy)).lower(*data).compile()
    automatic = jax.jit(jax.value_and_grad(fnn.objective(net, fnn.softmax_cross_entropy))).lower(*data).compile()
    # Both multiply the same matrices. By hand each of the N · K logits is scaled by 1 / N, autodiff scales N row sums.
    scaling = 2 * 32 * 10
    assert by_hand.cost_analysis()["flops"] <= automatic.cost_analysis()["flops"] + scaling
    hand_bytes = by_hand.memory_analysis().temp_size_in_bytes
    assert hand_bytes <= automatic.memory_analysis().temp_size_in_bytes


def test_only_the_rows_that_are_looked_at_leave_another_device(monkeypatch):
    class Far:
        """An array on an accelerator; it lets nothing out but what was cut on it."""

        def __init__(self, rows):
            self.rows = rows

        def __getitem__(self, cut):
            return self.rows[cut]

        def devices(self):
            return [types.SimpleNamespace(platform="gpu")]

    rows = np.arange(200.0).reshape(100, 2)
    near = [_first_rows(each) for each in (rows, jnp.asarray(rows))]
    monkeypatch.setattr(jax, "Array", Far)
    for each in (*near, _first_rows(Far(rows))):
        np.testing.assert_array_equal(each, rows[:LOOKED_AT])
