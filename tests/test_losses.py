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


# ---- infinite logits, half precision, labels ------------------------------------------------------------------------


def value_and_slope(loss, *rows):
    """(value, derivative), by one program that sees no values."""

    def both(*rows):
        value, kept = loss.forward(*rows)
        return value, loss.backward(kept)

    return jax.device_get(jax.jit(both)(*rows))


def test_a_class_of_probability_zero_may_have_the_logit_minus_infinity(dtype):
    z = np.array([[1.0, -np.inf, 0.0], [-np.inf, 2.0, -np.inf]], dtype)
    rows, labels = np.eye(3, dtype=dtype)[[0, 1]], np.array([0, 1], np.int32)
    loss = fnn.softmax_cross_entropy.sum
    value, slope = value_and_slope(loss, z, rows)
    by_label = value_and_slope(loss, z, labels)
    assert_close(value, np.asarray(np.log1p(np.exp(-1)), dtype), tolerances.FORWARD[dtype.name])
    assert value == by_label[0] and (slope == by_label[1]).all() and (slope[1] == 0).all()
    # autodiff says so too, and a class that does count makes the loss infinite
    assert (slope == np.asarray(jax.jit(jax.grad(loss))(z, rows))).all()
    assert value_and_slope(loss, z, np.array([[0.5, 0.5, 0.0]] * 2, dtype))[0] == np.inf
    # both logits of ±∞ of two classes, where they are right and where they are wrong
    z, y = np.array([[np.inf], [-np.inf]], dtype), np.array([[1.0], [0.0]], dtype)
    value, slope = value_and_slope(fnn.sigmoid_cross_entropy.sum, z, y)
    assert value == 0 and (slope == 0).all()
    value, slope = value_and_slope(fnn.sigmoid_cross_entropy.sum, z, 1 - y)
    assert value == np.inf and slope.ravel().tolist() == [1.0, -1.0]


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_precision_is_float32_rounded_once(name):
    weights = np.array([0.5, 0.0, 2.0, 1.0], np.float32)

    def both(table):
        results = {}
        for (each, labels), (p, y) in table.items():
            for weighted in (None, weights):
                # a denominator of its own, beyond the largest number of float16
                total = None if weighted is None else 70_000.0
                single = LOSSES[each].forward(p.astype(jnp.float32), y, weighted, total)
                half = LOSSES[each].forward(p, y, None if weighted is None else jnp.asarray(weighted, name), total)
                results[each, labels, weighted is None] = (
                    half[0], single[0].astype(name), LOSSES[each].backward(half[1], jnp.asarray(2, name)),
                    LOSSES[each].backward(single[1], 2.0).astype(name),
                )  # fmt: skip
        return results

    for kind, (value, wanted, slope, wanted_slope) in jax.jit(both)({k: data(*k, name) for k in KINDS}).items():
        assert value.dtype == slope.dtype == jnp.dtype(name)
        assert value == wanted and (slope == wanted_slope).all(), kind


def test_means_and_sums_over_classes_do_not_overflow_in_float16():
    z, y = jnp.zeros((60_000, 10), jnp.float16), jnp.zeros(60_000, jnp.int32)
    ones = jnp.ones(60_000, jnp.float16)
    for value in (fnn.softmax_cross_entropy(z, y), fnn.softmax_cross_entropy(z, y, ones)):
        # half a step of float16 between 2 and 4
        assert abs(float(value) - np.log(10)) <= 2**-10
    squares = fnn.squared_error(jnp.asarray([[300.0], [10.0]], jnp.float16), jnp.zeros((2, 1), jnp.float16))
    assert float(squares) == float(jnp.asarray(45_050.0, jnp.float16))
    value, slope = value_and_slope(fnn.softmax_cross_entropy, jnp.zeros((2, 70_000), jnp.float16), np.array([0, 1]))
    assert abs(float(value) - np.log(70_000)) <= 2**-8
    assert slope[0, 0] == -0.5 and abs(float(slope[0, 1]) - 0.5 / 70_000) <= 3e-8


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "negative_log_likelihood"])
def test_narrow_labels_are_those_of_int32(name):
    p = fnn.softmax(jnp.asarray(random("narrow").normal(size=(3, 200)), jnp.float32))
    wanted = value_and_slope(LOSSES[name], p, np.array([1, 100, 7], np.int32))
    for dtype in ("int8", "uint8", "int16", "uint16", "uint32"):
        value, slope = value_and_slope(LOSSES[name], p, np.array([1, 100, 7], dtype))
        assert value == wanted[0] and (slope == wanted[1]).all(), dtype


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "negative_log_likelihood"])
@pytest.mark.parametrize("bad", [-1, 3])
def test_a_label_out_of_range_has_no_finite_loss(name, bad):
    loss, p, y = LOSSES[name], jnp.full((2, 3), 1 / 3), jnp.array([0, bad])
    with pytest.raises(ValueError, match=rf"{name}: labels must lie in 0 … 2; row 1 is {bad}\. "):
        loss(p, y)
    with pytest.raises(ValueError, match=f"row 1 is {bad}"):
        jax.grad(loss)(p, y)
    with pytest.raises(ValueError, match=f"row 1 is {bad}"):
        fnn.check(fnn.backprop(fnn.mlp(2, 3), loss), fnn.mlp(2, 3).init(jax.random.key(0)), jnp.ones((2, 2)), y)
    value, slope = value_and_slope(loss, p, y)
    assert np.isnan(value) and np.isnan(slope[1]).any() and np.isfinite(slope[0]).all()
    # a row of weight 0 may be labelled as one likes, seen or not
    mask = jnp.array([1.0, 0.0])
    assert loss(p, y, mask) == loss(p[:1], y[:1])
    value, slope = value_and_slope(loss, p, y, mask)
    assert np.isfinite(value) and np.isfinite(slope).all() and (slope[1] == 0).all()
    with pytest.raises(ValueError, match=f"row 1 is {bad}"):
        loss(p, y, jnp.array([0.0, 1.0]))


def test_predictions_that_are_no_probabilities_are_named_before_training():
    logits, rows = np.array([[2.0, -1.0, 0.5]]), np.array([[0.2, 0.3, 0.5]])
    scores = np.array([[0.9, 0.8, 0.7]])
    for loss, bad, instead in (
        (fnn.negative_log_likelihood, logits, "softmax_cross_entropy"),
        (fnn.negative_log_likelihood, scores, "softmax_cross_entropy"),
        (fnn.binary_cross_entropy, logits, "sigmoid_cross_entropy"),
    ):
        with pytest.warns(
            UserWarning, match=rf"{loss.name} takes probabilities; the first predictions .* use {instead}"
        ):
            loss.validate_prediction(bad)
    # no word on what is right, rounded to half precision too, or on losses that take any number
    fnn.negative_log_likelihood.validate_prediction(jnp.asarray(rows, jnp.bfloat16))
    fnn.binary_cross_entropy.validate_prediction(scores)
    fnn.softmax_cross_entropy.validate_prediction(logits)
