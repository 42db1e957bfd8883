"""Every loss: value against NumPy, derivative against autodiff and finite differences, weights, extremes, metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.losses import LOSSES
from tests import reference, tolerances
from tests.cases import predictions, random, targets
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
    return jnp.asarray(p, dtype), jnp.asarray(y) if y.dtype == np.int32 else jnp.asarray(y, dtype)


def all_losses(dtype, weights=None):
    """{kind: (value, by hand, automatic, magnitudes)} of every loss, by one compilation."""
    table = {kind: data(*kind, dtype) for kind in KINDS}

    def run(table):
        results = {}
        for (name, labels), (p, y) in table.items():
            loss = LOSSES[name]
            value, kept = loss.forward(p, y, weights)
            auto = jax.grad(lambda p, loss=loss, y=y: loss(p, y, weights))(p)
            results[name, labels] = value, loss.backward(kept), auto, magnitudes(loss.backward, kept)
        return results

    return jax.device_get(jax.jit(run)(table))


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
    for name, labels in KINDS:
        p, y = data(name, labels, jnp.float64)
        loss = LOSSES[name]
        hand = loss.backward(loss.forward(p, y)[1])
        assert_close(hand, fnn.central_differences(loss)(p, y), tolerances.DIFFERENCES, name)


def test_sum_is_the_mean_times_the_number_of_examples(dtype):
    for name in LOSSES:
        p, y = data(name, True, dtype)
        loss = LOSSES[name]
        assert_close(loss.sum(p, y), 4 * loss(p, y), tolerances.FORWARD[dtype.name], name)
        assert loss.sum.sum == loss.sum != loss


def test_leading_axes_are_free(dtype):
    for name in LOSSES:
        p, y = data(name, True, dtype)
        loss = LOSSES[name]
        split = loss(p.reshape(2, 2, 3), y.reshape(2, 2, *y.shape[1:]))
        assert_close(split, loss(p, y), tolerances.FORWARD[dtype.name], name)
        one = [loss(p[n], y[n]) for n in range(4)]
        assert_close(jnp.mean(jnp.stack(one)), loss(p, y), tolerances.FORWARD[dtype.name], name)


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
    for name, p, y, value, slope in EDGES:
        loss = LOSSES[name]
        got, kept = loss.forward(jnp.asarray([p], dtype), jnp.asarray([y], dtype))
        assert_finite(got, name)
        assert value is None or got == jnp.asarray(value, dtype), (name, p, y, got)
        assert loss.backward(kept)[0] == jnp.asarray(slope, dtype), (name, p, y)


@pytest.mark.parametrize("p", [0.0, -0.5, 1.25])
def test_outside_of_tiny_to_one_the_derivative_on_probabilities_is_zero(dtype, p):
    rows = jnp.asarray([[p, 0.5]], dtype)
    value, kept = fnn.negative_log_likelihood.forward(rows, jnp.array([0]))
    clipped = np.clip(p, tolerances.smallest_normal(dtype), 1)
    assert_close(value, -np.log(clipped), tolerances.FORWARD[dtype.name])
    assert (fnn.negative_log_likelihood.backward(kept) == 0).all()


def test_extreme_logits_are_finite_and_right(dtype):
    logits = jnp.asarray([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4]], dtype)
    loss = fnn.softmax_cross_entropy.sum
    for labels in (jnp.array([0, 1, 2, 1]), jnp.array([1, 1, 2, 2])):
        value, kept = loss.forward(logits, labels)
        gradient = loss.backward(kept)
        assert_finite((value, gradient))
        wanted = reference.LOSSES["softmax_cross_entropy"](np.asarray(logits, np.float64), np.asarray(labels), 0)
        assert_close(value, wanted.sum(), tolerances.FORWARD[dtype.name])
        assert_close(jnp.sum(gradient, axis=-1), np.zeros(4), tolerances.FORWARD[dtype.name])


def test_accuracy_and_zero_one_loss():
    scores = jnp.array([[0.1, 0.9, 0.0], [2.0, 1.0, 3.0], [5.0, 5.0, 0.0]])
    labels = jnp.array([1, 0, 0])
    third = np.float32(1 / 3)
    assert fnn.zero_one_loss(scores, labels) == third and fnn.accuracy(scores, labels) == 1 - third


def test_one_hot():
    assert (fnn.one_hot([2, 0], 3) == np.eye(3)[[2, 0]]).all()
    assert fnn.one_hot(1, 2, "bfloat16").dtype == jnp.bfloat16


def test_random_weights_never_matter_where_they_are_zero(dtype):
    rng = random("masks")
    for name, labels in KINDS:
        p, y = data(name, labels, dtype)
        loss, mask = LOSSES[name], rng.random(4) < 0.5
        mask[0] = True
        value, kept = loss.forward(p, y, jnp.asarray(mask))
        broken = jnp.where(jnp.asarray(mask)[:, None], p, jnp.nan)
        again, kept_again = loss.forward(broken, y, jnp.asarray(mask))
        assert value == again and (loss.backward(kept) == loss.backward(kept_again)).all(), name
        assert_close(value, loss(p[mask], y[mask]), tolerances.FORWARD[dtype.name], name)
