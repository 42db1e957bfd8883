"""An axis of length 1 hides no factor: rules are tried where it is longer, and right ones are not blamed for that."""

import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.cases import random
from tests.checker.test_cases import rule


@pytest.fixture(autouse=True)
def promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def normal(*shape):
    return jnp.asarray(random("longer", shape).normal(size=shape), jnp.float32)


def mean_square(p, t):
    return jnp.mean((p - t) ** 2)


def affine(x, W, b):
    return x @ W + b


def dense(of_bias):
    return rule(affine, lambda bar, x, W, b: (bar @ W.T, x.T @ bar, of_bias(bar)))


by_size = rule(mean_square, lambda bar, p, t: (bar * 2 * (p - t) / p.size, None))
by_rows = rule(mean_square, lambda bar, p, t: (bar * 2 * (p - t) / len(p), None))
by_columns = rule(mean_square, lambda bar, p, t: (bar * 2 * (p - t) / p.shape[-1], None))
squared = rule(lambda x: x.reshape(4) ** 2, lambda bar, x: (2 * x * bar.reshape(1, 4),))


def net(layer, loss):
    return lambda params, x, t: loss(layer(x, *params), t)


def attention(change):
    """Of queries, keys and values, with what the rule gives changed."""
    function = lambda q, k, v: jax.nn.softmax(q @ k.T) @ v  # noqa: E731
    return lambda *args: jnp.sum(
        jnp.sin(rule(function, lambda bar, *u: change(jax.vjp(function, *u)[1](bar), u[0]))(*args))
    )


X, T, W, B = normal(1, 4), normal(1, 3), normal(4, 3), normal(3)
TARGET = jnp.full((1, 1), 0.3)
TABLE = {
    # the bias has one row whatever the number of examples
    "bias of one row": (True, net(dense(lambda bar: bar.sum(0, keepdims=True)), by_size), (W, B[None]), X, T),
    "bias": (True, net(dense(lambda bar: bar.sum(0)), by_size), (W, B), X, T),
    "first row for the sum": (False, net(dense(lambda bar: bar[0]), by_size), (W, B), X, T),
    "no 1/N": (False, net(affine, by_columns), (W, B), X, T),
    "no 1/N, bias of one row": (False, net(affine, by_columns), (W, B[None]), X, T),
    "made for one output": (True, net(affine, by_rows), (normal(4, 1), normal(1)), normal(5, 4), normal(5, 1)),
    # its softmax is over one key: the keys and the values have rows of their own
    "one key": (True, attention(lambda right, q: right), normal(1, 4), normal(1, 4), normal(1, 4)),
    "one key, queries without gradient": (False, attention(lambda right, q: (0 * q, *right[1:])), *3 * [normal(1, 4)]),
    "captured target": (True, lambda p: by_rows(p, TARGET), normal(1, 1)),
    "made for one row": (True, lambda x: jnp.sum(squared(x)), X),
}


@pytest.mark.parametrize("what", TABLE)
def test_rules_with_an_axis_of_length_1(what):
    right, f, *args = TABLE[what]
    report = fnn.check(f, *args)
    assert report.ok == right, str(report)
    assert right or re.search("; with length [35] in place of 1 along axis 0 of argument", str(report))
    # what could not be tried is named
    named = "could not be tried longer: a factor such as 1/N would not be seen there" in str(report)
    assert named == (what in ("bias of one row", "made for one output", "captured target", "made for one row"))


def test_gradients_beside_a_function_with_one_example():
    f = lambda W, x, t: mean_square(x @ W, t)  # noqa: E731
    assert fnn.check(f, W, X, T, gradient=jax.grad(f)).ok
    report = fnn.check(f, W, X, T, gradient=lambda W, x, t: 2 * x.T @ (x @ W - t) / 3)
    assert "a factor of 5 too many; with length 5 in place of 1" in str(report) and not report.ok
    x, t = np.asarray(X), np.asarray(T)
    in_numpy = lambda W, x, t: np.mean((x @ W - t) ** 2)  # noqa: E731
    report = fnn.check(in_numpy, W, x, t, gradient=lambda W, x, t: 2 * x.T @ (x @ W - t) / 3)
    assert not report.ok and "a factor of 5 too many; with length 5" in str(report)


@dataclass(frozen=True, repr=False)
class Summed(type(fnn.squared_error)):
    """A loss whose rule forgets the mean."""

    def backward(self, residuals, value_bar=1.0):
        bar = super().backward(residuals, value_bar)
        return len(bar) * bar


def test_a_prediction_and_its_targets_are_made_longer_together():
    """Longer targets alone show the gradient right, and excuse nothing."""
    p, t = np.array([[0.4, -1.2, 0.7]]), np.array([[1.0, 0.3, -0.5]])
    mean = lambda p, t: np.mean((p - t) ** 2)  # noqa: E731
    right = lambda p, t: 2 * (p - t) / p.size  # noqa: E731
    assert fnn.check(mean, p, t, gradient=right).ok
    report = fnn.check(mean, p, t, gradient=lambda p, t: len(p) * right(p, t))
    wrong = next(f for f in report.findings if f.verdict.name == "FORMULA")
    assert not report.ok and "a factor of 5 too many (5 is the number of rows" in wrong.message


def test_a_loss_of_a_net_with_one_example():
    params = fnn.dense(4, 3).init(jax.random.key(0))
    assert fnn.check(fnn.backprop(fnn.dense(4, 3), fnn.squared_error), params, X, T).ok
    report = fnn.check(fnn.backprop(fnn.dense(4, 3), Summed()), params, X, T)
    assert report.culprits == ("summed",) and "along axis 0 of x, axis 0 of y" in str(report), str(report)


def test_numbers_that_are_made_up_warn_nobody():
    """Examples in columns, one output, in NumPy; where warnings are errors, as in these tests."""
    random_ = np.random.default_rng(3)
    x, y = random_.normal(size=(4, 5)), np.array([[0.0, 1, 1, 0, 1]])
    p = {"W": random_.normal(size=(1, 4)), "b": random_.normal(size=(1, 1))}

    def forward(p, x):
        return 1 / (1 + np.exp(-(p["W"] @ x + p["b"])))

    def cost(p, x, y):
        a = forward(p, x)
        return -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)) / x.shape[1]

    def gradient(p, x, y):
        z_bar = (forward(p, x) - y) / x.shape[1]
        return {"W": z_bar @ x.T, "b": z_bar.sum(1, keepdims=True)}

    report = fnn.check(cost, p, x, y, gradient=gradient)
    assert report.ok, str(report)


@pytest.mark.parametrize("gradient", ["right", "first row"])
def test_what_meets_a_captured_row_is_wrong_under_an_assumption(gradient):
    """The captured row stays one: perhaps it has as many rows as the examples by right."""
    captured = normal(1, 4) + 1
    of_bias = {"right": lambda bar: bar.sum(0), "first row": lambda bar: bar[0]}[gradient]
    layer = rule(
        lambda x, W, b: (x + captured) @ W + b,
        lambda bar, x, W, b: (bar @ W.T, (x + captured).T @ bar, of_bias(bar)),
    )
    report = fnn.check(lambda x, W, b: jnp.sum(jnp.sin(layer(x, W, b))), X, W, B)
    assumed = [f.message for f in report.findings if f.verdict == "ASSUMES"]
    assert report.ok and bool(assumed) == (gradient == "first row"), str(report)
    says = "right with one row, as in your run. Wrong, unless what it captured has as many rows: it equals index 0 of"
    assert all(message.startswith(says) for message in assumed), assumed
