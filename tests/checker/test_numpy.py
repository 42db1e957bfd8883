"""Losses and gradients in NumPy, as a course sets them: right ones are not blamed, wrong ones are called what they are."""

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
