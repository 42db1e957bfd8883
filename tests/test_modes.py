"""Layers of two modes: by hand against autodiff and differences, their conventions, and what refuses them by name."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.network import BatchNorm, Dropout, InTraining
from tests import tolerances
from tests.cases import drawn, random
from tests.witnesses import assert_close, once

N, F = 6, 4
BLOCK = fnn.sequential(fnn.dense(F, F, activation="tanh"), fnn.batch_norm(F), fnn.dropout(0.25))
LAYERS = {
    "dropout": fnn.dropout(0.25),
    "batch norm": fnn.batch_norm(F, momentum=0.7, eps=1e-3),
    "batch norm, tanh": fnn.batch_norm(F, activation="tanh"),
    "in sequence": fnn.sequential(BLOCK, fnn.dense(F, F), fnn.dropout(0.5)),
    "in a skip connection": fnn.skip(BLOCK),
    "repeated": fnn.repeated(fnn.skip(BLOCK), 2),
}
NET = fnn.sequential(fnn.dense(F, 5), fnn.batch_norm(5, activation="tanh"), fnn.dropout(0.25), fnn.dense(5, 3))
KEY = jax.random.key(3)
BY_HAND = fnn.backprop(NET, "softmax_cross_entropy")


def data(layer, dtype=jnp.float64):
    """(params, statistics, x, y_bar)."""
    rng = random("modes", repr(layer))
    params = drawn(layer, rng, dtype)
    x, y_bar = (jnp.asarray(rng.normal(0.3, 2, (N, F)), dtype) for _ in range(2))
    return params, layer.start(params), x, y_bar


def test_by_hand_equals_autodiff_and_differences(x64):
    def by_hand(name, params, statistics, x, y_bar):
        y, residuals, _ = LAYERS[name].train(params, statistics, x, KEY)
        return LAYERS[name].backward(params, residuals, y_bar), jnp.all(jnp.isfinite(y))

    def witnesses(name, params, statistics, x, y_bar):
        def value(both):
            return jnp.sum(y_bar * LAYERS[name].train(both[0], statistics, both[1], KEY)[0])

        return jax.grad(value)((params, x)), fnn.central_differences(value)((params, x))

    table = {name: data(layer) for name, layer in LAYERS.items()}

    def every(compiled, function):
        return compiled(lambda table: {name: function(name, *each) for name, each in table.items()})(table)

    truth = every(once, witnesses)
    for name, (hand, finite) in every(jax.jit, by_hand).items():
        auto, differences = truth[name]
        assert finite
        assert_close(hand, auto, tolerances.FORWARD["float64"], name)
        assert_close(hand, differences, tolerances.DIFFERENCES, name)


def test_batch_norm_is_the_formula_of_the_paper(dtype):
    layer = LAYERS["batch norm"]
    params, statistics, x, _ = data(layer, dtype)
    before = jax.tree.map(lambda leaf: leaf + 0.5, statistics)
    y, _, after = jax.jit(layer.train)(params, before, x, KEY)
    rows, gain, shift = (np.asarray(each, np.float64) for each in (x, params["gain"], params["shift"]))
    mean, variance = rows.mean(axis=0), rows.var(axis=0)
    bound = tolerances.FORWARD[dtype.name] * 10
    assert_close(np.asarray(y, np.float64), gain * (rows - mean) / np.sqrt(variance + 1e-3) + shift, bound)
    # PyTorch's running statistics: momentum 0.3 there is 0.7 here, and the variance is unbiased
    want = {"mean": 0.7 * 0.5 + 0.3 * mean, "variance": 0.7 * 1.5 + 0.3 * rows.var(axis=0, ddof=1)}
    assert_close(jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), after), want, bound)
    used = layer.evaluate(params, after, x)
    assert_close(
        np.asarray(used, np.float64),
        gain * (rows - want["mean"]) / np.sqrt(want["variance"] + 1e-3) + shift, bound,
    )  # fmt: skip
    # the leading axes are one batch, whatever their number
    folded = jax.jit(layer.train)(params, before, x.reshape(2, N // 2, F), KEY)
    assert_close(np.asarray(folded[0]).reshape(N, F), np.asarray(y), bound)


def test_dropout_keeps_the_mean_and_does_nothing_in_evaluation():
    layer, x = Dropout(0.25), jnp.ones((200, 50))
    y, mask, statistics = layer.train((), (), x, KEY)
    assert statistics == () and mask.dtype == bool
    np.testing.assert_array_equal(y, np.where(mask, np.float32(1 / 0.75), 0))
    # 10 000 entries: the mean of the masks is within five standard deviations of 1
    assert abs(float(y.mean()) - 1) < 5 * np.sqrt(0.25 / 0.75 / x.size)
    assert layer.evaluate((), (), x) is x
    # what is dropped cannot spread its NaN
    assert jnp.isfinite(layer.train((), (), jnp.where(mask, x, jnp.nan), KEY)[0]).all()


def test_statistics_of_half_precision_are_kept_in_float32():
    layer = fnn.batch_norm(F)
    params, statistics, x, _ = data(layer, jnp.bfloat16)
    y, residuals, after = layer.train(params, statistics, x, KEY)
    params_bar, x_bar = layer.backward(params, residuals, y)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(after)} == {"float32"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves((y, params_bar, x_bar))} == {"bfloat16"}


@dataclass(frozen=True, repr=False)
class Forgetful(BatchNorm):
    """Takes mean and variance for constants."""

    def backward(self, params, residuals, y_bar):
        bars, _ = super().backward(params, residuals, y_bar)
        row = params["gain"] * residuals[1]
        return bars, y_bar * jnp.broadcast_to(row, y_bar.shape)


def test_the_checker_takes_the_training_mode_and_names_the_layer_that_is_wrong():
    # docs/layers.md shows it of a net that is right
    net, rng = fnn.sequential(fnn.dropout(0.25), Forgetful(2)), random("modes", "check")
    params = drawn(net, rng)
    x, y = (jnp.asarray(rng.normal(0, 1, (5, 2)), jnp.float32) for _ in range(2))
    report = fnn.check(fnn.backprop(InTraining(net), "squared_error"), params, (x, net.start(params), KEY), y)
    assert report.culprits == ("batch_norm in training",), str(report)


def test_by_hand_and_automatic_are_swapped_by_a_word():
    rng = random("modes", "swap")
    params = drawn(NET, rng)
    x, y = jnp.asarray(rng.normal(0, 1, (8, F)), jnp.float32), jnp.asarray(rng.integers(0, 3, 8), jnp.int32)
    automatic = jax.value_and_grad(fnn.objective(NET, "softmax_cross_entropy"), has_aux=True)
    options = {"statistics": NET.start(params), "key": KEY}
    hand, auto = jax.jit(lambda *args: [each(*args, **options) for each in (BY_HAND, automatic)])(params, x, y)
    assert_close(hand, auto, tolerances.FORWARD["float32"] * 10)


def test_a_plain_layer_answers_to_the_three_too():
    net = fnn.mlp(2, 3, 1)
    params, x = drawn(net, random("plain")), jnp.ones((4, 2))
    assert not net.has_modes and NET.has_modes and net.start(params) == ()
    y, residuals, statistics = net.train(params, (), x, KEY)
    assert statistics == () and (net.evaluate(params, (), x) == y).all()
    assert jax.tree.structure(residuals) == jax.tree.structure(net.forward(params, x)[1])


def test_the_summary_is_that_of_training():
    rows = NET.summary(jax.eval_shape(NET.init, KEY)).rows
    assert [row.parameters for row in rows] == [25, 10, 0, 18] and [row.output for row in rows] == ["5", "5", "5", "3"]
    # the mask of dropout is a byte for each entry
    assert rows[2].kept == 5


PARAMS = drawn(NET, random("modes", "refused"))
ONES, LABELS = jnp.ones((N, F)), jnp.zeros(N, jnp.int32)
STATE = NET.start(PARAMS)


@dataclass(frozen=True)
class Half(fnn.Layer):
    def train(self, params, statistics, x, key):
        return x, (), statistics

    def evaluate(self, params, statistics, x):
        return x


def without_evaluate():
    class Without(fnn.Layer):
        def train(self, params, statistics, x, key):
            return x, (), statistics


def in_training(f):
    def call():
        inputs = ONES, STATE, KEY
        return f(fnn.backprop(InTraining(NET), "softmax_cross_entropy"), PARAMS, inputs, LABELS)

    return call


WHICH = r"behaves differently in training and in evaluation, got a call that does not say which. Train with fnn.fit"
NO_EXAMPLES = r"a gradient per example is that of the example alone, got .* Take a net without"
REFUSED = {
    "apply": (lambda: NET.apply(PARAMS, ONES), TypeError, rf"^batch_norm\(5, activation=tanh\) {WHICH}"),
    "backprop": (lambda: BY_HAND(PARAMS, ONES, LABELS), TypeError, WHICH),
    "custom_vjp": (lambda: fnn.custom_vjp(NET)(PARAMS, ONES), TypeError, WHICH),
    "intermediates": (lambda: BY_HAND.intermediates(PARAMS, ONES, LABELS), TypeError, WHICH),
    "norms": (lambda: BY_HAND.example_norms(PARAMS, ONES, LABELS), TypeError, WHICH),
    "noise": (lambda: fnn.curvature.gradient_noise(BY_HAND, PARAMS, ONES, LABELS), TypeError, WHICH),
    "curvature": (
        lambda: fnn.curvature.hessian_vector_product(NET, "softmax_cross_entropy")(PARAMS, ONES, LABELS, PARAMS),
        TypeError, WHICH,
    ),
    "norms in training": (in_training(lambda g, *args: g.example_norms(*args)), TypeError, NO_EXAMPLES),
    "noise in training": (in_training(fnn.curvature.gradient_noise), TypeError, NO_EXAMPLES),
    "a layer's own norms": (
        lambda: fnn.dropout(0.5).norms((), jnp.ones((N, F), bool), ONES), TypeError, rf"dropout\(0.5\): {NO_EXAMPLES}",
    ),
    "a key alone": (
        lambda: BY_HAND(PARAMS, ONES, LABELS, key=KEY), ValueError,
        r"statistics and key go together, got no statistics. Give key",
    ),
    "statistics alone": (
        lambda: BY_HAND(PARAMS, ONES, LABELS, statistics=STATE), ValueError, "go together, got no key. Give key",
    ),
    "statistics of another net": (
        lambda: NET.evaluate(PARAMS, ()  , ONES), ValueError, r"statistics of each layer, 4 entries, got \(\). Give st",
    ),
    "weights beside statistics": (
        lambda: BY_HAND(
            PARAMS, ONES, LABELS, sample_weight=jnp.ones(N), statistics=STATE, key=KEY),
        ValueError, r"weights of examples must not meet statistics .* got sample_weight with sequential.*, …\. Repeat",
    ),
    "one row": (
        lambda: NET.train(PARAMS, STATE, ONES[:1], KEY), ValueError,
        r"batch_norm\(5, activation=tanh\): a batch must have at least 2 rows in training, got 1: .* Choose a batch_s",
    ),
    "other features": (
        lambda: fnn.batch_norm(3).train(fnn.batch_norm(3).init(KEY), STATE[1], ONES, KEY),
        ValueError, r"batch_norm\(3\): x must have 3 features",
    ),
    "a rate of one": (lambda: fnn.dropout(1.0), ValueError, "dropout: rate must be at least 0 and below 1, got 1.0. G"),
    "a rate in words": (lambda: fnn.dropout("0.5"), TypeError, "dropout: rate must be a number, got '0.5'. Give"),
    "a momentum below 0": (lambda: fnn.batch_norm(3, momentum=-0.1), ValueError, "momentum must be at least 0 and b"),
    "no eps": (lambda: fnn.batch_norm(3, eps=0.0), ValueError, "batch_norm: eps must be a number above 0, got 0.0. T"),
    "no record": (
        lambda: fnn.network.BatchNorm(3, activation="tanh"), TypeError, "batch_norm: an Activation is needed, got 't",
    ),
    "whole numbers": (lambda: fnn.batch_norm(3).init(KEY, jnp.int32), TypeError, "parameters must have a floating d"),
    "no floats": (
        lambda: fnn.batch_norm(F).train(fnn.batch_norm(F).init(KEY), (), jnp.ones((N, F), int), KEY), TypeError,
        r"batch_norm\(4\): x must have a floating dtype, got int",
    ),
    "not stacked": (
        lambda: fnn.repeated(fnn.batch_norm(F), 2).train(fnn.batch_norm(F).init(KEY), (), ONES, KEY), ValueError,
        "repeated: every leaf of params must have a leading axis of 2",
    ),
    "no features": (lambda: fnn.batch_norm(0), ValueError, "batch_norm: features must be at least 1, got 0. Example"),
    "no evaluate": (without_evaluate, TypeError, "Without defines train but no evaluate, .* Define evaluate"),
    "no backward": (lambda: Half().backward((), (), ONES), TypeError, "Half must define backward"),
    "in training of no layer": (lambda: InTraining(jnp.tanh), TypeError, "InTraining: a Layer is needed, got"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_is_refused_by_name(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_a_subclass_brings_no_mode_of_its_parent_along():
    @dataclass(frozen=True, repr=False)
    class Noisy(fnn.layers.Dense):
        """Its forward pass is that of evaluation, and cannot be called without a mode."""

        def train(self, params, statistics, x, key):
            y, residuals = super().forward(params, x)
            return y + jax.random.normal(key, y.shape), residuals, statistics

        def evaluate(self, params, statistics, x):
            return super().forward(params, x)[0]

    @dataclass(frozen=True, repr=False)
    class Plain(fnn.network.Sequential):
        def forward(self, params, x):
            y, residuals = super().forward(params, x)
            return 2 * y, residuals

    params = drawn(Noisy(F, 3), random("noisy"))
    assert (
        Noisy(F, 3).has_modes and (Noisy(F, 3).evaluate(params, (), ONES) == fnn.dense(F, 3).apply(params, ONES)).all()
    )
    with pytest.raises(TypeError, match=WHICH):
        Noisy(F, 3).apply(params, ONES)
    plain = Plain((fnn.dense(F, 3),))
    y, _, _ = plain.train((params,), (), ONES, KEY)
    assert (y == 2 * fnn.dense(F, 3).apply(params, ONES)).all()
