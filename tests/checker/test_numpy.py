"""Losses and gradients in NumPy, as a course sets them: right ones are not blamed, of wrong ones it is told why."""

import numpy as np
import pytest

import fnn
from tests.cases import random

X, Y = random("numpy").normal(size=(8, 4)), random("numpy", 1).normal(size=8)


def lasso(w, X, y):
    return np.mean((X @ w - y) ** 2) + 0.3 * np.abs(w).sum()


def lasso_gradient(w, X, y):
    return 2 * X.T @ (X @ w - y) / len(y) + 0.3 * np.sign(w)


#: One weight is 0, where the penalty has a kink.
W = np.array([0.5, 0.0, -1.0, 2.0])
AT_A_KINK = {
    "right": (lambda g, w: g, ""),
    "another choice at the kink": (lambda g, w: g + 0.29 * (w == 0), ""),
    "half": (lambda g, w: g / 2, "a factor of ½ too many"),
    "sign": (lambda g, w: -g, "the sign is wrong"),
    "one entry": (lambda g, w: g * np.array([1, 1, 1.0001, 1]), r"one entry only: [2]"),
    "the kink alone": (lambda g, w: g + 5 * (w == 0), "there is no derivative here; the slopes go from"),
}


@pytest.mark.parametrize("what", AT_A_KINK)
def test_an_entry_at_a_kink_says_nothing_of_the_others(what):
    change, says = AT_A_KINK[what]
    report = fnn.check(lasso, W, X, Y, gradient=lambda w, X, y: change(lasso_gradient(w, X, y), w))
    (finding,) = report.findings
    assert report.ok == (not says) and finding.message.startswith(says), str(report)


def test_rows_that_must_sum_to_0_are_told_of_where_they_must():
    c = random("identity").normal(size=(2, 3, 4))
    wrong = fnn.check(lambda x: np.sum(np.tanh(x) * c), c, gradient=lambda x: c * (1 - x**2)).findings[0]
    assert not wrong.certain and "must sum to 0" not in wrong.message, wrong.message

    def centred(x):
        return np.sum(np.tanh(x - x.mean(-2, keepdims=True)) * c)

    wrong = fnn.check(centred, c, gradient=lambda x: c * (1 - np.tanh(x - x.mean(-2, keepdims=True)) ** 2))
    assert wrong.findings[0].message.endswith(
        "its columns must sum to 0, for a number added to a column changes no value"
    )


def softmax_loss(W, X, y, dtype=np.float32):
    """The loss and its gradient, computed in a narrow dtype inside."""
    scores = X.astype(dtype) @ W.astype(dtype)
    scores -= scores.max(1, keepdims=True)
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    d = p.copy()
    d[range(len(y)), y] -= 1
    return -np.log(p[range(len(y)), y]).mean(), X.T @ d / len(y)


LABELS, V = np.array([0, 2, 1, 1, 0, 2, 0, 1]), random("numpy", 2).normal(size=(4, 3))
#: What is done to the gradient, and what is said of it; the function computes in float32.
IN_FLOAT32 = {
    "right": (lambda g: g, ""),
    "in a buffer": (lambda g: g.astype(np.float32), ""),
    "half": (lambda g: g / 2, "a factor of ½ too many"),
    "N forgotten": (lambda g: 8 * g, "a factor of 8 too many"),
    "a percent": (lambda g: 1.01 * g, "a constant factor of 1.01 too many"),
    "less than is told": (lambda g: 1.003 * g, "a wrong term or factor (off by 0.003 of the largest entry)"),
    "one entry": (lambda g: g + 0.05 * (g == g.max()), "one entry only: ["),
}


@pytest.mark.parametrize("what", IN_FLOAT32)
def test_a_function_that_computes_in_float32_inside(what):
    change, says = IN_FLOAT32[what]
    report = fnn.check(
        lambda *args: softmax_loss(*args)[0], V, X, LABELS, gradient=lambda *args: change(softmax_loss(*args)[1])
    )
    (finding,) = report.findings
    assert report.ok == (not says) and finding.message.startswith(says), str(report)
    assert "the function computes in float32 inside, or loses as much" in report.notes[0]


def test_a_gradient_in_float32_of_a_function_in_float64():
    def check(change, dtype=np.float32):
        return fnn.check(
            lambda W, X, y: softmax_loss(W, X, y, np.float64)[0], V, X, LABELS,
            gradient=lambda *args: change(softmax_loss(*args, dtype)[1]),
        )  # fmt: skip

    assert check(lambda g: g).ok
    report = check(lambda g: g.astype(np.float32), np.float64)
    assert report.ok and "the gradient comes back in float32: what is lost" in str(report), str(report)
    assert check(lambda g: -g).findings[0].message == "the sign is wrong"
    assert not check(lambda g: g * (1 + 1e-4 * (g == g.max()))).ok


def test_a_function_too_coarse_to_tell_is_undecided():
    # nearly all of the value is a constant, and float32 forgets the rest
    f = lambda x: np.float32(1e7) + np.sum(np.asarray(x, np.float32) ** 2)  # noqa: E731
    (finding,) = fnn.check(f, np.array([1.0, -2.0]), gradient=lambda x: 2 * x).findings
    assert finding.verdict == "UNDECIDED" and "too coarse to tell. Compute in float64" in finding.message, finding


@pytest.mark.filterwarnings("error")
def test_no_warnings_of_numbers_that_the_checker_made_up():
    y = LABELS % 2

    def cost(w, X, y):
        a = 1 / (1 + np.exp(-X @ w))
        return -np.mean(y * np.log(a) + (1 - y) * np.log(1 - a))

    assert fnn.check(cost, W, X, y, gradient=lambda w, X, y: X.T @ (1 / (1 + np.exp(-X @ w)) - y) / len(y)).ok
