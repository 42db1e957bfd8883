"""The perceptron (claims A1, B4) beside the algorithm in plain Python, on whole numbers, which are computed exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.cases import random


def by_book(x, y, passes):
    """(w, b, mistakes, passes, settled) by the algorithm as it is told."""
    w, b, mistakes = np.zeros(x.shape[1]), 0.0, 0
    for k in range(1, passes + 1):
        before = mistakes
        for row, label in zip(x, y, strict=True):
            if label * (w @ row + b) <= 0:
                w, b, mistakes = w + label * row, b + label, mistakes + 1
        if mistakes == before:
            return w, b, mistakes, k, True
    return w, b, mistakes, passes, False


def test_A1_the_sign_of_zero_is_plus_one(dtype):
    x = jnp.array([[1.0, 1.0], [2.0, 1.0], [1.0, 2.0]], dtype)
    decided = fnn.lectures.perceptron_decision(jnp.array([1.0, -1.0], dtype), jnp.zeros((), dtype), x)
    assert decided.dtype == dtype and decided.tolist() == [1, 1, -1]


@pytest.mark.parametrize("labels", ["by a line", "at random"])
def test_B4_the_algorithm_is_the_one_told(labels, dtype):
    rng = random("perceptron", labels)
    x = rng.integers(-9, 10, (6, 12, 2)).astype(dtype)
    y = np.where(x @ [2, -1] > 0.5, 1, -1) if labels == "by a line" else rng.choice([-1, 1], x.shape[:2])
    found = jax.jit(jax.vmap(lambda x, y: fnn.lectures.perceptron(x, y, epochs=200)))(x, y.astype(dtype))
    for k in range(len(x)):
        w, b, mistakes, passes, settled = by_book(x[k], y[k], 200)
        assert (found.w[k].tolist(), float(found.b[k])) == (w.tolist(), b)
        assert (int(found.mistakes[k]), int(found.epochs[k]), bool(found.converged[k])) == (mistakes, passes, settled)
    assert found.converged.all() == (labels == "by a line")


def test_B4_the_bound_is_attained_by_one_example_and_infinite_without_separation():
    x, y = jnp.array([[3.0, -4.0]]), [-1]
    # w* along the example itself, with its constant input
    assert float(fnn.lectures.perceptron_bound(x, y, -x[0], jnp.array(-1.0))) == 1
    assert int(fnn.lectures.perceptron(x, y, epochs=5).mistakes) == 1
    assert np.isinf(fnn.lectures.perceptron_bound(x, y, x[0], jnp.array(1.0)))


def test_what_the_perceptron_refuses():
    x = jnp.ones((3, 2))
    with pytest.raises(ValueError, match=r"labels must be −1 and \+1"):
        fnn.lectures.perceptron(x, [0, 1, 1], epochs=5)
    with pytest.raises(ValueError, match="y must have shape"):
        fnn.lectures.perceptron(x, [1, 1], epochs=5)
    with pytest.raises(ValueError, match=r"x must be \(N, I\)"):
        fnn.lectures.perceptron(x[0], [1, 1], epochs=5)
    with pytest.raises(TypeError, match="floating dtype"):
        fnn.lectures.perceptron(jnp.ones((3, 2), int), [1, 1, 1], epochs=5)
