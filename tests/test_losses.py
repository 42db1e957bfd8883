"""Every loss: value against NumPy, derivative against autodiff and finite differences, weights, extremes, metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.losses import LOSSES
from tests import reference, tolerances
from tests.cases import predictions, random, rounded, targets
from tests.witnesses import (
    assert_close,
    assert_finite,
    assert_gradients_float32,
    assert_gradients_float64,
    magnitudes,
)

SHAPE = (4, 3)
#: every loss with labels, and with probabilities where it takes them
KINDS = [(name, True) for name in LOSSES] + [
    (name, False) for name in ("softmax_cross_entropy", "negative_log_likelihood", "sigmoid_cross_entropy")
]


def data(name, labels, dtype):
    loss = LOSSES[name]
    p, y = predictions(loss, SHAPE).astype(np.float32), targets(loss, SHAPE, labels=labels)
    y = y if y.dtype == np.int32 else y.astype(np.float32)
    return rounded(p, dtype), rounded(y, dtype)


def for_each(dtype, function, kinds=KINDS):
    """{kind: function(loss, prediction, target)} of every loss, by one program."""
    table = {kind: data(*kind, dtype) for kind in kinds}
    run = jax.jit(lambda table: {kind: function(LOSSES[kind[0]], *table[kind]) for kind in kinds})
    return jax.device_get(run(table))


def all_losses(dtype, weights=None):
    """{kind: (value, by hand, automatic, magnitudes)} of every loss; no magnitudes in float32, held to float64."""

    def one(loss, p, y):
        value, kept = loss.forward(p, y, weights)
        auto = jax.grad(lambda p: loss(p, y, weights))(p)
        return value, loss.backward(kept), auto, magnitudes(loss.backward, kept) if p.dtype == jnp.float64 else None

    return for_each(dtype, one)


@pytest.mark.parametrize("weighted", [False, True])
def test_values_equal_numpy_and_derivatives_autodiff(weighted):
    weights = np.array([0.5, 0.0, 2.0, 1.0]) if weighted else None
    with jax.enable_x64(True):
        exact = all_losses(jnp.float64, weights)
    single = all_losses(jnp.float32, None if weights is None else jnp.asarray(weights, jnp.float32))
    shares = np.full(4, 0.25) if weights is None else weights / weights.sum()
    for (name, labels), (value, hand, auto, size) in exact.items():
        p, y = (np.asarray(a) for a in data(name, labels, jnp.float32))
        y = y if y.dtype == np.int32 else y.astype(np.float64)
        each = reference.LOSSES[name](p.astype(np.float64), y, tolerances.smallest_normal(np.float64))
        wanted = (each * shares).sum()
        assert_close(value, wanted, tolerances.FORWARD["float64"], name)
        assert_close(single[name, labels][0], wanted, tolerances.FORWARD["float32"], name)
        assert_gradients_float64(hand, auto, size, name)
        assert_gradients_float32(single[name, labels][1], single[name, labels][2], auto, name)


def test_derivatives_equal_finite_differences(x64):
    def both(loss, p, y):
        return loss.backward(loss.forward(p, y)[1]), fnn.central_differences(loss)(p, y)

    for kind, (hand, numeric) in for_each(jnp.float64, both).items():
        assert_close(hand, numeric, tolerances.DIFFERENCES, kind)


#: each loss once, with the targets that come first
PLAIN = [(name, True) for name in LOSSES]


def test_sum_is_the_mean_times_the_number_of_examples(dtype):
    for kind, (total, mean) in for_each(dtype, lambda loss, p, y: (loss.sum(p, y), loss(p, y)), PLAIN).items():
        assert_close(total, 4 * mean, tolerances.FORWARD[dtype.name], kind)
    for loss in LOSSES.values():
        assert loss.sum.sum == loss.sum != loss


def test_leading_axes_are_free(dtype):
    def all_of(loss, p, y):
        split = loss(p.reshape(2, 2, 3), y.reshape(2, 2, *y.shape[1:]))
        return loss(p, y), split, jnp.stack([loss(p[n], y[n]) for n in range(4)])

    for kind, (whole, split, one) in for_each(dtype, all_of, PLAIN).items():
        assert_close(split, whole, tolerances.FORWARD[dtype.name], kind)
        assert_close(np.mean(one), whole, tolerances.FORWARD[dtype.name], kind)


# (prediction, target) -> (value, derivative) at kinks and edges, worked out by hand from the formulas
EDGES = [
    ("absolute_error", 2.0, 2.0, 0.0, 0.0),
    ("huber", 3.0, 2.0, 0.5, 1.0),
    ("huber", 1e4, 0.0, 1e4 - 0.5, 1.0),
    ("hinge", 1.0, 1.0, 0.0, 0.0),
    ("hinge", 0.0, 1.0, 1.0, -1.0),
    ("perceptron_loss", 0.0, 1.0, 0.0, -1.0),
    ("perceptron_loss", 0.0, -1.0, 0.0, 1.0),
    ("sigmoid_cross_entropy", 1e4, 0.0, 1e4, 1.0),
    ("sigmoid_cross_entropy", -1e4, 1.0, 1e4, -1.0),
    ("sigmoid_cross_entropy", 1e4, 1.0, 0.0, 0.0),
    ("squared_error", 1e4, -1e4, 4e8, 4e4),
    ("half_squared_error", 1e4, -1e4, 2e8, 2e4),
    ("binary_cross_entropy", 1.0, 1.0, 0.0, -1.0),
    ("binary_cross_entropy", 0.0, 0.0, 0.0, 1.0),
    ("binary_cross_entropy", 1.5, 1.0, None, 0.0),
]


def test_kinks_and_edges(dtype):
    @jax.jit
    def all_of(table):
        forwards = [LOSSES[name].forward(p, y) for (name, *_), (p, y) in zip(EDGES, table, strict=True)]
        return [(value, LOSSES[name].backward(kept)) for (name, *_), (value, kept) in zip(EDGES, forwards, strict=True)]

    table = [(np.array([p], dtype), np.array([y], dtype)) for _, p, y, _, _ in EDGES]
    for (name, p, y, value, slope), (got, bar) in zip(EDGES, all_of(table), strict=True):
        assert_finite(got, name)
        assert value is None or got == np.asarray(value, dtype), (name, p, y, got)
        assert bar[0] == np.asarray(slope, dtype), (name, p, y)


def test_outside_of_tiny_to_one_the_derivative_on_probabilities_is_zero(dtype):
    loss = fnn.negative_log_likelihood

    @jax.jit
    def both(rows):
        value, kept = loss.forward(rows, np.array([0]))
        return value, loss.backward(kept)

    for p in (0.0, -0.5, 1.25):
        value, bar = both(np.array([[p, 0.5]], dtype))
        clipped = np.clip(p, tolerances.smallest_normal(dtype), 1)
        assert_close(value, -np.log(clipped), tolerances.FORWARD[dtype.name], p)
        assert (bar == 0).all(), p


def test_extreme_logits_are_finite_and_right(dtype):
    logits = np.array([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4]], dtype)
    loss = fnn.softmax_cross_entropy.sum

    @jax.jit
    def both(logits, labels):
        value, kept = loss.forward(logits, labels)
        return value, loss.backward(kept)

    for labels in (np.array([0, 1, 2, 1]), np.array([1, 1, 2, 2])):
        value, gradient = both(logits, labels)
        assert_finite((value, gradient))
        wanted = reference.LOSSES["softmax_cross_entropy"](np.asarray(logits, np.float64), labels, 0)
        assert_close(value, wanted.sum(), tolerances.FORWARD[dtype.name])
        assert_close(np.sum(gradient, axis=-1), np.zeros(4), tolerances.FORWARD[dtype.name])


def test_random_weights_never_matter_where_they_are_zero(dtype):
    rng, masks = random("masks"), {}
    for kind in KINDS:
        masks[kind] = rng.random(4) < 0.5
        masks[kind][0] = True
    table = {kind: data(*kind, dtype) for kind in KINDS}
    broken = {kind: (np.where(masks[kind][:, None], p, np.nan).astype(dtype), y) for kind, (p, y) in table.items()}

    @jax.jit
    def all_of(table, masks):
        results = {}
        for (name, labels), (p, y) in table.items():
            value, kept = LOSSES[name].forward(p, y, masks[name, labels])
            results[name, labels] = value, LOSSES[name].backward(kept)
        return results

    alone = jax.jit(lambda rows: {kind: LOSSES[kind[0]](*rows[kind]) for kind in KINDS})(
        {kind: (np.asarray(p)[masks[kind]], np.asarray(y)[masks[kind]]) for kind, (p, y) in table.items()}
    )
    again = all_of(broken, masks)
    for kind, (value, bar) in all_of(table, masks).items():
        assert value == again[kind][0] and (bar == again[kind][1]).all(), kind
        assert_close(value, alone[kind], tolerances.FORWARD[dtype.name], kind)


def test_probability_rows_in_half_precision_are_rows_of_probabilities():
    rows = jnp.asarray([[0.1, 0.2, 0.7], [0.333, 0.333, 0.334]], jnp.bfloat16)
    fnn.softmax_cross_entropy.validate_target(rows, 3)
    with pytest.raises(ValueError, match=r"row 1 is off by 0\.248"):
        fnn.softmax_cross_entropy.validate_target(rows.at[1, 0].add(0.25), 3)
